"""The formats of exports and videos, and checks that need no loaded model."""

import errno
import importlib.util
import os

FORMATS = {"onnx": ".onnx", "saved_model": "", "litert": ".tflite"}  # endings of their files
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")  # that OpenCV reads
PACKAGES = {"onnx": ("onnx", "onnxruntime", "tf2onnx"), "saved_model": (), "litert": ()}


def check(path, format):
    """Raise a `ValueError` if a model cannot be exported to this path in this format."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: there are {', '.join(FORMATS)}")
    if path.suffix != FORMATS[format] and FORMATS[format]:
        raise ValueError(f"{path}: a file for {format} ends in {FORMATS[format]}")
    if path.exists():
        raise ValueError(f"{path}: it exists already. Remove it or choose another name")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}. Make it first")
    if not os.access(path.parent, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    missing = [name for name in PACKAGES[format] if importlib.util.find_spec(name) is None]
    if missing:
        needs = f'{format} needs {", ".join(missing)}. Install it: pip install ".[export]"'
        raise ValueError(f"{path}: {needs}")
