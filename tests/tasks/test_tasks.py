"""What a task promises, for every task; and what those on point clouds do to points."""

import itertools

import keras
import numpy as np
import pytest
from conftest import CLASSES, EXAMPLES, toy
from matplotlib.figure import Figure

import zoo
from zoo import index, tasks
from zoo.inference import predictors
from zoo.nn import layers, metrics
from zoo.tasks import clouds, targets
from zoo.tasks import task as record
from zoo.tasks.targets import report


class Symmetric:
    """A model whose outputs move along with the picture or cloud: its colours, radius and height.

    Args:
        whole: whether they are the mean over all places, (B, K), or of each place, (B, ..., K).
    """

    def __init__(self, whole):
        self.whole = whole

    def predict_on_batch(self, x):
        if isinstance(x, dict):
            x = x["points"]
        if x.ndim == 3 and x.shape[-1] == 3:
            x = np.stack([np.hypot(x[..., 0], x[..., 1]), x[..., 2]], axis=-1)
        return x.mean(axis=tuple(range(1, x.ndim - 1))) if self.whole else x


def losses_of(batch):
    """Return the losses of a task that are for the targets of its toy batch, which are classes."""
    names = batch.task.training.losses
    return ["auto", *targets.of(batch.info).losses] if "auto" in names else names


@pytest.mark.parametrize("name", index.tasks())
class TestEveryTask:
    """Promises of a record."""

    def test_it_has_a_toy_batch(self, name):
        assert name in EXAMPLES, "add a line to EXAMPLES in tests/conftest.py"
        assert tasks.get(name).name == name

    def test_index_reads_its_literals(self, name):
        fields, task = index.tasks()[name], tasks.get(name)
        for field in ("name", "dataset", "options"):
            assert fields[field] == getattr(task, field)
        for field in ("defaults", "losses", "best"):
            assert fields[field] == getattr(task.training, field)

    def test_options_of_models_and_tasks_never_share_a_name(self, name):
        for row in index.models().values():
            if name in row.tasks:
                for key in set(row.options) & set(tasks.get(name).options):
                    assert key in toy(name, **{key: "auto"}).arguments, (
                        "unless the task hands it on"
                    )

    def test_prepare_is_deterministic(self, name):
        first, second = toy(name), toy(name)
        np.testing.assert_array_equal(first.x, second.x)
        np.testing.assert_array_equal(first.y, second.y)

    def test_augmentation_depends_on_its_entropy_alone(self, name):
        batch = toy(name)
        change = batch.task.training.augment(batch.info, batch.options)
        first, repeated, changed = (
            np.asarray(change(batch.x, batch.y, e)[0]) for e in [(1, 2), (1, 2), (1, 3)]
        )
        np.testing.assert_array_equal(first, repeated)
        assert np.abs(first - changed).max() > 0.01
        assert first.shape == batch.x.shape and first.dtype == batch.x.dtype

    def test_views_differ_and_are_undone(self, name):
        batch = toy(name)
        views = batch.task.usage.views(batch.x.shape[1:], batch.options)
        seen = [there(batch.x) for there, _ in views]
        np.testing.assert_array_equal(seen[0], batch.x)
        for x in seen:
            assert x.dtype == batch.x.dtype and x.shape == batch.x.shape
        for a, b in itertools.combinations(seen, 2):
            assert np.abs(a - b).max() > 0.01
        model = Symmetric(whole=batch.y.ndim == 1)
        plain, mean = (
            predictors.predict(m, batch.x, 3) for m in (model, predictors.Averaged(model, views))
        )
        assert mean.shape == plain.shape and mean.dtype == np.float32
        np.testing.assert_allclose(report.softmax(mean), report.softmax(plain), atol=1e-6)

    def test_the_truth_has_full_scores(self, name):
        batch = toy(name)
        scores, text = batch.task.results.evaluate(batch.y, batch.truth(), batch.info)
        numbers = {key: value for key, value in scores.items() if isinstance(value, float)}
        assert batch.task.training.best[0].removeprefix("val_") in numbers
        errors = batch.task.training.best[1] == "min"
        full = {key: float(not errors or key == "r2") for key in numbers}
        assert numbers == pytest.approx(full, rel=1e-6)
        shown = [CLASSES[k] for k in np.unique(batch.y)] if batch.task.vectors else CLASSES
        names = batch.info["columns"] if "columns" in batch.info else ["support", *shown]
        assert all(name in text for name in names)
        assert len(batch.task.usage.decode(batch.truth(), batch.info)) == len(batch.x)

    def test_scores_equal_the_metrics_of_the_progress_bar(self, name):
        batch = toy(name)
        outputs = np.random.default_rng(0).normal(size=batch.truth().shape).astype(np.float32)
        scores, _ = batch.task.results.evaluate(batch.y, outputs, batch.info)
        for metric in batch.task.training.metrics(batch.info):
            for half in (slice(0, 3), slice(3, None)):
                metric.update_state(batch.y[half], outputs[half])
            np.testing.assert_allclose(metric.result(), scores[metric.name], rtol=1e-5, atol=1e-6)

    def test_a_split_is_scored_part_by_part(self, name, monkeypatch):
        batch = toy(name)
        outputs = np.random.default_rng(0).normal(size=batch.truth().shape).astype(np.float32)
        whole = batch.task.results.score(
            batch.task.results.summary([(batch.y, outputs)], batch.info), batch.info
        )
        monkeypatch.setattr(record, "BLOCK", 1)  # one example at a time
        assert batch.task.results.evaluate(batch.y, outputs, batch.info) == whole

    def test_losses_of_keras_keep_their_arguments_when_saved(self, name):
        batch = toy(name)
        outputs = 3 * np.random.default_rng(0).normal(size=batch.truth().shape).astype(np.float32)
        for loss_name in losses_of(batch):
            loss = batch.task.training.loss(batch.info, {**batch.options, "loss": loss_name})
            if not type(loss).__module__.startswith("keras"):
                continue
            again = keras.losses.deserialize(keras.losses.serialize(loss))
            assert float(again(batch.y, outputs)) == float(loss(batch.y, outputs)), loss_name

    def test_figures_and_files_are_made(self, name, tmp_path):
        batch = toy(name)
        outputs = batch.truth()
        figures = batch.task.results.plot(batch.x, batch.y, outputs, batch.info)
        summary = batch.task.results.summary([(batch.y, outputs)], batch.info)
        figures |= batch.task.results.curves(summary, batch.info)
        figures["preview"] = batch.task.training.preview(batch.x, batch.y, batch.info)
        assert {"preview", "examples"} < set(figures)
        assert all(isinstance(figure, Figure) for figure in figures.values())
        example = batch.examples[0]
        pieces = batch.task.data.cover(example, batch.options)
        row, files = batch.task.usage.present(
            example, pieces, iter(outputs[: len(pieces)]), batch.info
        )
        assert row
        for ending, write in files.items():
            write(tmp_path / f"out{ending}")
            assert (tmp_path / f"out{ending}").stat().st_size > 100

    def test_every_loss_prefers_the_truth(self, name):
        batch = toy(name)
        if not batch.task.training.losses:  # tests/models/test_promises.py has those of models
            assert batch.task.training.loss(batch.info, batch.options) is None
            return
        assert batch.options["loss"] == batch.task.training.losses[0]
        right, wrong = batch.truth(), np.roll(batch.truth(), 1, axis=-1)
        for choice in losses_of(batch):
            loss = batch.task.training.loss(batch.info, {**batch.options, "loss": choice})
            assert float(loss(batch.y, right)) < 0.1 < float(loss(batch.y, wrong)), choice


@pytest.mark.parametrize(
    ("shape", "flip", "count"),
    [
        ((32, 32, 1), "horizontal_and_vertical", 8),
        ((None, None, 1), "horizontal_and_vertical", 8),
        ((32, 48, 1), "horizontal_and_vertical", 4),
        ((None, 48, 1), "horizontal_and_vertical", 4),
        ((32, 48, 1), "horizontal", 2),
        ((32, 32, 1), "vertical", 2),
        ((32, 32, 1), "none", 1),
    ],
)
def test_views_of_images_are_flips_that_training_showed_and_fit_the_model(shape, flip, count):
    views = tasks.get("image_segmentation").usage.views(shape, {"flip": flip})
    x = np.random.default_rng(0).normal(size=(2, 32, shape[1] or 48, 1)).astype(np.float32)
    seen = [there(x) for there, _ in views]
    assert len({x.tobytes() for x in seen}) == len(seen) == count
    if None not in shape:
        assert all(view.shape == x.shape for view in seen)
    for view, (_, back) in zip(seen, views, strict=True):
        np.testing.assert_array_equal(back(view), x)
    allowed = {"none": [x], "horizontal": [x, x[:, :, ::-1]], "vertical": [x, x[:, ::-1]]}
    if flip in allowed:
        np.testing.assert_array_equal(seen, allowed[flip])


def test_views_of_clouds_are_turns_that_training_showed_and_leave_other_inputs_alone():
    task = tasks.get("pointcloud_segmentation")
    x = {"points": np.eye(3, dtype=np.float32)[None], "object": np.array([7])}
    views = task.usage.views((3, 3), task.options)
    seen = [there(x) for there, _ in views]
    assert all(view["object"] is x["object"] for view in seen)
    quarter = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(seen[2]["points"][0], quarter, atol=1e-6)
    mean = predictors.predict(predictors.Averaged(Symmetric(whole=False), views), x, 1)
    plain = report.softmax([[1, 0], [1, 0], [0, 1]])
    np.testing.assert_allclose(report.softmax(mean[0]), plain, rtol=1e-5)
    assert len(task.usage.views((3, 3), {**task.options, "rotate": False})) == 1


def test_a_mean_over_views_turns_with_the_image():
    keras.utils.set_random_seed(0)
    model = zoo.create("unet", (None, None, 3), 4, depth=2, width=0.0625)
    task = tasks.get("image_segmentation")
    mean = predictors.with_views(model, task, task.options)
    x = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    outputs, plain = mean.predict_on_batch(x), model.predict_on_batch(x)
    for there, back in mean.views[1:]:
        np.testing.assert_allclose(back(mean.predict_on_batch(there(x))), outputs, atol=1e-4)
        assert np.abs(back(model.predict_on_batch(there(x))) - plain).max() > 1e-2
    wide = np.ascontiguousarray(x[:, :16])
    np.testing.assert_allclose(
        mean.predict_on_batch(wide[:, :, ::-1]), mean.predict_on_batch(wide)[:, :, ::-1], atol=1e-4
    )


def test_a_mean_over_views_is_one_of_probabilities():
    class Echo:
        def predict_on_batch(self, x):
            return x

    def same(x):
        return x

    def logit(p):
        return np.float32(np.log(p) - np.log1p(-np.asarray(p)))

    averaged = predictors.Averaged(Echo(), [(same, same), (lambda x: 0 * x, same)])
    outputs = averaged.predict_on_batch(logit([[0.9], [0.2]]))
    np.testing.assert_allclose(outputs, logit([[0.7], [0.35]]), rtol=1e-5)
    # (1 + 1/2) / 2, and (0 + 1/2) / 2
    far = averaged.predict_on_batch(np.float32([[1000], [-1000]]))
    np.testing.assert_allclose(far, [[np.log(3)], [-np.log(3)]], rtol=1e-5)
    three = predictors.Averaged(Echo(), [(same, same), (lambda x: x[:, ::-1], same)])
    outputs = three.predict_on_batch(np.log(np.float32([[0.7, 0.2, 0.1]])))
    np.testing.assert_allclose(report.softmax(outputs), [[0.4, 0.2, 0.4]], rtol=1e-5)


def test_a_model_of_one_view_has_no_mean():
    model = keras.Sequential([keras.Input((64, 3)), keras.layers.GlobalMaxPooling1D()])
    task = tasks.get("pointcloud_classification")
    assert len(predictors.with_views(model, task, task.options).views) == 8
    with pytest.raises(ValueError, match="trained without flips and turns.*without --tta"):
        predictors.with_views(model, task, {**task.options, "rotate": False})


def test_every_point_of_a_scan_is_in_one_piece():
    points = np.random.default_rng(0).uniform(0, 10, (1000, 3)).astype(np.float32)
    for block, count in [(0.0, 300), (2.5, 50)]:
        pieces = tasks.get("pointcloud_segmentation").data.cut(
            {"points": points, "labels": np.arange(1000)}, {"points": count, "block": block}
        )
        index = np.concatenate([piece["index"] for piece in pieces])
        assert sorted(index) == list(range(1000))
        for piece in pieces:
            assert len(piece["points"]) <= count
            np.testing.assert_array_equal(points[piece["index"]], piece["points"])
            np.testing.assert_array_equal(piece["labels"], piece["index"])
            if block:
                assert np.ptp(piece["points"][:, :2], axis=0).max() <= block


def test_repeated_points_are_void_and_the_others_come_first():
    task = tasks.get("pointcloud_segmentation")
    piece = {"points": np.random.default_rng(0).normal(size=(5, 3)), "labels": np.arange(5)}
    options = {**task.options, "points": 8}
    _, y = task.data.prepare(piece, {"radius": 1.0}, options)
    assert y.tolist() == [0, 1, 2, 3, 4, -1, -1, -1]


def test_metric_size_survives_the_dataset_constant_and_not_the_unit_ball():
    small, large = (
        np.ones((4, 3)) * [[1], [-1], [1], [-1]],
        np.ones((4, 3)) * [[5], [-5], [5], [-5]],
    )
    by = lambda how: [clouds.normalize(c, {"radius": 2.0}, how) for c in (small, large)]  # noqa: E731
    small, large = by("dataset")
    np.testing.assert_allclose(large, 5 * small)
    small, large = by("unit_ball")
    np.testing.assert_allclose(large, small)
    assert np.linalg.norm(small, axis=1).max() == pytest.approx(1.0)


@pytest.mark.parametrize("radius", [0, 0.0, -1.0, np.nan, np.inf, 1e-30, None, "1", True])
def test_a_radius_that_cannot_divide_is_refused(radius):
    with pytest.raises(ValueError, match="radius .* is .*, not metres above 0"):
        clouds.normalize(np.ones((4, 3)), {"radius": radius}, "dataset")
    clouds.normalize(np.ones((4, 3)), {"radius": radius}, "unit_ball")  # needs none


def test_clouds_without_extent_are_no_nan_and_alone_no_data():
    task = tasks.get("pointcloud_classification")
    options, flat = {**task.options, "points": 8}, {"points": np.ones((5, 3)), "label": 0}
    with pytest.raises(ValueError, match="no cloud has an extent"):
        task.data.measure([flat], options)
    constants = task.data.measure([flat, {"points": np.eye(3), "label": 1}], options)
    for how in ("dataset", "unit_ball"):
        x, _ = task.data.prepare(flat, constants, {**options, "normalize": how})
        assert np.isfinite(x).all() and not x.any()


def test_a_survey_comes_back_as_it_was_with_the_predicted_codes(tmp_path):
    import laspy

    from datasets.readers.clouds import read_example
    from tests.readers.test_readers_cloud_formats import ROWS, survey

    path, task = survey(tmp_path / "town.laz"), tasks.get("pointcloud_segmentation")
    options = {**task.options, "points": 16}
    for classes, endings in [
        (["ground", "building"], [".laz", ".png"]),
        (["car", "tree"], [".ply", ".png"]),
    ]:
        example = read_example(path)
        pieces = task.data.cover(example, options)
        outputs = iter([np.eye(2)[piece["index"] % 2] for piece in pieces])
        row, writers = task.usage.present(example, pieces, outputs, {"classes": classes})
        assert [*writers] == endings and row["points"] == len(ROWS)
        if classes[0] == "ground":
            writers[".laz"](tmp_path / "out.laz")
    las = laspy.read(tmp_path / "out.laz")
    assert las.classification.tolist() == [2, 6] * (len(ROWS) // 2)
    np.testing.assert_array_equal(las.gps_time, laspy.read(path).gps_time)


def test_farthest_points_are_spread():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(500, 3)) * 0.01, np.eye(3) * 10])
    chosen = clouds.sample(points, 4, "farthest")
    assert {500, 501, 502} <= set(chosen.tolist())
    assert len(set(clouds.sample(points, 100, "random").tolist())) == 100
    assert set(clouds.sample(points[:5], 9).tolist()) == set(range(5))


def changed(points, **options):
    """Return augmented points, with no change but those named."""
    none = dict(rotate=False, scale=0.0, jitter=0.0, point_dropout=0.0)
    x, _ = clouds.augment({**none, **options})(points, np.zeros(len(points)), (1,))
    assert x.dtype == points.dtype and x.shape == points.shape
    return x


def test_augmentation_keeps_up_up_and_sizes_nearly():
    points = np.random.default_rng(0).normal(size=(6, 50, 3)).astype(np.float32)
    np.testing.assert_array_equal(changed(points), points)
    turned = changed(points, rotate=True)
    np.testing.assert_allclose(turned[..., 2], points[..., 2], rtol=1e-6)
    length = [np.linalg.norm(x, axis=-1) for x in (turned, points)]
    np.testing.assert_allclose(*length, rtol=1e-5)
    assert np.abs(turned - points).max() > 0.5
    assert np.linalg.det(clouds.turns(np.array([0.3, 2.0]))) == pytest.approx(1.0)
    ratio = changed(points, scale=0.1) / points
    assert 0.9 <= ratio.min() < 0.97 and 1.03 < ratio.max() <= 1.1
    assert np.std(changed(points, jitter=0.01) - points) == pytest.approx(0.01, rel=0.1)
    dropped = changed(points, point_dropout=0.5)
    same = np.all(dropped == points, axis=-1)
    first = np.all(dropped == points[:, :1], axis=-1)
    assert np.all(same | first) and 0.5 < same.mean() < 0.95


def test_labels_stay_with_their_points():
    labels = np.tile(np.arange(40), (3, 1)).astype(np.int32)
    x = np.repeat(labels[..., None], 3, axis=-1).astype(np.float32) + 1
    options = dict(rotate=True, scale=0.05, jitter=0.0, point_dropout=0.5)
    moved, y = clouds.augment(options)(x, labels, (0,))
    length = np.linalg.norm(moved, axis=-1) / np.sqrt(3)
    factor = length / (y + 1)
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], factor.shape), rtol=1e-4)
    assert y.dtype == labels.dtype and np.any(y != labels)


def test_row_normalization_is_batch_normalisation():
    x = np.random.default_rng(0).normal(3, 2, size=(4, 30, 5)).astype("float32")
    ours, expected = (
        layers.RowNormalization(momentum=0.9),
        keras.layers.BatchNormalization(momentum=0.9),
    )
    for training in (True, True, False):
        pair = ours(x, training=training), expected(x, training=training)
        np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-5)
    for pair in zip(ours.weights, expected.weights, strict=True):
        np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-6)


def test_metrics_by_hand_with_void():
    labels = np.array([[0, 0, 0, 1, -1, 2]])
    guess = np.array([[0, 0, 1, 1, 1, 0]])
    logits = np.eye(4, dtype=np.float32)[guess]
    for metric, value in [
        (metrics.Accuracy(4), 3 / 5),
        (metrics.MeanClassAccuracy(4), (2 / 3 + 1 + 0) / 3),
        (metrics.MeanIoU(4), (2 / 4 + 1 / 2 + 0) / 3),
    ]:
        metric.update_state(labels, logits)
        assert float(metric.result()) == pytest.approx(value)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
        assert again.num_classes == 4
    matrix = report.confusion(labels, guess, 4)
    assert matrix[:3, :2].tolist() == [[2, 1], [0, 1], [1, 0]] and matrix.sum() == 5
