"""Videos: predicted frame by frame, drawn into a new video, with all predictions as JSON."""

import functools
import io
import json
import pathlib
import tempfile

import numpy as np
from PIL import Image

from zoo.inference import prediction
from zoo.inference.prediction import PICTURES


def predict(path, target, predictor):
    """Predict every frame of a video, and write it with the predictions drawn in.

    Args:
        path: of the video, in one of `zoo.inference.formats.VIDEOS`.
        target: an .mp4 to write, drawn by the task; next to it, <target>.json gets the rows of all
            frames, and <target>_boxes.json and the like the JSON that the task writes of each.
        predictor: a `zoo.inference.predictors.Predictor`.

    Yields:
        The row of each frame; "frame" counts from 0.

    Raises:
        ValueError: if OpenCV is not installed, or cannot read or write a video here.
    """
    cv2 = opencv(path)
    clip = cv2.VideoCapture(str(path))
    if not clip.isOpened():
        raise ValueError(f"{path}: it is not a video that OpenCV reads. Convert it to .mp4 (H.264)")
    rate, out, rows, lists = clip.get(cv2.CAP_PROP_FPS) or 25.0, None, [], {}
    try:
        results = prediction.predict(
            frames(clip), lambda frame: {"image": frame[1]}, refuse, predictor
        )
        for (number, image), row, writers in results:
            picture = drawn(writers, image)
            if out is None:
                out = writer(cv2, target, rate, picture.shape)
            out.write(np.ascontiguousarray(picture[..., ::-1]))  # OpenCV's colours are B, G, R
            for ending, entries in texts(writers, number):
                lists.setdefault(ending, []).extend(entries)
            row = {key: value for key, value in row.items() if key != "arrays"}
            rows.append({"frame": number, "seconds": round(number / rate, 3), **row})
            yield rows[-1]
    finally:
        clip.release()
        if out is not None:
            out.release()
    if not rows:
        raise ValueError(f"{path}: it has no frame that can be read. Convert it to .mp4 (H.264)")
    for ending, entries in {".json": rows, **lists}.items():
        write = functools.partial(prediction.save_json, entries)
        prediction.whole(write, target.with_name(f"{target.stem}{ending}"))


def opencv(path):
    """Return the module; raise a `ValueError` with advice if it is not installed."""
    try:
        import cv2
    except ImportError as error:
        needs = 'OpenCV reads videos. Install it: pip install ".[video]"'
        raise ValueError(f"{path}: {needs}") from error
    return cv2


def frames(clip):
    """Yield (number, image (H, W, 3) uint8) of each frame."""
    number = 0
    while (read := clip.read())[0]:
        yield number, np.ascontiguousarray(read[1][..., ::-1])
        number += 1


def refuse(message):
    """Stop at a frame that cannot be predicted, since no other frame can be either."""
    raise ValueError(message)


def drawn(writers, image):
    """Return the task's picture of a frame, (H, W, 3) uint8; the frame if there is none."""
    ending = next((ending for ending in PICTURES if ending in writers), None)
    if ending is None:
        return image
    buffer = io.BytesIO()
    writers[ending](buffer)
    return np.asarray(Image.open(buffer).convert("RGB"))


def texts(writers, number):
    """Yield (ending, list) of the task's JSON files of a frame, named by its number."""
    with tempfile.TemporaryDirectory() as folder:
        for ending, write in writers.items():
            if ending.endswith(".json"):
                path = pathlib.Path(folder, f"{number:06d}{ending}")
                write(path)
                yield ending, json.loads(path.read_text(encoding="utf-8"))


def writer(cv2, path, rate, shape):
    """Return a writer of frames (H, W, 3) to an MP4 file."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, shape[1::-1])
    if not video.isOpened():
        raise ValueError(f"{path}: OpenCV cannot write videos here. Predict its frames as images")
    return video
