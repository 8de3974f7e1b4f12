"""siamese and triplet: losses by hand, gradients where distances are 0, what a file keeps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import zoo
from zoo.models.embedding import siamese, triplet
from zoo.weights import saving

# Squared distances: 0-1 of class 0: 1; 2-3 of class 1: 4; 0-2: 4, 0-3: 16, 1-2: 1, 1-3: 9.
LINE, LABELS = np.array([[0.0], [1.0], [2.0], [4.0]], np.float32), np.array([0, 0, 1, 1])


def test_contrastive_loss_by_hand():
    # Pairs of a class: (1 + 4) / 2; others, by the margin 3: (1 + 0 + 4 + 0) / 4.
    loss = float(siamese.contrastive(LABELS, LINE, 3.0))
    assert loss == pytest.approx((5 / 2 + 5 / 4) / 2)
    assert float(siamese.contrastive(np.arange(4), LINE, 1.0)) == 0, "all are far apart"
    assert float(siamese.contrastive(np.zeros(1), LINE[:1], 1.0)) == 0, "there is no pair"


def test_semi_hard_loss_by_hand():
    # (0, 1): squares 4 and 16 of others, 4 is the nearest farther than 1: 1 - 4 + 4 = 1
    # (1, 0): 1 and 9, 9 is the nearest farther than 1: 1 - 9 + 4 < 0
    # (2, 3): 4 and 1, none is farther than 4, 4 is the farthest: 4 - 4 + 4 = 4
    # (3, 2): 16 and 9, 9 is the nearest farther than 4: 4 - 9 + 4 < 0
    loss = float(triplet.semi_hard(LABELS, LINE, 4.0))
    assert loss == pytest.approx((1 + 0 + 4 + 0) / 4)


def test_batch_hard_loss_by_hand():
    # Distances: 0: 1 - 2 + 2; 1: 1 - 1 + 2; 2: 2 - 1 + 2; 3: 2 - 3 + 2
    loss = float(triplet.batch_hard(LABELS, LINE, 2.0))
    assert loss == pytest.approx((1 + 2 + 3 + 1) / 4)
    assert float(triplet.batch_hard(LABELS, LINE, 0.5)) == pytest.approx((0 + 0.5 + 1.5 + 0) / 4)


@pytest.mark.parametrize("mining", triplet.MINING)
def test_images_without_others_of_their_class_have_no_triplet(mining):
    loss = triplet.MINING[mining]
    assert float(loss(np.arange(4), LINE, 4.0)) == 0, "no positives"
    assert float(loss(np.zeros(4), LINE, 4.0)) == 0, "no negatives"
    alone = float(loss(np.array([0, 0, 1]), LINE[:3], 4.0))
    terms = {"semi-hard": (1 - 4 + 4, 1 - 1 + 4), "batch-hard": (1 - 2 + 4, 1 - 1 + 4)}[mining]
    assert alone == pytest.approx(sum(terms) / 2), "2 is a negative only"


def gradient(function, x):
    """Return the gradient of a function of an array, by TensorFlow."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return np.asarray(tape.gradient(value, x))


@pytest.mark.parametrize("x", [np.zeros((4, 3), np.float32), np.ones((4, 3), np.float32)])
def test_gradients_are_finite_where_lengths_or_distances_are_0(x):
    losses = [lambda v: siamese.contrastive(LABELS, v, 1.0)]
    unit = triplet.UnitLength()
    losses += [lambda v, f=f: f(LABELS, unit(v), 0.2) for f in triplet.MINING.values()]
    for loss in losses:
        assert np.isfinite(gradient(loss, x)).all()


def test_pairs_of_different_classes_are_pushed_apart_and_others_drawn_together():
    x = np.array([[0.0, 0], [0.5, 0], [0, 0.5], [2, 0]], np.float32)
    step = gradient(lambda v: siamese.contrastive(np.array([0, 0, 1, 2]), v, 1.0), x)
    assert step[1, 0] > 0 and step[2, 1] < 0, "1 is drawn to 0, and 2 pushed away from it"
    assert not step[3].any(), "3 is beyond the margin"


@pytest.mark.parametrize("name", ["siamese", "triplet"])
def test_a_file_keeps_the_loss(name, tmp_path):
    mining = {"mining": "batch-hard"} if name == "triplet" else {}
    model = zoo.create(name, (16, 16, 1), width=0.25, embedding_size=4, margin=0.7, **mining)
    x = np.random.default_rng(0).uniform(size=(6, 16, 16, 1)).astype(np.float32)
    y = np.repeat([0, 1, 2], 2)
    saving.save(model, tmp_path / "model.keras", {})
    again = saving.load(tmp_path / "model.keras")
    assert type(again) is type(model) and again.margin == 0.7
    values = [float(m.compute_loss(x, y, m(x))) for m in (model, again)]
    assert values[0] == values[1] > 0
    if name == "triplet":
        assert again.mining == "batch-hard"
        np.testing.assert_allclose(np.linalg.norm(again(x), axis=1), 1, rtol=1e-5)
    (part,) = again.parts().values()
    np.testing.assert_array_equal(part(x), again(x))
    assert isinstance(part, keras.Model) and type(part) is not type(again)


def test_encoders():
    assert zoo.create("siamese", (105, 105, 1), encoder="koch", width=0.125).output_shape[1] == 64
    model = zoo.create("triplet", (32, 32, 3), encoder="resnet", encoder_depth=20, width=0.5)
    assert model.get_layer("pool").output.shape == (None, 32)
    with pytest.raises(ValueError, match="too small for koch: --set image_size=105"):
        zoo.create("siamese", (28, 28, 1), encoder="koch")
    with pytest.raises(ValueError, match="16 pixels or more"):
        zoo.create("siamese", (15, 15, 1))
    with pytest.raises(ValueError, match="need a classifier as the encoder"):
        zoo.create("siamese", (28, 28, 1), encoder_depth=20)
    with pytest.raises(ValueError, match="unknown encoder 'conv5': did you mean conv4?"):
        zoo.create("siamese", (28, 28, 1), encoder="conv5")
    with pytest.raises(ValueError, match="mining is semi-hard or batch-hard, not \"?'?hard"):
        zoo.create("triplet", (28, 28, 1), mining="hard")
