"""Networks that say what is where in an image."""

from zoo.detection.yolo import YOLO
from zoo.detection.yolov3 import YOLOv3, YOLOv3Tiny
