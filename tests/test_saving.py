import json
import pathlib
import re
import struct
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import zoo
from zoo import differencing, saving

RECORD = {"model": "pointnet", "info": {"classes": ["car", "tree"]}}


def model():
    return zoo.create("pointnet", (64, 3), 2, width=0.125)


def evil(code):
    """Return a model whose Lambda layer holds Python code of the file."""
    inputs = keras.Input((3,))
    outputs = keras.layers.Lambda(eval(f"lambda x: {code}"), name="trap")(inputs)
    return keras.Model(inputs, outputs)


def rewrite(path, change):
    """Change the configuration inside a .keras or .h5 file."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    write(path, members)


def write(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as target:
        for name, content in members.items():
            target.writestr(name, content)


def test_a_saved_model_predicts_the_same_and_keeps_its_record(tmp_path):
    first, path = model(), tmp_path / "model.keras"
    saving.save(first, path, RECORD)
    x = np.random.default_rng(0).normal(size=(2, 64, 3)).astype("float32")
    np.testing.assert_array_equal(saving.load(path)(x), first(x))
    np.testing.assert_array_equal(keras.saving.load_model(path)(x), first(x))
    assert saving.record(path) == RECORD
    assert [path.name] == [file.name for file in tmp_path.iterdir()]


def test_the_state_of_the_optimizer_stays_out_of_the_file_and_in_the_model(tmp_path):
    first = model()
    saving.save(first, tmp_path / "bare.keras", RECORD)
    first.compile("adam", "mse")
    first.optimizer.build(first.trainable_variables)
    optimizer = first.optimizer
    saving.save(first, tmp_path / "compiled.keras", RECORD)
    assert first.optimizer is optimizer and first.compiled
    assert saving.sha256(tmp_path / "bare.keras") == saving.sha256(tmp_path / "compiled.keras")
    assert not saving.load(tmp_path / "compiled.keras").compiled


def test_a_failed_save_leaves_the_old_file_and_the_optimizer(tmp_path, monkeypatch):
    first, path = model(), tmp_path / "model.keras"
    saving.save(first, path, RECORD)
    first.compile("adam", "mse")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(type(first), "save", fail)
    with pytest.raises(OSError, match="disk full"):
        saving.save(first, path, {})
    assert path.read_bytes() == before
    assert first.compiled and first.optimizer is not None


def test_every_module_whose_classes_files_hold_is_imported_to_load_them():
    files = pathlib.Path(zoo.__file__).parent.glob("*.py")
    holding = [path.stem for path in files if re.search(r"^@.*register", path.read_text(), re.M)]
    assert sorted(saving.REGISTER) == sorted(holding)


def test_a_process_that_has_imported_nothing_else_loads_a_model_of_differences(tmp_path):
    made = differencing.around(zoo.create("lstm", (12, 2), (3, 2), units=4), order=1)
    saving.save(made, tmp_path / "model.keras", {})
    code = "import sys, zoo; print(zoo.load(sys.argv[1]).count_params())"
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.keras"],
        capture_output=True, text=True, check=True, cwd=pathlib.Path(zoo.__file__).parents[1],
    )  # fmt: skip
    assert int(found.stdout) == made.count_params()


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_lambda_is_refused_before_it_runs(tmp_path, ending):
    mark, path = tmp_path / "mark", tmp_path / f"evil.{ending}"
    evil(f"(open({str(mark)!r}, 'w'), x)[1]").save(path)
    mark.unlink(missing_ok=True)
    words = "evil.*: holds a Lambda layer 'trap', which would run code .* load its weights"
    with pytest.raises(ValueError, match=words):
        saving.load(path)
    assert not mark.exists()
    keras.saving.load_model(path, safe_mode=False)
    assert mark.exists(), "the trap works"


FOREIGN = [
    {"module": "os", "class_name": "system", "config": {"command": "true"}},
    {"module": "trap", "class_name": "Trap", "config": {}},
    {"module": "trap", "class_name": "function", "config": "run", "registered_name": "run"},
    {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "exec"},
    {"module": "keras.layers", "class_name": "function", "config": "deserialize"},
    {"module": "keras.utils", "class_name": "get_file", "config": {}},
    {"module": "keras.src.utils.file_utils", "class_name": "get_file", "config": {}},
    {"module": "keras.src.utils.jax_layer", "class_name": "JaxLayer", "config": {}},
    {"module": "keras.src.trap", "class_name": "Trap", "config": {}},
    {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/"}},
    {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "f"}},
    {"module": "zoo.layers", "class_name": "Trap", "config": {}, "registered_name": "zoo>Trap"},
    {"module": None, "class_name": "Trap", "config": {}, "registered_name": "Other>Trap"},
    {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {},
        "registered_name": "trap>Dense",
    },
    {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
    {"class_name": "__typespec__", "spec_name": "Trap", "module": "trap", "config": []},
    {"class_name": "deserialize", "config": {"config": {}}},
    {"class_name": ["Dense"], "config": {}},
]


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda node: str(node["class_name"]))
def test_a_foreign_class_is_refused_before_its_module_is_imported(
    tmp_path, monkeypatch, foreign, ending
):
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("Keras saw it"))
    path = tmp_path / f"model.{ending}"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)

    def change(config):
        config["config"]["layers"][1]["config"]["kernel_initializer"] = [{"deep": foreign}]

    rewrite(path, change)
    with pytest.raises(ValueError, match=f"model.{ending}: (holds|needs) .*refused"):
        saving.load(path)
    assert not (tmp_path / "mark").exists()


def test_ordinary_models_of_keras_load_from_both_formats(tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Activation(keras.activations.gelu)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    first = keras.Model(inputs, inner(x))
    first.compile(keras.optimizers.AdamW(0.1), keras.losses.Huber(), metrics=["mae"])
    for name in ("model.keras", "model.h5"):
        first.save(tmp_path / name)
        x = np.ones((1, 8, 8, 3), "float32")
        np.testing.assert_array_equal(saving.load(tmp_path / name)(x), first(x))
        assert saving.record(tmp_path / name) == {}


def test_a_loss_of_ones_own_does_not_keep_a_model_from_loading(tmp_path):
    first = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    first.save(tmp_path / "model.keras")
    loss = {"module": "mine", "class_name": "function", "config": "loss", "registered_name": "loss"}
    rewrite(tmp_path / "model.keras", lambda config: config.update(compile_config={"loss": loss}))
    saving.load(tmp_path / "model.keras")


def damaged(path):
    """Yield files that are no models, each with a word of its message."""
    with zipfile.ZipFile(path) as source:
        whole = {name: source.read(name) for name in source.namelist()}
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    yield "empty.keras", b"", "zip"
    yield "short.keras", content[: len(content) // 2], "zip"
    yield "flipped.keras", bytes(flipped), "damaged"
    yield "text.keras", b"hello", "zip"
    yield "text.h5", b"hello", "HDF5"
    yield "model.txt", b"hello", "no saved model"
    for without in ("config.json", "model.weights.h5"):
        rest = {name: whole[name] for name in whole if name != without}
        yield f"no_{without}.keras", rest, f"lacks {without}"
    yield "nonsense.keras", {**whole, "config.json": "[1"}, "no JSON"
    yield "list.keras", {**whole, "config.json": "[1]"}, "no JSON object"
    yield "deep.keras", {**whole, "config.json": "[" * 100_000}, "no JSON"
    yield "up.keras", {**whole, "../../up": b""}, "points out"
    yield "root.keras", {**whole, "/etc/up": b""}, "points out"
    yield "bomb.keras", {**whole, "bomb": bytes(1 << 26)}, "swells to 64 MiB"


def test_a_damaged_file_is_named_with_the_reason(tmp_path):
    good = tmp_path / "good.keras"
    saving.save(model(), good, RECORD)
    for name, content, word in damaged(good):
        path = tmp_path / name
        if isinstance(content, dict):
            write(path, content, compression=zipfile.ZIP_DEFLATED)
        else:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: .*{word}.*\\."):
            saving.load(path)
    with pytest.raises(ValueError, match="missing.keras: there is no such file"):
        saving.load(pathlib.Path("missing.keras"))


def test_weights_without_a_model_are_told_from_a_model(tmp_path):
    model().save_weights(tmp_path / "some.weights.h5")
    with pytest.raises(ValueError, match="holds weights and no model"):
        saving.load(tmp_path / "some.weights.h5")


def test_a_weights_member_with_a_false_size_is_an_error(tmp_path):
    path = tmp_path / "model.keras"
    saving.save(model(), path, RECORD)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the last entry of the directory: its size is at byte 24
    struct.pack_into("<I", content, at + 24, 1 << 31)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model.keras"):
        saving.load(path)
