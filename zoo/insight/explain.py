"""Explanations of files: which methods a model takes, and the picture of each file.

run(path, ["shirt.png"], args, folder, note)    # args: method, target, layer, see `options`
"""

import keras
import numpy as np
from keras import ops

from zoo import plots, tasks
from zoo.inference import detector, files, prediction, predictors
from zoo.insight import figures, options
from zoo.insight.methods import dream, filters, gradcam, maximise, occlusion, saliency
from zoo.insight.methods import scores as explained
from zoo.insight.methods.layers import named
from zoo.nn.ensemble import TwoClasses
from zoo.nn.layers import PADDING
from zoo.registry import unknown
from zoo.tasks import targets
from zoo.weights import saving

IMAGES = ("image_classification", "image_segmentation", "image_detection")
TASKS = dict.fromkeys(options.EXPLANATIONS, IMAGES) | {
    "saliency": (*IMAGES, "sequence_classification", "pointcloud_classification"),
    "filters": (*IMAGES, "image_embedding"),
    "features": (*IMAGES, "image_embedding"),
    "maximise": ("image_classification", "image_segmentation"),
    "dream": (*IMAGES, "image_embedding"),
}
CLASSES = 12  # images of `maximise` on a page


def check(name, record, method):
    """Raise a `ValueError` if a method does not fit a model; the message has its name and why."""
    prediction.check(name, record)
    task = tasks.of(record)
    if task.name not in TASKS[method]:
        others = [name for name, known in TASKS.items() if task.name in known]
        remedy = f"Use --method {' or '.join(others)}" if others else "No method is for it"
        raise ValueError(f"{name}: {method} is not for {task.name}. {remedy}")
    if task.values and method not in ("filters", "features", "dream"):
        why = "it predicts values, and a class is explained"
        raise ValueError(f"{name}: {why}. Use --method filters, features or dream")
    detector.check_single(name, record)


def run(path, paths, args, folder, note):
    """Explain files, or a model, and write a picture of each into a folder.

    Args:
        path: of the model.
        paths: existing files and folders.
        args: of the command: model (its name in messages), method, target, layer.
        folder: where to write.
        note: called with the message about a file that is skipped.

    Returns:
        How many pictures were written.

    Raises:
        ValueError: if the method does not fit the model.
    """
    record = saving.record(path)
    check(args.model, record, args.method)
    predictor = prediction.opened(path, record)
    target = index(record["info"]["classes"], args.target)
    if args.method in options.WITHOUT_FILES:
        draw = whole_filters if args.method == "filters" else whole_maximise
        try:
            figure = draw(predictor, target, args.layer)
        except ValueError as error:
            raise ValueError(f"{args.model}: {error}") from error
        save(figure, folder / f"{args.method}.png")
        return 1
    names, read = files.gather(paths, record, note)
    taken, done = set(), 0
    for place in names:
        try:
            figure = of_file(read(place), predictor, target, args)
        except ValueError as error:
            text = str(error)
            note(text if str(place) in text else f"{place}: {text}")
            continue
        save(figure, prediction.free(folder, place, f"_{args.method}.png", taken))
        done += 1
    return done


def save(figure, target):
    """Write a figure as PNG."""
    prediction.whole(lambda path: plots.save(figure, path, dpi=130), target)


def index(classes, target):
    """Return the index of a class by its name; None for None."""
    if target is None:
        return None
    if target not in classes:
        raise ValueError(f"--target: {unknown('class', target, classes)}")
    return classes.index(target)


def whole_filters(predictor, target, layer):
    """Return the figure of a convolution's kernels."""
    return filters.kernels(predictor.model, layer)[0]


def whole_maximise(predictor, target, layer):
    """Return the figure of images that raise classes, or a layer's maps, most."""
    model, info = predictor.model, predictor.info
    shape = input_shape(model, predictor.options)
    if layer is not None:
        reader = keras.Model(model.inputs, named(model, layer).output)
        if len(reader.outputs[0].shape) not in (2, 4):
            raise ValueError(f"{layer}: it has neither maps nor a vector. Name another --layer")
        chosen = list(range(min(CLASSES, reader.outputs[0].shape[-1])))
        x = maximise.channels(reader, shape, chosen)
        titles = [f"{layer}, map {i}" for i in chosen]
    else:
        count = len(info["classes"])
        chosen = list(range(min(CLASSES, count))) if target is None else [target]
        x = maximise.classes(model, of_classes, shape, chosen)
        titles = [info["classes"][k] for k in chosen]
        outputs = predictors.predict(model, x, len(x))
        if predictor.task.name == "image_classification":
            rows = targets.decode(outputs, info)
            shares = [row["probabilities"][name] for row, name in zip(rows, titles, strict=True)]
            titles = [f"{name}  {p:.0%}" for name, p in zip(titles, shares, strict=True)]
    return figures.pictures(x, titles)


def of_classes(outputs, chosen):
    """Return the scores (n,) of classes: of image i the logit of class i, of maps their mean."""
    logits = TwoClasses.of(ops.cast(outputs, "float32"))
    if len(logits.shape) == 4:
        logits = ops.mean(logits, axis=(1, 2))
    hot = np.eye(logits.shape[-1], dtype=np.float32)[np.asarray(chosen)]
    return ops.sum(logits * hot, axis=-1)


def input_shape(model, task_options):
    """Return (H, W, C) of a model's images; free sizes are those of its tiles."""
    shape = model.inputs[0].shape[1:]
    sizes = (task_options.get(key, dream.FREE) for key in ("tile_height", "tile_width"))
    return (*(given or free for given, free in zip(shape, sizes, strict=False)), shape[-1])


def of_file(example, predictor, target, args):
    """Return the figure of one example."""
    task, info, model = predictor.task, predictor.info, predictor.model
    x, outputs = chosen_piece(example, predictor, target, args.method)
    if args.method == "features":
        return filters.features(model, x, args.layer)
    if args.method == "dream":
        return of_dream(x, predictor, args.layer)
    score = explained.of(task, info, outputs, target)
    if task.name == "sequence_classification":
        return of_series(x, saliency.explain(model, x, score), score)
    if task.name == "pointcloud_classification":
        values = saliency.explain(model, x, score)
        return figures.cloud(x, values, score.text, f"|gradient| of {score.name}")
    more = dict(box=score.box)
    if args.method == "gradcam":
        heat, layer = gradcam.explain(model, x, score, args.layer, task.name)
        title, label = f"Grad-CAM at {layer}", f"Grad-CAM of {score.name}"
    elif args.method == "saliency":
        heat, more["brightest"] = saliency.explain(model, x, score), figures.BRIGHTEST
        title, label = f"saliency of {score.name}", f"|gradient| of {score.name}"
    else:
        heat, more["signed"] = occlusion.explain(model, x, score), True
        title, label = "occlusion by a gray square", f"fall of the probability of {score.name}"
    return figures.heat(x, heat, (score.text, title), label, **more)


def chosen_piece(example, predictor, target, method):
    """Return the input of the piece that is explained, and the outputs for it (1, ...).

    Of a large image in several tiles that is the one with the most of the class.
    """
    task, info = predictor.task, predictor.info
    best, most = None, -1.0
    for piece in task.data.cover(example, predictor.options):
        x = np.float32(task.data.prepare(piece, info, predictor.options)[0])
        outputs = predictors.predict(predictor.model, x[None], 1)
        share = 0.0
        if task.name == "image_segmentation" and method not in ("features", "dream"):
            try:
                share = explained.of(task, info, outputs, target).share
            except ValueError:  # the class is not in this tile
                continue
        if share > most:
            best, most = (x, outputs), share
    if best is None:
        explained.of(task, info, outputs, target)  # raises
    return best


def of_series(x, values, score):
    """Return the figure of a series, without its padding."""
    inside = ~np.all(x == PADDING, axis=-1)
    return figures.series(x[inside], values[inside], score.text, f"|gradient| of {score.name}")


def of_dream(x, predictor, layer):
    """Return the figure of an image and its dream."""
    model = predictor.model
    if layer is None:
        with_maps = gradcam.activated(model)
        if not with_maps:
            raise ValueError(f"{model.name}: no layer of it has maps to dream of")
        chosen = with_maps[2 * len(with_maps) // 3]
    else:
        chosen = gradcam.mapped(model, layer)
    reader = keras.Model(model.inputs[0], chosen.output)
    shape = input_shape(model, predictor.options)
    tile = [side or min(dream.FREE, length) for side, length in zip(shape, x.shape, strict=False)]
    dreamt = dream.dream(reader, x, tile[:2])
    return figures.pictures([x, dreamt], ["original", f"dream of {chosen.name}"])
