"""Members of other libraries: ONNX files and scikit-learn estimators beside networks of the zoo."""

import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import JAX
from ensemble_members import classifier, record
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import ensembles
import zoo
from zoo.inference import export, predictors
from zoo.tasks.targets import report
from zoo.weights import saving

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
INFO = {"classes": list("abcd"), "channels": 3, "range": [0.0, 255.0]}
SIDE = 8
NODES = [
    f"nodes_{name}"
    for name in "treeids nodeids featureids modes truenodeids falsenodeids values".split()
]
LEAVES = ["class_treeids", "class_nodeids", "class_ids", "class_weights"]


def network(path, seed=0):
    """Save a small network of images (8, 8, 3) and four classes; return its path."""
    model = classifier(seed=seed, size=SIDE)
    saving.save(model, path, record("image_classification", info=INFO))
    return path


def examples(count=40):
    """Return images, and labels that depend on them."""
    x = np.random.default_rng(0).normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)
    return x, np.argsort(np.argsort(x[..., 0].mean(axis=(1, 2)))) * 4 // count


def write(path, nodes, weights, entry, outputs, batch=None):
    """Write an ONNX file of nodes, with an input "x" of a shape and named outputs (B, 4)."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    tensors = [onnx.numpy_helper.from_array(np.float32(w), name) for name, w in weights.items()]
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **dict(node[3:])) for node in nodes],
        "graph",
        [helper.make_tensor_value_info("x", number, [batch, *entry])],
        [helper.make_tensor_value_info(name, number, [batch, 4]) for name in outputs],
        tensors,
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(content, path)
    return path


def linear(path, estimator, batch=None, softmax=True):
    """Write a fitted logistic regression of flat images as ONNX."""
    nodes = [("Gemm", ["x", "w", "b"], ["logits"])]
    nodes += [("Softmax", ["logits"], ["p"], ("axis", -1))] if softmax else []
    weights = {"w": estimator.coef_.T, "b": estimator.intercept_}
    return write(path, nodes, weights, [SIDE * SIDE * 3], ["p" if softmax else "logits"], batch)


@pytest.fixture(scope="module")
def fitted():
    x, y = examples()
    return LogisticRegression(max_iter=500).fit(x.reshape(len(x), -1), y)


@pytest.mark.parametrize(("batch", "softmax"), [(None, True), (None, False), (1, True), (3, True)])
def test_the_mean_of_a_network_and_an_onnx_file(tmp_path, fitted, batch, softmax):
    x, _ = examples(10)
    own = network(tmp_path / "net.keras")
    file = linear(tmp_path / "linear.onnx", fitted, batch, softmax)
    model = ensembles.average([file, own])
    p = report.softmax(saving.load(own).predict_on_batch(x))
    q = fitted.predict_proba(x.reshape(10, -1))
    mean = report.softmax(predictors.predict(model, x, 4))
    np.testing.assert_allclose(report.softmax(model(x)), mean, atol=1e-6)  # eager as a whole
    np.testing.assert_allclose(mean, (p + q) / 2, atol=1e-5)
    facts = record("image_classification", info=INFO)
    facts["task_options"]["image_size"] = SIDE
    saving.save(model, tmp_path / "both.keras", facts)
    file.unlink()  # it is part of the ensemble
    again = zoo.load(tmp_path / "both.keras")
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))
    (row,) = zoo.predict(tmp_path / "both.keras", np.zeros((SIDE, SIDE, 3), np.uint8))
    assert set(row["probabilities"]) == set("abcd")


def test_separate_inputs_and_passthrough(tmp_path, fitted):
    x, y = examples()
    sources = [network(tmp_path / "net.keras"), linear(tmp_path / "linear.onnx", fitted)]
    model = ensembles.average(sources, inputs="separate")
    other = np.roll(x, 1, axis=0)
    p = report.softmax(saving.load(sources[0]).predict_on_batch(x))
    q = fitted.predict_proba(other.reshape(len(x), -1))
    np.testing.assert_allclose(
        report.softmax(model.predict_on_batch([x, other])), (p + q) / 2, atol=1e-5
    )
    stacked = ensembles.stack(sources, x, y, "dense", passthrough=True, epochs=1, batch_size=16)
    outputs = keras.ops.convert_to_numpy(stacked(x))
    np.testing.assert_allclose(stacked.predict_on_batch(x), outputs, rtol=1e-4, atol=1e-5)


SAVE = """
import sys
sys.path.insert(0, "tests")
from conftest import JAX
from ensemble_members import classifier, record
from zoo.weights import saving
info = {"classes": list("abcd"), "channels": 3, "range": [0.0, 255.0]}
saving.save(classifier(seed=1, size=8), sys.argv[1], record("image_classification", info=info))
"""


def test_members_of_other_backends(tmp_path):
    pytest.importorskip("jax")
    other = tmp_path / "jax.keras"
    subprocess.run([sys.executable, "-c", SAVE, other], check=True, env={**os.environ, **JAX})
    sources = [network(tmp_path / "own.keras", seed=1), other]
    first, second = (saving.load(path).get_weights() for path in sources)
    model, (x, _) = ensembles.average(sources), examples()
    members = [report.softmax(saving.load(path).predict_on_batch(x)) for path in sources]
    assert not np.array_equal(first[0], second[0])  # the backends draw other numbers
    mean = report.softmax(model.predict_on_batch(x))
    np.testing.assert_allclose(mean, np.mean(members, axis=0), atol=1e-5)


def test_an_export_names_the_member(tmp_path, fitted):
    sources = [network(tmp_path / "net.keras"), linear(tmp_path / "linear.onnx", fitted)]
    model = ensembles.average(sources)
    with pytest.raises(ValueError, match="a member of it is a model of another library"):
        export.export(model, tmp_path / "all.onnx", "onnx")


def test_a_forest(tmp_path):
    x, y = examples()
    forest = RandomForestClassifier(5, max_depth=4, random_state=0)
    forest.fit(x.reshape(len(x), -1), y)
    file = trees(tmp_path / "forest.onnx", forest)
    model = ensembles.average([network(tmp_path / "net.keras"), file], [0, 1])
    p = report.softmax(model.predict_on_batch(x))
    np.testing.assert_allclose(p, forest.predict_proba(x.reshape(len(x), -1)), atol=1e-5)


def trees(path, forest):
    """Write a random forest as ONNX, as skl2onnx does: its labels, and probabilities."""
    facts, number = {key: [] for key in NODES + LEAVES}, onnx.TensorProto.FLOAT
    for k, tree in enumerate(estimator.tree_ for estimator in forest.estimators_):
        for i in range(tree.node_count):
            leaf = tree.children_left[i] < 0
            below = (0, 0) if leaf else (tree.children_left[i], tree.children_right[i])
            values = (k, i, max(tree.feature[i], 0), "LEAF" if leaf else "BRANCH_LEQ")
            values += (*below, np.float32(tree.threshold[i]))
            for key, value in zip(NODES, values, strict=True):
                facts[key].append(value)
            for label, share in enumerate(tree.value[i, 0] if leaf else ()):
                row = (k, i, label, share / len(forest.estimators_))
                for key, value in zip(LEAVES, row, strict=True):
                    facts[key].append(value)
    helper = onnx.helper
    facts = {
        key: [v if isinstance(v, str) else v.item() if hasattr(v, "item") else v for v in values]
        for key, values in facts.items()
    }
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "p"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1, 2, 3],
        post_transform="NONE",
        **facts,
    )
    width = forest.n_features_in_
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("x", number, [None, width])],
        [
            helper.make_tensor_value_info("label", onnx.TensorProto.INT64, [None]),
            helper.make_tensor_value_info("p", number, [None, 4]),
        ],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=9), path)
    return path


def test_a_network_with_channels_first(tmp_path):
    """As PyTorch exports them: (B, C, H, W), of any size, to logits."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
    nodes = [
        ("GlobalAveragePool", ["x"], ["pooled"]),
        ("Flatten", ["pooled"], ["flat"]),
        ("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    file = write(tmp_path / "torch.onnx", nodes, weights, [3, None, None], ["logits"])
    x, _ = examples(6)
    model = ensembles.average([network(tmp_path / "net.keras"), file], [0, 1])
    logits = x.mean(axis=(1, 2)) @ weights["w"] + weights["b"]
    np.testing.assert_allclose(
        report.softmax(model.predict_on_batch(x)), report.softmax(logits), atol=1e-5
    )


def test_stacking_weighs_an_onnx_file(tmp_path, fitted):
    x, y = examples()
    sources = [network(tmp_path / "net.keras"), linear(tmp_path / "linear.onnx", fitted)]
    model = ensembles.stack(sources, x, y, epochs=2, batch_size=16, learning_rate=0.1)
    assert (model.predict_on_batch(x).argmax(axis=1) == y).mean() > 0.9
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # as export and compiled training would
        with pytest.raises(ValueError, match="another library, which Keras cannot compile"):
            tf.function(model)(x)


def test_an_estimator_of_skops(tmp_path, fitted):
    skops = pytest.importorskip("skops.io")
    x, y = examples()
    skops.dump(fitted, tmp_path / "linear.skops")
    model = ensembles.average([tmp_path / "linear.skops", network(tmp_path / "net.keras")], [1, 0])
    p = report.softmax(model.predict_on_batch(x))
    np.testing.assert_allclose(p, fitted.predict_proba(x.reshape(len(x), -1)), atol=1e-5)
    saving.save(model, tmp_path / "both.keras", {})
    np.testing.assert_allclose(
        zoo.load(tmp_path / "both.keras").predict_on_batch(x)[:, 0], np.log(p)[:, 0], atol=1e-4
    )
    forest = RandomForestClassifier(2, random_state=0).fit(x.reshape(len(x), -1), y)
    skops.dump(forest, tmp_path / "forest.skops")  # a tree's file may point outside of its memory
    with pytest.raises(ValueError, match=r"forest.skops: skops does not open it .* Save trees as"):
        ensembles.average([tmp_path / "forest.skops"])


@pytest.mark.parametrize("ending", ["joblib", "pkl", "pickle"])
def test_pickles_are_rejected_unopened(tmp_path, ending):
    path, touched = tmp_path / f"forest.{ending}", tmp_path / "touched"

    class Code:
        def __reduce__(self):
            return pathlib.Path.touch, (touched,)

    path.write_bytes(pickle.dumps(Code()))
    with pytest.raises(
        ValueError, match=f"forest.{ending}: a pickle runs any code .*skops.io.dump"
    ):
        ensembles.average([path, network(tmp_path / "net.keras")])
    assert not touched.exists()


def test_what_does_not_fit_is_named(tmp_path, fitted):
    own = network(tmp_path / "net.keras")
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    short = write(
        tmp_path / "short.onnx", [("Gemm", ["x", "w"], ["y"])], {"w": np.ones((5, 4))}, [5], ["y"]
    )
    pair = write(
        tmp_path / "pair.onnx",
        [("Gemm", ["x", "w"], ["y"]), ("Relu", ["y"], ["z"])],
        {"w": np.ones((192, 4))},
        [192],
        ["y", "z"],
    )
    for path, message in [
        (tmp_path / "damaged.onnx", "damaged.onnx: onnxruntime cannot open it"),
        (short, r"short.onnx: it takes inputs of shape \(5,\), and the ensemble's are \(8, 8, 3\)"),
        (pair, "pair.onnx: it must have one input and one output of floats, and has x tensor"),
    ]:
        with pytest.raises(ValueError, match=message):
            ensembles.average([own, path])
