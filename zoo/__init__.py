"""A zoo of Keras 3 architectures: one file per paper, each trainable on your own data.

    import zoo

    zoo.names("pointcloud_classification")                             # ["pointnet", ...]
    zoo.create("pointnet", input_shape=(1024, 3), num_classes=10, width=0.5)
    zoo.load("pointnet_lidar_objects")                                 # a preset, trained
    zoo.load("runs/pointnet-my_scans-1")                               # a run, a .keras or .h5 file
    zoo.predict("unet_dsb2018", "slides/*.tif")                        # or arrays, uint8 0 to 255

Keras is imported by the first call that needs it, so listing names costs nothing.
"""

from zoo import index

__version__ = "0.1.0"
__all__ = ["create", "load", "names", "predict"]


def names(task=None):
    """Return the names of all models, or of those for one task, sorted."""
    return [row.name for row in index.models().values() if task is None or task in row.tasks]


def create(name, *arguments, **options):
    """Build the model called `name` with the arguments of its builder.

    Returns:
        A `keras.Model` with newly initialized weights.

    Raises:
        ValueError: if no model has that name; the message suggests similar names.
        TypeError: if the builder has no such option.
    """
    from zoo import registry

    return registry.get(name).builder(*arguments, **options)


def load(source):
    """Load a trained model without running any code from its file.

    The network needs preprocessed inputs: images from 0 to 1, points centred and divided by the
    radius of the training data, series standardized by the training data. It returns logits, or
    standardized forecasts. Its outputs for images from 0 to 255 or points in metres are
    meaningless; use `predict` for these.

    Args:
        source: the name of a preset, a run folder, or the path of a `.keras` or `.h5` file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if there is no such model, its file has changed, or it contains code.
    """
    from zoo.weights import presets

    return presets.load(source)


def predict(
    source,
    inputs,
    *,
    batch_size=16,
    tta=False,
    steps=None,
    confidence=None,
    iou=None,
    gallery=None,
    nearest=None,
    precision=None,
):
    """Predict files or arrays in their original units, as `python -m zoo predict` does.

    Args:
        source: the name of a preset, a run folder, or the path of a `.keras` file of a run.
        inputs: a path, a folder, a pattern such as "scans/*.ply", an array, or a list of these.
            Images are (H, W) or (H, W, C), uint8 from 0 to 255, or other types in the range of the
            training images. Clouds are (n, 3), metres. Series are (T,) or (T, F) in their
            original units; for forecasting, with the columns of the training data in their order.
            An array with an additional first axis is a batch.
        batch_size: batch size.
        tta: test-time augmentation: average over the flips or rotations of the training; 2 to 8
            times slower.
        steps: number of steps to forecast; default: the horizon of the model.
        confidence: for detectors, the lowest score of the returned boxes (0.25).
        iou: for detectors, the IoU threshold of non-maximum suppression; default: that of the
            training.
        gallery: for image embeddings, the images to search, given as `inputs`; default: the other
            inputs.
        nearest: for image embeddings, the number of images to return (5).
        precision: of activations: "float32", "mixed_bfloat16", "mixed_float16", or "auto" for
            bfloat16 where the CPU or GPU computes it; default: that of the training.

    Returns:
        A list with a dictionary for each input, with "file" if it is one. By task, it contains for
        classification: "class", "probability" and "probabilities", a dictionary by class; of
        several labels "labels", a list of names, and "probabilities"; of values "values" (K,)
        float64 in the units of the training values;
        image segmentation: "mask" (H, W) uint8, indices of classes, and "probabilities"
        (H, W, K) float32;
        image detection: "boxes" (n, 4) float32, x1, y1, x2, y2 in pixels of the image, "scores"
        (n,) float32 and "labels" (n,) int64, sorted by decreasing score;
        image embedding: "embedding" (D,) float32, and "nearest", a list of dictionaries with "file"
        and "distance", the nearest first;
        point cloud segmentation: "labels" (n,) int32 and "probabilities" (n, K) float32;
        forecasting: "forecast" and, if validation estimated an interval, "lower" and "upper", each
        (steps, targets) float64 in the units of the series, and "times", dates or step numbers.
        Further entries are the columns of the command's table.

    Raises:
        ValueError: if there is no such model or file, a file cannot be read, an array has the
            wrong shape or range, or an option does not apply to the task.
    """
    from zoo.system import precision as policies
    from zoo.system import terminal

    if precision not in (None, *policies.POLICIES):
        raise ValueError(f"precision is {precision!r}: give {', '.join(policies.POLICIES)}")
    terminal.import_keras()
    from zoo.inference import prediction, similarity
    from zoo.weights import presets, saving

    settings = dict(batch_size=batch_size, tta=tta, steps=steps, confidence=confidence, iou=iou)
    precision = policies.auto()[0] if precision == "auto" else precision
    settings |= dict(gallery=gallery, nearest=nearest, precision=precision)
    record = saving.record(presets.locate(source))
    compares = index.tasks().get(record.get("task"), {}).get("vectors", False)
    return (similarity if compares else prediction).results(source, inputs, **settings)
