"""An ensemble: its members, the data, and the members' predictions."""

import copy
import json
import time

import keras
import numpy as np

from ensembles.combining import combine
from ensembles.evaluation import intervals, probabilities, selective
from ensembles.members import cache, checks, dropout, provenance
from zoo import tasks
from zoo.inference import predictors
from zoo.nn import losses
from zoo.system import disk


class Ensemble:
    """Members, the data they are combined on, and their outputs, which are computed on first use.

    Attributes:
        members: list of `ensembles.members.opening.Member`.
        common: what the members share, with the data's classes and constants if no member has any.
        data: splits, options, info and about, as `datasets.prepared.prepare` returns them.
        cut: how the data are split: fold, validate, skip_bad.
        warnings: sentences for the report.
        others: examples of other data, to be told from the test split; or None.
    """

    def __init__(self, members, common, data, cut, *, folder, batch_size, dtype, tta=False):
        self.members, self.data, self.cut = members, data, cut
        self.common = checks.completed(common, data)
        self.folder, self.batch_size, self.dtype, self.tta = folder, batch_size, dtype, tta
        self.refusals, self.warnings = provenance.leakage(members, data.about, cut, data.examples)
        self.warnings += filter(None, (disk.unfinished(member.path) for member in members))
        self._outputs, self._statistics, self.others = {}, {}, None

    def permit(self, fitted, allowed):
        """Raise an error if data would leak, or add a warning if leakage is allowed.

        Args:
            fitted: whether something will be fitted to the validation split.
            allowed: whether the user allows leakage.

        Raises:
            ValueError: if members were trained on the examples; the message gives alternatives.
        """
        if not self.refusals:
            return
        if fitted and not allowed:
            raise ValueError(
                f"{'; '.join(self.refusals)}. Scores of an ensemble that is fitted to these "
                "examples would be too optimistic. Combine members that have the same splits, "
                "train them by python -m ensembles folds, use average or vote, or pass "
                "--allow-leakage"
            )
        self.warnings += [f"leakage: {text}" for text in self.refusals]

    def outputs(self, split):
        """Return each member's logits (n, ..., K) for a split, a list; see `checks.verify`."""
        if split not in self._outputs:
            options = {key: self.data.options.get(key) for key in self.common.task.data.prepared}
            facts = [self.data.about["fingerprint"], split, self.cut, options, self.data.info]
            key = f"{json.dumps(facts, sort_keys=True)} {tasks.fingerprint()}" + " tta" * self.tta
            self._outputs[split] = cache.outputs(
                self.members,
                self.common,
                self.data.splits[split],
                folder=self.folder,
                key=key,
                dtype=self.dtype,
                batch_size=self.batch_size,
                wrap=self.views if self.tta else None,
            )
            checks.verify(self.members, self._outputs[split], self.common)
        return self._outputs[split]

    def views(self, model):
        """Return a model that averages its predictions over flips and rotations."""
        return predictors.with_views(model, self.common.task, self.common.options)

    def labels(self, split):
        """Return the labels of a split, cropped to the logits, (n, ...) integers, -1 is void."""
        y, logits = cache.labels(self.data.splits[split]), self.outputs(split)[0]
        return np.asarray(losses.middle(y, logits)) if y.ndim == 3 and logits.ndim == 4 else y

    @property
    def shapes(self):
        """Shapes of the members' logits, without the batch axis; the sizes of maps are None."""
        if self.common.task.values:
            return [self.members[0].output_shape] * len(self.members)
        count = len(self.members[0].output_shape) - 1
        return [(None,) * count + (self.common.units,)] * len(self.members)

    def mixture(self, weights=None, of="probabilities"):
        """Return the head of the members' weighted mean, of values whatever `of` is."""
        task = self.common.task
        of = "logits" if task.values else of
        return combine.mixture(self.shapes, weights, of, task.multilabel)

    def names(self):
        """Return the names of what a decision is between."""
        return ["absent", "present"] if self.common.task.multilabel else self.common.info["classes"]

    def decisions(self, logits):
        """Return logits as those of decisions: of several labels (n, K, 1), one for each label."""
        return logits[..., None] if self.common.task.multilabel else logits

    def apply(self, head, split):
        """Return a head's logits for a split."""
        return combine.apply(head, self.outputs(split), self.data.splits[split], self.batch_size)

    def predict(self, model, split):
        """Return the logits of a model in memory for a split, or for other examples."""
        logits, examples = [], self.data.splits[split] if isinstance(split, str) else split
        for start in range(0, len(examples), self.batch_size):
            x, _ = examples.take(slice(start, start + self.batch_size))
            logits.append(predictors.predict(model, x, self.batch_size))
        return np.concatenate(logits)

    def row(self, name, kind, logits, split="test", info=None, **facts):
        """Score logits; return a row of the report, and the calibration or None.

        `info` is that of a model which has a threshold of its own.
        """
        y, info = self.labels(split), info or self.common.info
        scores, _ = self.common.task.results.evaluate(y, logits, info)
        first = intervals.first_score(self.common.task)
        statistics = intervals.statistics(self.common.task, info, y, logits)
        self._statistics[kind, name] = statistics
        plain = {key: value for key, value in scores.items() if isinstance(value, float)}
        plain = {first: plain.pop(first, float("nan")), **plain}
        numbers, calibration = {"nll": None, "ece": None}, None
        if not self.common.task.values:
            p = probabilities.of_logits(self.decisions(logits))
            calibration = probabilities.calibration(p, y)
            nll = probabilities.negative_log_likelihood(p, y)
            numbers = {"nll": nll, "ece": calibration["error"], **self.of_certainty(logits, y)}
        row = {"name": name, "kind": kind, "scores": plain, **numbers}
        row = {"parameters": None, "milliseconds": None, "weight": None, **row, **facts}
        return row, calibration

    def of_certainty(self, logits, y):
        """Return further scores of probabilities: Brier, adaptive ECE, and with rejection."""
        some, y, _ = probabilities.labelled(self.decisions(logits), y, None, selective.MOST)
        p = probabilities.of_logits(some)
        coverage, risk = selective.curve(p.max(axis=-1), p.argmax(axis=-1) != y)
        return {
            "brier": probabilities.brier(p, y),
            "adaptive_ece": probabilities.adaptive_error(p, y),
            "aurc": selective.area(risk),
            "accuracy_at_80": 1 - selective.at(coverage, risk),
        }

    def member_rows(self, weights=None):
        """Return the report's rows of the members, scored on the test split."""
        weights = [None] * len(self.members) if weights is None else [float(w) for w in weights]
        rows = []
        for i, (member, logits) in enumerate(zip(self.members, self.outputs("test"), strict=True)):
            facts = dict(parameters=member.parameters, weight=weights[i])
            model = member.load(self.common)
            facts |= self.timed(self.views(model) if self.tta else model)
            kind = "member" + " with TTA" * self.tta
            rows.append(self.row(member.name, kind, logits, **facts)[0])
            del model
            keras.backend.clear_session()
        return rows

    def dropout_rows(self, count):
        """Return the members' rows with active dropout: the mean of `count` passes of each."""
        rows, test = [], self.data.splits["test"]
        for member in self.members:
            model = dropout.active(member.load(self.common), member.name)
            outputs = dropout.passes(model, test, count, self.batch_size)
            of = "logits" if self.common.task.values else "probabilities"
            shapes = self.shapes[:1] * count
            mean = combine.mixture(shapes, None, of, self.common.task.multilabel)
            logits = combine.apply(mean, outputs, batch_size=self.batch_size)
            kind, facts = "member with MC dropout", dict(parameters=member.parameters)
            rows.append(self.row(member.name, kind, logits, **facts)[0])
            del model
            keras.backend.clear_session()
        return rows

    def without_views(self):
        """Return the members' rows without test-time augmentation."""
        plain = copy.copy(self)
        plain.tta, plain._outputs = False, {}
        return plain.member_rows()

    def add_intervals(self, rows):
        """Add bootstrap intervals to rows that `row` computed on the test split."""
        options, task = self.common.options, self.common.task
        test = self.data.splits["test"]
        block = options["window"] + options["horizon"] if task.data.series else 1  # windows overlap
        groups = None if task.data.series else test.groups  # tiles of one image stay together
        statistics = [self._statistics.get((row["kind"], row["name"])) for row in rows]
        weights = intervals.draws(len(test), groups, block)
        name = intervals.first_score(task)
        lower_is_better = task.training.best[1] == "min"

        def score(summary):
            return task.results.score(summary, self.common.info)[0]

        intervals.add(rows, statistics, name, weights, lower_is_better, score)

    def timed(self, model, repeats=5):
        """Measure a model's inference time per example.

        Returns:
            {"milliseconds": the median over steps, "milliseconds_range": [minimum, maximum]}.
        """
        x, _ = self.data.splits["test"].take(slice(0, self.batch_size))
        x = predictors.for_each_input(model, x)
        model.predict_on_batch(x)
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            model.predict_on_batch(x)
            times.append(time.perf_counter() - began)
        count = min(self.batch_size, len(self.data.splits["test"]))
        bounds = [1000 * float(value) / count for value in (min(times), max(times))]
        return {
            "milliseconds": 1000 * float(np.median(times)) / count,
            "milliseconds_range": bounds,
        }
