"""Data sets by name: our own tensorflow-datasets builders and all that tensorflow-datasets has.

Listing names imports nothing heavy: ours are the folders with a builder in them, and those of the
installed tensorflow-datasets are read from its folder and the text of its files.
"""

import contextlib
import difflib
import functools
import hashlib
import importlib
import importlib.util
import io
import json
import pathlib
import re
import sys
import textwrap

from datasets.source import BadInput, Example, Examples, Source

_SPLITS = {
    "train": ("train",),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test",),
}


@functools.cache
def ours() -> tuple[str, ...]:
    """Return the names of our own data sets."""
    here = pathlib.Path(__file__).parent
    return tuple(sorted(path.parent.name for path in here.glob("*/*_dataset_builder.py")))


@functools.cache
def _tfds_folder():
    """Return the folder of the installed tensorflow-datasets, or None."""
    spec = importlib.util.find_spec("tensorflow_datasets")
    return pathlib.Path(spec.submodule_search_locations[0]) if spec else None


@functools.cache
def tfds_names() -> tuple[str, ...]:
    """Return the names of the data sets of the installed tensorflow-datasets, without importing it.

    New builders have a folder of their own; older ones are classes anywhere in the package whose
    bases lead to a builder. Empty when tensorflow-datasets is not installed.
    """
    root = _tfds_folder()
    if root is None:
        return ()
    names = {path.name for path in (root / "datasets").iterdir() if _is_builder(path)}
    bases = {}
    for folder in root.iterdir():
        if folder.is_dir() and folder.name not in ("core", "datasets", "scripts", "testing"):
            for path in folder.rglob("*.py"):
                if not path.name.endswith("_test.py"):
                    bases.update(_CLASS.findall(path.read_text("utf-8")))
    found = (name for name in bases if not name.endswith("Builder") and _builds(name, bases))
    return tuple(sorted(names | {_snake(name) for name in found}))


_CLASS = re.compile(r"^class (\w+)\(([^)]*)\)", re.MULTILINE)


def _is_builder(folder):
    return (folder / f"{folder.name}_dataset_builder.py").exists()


def _builds(name, bases):
    """Say whether a class descends from a builder, by the text of the class statements."""
    for base in bases.get(name, "").split(","):
        base = base.strip().rpartition(".")[2]
        if base.endswith("Builder") or (base in bases and base != name and _builds(base, bases)):
            return True
    return False


def _snake(name):
    """Turn a class name into a data set's name, as tensorflow-datasets does."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def names() -> list[str]:
    """Return the names of all data sets that `load` takes, ours first."""
    return [*ours(), *(name for name in tfds_names() if name not in ours())]


def known(name) -> bool:
    """Say whether `name` is a data set; "name/config" and "name:version" count as their name."""
    name = _bare(name)
    return name in ours() or name in tfds_names()


def _bare(name):
    """Return a name without its configuration and version."""
    return re.split("[/:]", name)[0]


def load(name, data_dir=None) -> Source:
    """Prepare a data set, which is done once and kept by tensorflow-datasets, and return it.

    Args:
        name: one of `names()`; those of tensorflow-datasets may be followed by "/config" and
            ":version".
        data_dir: where tensorflow-datasets keeps its data; None means the environment's
            TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Returns:
        A `Source` with the builder's splits: those named "train", "validation" (or "val", "valid",
        "dev") and "test". Its fingerprint depends on the builder's name, version, configuration,
        counts and download checksums only, so it is the same on every machine.

    Raises:
        BadInput: there is no such data set, or it cannot be prepared here.
    """
    if not known(name):
        nearest = difflib.get_close_matches(_bare(name), names(), 3)
        remedy = f"Did you mean {' or '.join(nearest)}?" if nearest else ""
        remedy = (remedy + f" Our own are {', '.join(ours())}").strip()
        raise BadInput(name, "there is no data set of this name", remedy)
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        remedy = "Run `make install`, or give a file or folder of your own"
        raise BadInput(name, f"it needs tensorflow-datasets ({error})", remedy) from error
    try:
        builder = _prepare(tfds, name, data_dir)
    except Exception as error:  # downloads fail in the ways of some hundred authors
        reason = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
        why = f"it could not be prepared ({type(error).__name__}: {reason})"
        raise BadInput(name, why, "Check disk space and the network, then try again") from error
    return _source(tfds, builder)


def _prepare(tfds, name, data_dir):
    """Return the builder of a data set after it has written its files."""
    if name in ours():
        module = importlib.import_module(f"datasets.{name}.{name}_dataset_builder")
        builder = module.Builder(data_dir=data_dir)
        what, told = f"Generating {name} (once, about {builder.SECONDS} s)", io.StringIO()
    else:
        builder = tfds.builder(name, try_gcs=False, data_dir=data_dir)
        what, told = f"Preparing {name} (once)", sys.stderr
    if not builder.data_path.exists():
        print(f"{what} in {builder.data_dir} ...", file=sys.stderr, flush=True)
        (tfds.enable_progress_bar if sys.stderr.isatty() else tfds.disable_progress_bar)()
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        with contextlib.redirect_stdout(told):  # stdout is for results
            builder.download_and_prepare(download_config=config)
    return builder


def _source(tfds, builder):
    """Describe a prepared builder as a source."""
    info = builder.info
    splits = {}
    for name, theirs in _SPLITS.items():
        split = next((split for split in theirs if split in info.splits), None)
        if split and info.splits[split].num_examples:
            splits[name] = _examples(tfds, builder, split)
    config = builder.builder_config.name if builder.builder_config else ""
    facts = {
        "name": builder.name,
        "version": str(builder.version),
        "config": config,
        "counts": {split: info.splits[split].num_examples for split in sorted(info.splits)},
        "downloads": sorted(entry.checksum for entry in (builder.url_infos or {}).values()),
    }
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8)
    return Source(
        name=builder.name if not config else f"{builder.name}_{config}",
        fingerprint=digest.hexdigest(),
        classes=_classes(tfds, info.features),
        splits=splits,
        info={
            "builder": info.full_name,
            "licence": info.redistribution_info.license or "",
            "homepage": "" if builder.name in ours() else info.homepage or "",
        },
        options=getattr(builder, "OPTIONS", {}),
    )


def _classes(tfds, features):
    """Return the names of the class feature: "label" or "labels", else the first there is.

    It may be inside of another one, as the label of each of an image's objects.
    """
    fields = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    ordered = [fields[key] for key in ("label", "labels") if key in fields] + list(fields.values())
    for feature in ordered:
        feature = getattr(feature, "feature", feature)  # what a Sequence is made of
        if isinstance(feature, (tfds.features.ClassLabel, tfds.features.LabeledImage)):
            return tuple(feature.names or ())
        if inner := _classes(tfds, feature):
            return inner
    return ()


def _examples(tfds, builder, split):
    """Return the examples of a split, read as they are iterated, in the order of the files."""

    def iterate():
        options = tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=False)
        data = builder.as_dataset(split=split, shuffle_files=False, read_config=options)
        for index, example in enumerate(tfds.as_numpy(data)):
            example = _like_readers(example)
            yield Example(f"{builder.name}/{split}#{index}", lambda example=example: example)

    return Examples(builder.info.splits[split].num_examples, iterate)


def _like_readers(example):
    """Return an example whose mask, (H, W, 1) of some type there, is (H, W) int32."""
    mask = example.get("segmentation_mask")
    if mask is None or mask.shape[-1] != 1:
        return example
    return {**example, "segmentation_mask": mask[..., 0].astype("int32")}
