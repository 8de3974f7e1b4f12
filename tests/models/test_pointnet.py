"""Properties of PointNet (Qi et al. 2017)."""

import keras
import numpy as np
import pytest

import zoo
from zoo.models.pointcloud.pointnet import t_net
from zoo.nn.layers import FlatIdentity, Orthogonality
from zoo.training.finetuning.transfer import epsilons


def trainable(model):
    """Count trainable parameters."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)


def stir(model, seed=0):
    """Change every float weight from its initial value."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(weight + rng.uniform(0, 0.1, weight.shape).astype("float32"))
    return model


@pytest.mark.parametrize(("size", "count"), [(3, 803_081), (64, 1_857_344)])
def test_t_net_has_the_published_count(size, count):
    x = keras.Input((None, size))
    assert trainable(keras.Model(x, t_net(x, "align"))) == count


def test_lab_network_has_748_979_parameters_in_all():
    model = zoo.create("pointnet", (1024, 3), 10, width=0.5)
    assert model.count_params() == 748_979
    units = [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    t_net_3, t_net_32 = [32, 64, 512, 256, 128, 9], [32, 64, 512, 256, 128, 1024]
    assert units == [*t_net_3, 32, 32, *t_net_32, 32, 64, 512, 256, 128, 10]


@pytest.mark.parametrize("name", ["pointnet", "pointnet_segmentation"])
def test_epsilon_is_that_of_every_normalisation(name):
    for options, epsilon in (({}, 1e-3), ({"epsilon": 1e-5}, 1e-5)):
        model = zoo.create(name, (32, 3), 4, width=1 / 16, **options)
        assert set(epsilons(model)) == {epsilon}


def test_segmentation_joins_64_local_with_1024_global_features():
    model = zoo.create("pointnet_segmentation", (100, 3), 13)
    assert model.get_layer("join").output.shape == (None, 100, 1088)


def test_part_segmentation_joins_3024_features():
    model = zoo.create("pointnet_segmentation", (None, 3), 50, num_objects=16)
    assert model.get_layer("join").output.shape[-1] == 64 + 128 + 128 + 128 + 512 + 2048 + 16
    model = zoo.create("pointnet_segmentation", (None, 3), 50, num_objects=16, width=0.125)
    points = np.random.default_rng(0).normal(size=(2, 30, 3)).astype("float32")
    logits = model({"points": points, "object": np.array([1, 5])})
    assert logits.shape == (2, 30, 50)
    changed = model({"points": points, "object": np.array([1, 6])})
    np.testing.assert_array_equal(logits[0], changed[0])
    assert np.abs(logits[1] - changed[1]).max() > 1e-4, "the object's category changes nothing"


def test_class_does_not_depend_on_the_order_of_the_points():
    rng = np.random.default_rng(0)
    model = stir(zoo.create("pointnet", (None, 3), 5, width=0.25))
    points = rng.normal(size=(4, 50, 3)).astype("float32")
    shuffled = points[:, rng.permutation(50)]
    np.testing.assert_allclose(model(points), model(shuffled), rtol=1e-5, atol=1e-5)
    assert np.abs(model(points)[0] - model(points)[1]).max() > 1e-3, "all predictions are equal"


def test_labels_follow_the_order_of_the_points():
    rng = np.random.default_rng(0)
    model = stir(zoo.create("pointnet_segmentation", (None, 3), 5, width=0.25))
    points = rng.normal(size=(2, 50, 3)).astype("float32")
    order = rng.permutation(50)
    expected = keras.ops.convert_to_numpy(model(points))[:, order]
    np.testing.assert_allclose(model(points[:, order]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_any_number_of_points(count):
    model = zoo.create("pointnet", (None, 3), 5, width=0.125)
    assert model(np.ones((2, count, 3), "float32")).shape == (2, 5)


def test_a_point_and_its_copies_are_one():
    model = stir(zoo.create("pointnet", (None, 3), 5, width=0.125))
    points = np.random.default_rng(0).normal(size=(2, 40, 3)).astype("float32")
    again = np.concatenate([points, points[:, :10]], axis=1)
    np.testing.assert_allclose(model(points), model(again), rtol=1e-5, atol=1e-5)


def test_alignment_starts_at_identity():
    inputs = keras.Input((20, 3))
    model = keras.Model(inputs, t_net(inputs, "align"))
    matrices = model(np.random.default_rng(0).normal(size=(2, 20, 3)))
    np.testing.assert_allclose(matrices, np.stack([np.eye(3)] * 2), atol=1e-6)


def test_orthogonality_is_the_mean_of_each_samples_own_term():
    matrices = np.random.default_rng(0).normal(size=(5, 4, 4)).astype("float32")
    by_hand = np.mean([np.sum((np.eye(4) - a @ a.T) ** 2) for a in matrices])
    inputs = keras.Input((4, 4))
    layer = keras.layers.Reshape((4, 4), activity_regularizer=Orthogonality(0.001))
    model = keras.Model(inputs, layer(inputs))
    model(matrices)
    np.testing.assert_allclose(model.losses[0], 0.001 * by_hand, rtol=1e-5)


def test_orthogonality_is_nothing_for_rotations():
    turns, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 4, 4)))
    assert float(Orthogonality(1.0)(turns)) < 1e-8


def test_only_the_feature_transform_is_regularised_and_stays_so_when_loaded(tmp_path):
    model = zoo.create("pointnet", (16, 3), 5, width=0.125)
    model.save(tmp_path / "model.keras")
    for network in (model, keras.models.load_model(tmp_path / "model.keras")):
        terms = {layer.name: layer.activity_regularizer for layer in network.layers}
        terms = {name: term.weight for name, term in terms.items() if term is not None}
        assert terms == {"align_features_matrix": 0.001}
        stir(network)(np.ones((2, 16, 3), "float32"))
        assert len(network.losses) == 1 and float(network.losses[0]) > 0


def test_flat_identity_refuses_what_is_no_square():
    with pytest.raises(ValueError, match="square"):
        FlatIdentity()((8,))
