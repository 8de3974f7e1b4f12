"""Networks on sets of points."""

from zoo.pointcloud.pointnet import PointNet
from zoo.pointcloud.pointnet_segmentation import PointNetSegmentation
