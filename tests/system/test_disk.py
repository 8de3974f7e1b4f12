"""Files and folders: atomic writes, checks when read, locks."""

import errno
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest

from datasets import pipeline, source, stores
from ensembles import trainings
from ensembles.members import cache
from tests.datasets.test_pipeline import make, names, prepare
from zoo.system import disk, terminal
from zoo.training import runs


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "state.npz"
    path.write_text("old")
    with pytest.raises(OSError) as caught, disk.whole(path) as half:
        half.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [item.name for item in tmp_path.iterdir()] == ["state.npz"] and path.read_text() == "old"
    text = disk.sentence(caught.value)
    assert text.startswith(f"{path}: No space left on device. Free some space") and "\n" not in text
    with disk.whole(path) as half:
        half.write_text("new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO, errno.EACCES])
def test_errors_are_one_sentence(number):
    message = disk.sentence(OSError(number, os.strerror(number), "a/b"))
    assert message.startswith(f"a/b: {os.strerror(number)}. C") or "The path is a file" in message
    assert "\n" not in message


def lock_elsewhere(folder):
    """Try to lock a folder in another process; return what it prints."""
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('disk', {disk.__file__!r})\n"
        "disk = importlib.util.module_from_spec(spec); spec.loader.exec_module(disk)\n"
        "try:\n    disk.lock(sys.argv[1])\n"
        "except OSError as error:\n    print(disk.sentence(error))\n"
    )
    return subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)


def test_one_process_works_on_a_run_folder(tmp_path):
    run = runs.Run.created(tmp_path, "net", {}, 0.0)
    runs.Run.opened(run.folder, {}, 0.0)  # the same process may
    output = lock_elsewhere(run.folder).stdout
    assert f"{run.folder}: process {os.getpid()} on " in output and "Wait for it" in output
    run.note(status="finished")
    assert lock_elsewhere(run.folder).stdout == ""  # it ended, and its lock with it
    runs.Run.opened(run.folder, {}, 0.0)
    disk.unlock(run.folder)
    assert not (run.folder / disk.LOCK).exists()


def test_a_run_cleans_up_after_a_killed_one(tmp_path):
    run = runs.Run.created(tmp_path, "net", {"examples": {"train": "x"}}, 0.0)
    for name in (".model.host-1.half.keras", ".model.plain.keras", "model.keras"):
        (run.folder / name).touch()
    runs.Run.opened(run.folder, {}, 0.0)
    assert sorted(p.name for p in run.folder.iterdir()) == [disk.LOCK, "model.keras", "run.json"]
    assert "examples" not in json.loads((run.folder / "run.json").read_text())
    assert "not finished (running)" in disk.unfinished(run.folder / "model.keras")
    run.note(status="finished")
    assert disk.unfinished(run.folder / "model.keras") == ""
    assert disk.unfinished(tmp_path / "model.keras") == ""


def prepared_folder():
    """Return the folder of the only data that are prepared."""
    (folder,) = (path for path in pipeline.cache_folder().iterdir() if path.name[0] != ".")
    return folder


def test_damaged_prepared_data_are_made_anew(capsys):
    data, read = make({"train": names("a", 40)})
    whole = prepare(data)[0]["train"].take()[0]
    for damage in (
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: os.truncate(path, 7),
        lambda path: path.unlink(),
    ):
        for name in ("train/x.bin", "train/groups.npy", "facts.json"):
            damage(prepared_folder() / name)
            read.clear()
            np.testing.assert_array_equal(prepare(data)[0]["train"].take()[0], whole)
            assert read and "is corrupt" in capsys.readouterr().err
    read.clear()
    prepare(data)
    assert not read


def test_large_files_are_checked_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "IN_MEMORY", 1000)
    monkeypatch.setattr(stores, "BLOCK", 64)
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(256)) * 100)
    before = stores.checksum(path)
    with open(path, "r+b") as file:
        file.seek(-30, os.SEEK_END)
        file.write(b"\0" * 30)
    assert stores.checksum(path) != before


def test_a_folder_made_by_another_process_meanwhile_counts(tmp_path):
    folder = tmp_path / "data"

    def write(work):
        (work / "a").write_text("mine")
        if not folder.exists():
            stores.make(folder, lambda other: (other / "a").write_text("theirs"))

    assert stores.cached(folder, write, lambda path: (path / "a").read_text()) == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path):
    removed = []

    def read(path):
        if not removed:
            removed.append(shutil.rmtree(path))
        return (path / "a").read_text()

    assert stores.cached(tmp_path / "data", lambda work: (work / "a").write_text("x"), read) == "x"


def test_half_made_folders_of_dead_processes_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = stores.socket.gethostname()
    remaining = [f".a-{host}-{os.getpid()}-xyz", ".b-elsewhere-1-xyz", "c"]
    old = tmp_path / ".d-elsewhere-1-xyz"
    for name in (*remaining, f".a-{host}-{dead.pid}-xyz", old.name):
        (tmp_path / name).mkdir()
    os.utime(old, (0, 0))
    stores.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(remaining)


def test_damaged_or_removed_outputs_are_computed_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cache.predictors, "predict", lambda model, x, size: x)
    monkeypatch.setattr(cache.gc, "collect", lambda: None)  # slow, and not needed here
    monkeypatch.setattr(cache.keras.backend, "clear_session", lambda: None)
    path, calls = tmp_path / "out" / "a.npy", []
    member = types.SimpleNamespace(load=lambda common: None)
    data = cache.Examples(np.arange(6.0).reshape(6, 1), np.zeros(6))

    def predict():
        calls.append(1)
        cache.predicted(member, None, data, path, "float32", 4, lambda model: lambda x: x)

    def outputs():
        return np.array(cache.cached(path, predict)).tolist()

    whole = outputs()
    assert outputs() == whole and len(calls) == 1
    size = path.stat().st_size
    for damage in (lambda: path.write_bytes(bytes(size)), lambda: os.truncate(path, size - 4)):
        damage()
        assert outputs() == whole and "is corrupt" in capsys.readouterr().err
    path.unlink()
    assert outputs() == whole and len(calls) == 4
    assert sorted(item.name for item in path.parent.iterdir()) == ["a.json", "a.npy"]


def test_unreadable_files_are_named_and_can_be_left_out(tmp_path):
    def refuse(item):
        raise PermissionError(errno.EACCES, "Permission denied", item)

    examples = source.Examples.of(["a.png"], refuse)
    bad = []
    assert list(pipeline.read(examples, bad)) == []
    assert "a.png: it cannot be read (Permission denied)" in str(bad[0])
    gone = source.fingerprint([tmp_path / "a.png"], tmp_path)  # a dangling link, for one
    assert len(gone) == 16


def test_names_of_any_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9 $x_1$")
    assert source.legible(name) == "caf\\xe9 $x_1$" and source.legible("é") == "é"
    (tmp_path / name).write_text("")
    assert len(source.fingerprint([tmp_path / name], tmp_path)) == 16
    for long in (name, "x" * 300, "é" * 200):
        short = stores.short(long)
        assert len(os.fsencode(short)) <= stores.NAME and short.encode()
    data, _ = make({"train": names("a", 40)}, name="é" * 120)
    prepare(data)


def test_any_name_can_be_printed(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.accept_any_name()
    print(os.fsdecode(b"caf\xe9"), "é", flush=True)
    assert stream.buffer.getvalue() == b"caf\\udce9 \\xe9\n"


def test_trainings_start_the_zoos_own_program(tmp_path, monkeypatch):
    started = []

    def run(words):
        started.append(words)
        return types.SimpleNamespace(returncode=1)

    monkeypatch.setattr(trainings.subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("raise SystemExit('the wrong one')")
    with pytest.raises(ValueError, match="training failed"):
        trainings.train(["--model", "net"], tmp_path)
    program = pathlib.Path(started[0][1])
    assert program.is_absolute() and program.parent == pathlib.Path(disk.__file__).parents[2]
    assert program.name == "train.py" and "-m" not in started[0]
