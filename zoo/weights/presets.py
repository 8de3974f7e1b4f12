"""Presets: trained models that are part of the zoo, each with a card that describes it.

`zoo/presets/<name>/card.json` contains the SHA-256 of the model's file, which is checked before the
file is opened. The file is in the same folder, or the card has its download address. Weights that
others publish are converted, see `zoo.weights.published.cards`.
"""

import hashlib
import io
import json
import os
import pathlib
import tempfile
import zipfile

from zoo import index
from zoo.registry import unknown
from zoo.weights import inspection, records
from zoo.weights.inspection import sha256
from zoo.weights.published import cards

MODEL, CARD, EXAMPLE = "model.keras", "card.json", "example.npz"
FACTS = "model arguments options task task_options info data sha256".split()  # required in a run
LARGEST = 8_000_000  # bytes, the largest file in the repository


def names():
    """Return the names of all presets, sorted."""
    return sorted(index.presets())


def stored():
    """Return the names of the presets that are files of the zoo, not of others, sorted."""
    return sorted(name for name, card in index.presets().items() if "published" not in card)


def load(source):
    """Load a trained model: see `locate` for the source and `saving.load` for the checks.

    Returns:
        A `keras.Model`, not compiled.
    """
    from zoo.weights import saving

    return saving.load(locate(source))


def locate(source, also=()):
    """Return the path of a trained model and check its file, see `zoo.weights.inspection`.

    Args:
        source: the name of a preset, a run folder, or the path of a `.keras` or `.h5` file, in
            which $VARIABLES and ~ are expanded.
        also: further valid names of the caller, for suggestions in the message.

    Returns:
        Its path; the SHA-256 of a preset has been verified.

    Raises:
        ValueError: if there is no such model, the SHA-256 of a preset differs from its card, or
            the file is damaged or expands far beyond its size.
    """
    path = searched(source, also)
    if path.suffix.lower() in (".keras", *inspection.HDF5):
        inspection.inspect(path)
    return path


def searched(source, also):
    """Return the path for `locate`, without checking the file."""
    known, damaged = index.presets(), index.damaged_presets()
    if str(source) in damaged:
        path = index.HERE / "presets" / str(source) / CARD
        raise records.trouble(path, damaged[str(source)], "Check it out again")
    if str(source) in known:
        if reason := records.objection(known[str(source)]):
            path = index.HERE / "presets" / str(source) / CARD
            raise records.trouble(path, reason, "Check it out again")
        return verified(str(source), known[str(source)])
    path = pathlib.Path(os.path.expandvars(source)).expanduser()
    if path.is_dir():
        if (path / MODEL).is_file():
            return path / MODEL
        raise ValueError(f"{path}: the folder has no {MODEL}. Use the folder of a training run")
    if path.is_file():
        return path
    known = [*known, *also]
    if path.suffix or len(path.parts) > 1 or not known:
        raise ValueError(f"{source}: there is no such preset, file or folder. Check the spelling")
    what = "model or preset" if also else "preset"
    raise ValueError(f"{unknown(what, str(source), known)} (and there is no such file or folder)")


def verified(name, card):
    """Return the path of a preset's file, downloaded if necessary, after checking its hash."""
    if "published" in card:
        return cards.located(name, card)
    path = index.HERE / "presets" / name / MODEL
    if not path.is_file() and "url" not in card:
        raise ValueError(f"{path}: the file of preset {name} is missing. Check it out again")
    if not path.is_file():
        return fetched(name, card)
    if (digest := sha256(path)) != card["sha256"]:
        raise ValueError(
            f"{path}: its SHA-256 is {digest[:12]}..., the card of preset {name} has "
            f"{card['sha256'][:12]}...: the file was changed or damaged, and is not loaded. "
            "Check it out again"
        )
    return path


def fetched(name, card):
    """Download a preset's file into Keras' cache, unless it is cached; return its path."""
    import keras

    try:
        file = f"{name}-{card['sha256'][:12]}.keras"
        checks = dict(file_hash=card["sha256"], hash_algorithm="sha256")
        return pathlib.Path(keras.utils.get_file(file, card["url"], cache_subdir="zoo", **checks))
    except Exception as error:  # a network error, or a wrong hash
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{card['url']}: preset {name} cannot be downloaded ({why})") from error


def publish(run, name, *, source="", licence="", url="", replace=False, example):
    """Create a preset of a finished run.

    Args:
        run: the run folder.
        name: of the preset: lower-case letters, digits and "_", by convention "<model>_<data>".
        source: origin of the data; default: that recorded in the run.
        licence: of the data; default: that recorded in the run.
        url: download address of the model's file; if empty, the file is copied to the preset.
        replace: overwrite a preset of that name.
        example: function (model, record) that returns the bytes of a file with an input and its
            output, and its entry in the card, as `zoo.inference.stored_example.make`.

    Returns:
        The preset's folder.

    Raises:
        ValueError: if the run is not finished, its model has changed, the licence is unknown, the
            name is taken, or the file is too large to be copied.
    """
    run, folder = pathlib.Path(run), index.HERE / "presets" / name
    if not (run / "run.json").is_file():
        raise ValueError(f"{run}: there is no run.json in it. Use the folder of a training run")
    entries = records.read_run(run, needed=("status",))
    if entries.get("status") != "finished":
        raise ValueError(f"{run}: the run is {entries.get('status')}. Use --resume {run}")
    records.require(run / records.RUN, entries, FACTS)
    if sha256(run / MODEL) != entries["sha256"]:
        raise ValueError(f"{run / MODEL}: it is not the file that was scored. Train again")
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"{name!r}: a preset name has only a-z, 0-9 and _, as pointnet_my_scans")
    if name in index.models():
        raise ValueError(f"{name!r}: this is the name of a model. Append the name of the data")
    if folder.exists() and not replace:
        raise ValueError(f"{folder}: the preset exists already. Choose another name, or --replace")
    content = (run / MODEL).read_bytes() if url else packed(run / MODEL)
    if len(content) > LARGEST and not url:
        raise ValueError(
            f"{run / MODEL}: it has {len(content) / 1e6:.1f} MB, the limit of a preset is "
            f"{LARGEST / 1e6:.0f}. Use --url, or train a narrower model (--set width=0.5)"
        )
    data = {**entries["data"]}
    data.update(
        {key: value for key, value in dict(source=source, licence=licence).items() if value}
    )
    if not data.get("licence"):
        raise ValueError(f"{run}: the licence of its data is not known. Use --licence")
    from zoo.weights import saving

    stored, entry = example(saving.load(run / MODEL), {**inspection.record(run / MODEL), **entries})
    fields = {**card(entries, data, content, url), "example": entry}
    write(folder, fields, None if url else content, stored)
    index.presets.cache_clear()
    return folder


def packed(path):
    """Return the bytes of a model's file with its members compressed, about 10 % fewer."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def card(entries, data, content, url):
    """Return the card: the entries of run.json that other users need."""
    settings = entries.get("settings", {})
    optional = "converted scores seed best_epoch seconds machine backend versions".split()
    return {
        **{key: entries[key] for key in FACTS[:6]},
        "data": data,
        "command": entries.get("command", settings.get("command")),
        **{key: entries[key] for key in optional if key in entries},
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **({"url": url} if url else {}),
    }


def text(card):
    """Return a card as the text of its file."""
    return json.dumps(card, indent=1, ensure_ascii=False) + "\n"


def write(folder, card, model, example):
    """Write a preset's folder atomically."""
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
        new, old = pathlib.Path(temporary, "new"), pathlib.Path(temporary, "old")
        new.mkdir()
        (new / CARD).write_text(text(card), encoding="utf-8")
        (new / EXAMPLE).write_bytes(example)
        if model:
            (new / MODEL).write_bytes(model)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
