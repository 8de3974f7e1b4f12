import json
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import zoo
from zoo.tasks.forecasting import differencing
from zoo.weights import hdf5, inspection, saving

RECORD = {"model": "pointnet", "info": {"classes": ["car", "tree"]}}


def model():
    return zoo.create("pointnet", (64, 3), 2, width=0.125)


def evil(code):
    """Return a model whose Lambda layer contains Python code."""
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
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="disk full"):
        saving.save(first, path, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_every_module_whose_classes_files_hold_is_imported_to_load_them():
    root = pathlib.Path(zoo.__file__).parents[1]
    files = [path.relative_to(root) for path in (root / "zoo").rglob("*.py")]
    files = [path for path in files if path.parts[1] != "models"]  # `registry` imports these
    text = {path: (root / path).read_text("utf-8") for path in files}
    holding = [path for path in files if re.search(r"^@.*register", text[path], re.M)]
    names = [".".join(path.with_suffix("").parts) for path in holding]
    assert sorted(saving.REGISTER) == sorted(names)


def test_a_process_that_has_imported_nothing_else_loads_a_model_of_differences(tmp_path):
    forecaster = differencing.around(zoo.create("lstm", (12, 2), (3, 2), units=4), order=1)
    saving.save(forecaster, tmp_path / "model.keras", {})
    code = "import sys, zoo; print(zoo.load(sys.argv[1]).count_params())"
    process = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model.keras"],
        capture_output=True, text=True, check=True, cwd=pathlib.Path(zoo.__file__).parents[1],
    )  # fmt: skip
    assert int(process.stdout) == forecaster.count_params()


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
    {"module": "zoo.nn.layers", "class_name": "Trap", "config": {}, "registered_name": "zoo>Trap"},
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
    with pytest.raises(ValueError, match=f"model.{ending}: (holds|needs) .*rejected"):
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
    """Yield invalid model files, each with a word of its message."""
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
    yield "model.txt", b"hello", "not a saved model"
    for without in ("config.json", "model.weights.h5"):
        rest = {name: whole[name] for name in whole if name != without}
        yield f"no_{without}.keras", rest, f"lacks {without}"
    yield "nonsense.keras", {**whole, "config.json": "[1"}, "no JSON"
    yield "list.keras", {**whole, "config.json": "[1]"}, "no JSON object"
    yield "deep.keras", {**whole, "config.json": "[" * 100_000}, "no JSON"
    yield "up.keras", {**whole, "../../up": b""}, "is outside"
    yield "root.keras", {**whole, "/etc/up": b""}, "is outside"
    yield "bomb.keras", {**whole, "bomb": bytes(1 << 26)}, "expands to 64 MiB"
    pieces = {f"piece_{i}": bytes(1 << 20) for i in range(60)}  # each alone is accepted
    yield "bombs.keras", {**whole, **pieces}, "63 members expand to 60 MiB"
    yield "crowd.keras", {**whole, **{str(i): b"" for i in range(1000)}}, "1,003 members"
    yield "assets.keras", {**whole, "assets/layers/dense/x.txt": b"a"}, "no layer of it has a vocab"
    config = json.loads(whole["config.json"])
    yield "record.keras", {**whole, "metadata.json": '{"zoo": {}, "keras_version": "1"'}, "no JSON"
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 300_000_000}}
    config["config"]["layers"].append(dense)
    yield "wide.keras", {**whole, "config.json": json.dumps(config)}, "a layer of 300,000,000 units"


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


def test_a_model_with_a_vocabulary_keeps_its_assets(tmp_path):
    words = keras.Input((1,), dtype="string")
    lookup = keras.layers.StringLookup()
    lookup.adapt(["cat", "dog"])
    model = keras.Model(words, lookup(words))
    model.save(tmp_path / "words.keras")
    with zipfile.ZipFile(tmp_path / "words.keras") as file:
        assert any(name.startswith("assets/") for name in file.namelist())
    x = np.array([["dog"], ["cow"]])
    np.testing.assert_array_equal(saving.load(tmp_path / "words.keras")(x), model(x))


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_layers_that_ask_for_more_weights_than_are_stored_are_not_built(
    tmp_path, monkeypatch, ending
):
    path = tmp_path / f"deep.{ending}"
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(3)(inputs))).save(path)

    def widen(config):  # no single layer is large, all together are
        for layer in config["config"]["layers"][1:]:
            layer["config"]["units"] = 1 << 19
            layer.pop("build_config", None)

    rewrite(path, widen)
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("Keras saw it"))
    with pytest.raises(
        ValueError, match="deep.*: it has 274,880,528,384 weights but stores only 20: rejected"
    ):
        saving.load(path)


def test_the_weights_of_a_model_are_counted_without_being_made():
    first = model()
    config = json.loads(first.to_json())
    assert saving.parameters(config) == first.count_params()


def test_what_an_hdf5_file_must_not_hold_is_refused_in_a_process_of_its_own(tmp_path):
    def swell(file):
        file.create_dataset("w", (1 << 40,), "f4", chunks=(1 << 20,), fillvalue=1)

    def external(file):
        file["w"] = h5py.ExternalLink("/etc/other.h5", "/w")

    def raw(file):
        file.create_dataset("w", (4,), "f4", external=[("/etc/passwd", 0, 16)])

    def soft(file):
        file["w"] = h5py.SoftLink("/somewhere")

    def virtual(file):
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "w", (4,))
        file.create_virtual_dataset("w", layout)

    cases = {
        swell: "expand to more than",
        external: "links to another object or file",
        raw: "is stored in other files",
        soft: "links to another object or file",
        virtual: "is stored in other files",
    }
    for add, words in cases.items():
        path = tmp_path / f"{add.__name__}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = "{}"
            add(file)
        if add is swell:  # as the program sees it, with its limits
            with pytest.raises(ValueError, match=f"{path.name}: its w?.*{words}"):
                inspection.inspect(path)
            continue
        with h5py.File(path) as file, pytest.raises(hdf5.Refused, match=words):
            hdf5.contents(file, path.stat().st_size)


def test_a_reader_that_does_not_end_or_crashes_is_ended_and_told(tmp_path, monkeypatch):
    path = tmp_path / "model.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    for code, bound in (
        ("import time; time.sleep(60)", 0.3),
        ("import os; os.abort()", 60),
        ("raise SystemExit(1)", 60),
    ):
        (tmp_path / "reader.py").write_text(code)
        monkeypatch.setattr(inspection, "READER", tmp_path / "reader.py")
        monkeypatch.setattr(inspection, "PATIENCE", bound)
        with pytest.raises(ValueError, match="model.h5: reading it takes too long, or fails"):
            inspection.inspect(path)


def test_a_file_that_this_process_wrote_is_read_without_the_other_process(tmp_path, monkeypatch):
    path = tmp_path / "model.keras"
    saving.save(model(), path, RECORD)
    monkeypatch.setattr(inspection, "READER", tmp_path / "none.py")
    saving.load(path)
    shutil.copy(path, tmp_path / "copy.keras")
    saving.load(tmp_path / "copy.keras")
    rewrite(path, lambda config: config["config"].update(name="other"))
    with pytest.raises(ValueError, match="reading it takes too long, or fails"):
        saving.load(path)


def test_weights_without_a_model_are_told_from_a_model(tmp_path):
    model().save_weights(tmp_path / "some.weights.h5")
    with pytest.raises(ValueError, match="holds weights without a model"):
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


def test_a_recurrent_network_that_keeps_its_state_from_another_program_loads(tmp_path):
    layers = [keras.Input(batch_shape=(2, 5, 1)), keras.layers.LSTM(2, stateful=True)]
    model, x = keras.Sequential(layers), np.ones((2, 5, 1), "float32")
    model.save(tmp_path / "m.keras")
    loaded = saving.load(tmp_path / "m.keras")
    for _ in range(2):  # the second batch continues from the state of the first
        np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6)


@pytest.mark.parametrize("loss", ["mse", "tversky"])
def test_compiled_models_inside_of_a_model_are_counted_and_loaded(tmp_path, loss):
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)], name="inner")
    inner.compile("adam", keras.losses.Tversky(0.2, 0.8) if loss == "tversky" else loss)
    entry = keras.Input((3,))
    outer = keras.Model(entry, keras.layers.Average()([inner(entry), inner(entry)]))
    outer.save(tmp_path / "outer.keras")
    x = np.ones((2, 3), np.float32)
    again = saving.load(tmp_path / "outer.keras")  # of a file that this process did not write
    np.testing.assert_allclose(again(x), outer(x), rtol=1e-6)
