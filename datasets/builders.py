"""Data sets by name: the builders of this package and all of tensorflow-datasets.

Listing names imports no heavy packages: those of this package are the folders with a builder, and
those of the installed tensorflow-datasets are read from its folder and its source files.
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
    """Return the names of the data sets of this package."""
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

    New builders have their own folder; older ones are classes anywhere in the package that inherit
    from a builder. Empty if tensorflow-datasets is not installed.
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
    legacy = (name for name in bases if not name.endswith("Builder") and _builds(name, bases))
    return tuple(sorted(names | {_snake(name) for name in legacy}))


_CLASS = re.compile(r"^class (\w+)\(([^)]*)\)", re.MULTILINE)


def _is_builder(folder):
    return (folder / f"{folder.name}_dataset_builder.py").exists()


def _builds(name, bases):
    """Return whether a class inherits from a builder, from the text of the class statements."""
    for base in bases.get(name, "").split(","):
        base = base.strip().rpartition(".")[2]
        if base.endswith("Builder") or (base in bases and base != name and _builds(base, bases)):
            return True
    return False


def _snake(name):
    """Convert a class name to the name of a data set, as tensorflow-datasets does."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def names() -> list[str]:
    """Return the names of all data sets that `load` accepts, those of this package first."""
    return [*ours(), *(name for name in tfds_names() if name not in ours())]


def known(name) -> bool:
    """Return whether `name`, with or without "/config" and ":version", is a data set."""
    name = _bare(name)
    return name in ours() or name in tfds_names()


def suggestion(name) -> str:
    """Return what to give in place of an unknown name: similar names, and those of this package."""
    nearest = difflib.get_close_matches(_bare(name), names(), 3)
    near = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    included = ", ".join(ours())
    return f"{near}Included are {included}; the names of tensorflow-datasets can be given, too"


def _bare(name):
    """Return a name without its configuration and version."""
    return re.split("[/:]", name)[0]


def load(name, data_dir=None) -> Source:
    """Prepare a data set, which tensorflow-datasets does once and caches, and return it.

    Args:
        name: one of `names()`; those of tensorflow-datasets may be followed by "/config" and
            ":version".
        data_dir: where tensorflow-datasets stores its data; None means the environment variable
            TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Returns:
        A `Source` with the builder's splits: those named "train", "validation" (or "val", "valid",
        "dev") and "test". Its fingerprint depends only on the builder's name, version,
        configuration, counts and download checksums, so it is the same on every machine.

    Raises:
        BadInput: there is no such data set, or it cannot be prepared on this machine.
    """
    if not known(name):
        raise BadInput(name, "there is no data set of this name", suggestion(name))
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        remedy = "Run `make install`, or give a file or folder of your own"
        raise BadInput(name, f"it needs tensorflow-datasets ({error})", remedy) from error
    try:
        builder = _prepare(tfds, name, data_dir)
    except Exception as error:  # builders of many authors raise many kinds of errors
        reason = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".")
        why = f"it could not be prepared ({type(error).__name__}: {reason})"
        raise BadInput(name, why, "Check disk space and the network, then try again") from error
    return _source(tfds, builder)


def _prepare(tfds, name, data_dir):
    """Return the builder of a data set after it has written its files."""
    if name in ours():
        module = importlib.import_module(f"datasets.{name}.{name}_dataset_builder")
        builder = module.Builder(data_dir=data_dir)
        message, stdout = f"Generating {name} (once, about {builder.SECONDS} s)", io.StringIO()
    else:
        builder = tfds.builder(name, try_gcs=False, data_dir=data_dir)
        message, stdout = f"Preparing {name} (once)", sys.stderr
    if not builder.data_path.exists():
        print(f"{message} in {builder.data_dir} ...", file=sys.stderr, flush=True)
        (tfds.enable_progress_bar if sys.stderr.isatty() else tfds.disable_progress_bar)()
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        with contextlib.redirect_stdout(stdout):  # stdout is for results
            builder.download_and_prepare(download_config=config)
    return builder


def _source(tfds, builder):
    """Return a prepared builder as a source."""
    info = builder.info
    splits = {}
    for name, aliases in _SPLITS.items():
        split = next((split for split in aliases if split in info.splits), None)
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
    """Return the names of the class feature: "label" or "labels", else the first class feature.

    It may be nested, as the label of each object of an image.
    """
    fields = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    ordered = [fields[key] for key in ("label", "labels") if key in fields] + list(fields.values())
    for feature in ordered:
        feature = getattr(feature, "feature", feature)  # the element of a Sequence
        if isinstance(feature, (tfds.features.ClassLabel, tfds.features.LabeledImage)):
            return tuple(feature.names or ())
        if inner := _classes(tfds, feature):
            return inner
    return ()


def _examples(tfds, builder, split):
    """Return the examples of a split, read lazily, in the order of the files."""

    def iterate():
        options = tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=False)
        data = builder.as_dataset(split=split, shuffle_files=False, read_config=options)
        for index, example in enumerate(tfds.as_numpy(data)):
            example = _like_readers(example)
            yield Example(f"{builder.name}/{split}#{index}", lambda example=example: example)

    return Examples(builder.info.splits[split].num_examples, iterate)


def _like_readers(example):
    """Return an example with its mask (H, W, 1), of any type, converted to (H, W) int32."""
    mask = example.get("segmentation_mask")
    if mask is None or mask.shape[-1] != 1:
        return example
    return {**example, "segmentation_mask": mask[..., 0].astype("int32")}
