"""The formats of exports and videos, and checks that need no loaded model."""

import errno
import importlib.util
import os

FORMATS = {"onnx": ".onnx", "saved_model": "", "litert": ".tflite"}  # endings of their files
QUANTIZED = {  # weights of fewer bits, that files can have
    "onnx": ("int8", "float16", "bfloat16"),
    "litert": ("int8", "float16"),
    "saved_model": (),
}
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")  # that OpenCV reads
PACKAGES = {"onnx": ("onnx", "onnxruntime", "tf2onnx"), "saved_model": (), "litert": ()}


def report(path):
    """Return the path of the table of what the weights of an exported file cost and gain."""
    return path.with_name(f"{path.name}.json")


def check(path, format, quantize=None):
    """Raise a `ValueError` if a model cannot be exported to this path in this format.

    Args:
        path: of the file to write.
        format: one of `FORMATS`.
        quantize: the type of its weights, see `QUANTIZED`; None for float32.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}: there are {', '.join(FORMATS)}")
    if path.suffix != FORMATS[format] and FORMATS[format]:
        raise ValueError(f"{path}: a file for {format} ends in {FORMATS[format]}")
    if quantize and quantize not in QUANTIZED[format]:
        able = [f"--format {name}" for name, kinds in QUANTIZED.items() if quantize in kinds]
        raise ValueError(f"{path}: {format} has no {quantize} here. Give {' or '.join(able)}")
    for file in [path, report(path)][: 1 + bool(quantize)]:
        if file.exists():
            raise ValueError(f"{file}: it exists already. Remove it or choose another name")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}. Make it first")
    if not os.access(path.parent, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    missing = [name for name in PACKAGES[format] if importlib.util.find_spec(name) is None]
    if missing:
        needs = f'{format} needs {", ".join(missing)}. Install it: pip install ".[export]"'
        raise ValueError(f"{path}: {needs}")
