"""Settings of every test: quiet logs, a cache of its own, and the toy batch of each task."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "agg")

import ctypes
import dataclasses
import gc
import math
import platform
import resource
import subprocess
import sys

import numpy as np
import pytest

from zoo.system import allocator

allocator.keep_freed_memory()

# For processes on JAX. They build many small programs once: compiling takes most of the time, and
# a quarter of it without optimization.
JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
}
CLASSES = ["ball", "disc", "rod", "slab"]
STRETCH = np.array([[1, 1, 1], [2, 2, 0.1], [0.1, 0.1, 3], [2, 0.5, 0.5]])


def shape(label, count, rng):
    """Return a cloud (count, 3) float32 whose extent depends on its label."""
    return (rng.normal(size=(count, 3)) * STRETCH[label]).astype(np.float32)


def cloud(rng):
    """Return an example of one object."""
    label = int(rng.integers(len(CLASSES)))
    return {"points": shape(label, 80, rng), "label": label}


def scan(rng):
    """Return an example of a scan: two objects apart, each point labelled."""
    labels = rng.choice(len(CLASSES), 2, replace=False)
    points = [shape(label, 40, rng) + 6 * i for i, label in enumerate(labels)]
    return {"points": np.concatenate(points), "labels": np.repeat(labels, 40)}


def picture(rng):
    """Return an example of an image whose brightness and stripes depend on its label."""
    label = int(rng.integers(len(CLASSES)))
    return {"image": pattern(np.full((40, 36), label), rng), "label": label}


def patches(rng):
    """Return an example of an image of two patterns side by side, each pixel labelled."""
    mask = np.repeat(rng.choice(len(CLASSES), 2, replace=False), 16)[None].repeat(32, axis=0)
    return {"image": pattern(mask, rng), "segmentation_mask": mask.astype(np.int32)}


def things(rng):
    """Return an example of an image of two patches on gray, each in a box of its own."""
    corners = np.array([[4, 4], [18, 22]]) + rng.integers(0, 3, (2, 2))
    sides, labels = rng.integers(10, 14, (2, 2)), rng.choice(len(CLASSES), 2, replace=False)
    image = rng.integers(100, 130, (40, 48, 3)).astype(np.uint8)
    for (y, x), (h, w), label in zip(corners, sides, labels, strict=True):
        image[y : y + h, x : x + w] = pattern(np.full((h, w), label), rng)[: 40 - y, : 48 - x]
    bbox = np.concatenate([corners, corners + sides], axis=1) / [40, 48, 40, 48]
    return {"image": image, "objects": {"bbox": bbox.astype(np.float32), "label": labels}}


def pattern(mask, rng):
    """Return an image (H, W, 3) uint8 whose colours depend on the labels of a mask (H, W)."""
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 180, 180]])
    noise = rng.integers(-30, 30, (*mask.shape, 3))
    return (colours[mask] + noise).astype(np.uint8)


def wave(rng):
    """Return an example of a series: a wave, and the same wave later."""
    steps = np.arange(80)[:, None] - [0, 3] + rng.integers(24)
    return {"values": np.sin(steps * np.pi / 6) + rng.normal(0, 0.05, (80, 2))}


def motion(rng):
    """Return an example of a series whose frequency depends on its label."""
    label = int(rng.integers(len(CLASSES)))
    steps = np.arange(24)[:, None] * [1.0, 0.5] * (label + 0.5) / 2 + rng.uniform(0, 6, 2)
    return {"series": np.sin(steps).astype(np.float32), "label": label}


# A new task adds its line here: an example like a reader's, and options that make it small.
EXAMPLES = {
    "pointcloud_classification": (cloud, {"points": 64}),
    "pointcloud_segmentation": (scan, {"points": 64}),
    "image_classification": (picture, {"image_size": 32}),
    "image_embedding": (picture, {"image_size": 32}),
    "image_segmentation": (patches, {"tile_height": 32, "tile_width": 32}),
    "image_detection": (things, {"image_size": 64, "max_boxes": 4}),
    "forecasting": (wave, {"window": 24, "horizon": 4, "jitter": 0.05}),
    "sequence_classification": (motion, {}),
}

# What a model would add to what is known of the data.
BUILT = {
    "image_detection": {
        "grid": {
            "form": "yolov3",
            "anchors": [[[30.0, 30.0], [16.0, 16.0]]],
            "strides": [16],
            "size": [64, 64],
        },
        "suppression": {"iou": 0.45, "sigma": 0.0},
    }
}


@dataclasses.dataclass(frozen=True)
class Toy:
    """A batch of a task, made by the task's own functions."""

    task: object
    options: dict
    info: dict
    examples: list
    x: object
    y: object

    @property
    def arguments(self):
        """What the data decides of a builder's arguments."""
        return self.task.training.arguments(self.info, self.options)

    def truth(self, certainty=9.0):
        """Return outputs that predict the ground truth (void counts as class 0)."""
        if "grid" in self.info:
            return rows(self.y, self.info["grid"], certainty)
        if self.task.values and not self.task.vectors:
            return self.y
        truth = np.eye(len(CLASSES), dtype=np.float32)[np.maximum(self.y, 0)]
        return certainty * (2 * truth - 1)


def loss_of(model, batch):
    """Return the loss of a batch in inference mode: the model's own, or that of its task."""
    from zoo.nn.auxiliary import DeepSupervision

    model.compile(loss=batch.task.training.loss(batch.info, batch.options))
    network = model.network if isinstance(model, DeepSupervision) else model  # of all heads
    # In training, a bias before batch normalisation has no gradient.
    return model.compute_loss(batch.x, batch.y, network(batch.x, training=False))


def rows(y, grid, certainty):
    """Return raw outputs of a detector that predict boxes (B, M, 7)."""
    from zoo.tasks.boxes import coding, losses

    cells, strides, anchors = coding.places(grid)
    out = np.full((len(y), len(cells), 5 + len(CLASSES)), -certainty, np.float32)
    assigned = np.asarray(losses.loss(grid).assign(y[..., :4], None))
    for i, k in np.argwhere(y[..., 4] >= 0):
        (x1, y1, x2, y2), label, row = y[i, k, :4], int(y[i, k, 4]), assigned[i, k]
        share = (np.array([x1 + x2, y1 + y2]) / 2 / strides[row] - cells[row]).clip(1e-4, 1 - 1e-4)
        out[i, row, :2] = np.log(share / (1 - share))
        out[i, row, 2:4] = np.log(np.array([x2 - x1, y2 - y1]) / anchors[row])
        out[i, row, [4, 5 + label]] = certainty
    return out


def toy(task_name, count=8, **changes):
    """Make the toy batch of a task."""
    from datasets import windows
    from zoo import tasks

    task, (make, small) = tasks.get(task_name), EXAMPLES[task_name]
    options = {**task.options, **small, **changes}
    rng = np.random.default_rng(0)
    examples = [make(rng) for _ in range(count)]
    measured = {**task.data.measure(examples, options), **BUILT.get(task_name, {})}
    info = {"classes": CLASSES, **measured}
    pieces = [task.data.cut(example, options)[0] for example in examples]
    pairs = [task.data.prepare(piece, info, options) for piece in pieces]
    if task.data.series:
        spec = {
            key: task.data.series(info, options)[key] for key in ("window", "horizon", "targets")
        }
        pairs = [[part[0] for part in windows.views(steps, **spec)] for steps, _ in pairs]
    x, y = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    return Toy(task, options, info, examples, x, y)


def quickest(command, limit=0.5, **options):
    """Run a command until it takes less than a limit, five times at most.

    Args:
        command: list of words.
        limit: seconds of CPU: those of the clock depend on what else the machine does.
        options: of `subprocess.run`.

    Returns:
        (the finished process, the least seconds of CPU that it took).
    """
    least = math.inf
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, **options)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if least < limit:
            break
    return done, least


def trainable(model):
    """Count the trainable parameters of a model."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def pytest_collection_finish():
    """Exempt what imports made from garbage collection, which Keras and our own code ask for often.

    A full collection costs 0.3 s with TensorFlow's objects, and milliseconds without them.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def cleared_session():
    """Free the models and graphs of a module when its tests are done.

    What its last test held is garbage only when the next module starts.
    """
    gc.collect()
    gc.freeze()  # what still exists is shared by tests, or stays for other reasons
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # return what `keep_freed_memory` kept for the last module
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()  # it collects garbage


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep prepared data of tests out of the user's cache."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def pytest_addoption(parser):
    """Add the option by which `make test-changed` runs the promises of some models alone."""
    parser.addoption("--rows", help="models, with commas, whose promises are tested")


def pytest_collection_modifyitems(config, items):
    """Deselect the promises of models that are not listed."""
    if not (rows := config.getoption("--rows")):
        return
    selected, dropped = [], []
    for item in items:
        name = item.callspec.params.get("name") if hasattr(item, "callspec") else None
        promise = item.path.name == "test_promises.py"
        row = str(name).partition(":")[0]  # of a form of it
        (dropped if promise and row not in rows.split(",") else selected).append(item)
    items[:] = selected
    config.hook.pytest_deselected(items=dropped)
