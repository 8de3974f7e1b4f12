"""Image embedding: scores by hand, batches of classes, turned classes, principal components."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from datasets.pipeline import Batches
from datasets.splits import Arrays
from zoo import plots
from zoo.tasks.image_embedding import figures, retrieval, sampling

# Vectors on a line: 0 and 1 of class 0, 1.5 of class 1, 4 of class 0, 5 of class 1, 9 of class 2.
LINE, LABELS = np.array([[0.0], [1.0], [1.5], [4.0], [5.0], [9.0]]), np.array([0, 0, 1, 0, 1, 2])


def test_ranks_and_r_precision_by_hand():
    first, precision = retrieval.matches(LINE, LABELS)
    # 0: 1 is next. 1: 1.5 is nearer than 0. 1.5: 1, 0 and 4 are nearer than 5. 4: 5 and 1.5 are
    # nearer than 1. 5: 4 is nearer than 1.5. 9 is alone in its class.
    np.testing.assert_array_equal(first, [0, 1, 3, 2, 1, np.nan])
    # Two others are of class 0: of 0 the nearest two are 1, 1.5; of 1: 1.5, 0; of 4: 5, 1.5.
    np.testing.assert_array_equal(precision, [1 / 2, 1 / 2, 0, 0, 0, np.nan])


def test_scores_are_means_of_images_with_others_of_their_class():
    info = {"classes": ["a", "b", "c"]}
    scores, text = retrieval.score(retrieval.summarize(LABELS, LINE, info), info)
    assert scores["recall_at_1"] == pytest.approx(1 / 5) and scores["recall_at_5"] == 1
    assert scores["r_precision"] == pytest.approx(1 / 5)
    assert scores["classes"]["a"] == {
        "recall_at_1": pytest.approx(1 / 3),
        "r_precision": pytest.approx(1 / 3),
        "support": 3,
    }
    assert set(scores["classes"]) == {"a", "b"} and "only image of their class: 1" in text
    assert scores["one_shot"]["ways"] == 3


def test_ranks_equal_a_full_sort_of_random_vectors(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.integers(0, 7, 60)
    monkeypatch.setattr(retrieval, "BLOCK", 60 * 7)  # several blocks
    first, precision = retrieval.matches(x, y)
    for i in range(60):
        others = np.delete(np.arange(60), i)
        order = others[np.argsort(np.linalg.norm(x[others] - x[i], axis=1))]
        hits = y[order] == y[i]
        assert first[i] == hits.argmax()
        assert precision[i] == pytest.approx(hits[: hits.sum()].mean())


def test_equal_inputs_have_distance_0_and_equal_vectors_for_all_score_0():
    x = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32) * 1e3
    squares = retrieval.squared_distances(x, x[[3, 0]])
    assert squares[3, 0] == squares[0, 1] == 0 and np.count_nonzero(squares == 0) == 2
    expected = ((x[:, None].astype(float) - x[[3, 0]]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(squares, expected, rtol=1e-9)
    y, info = np.repeat([0, 1], 3), {"classes": ["a", "b"]}
    scores, _ = retrieval.score(retrieval.summarize(y, np.tile(x[:1], (6, 1)), info), info)
    assert scores["recall_at_1"] == scores["r_precision"] == scores["one_shot_accuracy"] == 0


def test_one_shot_by_hand():
    apart = np.repeat(10.0 * np.eye(4), 5, axis=0) + np.random.default_rng(0).normal(size=(20, 4))
    y = np.repeat(np.arange(4), 5)
    assert retrieval.one_shot(apart, y) == (1.0, 4, 0.0)
    assert retrieval.one_shot(apart, y, ways=3)[1] == 3
    noise = np.random.default_rng(0).normal(size=(400, 8))
    accuracy, ways, error = retrieval.one_shot(noise, np.repeat(np.arange(40), 10), episodes=2000)
    assert ways == 20 and abs(accuracy - 1 / 20) < 4 * error
    assert error == pytest.approx(np.sqrt(accuracy * (1 - accuracy) / 2000))
    # One pair, and 1 far away: the query is 0 or 2, the match the other one, at 2; 5 is farther
    # than that from 0 and from 2, and 1 is nearer.
    assert retrieval.one_shot(np.array([[0.0], [2.0], [5.0]]), np.array([0, 0, 1]))[0] == 1
    assert retrieval.one_shot(np.array([[0.0], [2.0], [1.0]]), np.array([0, 0, 1]))[0] == 0
    assert np.isnan(retrieval.one_shot(noise[:3], np.arange(3))[0])


def arrays(counts):
    """Return a split of numbers with classes of these sizes, shuffled."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return Arrays(np.arange(len(y), dtype=np.float32), y, np.arange(len(y)))


def batches(counts, size, images, **settings):
    sampler = sampling.sampler({"examples_per_class": images})
    return Batches(arrays(counts), size, training=True, sampler=sampler, **settings)


@pytest.mark.parametrize(
    ("counts", "size", "images", "shape"),
    [
        ([8] * 12, 16, 4, (6, 4)),  # each image once
        ([5, 9, 3, 7, 6], 10, 2, (4, 5)),  # sets of two, the last ones completed
        ([1, 1, 6], 4, 2, (3, 2)),  # the only image of a class is repeated
        ([4, 4], 64, 4, (1, 2)),  # fewer classes than fit
        ([4, 4], 2, 4, (1, 2)),  # two classes at least
    ],
)
def test_batches_hold_as_many_images_of_each_of_different_classes(counts, size, images, shape):
    data = batches(counts, size, images)
    assert len(data) == shape[0] and data.size == shape[1] * images
    seen = []
    for i in range(len(data)):
        x, y = data[i]
        _, number = np.unique(y, return_counts=True)
        assert number.tolist() == [images] * shape[1]
        seen += x.tolist()
    if len(set(counts)) == 1:
        assert len(set(seen)) == sum(counts), "an epoch has every image"


def test_batches_depend_on_seed_and_epoch_alone_and_keep_their_shape():
    data, again, other = (batches([9, 5, 8, 7], 8, 4, seed=seed) for seed in (0, 0, 1))
    first = data.order
    np.testing.assert_array_equal(first, again.order)
    assert (first != other.order).any()
    data.on_epoch_end()
    data.on_epoch_end()
    assert (data.order != first).any() and data.order.shape == first.shape
    again.start(2)  # as a resumed run does
    np.testing.assert_array_equal(data.order, again.order)
    data.start(0)
    np.testing.assert_array_equal(data.order, first)


def test_batches_of_validation_are_the_same_in_every_epoch():
    sampler = sampling.sampler({"examples_per_class": 2})
    data = Batches(arrays([4, 4, 4]), 4, sampler=sampler)
    first = data.order
    data.on_epoch_end()
    np.testing.assert_array_equal(data.order, first)


def test_turned_classes_turn_all_images_of_a_class_alike():
    none = dict.fromkeys(
        "rotation zoom shift shear perspective elastic brightness contrast color_jitter "
        "channel_shift blur noise erasing".split(),
        0.0,
    )
    options = {**none, "flip": "none", "turned_classes": True}
    x = np.random.default_rng(0).uniform(size=(24, 5, 5, 1)).astype(np.float32)
    y, quarters = np.repeat(np.arange(8), 3), []
    turned, labels = sampling.augment(options)(x, y, (0, 1, 2))
    np.testing.assert_array_equal(labels, y)
    for before, after in zip(x.reshape(8, 3, 5, 5, 1), turned.reshape(8, 3, 5, 5, 1), strict=True):
        same = [k for k in range(4) if np.array_equal(np.rot90(before, k, (1, 2)), after)]
        quarters += same
    assert len(quarters) == 8 and len(set(quarters)) > 1
    assert sampling.augment({**options, "turned_classes": False}) is None


def test_principal_components_by_hand():
    # 3, -3 along (1, 1) / √2, and 1, -1 along (1, -1) / √2, around (5, 7)
    axes = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    x = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]]) @ axes + [5, 7]
    places, shares = figures.components(x)
    np.testing.assert_allclose(np.abs(places), [[3, 0], [3, 0], [0, 1], [0, 1]], atol=1e-12)
    np.testing.assert_allclose(shares, [0.9, 0.1])
    for alone in (x[:1], x[:, :1]):
        places, shares = figures.components(alone)
        assert places.shape == (len(alone), 2) and np.isfinite(places).all()


def test_images_of_the_plane_do_not_overlap():
    places = np.random.default_rng(0).uniform(size=(300, 2))
    chosen = places[figures.apart(places, 0.1)]
    gaps = np.abs(chosen[:, None] - chosen).max(axis=-1) + np.eye(len(chosen))
    assert gaps.min() >= 0.1 and len(chosen) > 30


@pytest.mark.parametrize("count", [1, 3])
def test_a_plane_of_equal_vectors_has_axes_of_length_one_and_no_variance(count):
    figure = figures.plane(np.full((count, 4), 0.3, "float32"), lambda i: np.ones((8, 8, 3)))
    (axes,) = figure.axes
    assert np.ptp(axes.get_xlim()) > 1 and axes.get_xlabel() == "first principal component"
    assert len(axes.images) == 1 and len(axes.collections[0].get_offsets()) == count - 1
    frame = np.asarray(axes.images[0].get_array())[0, 0]
    np.testing.assert_allclose(frame, to_rgb(figures.FRAME), atol=1e-6)


def test_a_dot_is_not_covered_and_has_the_colour_of_its_class():
    vectors, colours = np.eye(4, dtype="float32")[[0, 0, 1, 2]], plots.palette(2)[[0, 0, 1, 1]]
    figure = figures.plane(vectors, lambda i: np.ones((8, 8, 3)), colours, [("a", "red")])
    (axes,) = figure.axes
    (dots,) = axes.collections
    assert len(axes.images) == 3 and len(dots.get_offsets()) == 1
    assert dots.get_zorder() > max(image.get_zorder() for image in axes.images)
    np.testing.assert_allclose(dots.get_facecolor()[0, :3], colours[0], atol=1e-6)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a"]
