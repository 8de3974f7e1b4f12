"""What a command works on: members, data, and the members' predictions."""

import copy
import json
import time

import keras
import numpy as np

from ensembles.combining import combine
from ensembles.evaluation import intervals, probabilities
from ensembles.members import cache, checks, provenance
from zoo import tasks
from zoo.inference import predictors
from zoo.nn import losses
from zoo.system import disk


class Assembly:
    """Members, their data, and the members' outputs, which are computed when they are asked for.

    Attributes:
        members: list of `ensembles.members.opening.Member`.
        common: what they share, with the classes and constants of the data if no member has any.
        data: splits, options, info and about, as `datasets.prepared.prepare` returns them.
        cut: how the data are split: fold, validate, skip_bad.
        warnings: sentences that belong in the report.
    """

    def __init__(self, members, common, data, cut, *, folder, batch_size, dtype, tta=False):
        self.members, self.data, self.cut = members, data, cut
        self.common = checks.completed(common, data)
        self.folder, self.batch_size, self.dtype, self.tta = folder, batch_size, dtype, tta
        self.refusals, self.warnings = provenance.leakage(members, data.about, cut, data.examples)
        self.warnings += filter(None, (disk.unfinished(member.path) for member in members))
        self._kept, self._statistics = {}, {}

    def permit(self, fitted, allowed):
        """Refuse what would leak, or note that it was allowed.

        Args:
            fitted: whether something will be fitted to the validation split.
            allowed: whether the person insists.

        Raises:
            ValueError: if members know the examples, with what to do instead.
        """
        if not self.refusals:
            return
        if fitted and not allowed:
            raise ValueError(
                f"{'; '.join(self.refusals)}. What is fitted to these examples would look better "
                "than it is. Combine members that have the same splits, train them by "
                "python -m ensembles folds, take average or vote, or insist: --allow-leakage"
            )
        self.warnings += [f"leakage: {text}" for text in self.refusals]

    def outputs(self, split):
        """Return each member's logits (n, ..., K) for a split, a list; see `checks.verify`."""
        if split not in self._kept:
            read = {key: self.data.options.get(key) for key in self.common.task.data.prepared}
            facts = [self.data.about["fingerprint"], split, self.cut, read, self.data.info]
            key = f"{json.dumps(facts, sort_keys=True)} {tasks.fingerprint()}" + " tta" * self.tta
            self._kept[split] = cache.outputs(
                self.members,
                self.common,
                self.data.splits[split],
                folder=self.folder,
                key=key,
                dtype=self.dtype,
                batch_size=self.batch_size,
                wrap=self.views if self.tta else None,
            )
            checks.verify(self.members, self._kept[split], self.common)
        return self._kept[split]

    def views(self, model):
        """Return a model that predicts the mean over flips and rotations."""
        return predictors.with_views(model, self.common.task, self.common.options)

    def labels(self, split):
        """Return the labels of a split that there are logits for, (n, ...) integers, -1 is void."""
        y, logits = cache.labels(self.data.splits[split]), self.outputs(split)[0]
        return np.asarray(losses.middle(y, logits)) if y.ndim == 3 and logits.ndim == 4 else y

    @property
    def shapes(self):
        """Shapes of the members' logits, without the batch's axis, sizes of maps left open."""
        if self.common.task.values:
            return [self.members[0].output_shape] * len(self.members)
        count = len(self.members[0].output_shape) - 1
        return [(None,) * count + (self.common.units,)] * len(self.members)

    def apply(self, head, split):
        """Return a head's logits for a split."""
        return combine.apply(head, self.outputs(split), self.data.splits[split], self.batch_size)

    def predict(self, model, split):
        """Return the logits of a model in memory for a split."""
        found, examples = [], self.data.splits[split]
        for start in range(0, len(examples), self.batch_size):
            x, _ = examples.take(slice(start, start + self.batch_size))
            found.append(predictors.predict(model, x, self.batch_size))
        return np.concatenate(found)

    def row(self, name, kind, logits, split="test", **facts):
        """Score logits: return a row of the report, and the calibration, if any."""
        y = self.labels(split)
        scores, _ = self.common.task.results.evaluate(y, logits, self.common.info)
        first = intervals.first_score(self.common.task)
        statistics = intervals.statistics(self.common.task, self.common.info, y, logits)
        self._statistics[kind, name] = statistics
        plain = {key: value for key, value in scores.items() if isinstance(value, float)}
        plain = {first: plain.pop(first), **plain}
        numbers, found = {"nll": None, "ece": None}, None
        if not self.common.task.values:
            p = probabilities.of_logits(logits)
            found = probabilities.calibration(p, y)
            numbers = {"nll": probabilities.negative_log_likelihood(p, y), "ece": found["error"]}
        row = {"name": name, "kind": kind, "scores": plain, **numbers}
        return {"parameters": None, "milliseconds": None, "weight": None, **row, **facts}, found

    def member_rows(self, weights=None):
        """Return the report's rows of the members, on the test split."""
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

    def without_views(self):
        """Return the members' rows without test-time augmentation."""
        plain = copy.copy(self)
        plain.tta, plain._kept = False, {}
        return plain.member_rows()

    def add_intervals(self, rows):
        """Add bootstrap intervals to rows that `row` made of the test split."""
        options, task = self.common.options, self.common.task
        test = self.data.splits["test"]
        block = options["window"] + options["horizon"] if task.data.series else 1  # these overlap
        groups = None if task.data.series else test.groups  # tiles of one image are drawn together
        statistics = [self._statistics.get((row["kind"], row["name"])) for row in rows]
        weights = intervals.draws(len(test), groups, block)
        name = intervals.first_score(task)
        lower_is_better = task.training.best[1] == "min"

        def score(summary):
            return task.results.score(summary, self.common.info)[0]

        intervals.add(rows, statistics, name, weights, lower_is_better, score)

    def timed(self, model, repeats=5):
        """Measure the time that a model takes for an example.

        Returns:
            {"milliseconds": the median of some steps, "milliseconds_range": [least, most]}.
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
        each = [1000 * float(value) / count for value in (min(times), max(times))]
        return {"milliseconds": 1000 * float(np.median(times)) / count, "milliseconds_range": each}
