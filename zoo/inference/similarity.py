"""Similar images: vectors of files, the nearest ones of each, and the tables and pages of both."""

import csv
import dataclasses
import functools
import os

import keras
import numpy as np

from zoo import describe, plots
from zoo.inference import files, prediction, titles
from zoo.tasks.image_embedding import figures, retrieval
from zoo.tasks.image_embedding.task import TASK as EMBEDDING
from zoo.weights import presets, saving

SHOWN = 5  # nearest images on a page at most


def results(
    source, inputs, *, gallery=None, nearest=None, batch_size=16, precision=None, **settings
):
    """Compare files or arrays; see `zoo.predict`."""
    record = saving.record(path := presets.locate(source))
    prediction.check(path, record, gallery=gallery, nearest=nearest, **settings)
    queries = files.gather(inputs, record)
    others = None if gallery is None else files.gather(gallery, record)
    predictor = opened(path, record, precision, batch_size=batch_size)

    def refuse(message):
        raise ValueError(message)

    count = SHOWN if nearest is None else nearest
    rows = compared(*queries, refuse, predictor, others, count)
    for row in rows:
        row.update(row.pop("arrays"))
        name = row.pop("file")
        row |= {} if isinstance(name, str) else {"file": str(name)}  # no array has a file
        row["nearest"] = [{**place, "file": str(place["file"])} for place in row["nearest"]]
    return rows


def opened(path, record, precision=None, **settings):
    """Load a model as a predictor of vectors.

    Args:
        path: of the model.
        record: what was saved with it.
        precision: see `zoo.inference.prediction.opened`.
        **settings: of the `Predictor`.

    Raises:
        ValueError: if it is neither for embeddings nor a classifier that ends in a dense layer.
    """
    predictor = prediction.opened(path, record, precision, **settings)
    if not predictor.task.vectors:
        predictor.model = features(predictor.model, path, predictor.task)
        usage = dataclasses.replace(predictor.task.usage, present=EMBEDDING.usage.present)
        predictor.task = dataclasses.replace(predictor.task, usage=usage)
    return predictor


def features(model, path, task):
    """Return the model up to the input (B, C) of its last dense layer; raise if it has none."""
    last = model.layers[-1]
    dense = isinstance(last, keras.layers.Dense) and len(model.outputs) == 1
    if task.name != "image_classification" or not dense or len(last.input.shape) != 2:
        raise ValueError(
            f"{path}: it is for {task.name} and has no features of whole images. Use siamese, "
            "triplet, or a classifier of images that ends in a dense layer"
        )
    return keras.Model(model.inputs[0], last.input, name=model.name)


def vectors(names, read, complain, predictor):
    """Predict the vectors of files.

    Args:
        names: as of `zoo.inference.prediction.predict`, as the others.
        read: name to example.
        complain: called with the message about a file that is skipped.
        predictor: see `opened`.

    Returns:
        (names, vectors): those of the files that were read, a list and (n, D) float32.
    """
    results = prediction.predict(names, read, complain, predictor)
    pairs = [(name, row["arrays"]["embedding"]) for name, row, _ in results]
    return [name for name, _ in pairs], np.array([vector for _, vector in pairs], np.float32)


def nearest(queries, gallery, own, count):
    """Return the nearest vectors of each query.

    Args:
        queries: (n, D).
        gallery: (m, D).
        own: the index of each query in the gallery, which is left out; -1 if it is not there.
        count: how many, or all if there are fewer.

    Yields:
        Pairs (index, distance) of each query, the nearest first, a list.
    """
    for rows, squares in retrieval.blocks(queries, gallery):
        for i, line in zip(rows, squares, strict=True):
            order = np.argsort(line, kind="stable")
            order = order[order != own[i]][:count]
            yield [(int(k), float(np.sqrt(line[k]))) for k in order]


def compared(names, read, complain, predictor, gallery=None, count=SHOWN):
    """Find the images that are most like each of some images.

    Args:
        names: of the queries.
        read: name to example.
        complain: called with the message about a file that is skipped.
        predictor: see `opened`.
        gallery: (names, read) of the images to search; None for the other queries.
        count: how many to return of each.

    Returns:
        A row for each query: "file", "nearest", a list of dictionaries with "file" and "distance",
        and "arrays" with its "embedding".

    Raises:
        ValueError: if there is nothing to compare with.
    """
    queries, query_vectors = vectors(names, read, complain, predictor)
    others, searched = queries, query_vectors
    if gallery is not None:
        others, searched = vectors(*gallery, complain, predictor)
    places = {identity(name): i for i, name in enumerate(others)}
    own = [places.get(identity(name), -1) for name in queries] if gallery else range(len(queries))
    if queries and (not others or (len(others) == 1 and 0 in own)):
        why = (
            "the gallery has no other image" if gallery else "it is the only image, without others"
        )
        remedy = "Give more files, or the images to search: --gallery FOLDER"
        raise ValueError(f"{queries[0]}: {why} to be compared with. {remedy}")
    if not queries:
        return []
    pairs = zip(queries, query_vectors, nearest(query_vectors, searched, own, count), strict=True)
    return [
        {
            "file": query,
            "nearest": [{"file": others[k], "distance": distance} for k, distance in some],
            "arrays": {"embedding": vector},
        }
        for query, vector, some in pairs
    ]


def identity(name):
    """Return what the names of one file have in common; of an array, nothing."""
    return os.path.realpath(name) if isinstance(name, os.PathLike) else object()


def write(rows, read, folder, pictures, info):
    """Write predictions.json, predictions.csv, and pages of images with their nearest ones.

    Args:
        rows: of `compared`.
        read: name to example, of queries and the gallery.
        folder: where to write.
        pictures: the largest number of pages.
        info: of the model.

    Returns:
        The rows of the table: a query and one of its nearest images each.
    """
    done, lines, size = [], [], figures.ROWS
    for start in range(0, len(rows), size):
        names, some = [], rows[start : start + size]
        if start // size < pictures:
            page, target = drawn(some, read, info), folder / f"nearest-{start // size + 1}.png"
            prediction.whole(functools.partial(plots.save, page), target)
            names = [target.name]
        for row in some:
            places = [{**place, "file": str(place["file"])} for place in row["nearest"]]
            done.append({"file": str(row["file"]), "nearest": places, "written": names})
            for rank, place in enumerate(places, start=1):
                line = {"file": str(row["file"]), "rank": rank, "nearest": place["file"]}
                lines.append({**line, "distance": place["distance"]})
    prediction.whole(lambda path: prediction.save_json(done, path), folder / "predictions.json")
    prediction.whole(lambda path: prediction.save_csv(lines, path), folder / "predictions.csv")
    return lines


def drawn(rows, read, info):
    """Return a page of queries with their nearest images.

    A title is the path from the folder that has all images of the page.
    """
    shown = [row["nearest"][:SHOWN] for row in rows]
    files = [row["file"] for row in rows] + [place["file"] for some in shown for place in some]
    texts = dict(zip(files, titles.shortened(files), strict=True))

    def panel(name, text, colour):
        return figures.thumbnail(read(name)["image"], info), text, colour

    pages = []
    for row, some in zip(rows, shown, strict=True):
        panels = [panel(row["file"], texts[row["file"]], None)]
        for place in some:
            text = f"{texts[place['file']]}\n{place['distance']:.3f}"
            panels.append(panel(place["file"], text, figures.FRAME))
        pages.append(panels)
    return figures.page(pages)


def save_vectors(names, array, read, folder, info):
    """Write vectors.npy and vectors.csv, and plane.png with the images at their places.

    Images of several folders have the colours of their folders, which are often classes.

    Args:
        names: of the files.
        array: their vectors (n, D).
        read: name to example.
        folder: where to write.
        info: of the model.
    """

    def table(path):
        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(["file", *(f"v{i}" for i in range(1, array.shape[1] + 1))])
            for name, row in zip(names, array, strict=True):
                writer.writerow([describe.inert(str(name)), *(f"{value:.9g}" for value in row)])

    def image(i):
        return figures.thumbnail(read(names[i])["image"], info)

    page = figures.plane(array, image, *titles.folders(names))
    prediction.whole(lambda path: np.save(path, array), folder / "vectors.npy")
    prediction.whole(table, folder / "vectors.csv")
    prediction.whole(functools.partial(plots.save, page), folder / "plane.png")
