"""Stored examples: a file with an input of a model and the model's output for it.

The arrays are "input" and "output", or "input.<name>" where there are several. The file is small:
of inputs of any size a crop is stored, of large ones a coarser version, of large outputs a part.
"""

import hashlib
import io
import zipfile
import zlib

import keras
import numpy as np

from zoo import tasks
from zoo.inference import export, predictors
from zoo.weights import inspection, records

LARGEST = 100_000  # bytes of an input's file; larger inputs are stored coarser
EXACT = 50_000  # bytes of an input that is stored as it is
CHOICE = 16  # examples of the split of which one is stored
NUMBERS = 25_000  # of an output that are stored; of larger ones, every second, third ...
FREE = 64  # size of the input's axes that the model leaves free, as in `export`


def make(model, record, prepare=None):
    """Make a stored example: of the test split if the data are available, else of random numbers.

    Args:
        model: a `keras.Model`.
        record: what was saved with it; "task" decides the range of random numbers.
        prepare: function that prepares the data of the record, see `zoo.inference.verification`.

    Returns:
        (content, entry): the bytes of the file, and its entry in a card: "input", its
        origin, and "sha256".

    Raises:
        ValueError: if the model's output is not finite.
    """
    try:
        x, origin = chosen(prepared(record, prepare).splits["test"], model)
    except ValueError:
        x, origin = random_input(model, record), "random numbers"
    x, changes = small(x)
    outputs = predicted(model, x)
    arrays = keras.tree.flatten(outputs)
    if not all(np.isfinite(array).all() for array in arrays):
        why = f"its output for {origin} is not finite"
        raise records.trouble(model.name, why, "Train again, with a smaller --learning-rate")
    step = -(-sum(array.size for array in arrays) // NUMBERS)
    content = packed({**flat("input", x), **flat("output", thinned(outputs, step)), "step": step})
    digest = hashlib.sha256(content).hexdigest()
    return content, {"input": origin + changes, "sha256": digest}


def prepared(record, prepare):
    """Prepare the data of a record; raise a `ValueError` if they are not available."""
    if prepare is None or not {"task", "task_options", "info", "data"} <= record.keys():
        raise ValueError("the data are not available")
    return prepare(record, tasks.of(record), tasks.fingerprint())


def chosen(split, model):
    """Return an input of a split and its name: of a sample, the one that compresses least.

    The others may be nearly empty, as pieces at the border of an image or a scan are.
    """
    places = np.unique(np.linspace(0, len(split) - 1, CHOICE).astype(int))
    inputs = [cropped(split.take(slice(i, i + 1))[0], model) for i in places]
    sizes = [
        sum(len(zlib.compress(array.tobytes(), 1)) for array in keras.tree.flatten(x))
        for x in inputs
    ]
    best = int(np.argmax(sizes))
    return inputs[best], f"example {places[best] + 1} of the test split"


def predicted(model, x, step=1):
    """Return the outputs for a stored input, every `step`-th number of each."""
    wide = keras.tree.map_structure(
        lambda array: array.astype("float32") if array.dtype.kind == "f" else array, x
    )
    return thinned(predictors.predict(model, wide, 1), step)


def random_input(model, record):
    """Return an input of random numbers, deterministic, in the range of its task."""
    rng, image = np.random.default_rng(0), record.get("task", "").startswith("image")

    def draw(tensor):
        shape = [1, *(FREE if size is None else size for size in tensor.shape[1:])]
        if tensor.dtype.startswith(("int", "uint", "bool")):
            return rng.integers(2, size=shape).astype(tensor.dtype)
        return (rng.uniform(size=shape) if image else rng.normal(size=shape)).astype("float32")

    entry = export.entry(model)
    return keras.tree.map_structure(draw, entry[0] if isinstance(entry, list) else entry)


def cropped(x, model):
    """Return the center crop of an input along the axes whose size the model leaves free."""

    def crop(array, tensor):
        for axis, size in enumerate(tensor.shape[1:], 1):
            if size is None and array.shape[axis] > FREE:
                start = (array.shape[axis] - FREE) // 2
                array = array.take(range(start, start + FREE), axis)
        return array

    entry = export.entry(model)
    entry = entry[0] if isinstance(entry, list) and not isinstance(x, list) else entry
    return keras.tree.map_structure(crop, x, entry)


def small(x):
    """Return an input whose file is small enough, and a text on the changes.

    Large ones are rounded to multiples of 1/256, then made coarser: every second, fourth ...
    position is repeated, which compresses well.
    """

    def coarser(array, factor):
        if array.dtype.kind != "f" or array.nbytes <= EXACT:
            return array
        rounded = (np.round(array * 256) / 256).astype("float16")
        rounded = rounded if np.isfinite(rounded).all() else array
        for axis in range(1, array.ndim - 1):
            places = np.arange(array.shape[axis])
            rounded = rounded.take(places - places % factor, axis)
        return rounded

    if sum(array.nbytes for array in keras.tree.flatten(x)) <= EXACT:
        return x, ""
    for factor in (1, 2, 4, 8, 16):
        smaller = keras.tree.map_structure(lambda array, factor=factor: coarser(array, factor), x)
        if len(packed(flat("input", smaller))) <= LARGEST:
            break
    return smaller, f", rounded and {factor} times coarser" if factor > 1 else ", rounded"


def thinned(outputs, step):
    """Return every `step`-th number of each output; the outputs themselves if `step` is 1."""
    if step == 1:
        return outputs
    return keras.tree.map_structure(lambda array: array.ravel()[::step], outputs)


def flat(name, value):
    """Return arrays by their names in the file."""
    if isinstance(value, dict):
        return {f"{name}.{key}": array for key, array in value.items()}
    if isinstance(value, list | tuple):
        return {f"{name}.{i}": array for i, array in enumerate(value)}
    return {name: value}


def packed(arrays):
    """Return the bytes of an .npz file, deterministic for given arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def read(path):
    """Return the content of an example's file: "input" and "output" in their structure, "step".

    Raises:
        ValueError: if the file is not an example, or too large uncompressed.
    """
    with inspection.archive(path):  # checks that it is safe to unpack
        pass
    arrays = {}
    with np.load(path, allow_pickle=False) as members:
        for name in members.files:
            outer, _, inner = name.partition(".")
            if not inner:
                arrays[outer] = members[name]
            else:
                arrays.setdefault(outer, {})[inner] = members[name]
    for name, value in arrays.items():
        if isinstance(value, dict) and all(key.isdigit() for key in value):
            arrays[name] = [value[key] for key in sorted(value, key=int)]
    if missing := [name for name in ("input", "output") if name not in arrays]:
        raise ValueError(f"it lacks the array {missing[0]}")
    return arrays
