"""Presets: trained models that the zoo brings along, each beside a card that says what it is.

`zoo/presets/<name>/card.json` holds the SHA-256 of the model's file, which is checked before the
file is opened. The file lies beside its card, or the card names the address where it is.
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

MODEL, CARD, EXAMPLE = "model.keras", "card.json", "example.npz"
FACTS = "model arguments options task task_options info data sha256".split()  # of a finished run
LARGEST = 8_000_000  # bytes of a file that may lie in the repository


def names():
    """Return the names of all presets, sorted."""
    return sorted(index.presets())


def load(source):
    """Load a trained model: see `locate` for the source and `saving.load` for the safety.

    Returns:
        A `keras.Model`, not compiled.
    """
    from zoo.weights import saving

    return saving.load(locate(source))


def locate(source, also=()):
    """Find the file of a trained model, and look into it: see `zoo.weights.inspection`.

    Args:
        source: the name of a preset, a run folder, or the path of a `.keras` or `.h5` file.
        also: further names that the caller knows, for the message that names the nearest.

    Returns:
        Its path; a preset's bytes have been verified.

    Raises:
        ValueError: if there is no such thing, a preset's bytes are not those of its card, or the
            file is damaged or would cost far more than its size.
    """
    path = searched(source, also)
    if path.suffix.lower() in (".keras", *inspection.HDF5):
        inspection.inspect(path)
    return path


def searched(source, also):
    """Return the path that `locate` returns, before anything looks into the file."""
    cards, damaged = index.presets(), index.damaged_presets()
    if str(source) in damaged:
        path = index.HERE / "presets" / str(source) / CARD
        raise records.trouble(path, damaged[str(source)], "Check it out again")
    if str(source) in cards:
        if reason := records.objection(cards[str(source)]):
            path = index.HERE / "presets" / str(source) / CARD
            raise records.trouble(path, reason, "Check it out again")
        return verified(str(source), cards[str(source)])
    path = pathlib.Path(source)
    if path.is_dir():
        if (path / MODEL).is_file():
            return path / MODEL
        raise ValueError(f"{path}: the folder holds no {MODEL}. Give the folder of a training run")
    if path.is_file():
        return path
    known = [*cards, *also]
    if path.suffix or len(path.parts) > 1 or not known:
        raise ValueError(f"{source}: there is no such preset, file or folder. Check the spelling")
    what = "model or preset" if also else "preset"
    raise ValueError(f"{unknown(what, str(source), known)} (and no file or folder is called so)")


def verified(name, card):
    """Return the path of a preset's file, fetched if need be, if its SHA-256 is the card's."""
    path = index.HERE / "presets" / name / MODEL
    if not path.is_file() and "url" not in card:
        raise ValueError(f"{path}: the file of preset {name} is missing. Check it out again")
    if not path.is_file():
        return fetched(name, card)
    if (found := sha256(path)) != card["sha256"]:
        raise ValueError(
            f"{path}: its SHA-256 is {found[:12]}..., the card of preset {name} says "
            f"{card['sha256'][:12]}...: the file was changed or damaged, so it is not opened. "
            "Check it out again"
        )
    return path


def fetched(name, card):
    """Download a preset's file into Keras' cache, unless it is there; return its path."""
    import keras

    try:
        file = f"{name}-{card['sha256'][:12]}.keras"
        checks = dict(file_hash=card["sha256"], hash_algorithm="sha256")
        return pathlib.Path(keras.utils.get_file(file, card["url"], cache_subdir="zoo", **checks))
    except Exception as error:  # of the network, or of the hash
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{card['url']}: preset {name} cannot be fetched ({why})") from error


def publish(run, name, *, source="", licence="", url="", replace=False, example):
    """Make a preset of a finished run.

    Args:
        run: the run folder.
        name: of the preset: lower-case letters, digits and "_", "<model>_<data>" by custom.
        source: where the data come from; what the run knows if empty.
        licence: of the data; what the run knows if empty.
        url: where the model's file can be fetched; if empty, it is packed beside the card.
        replace: write over a preset of that name.
        example: function (model, record) to an input with its output, a file's bytes, and what the
            card says of it, as `zoo.inference.stored_example.make`.

    Returns:
        The preset's folder.

    Raises:
        ValueError: if the run is not finished, its model changed since, the licence is not known,
            the name is taken, or the file is too large to be copied.
    """
    run, folder = pathlib.Path(run), index.HERE / "presets" / name
    if not (run / "run.json").is_file():
        raise ValueError(f"{run}: there is no run.json in it. Give the folder of a training run")
    facts = records.read_run(run, needed=("status",))
    if facts.get("status") != "finished":
        raise ValueError(f"{run}: the run is {facts.get('status')}. Finish it with --resume {run}")
    records.require(run / records.RUN, facts, FACTS)
    if sha256(run / MODEL) != facts["sha256"]:
        raise ValueError(f"{run / MODEL}: it is not the file that was scored. Train again")
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"{name!r}: a preset is called by a-z, 0-9 and _, as pointnet_my_scans")
    if name in index.models():
        raise ValueError(f"{name!r}: a model is called so. Append the name of the data")
    if folder.exists() and not replace:
        raise ValueError(f"{folder}: the preset exists already. Choose another name, or --replace")
    content = (run / MODEL).read_bytes() if url else packed(run / MODEL)
    if len(content) > LARGEST and not url:
        raise ValueError(
            f"{run / MODEL}: it has {len(content) / 1e6:.1f} MB, a preset at most "
            f"{LARGEST / 1e6:.0f}. Give its --url, or train a narrower one (--set width=0.5)"
        )
    data = {**facts["data"]}
    data.update(
        {key: value for key, value in dict(source=source, licence=licence).items() if value}
    )
    if not data.get("licence"):
        raise ValueError(f"{run}: the licence of its data is not known. Say it with --licence")
    from zoo.weights import saving

    stored, entry = example(saving.load(run / MODEL), {**inspection.record(run / MODEL), **facts})
    entries = {**card(facts, data, content, url), "example": entry}
    write(folder, entries, None if url else content, stored)
    index.presets.cache_clear()
    return folder


def packed(path):
    """Return the bytes of a model's file with its members compressed, which saves a tenth."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as loose, zipfile.ZipFile(buffer, "w") as tight:
        for name in loose.namelist():
            tight.writestr(zipfile.ZipInfo(name), loose.read(name), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def card(facts, data, content, url):
    """Return the card: what run.json says that a stranger wants to know."""
    settings = facts.get("settings", {})
    after = "scores seed best_epoch seconds machine backend versions".split()
    return {
        **{key: facts[key] for key in FACTS[:6]},
        "data": data,
        "command": facts.get("command", settings.get("command")),
        **{key: facts[key] for key in after if key in facts},
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **({"url": url} if url else {}),
    }


def text(card):
    """Return a card as the text of its file."""
    return json.dumps(card, indent=1, ensure_ascii=False) + "\n"


def write(folder, card, model, example):
    """Write a preset's folder whole, or leave the one that was there."""
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as half:
        new, old = pathlib.Path(half, "new"), pathlib.Path(half, "old")
        new.mkdir()
        (new / CARD).write_text(text(card), encoding="utf-8")
        (new / EXAMPLE).write_bytes(example)
        if model:
            (new / MODEL).write_bytes(model)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
