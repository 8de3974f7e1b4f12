"""Robustness: the accuracy of classifiers before and after an attack, over several strengths.

An ensemble is attacked as one model, and compared with its members: each attacked by its own
gradient, and on the inputs that were made against the ensemble.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from zoo import describe, plots, tasks
from zoo.inference import prediction, predictors
from zoo.insight import figures, options
from zoo.insight.attack import attacks, patch
from zoo.insight.attack.victims import Victim, opened

TAUGHT = 512  # images at most that a patch is trained on
SHOWN = 5  # examples on a page
OWN, TRANSFERRED = "attacked itself", "attacked through {}"  # whose gradient is used


@dataclasses.dataclass(frozen=True)
class Attack:
    """A method with its settings.

    Attributes:
        method: one of `options.ATTACKS`.
        strengths: epsilons of FGSM and PGD, sizes of patches.
        target: name of the class that is to be predicted; None for untargeted attacks.
        steps: of PGD.
    """

    method: str
    strengths: tuple
    target: str | None = None
    steps: int = options.STEPS

    def sentence(self, strength):
        """Return the settings of an attack of one strength as text."""
        steps = f" of {self.steps} steps" if self.method == "pgd" else ""
        unit = "size" if self.method == "patch" else "epsilon"
        target = "" if self.target is None else f", target {self.target}"
        name = "patch" if self.method == "patch" else self.method.upper()
        return f"{name}{steps}, {unit} {strength:.3g}{target}"

    def against(self, victim):
        """Return the function that attacks a batch of a victim.

        Returns:
            A function (x, y, seed) to a list of attacked inputs, one array for each strength.
        """
        model, classes = victim.model, victim.record["info"]["classes"]
        target = None if self.target is None else classes.index(self.target)
        if self.method == "patch":
            arrays = victim.data.splits["validation"]
            rows = chosen(len(arrays), TAUGHT)
            x, y = arrays.take(rows)
            trained = [patch.train(model, x, y, size, target) for size in self.strengths]
            victim.patches.extend(canvas * shape for canvas, shape in trained)
            pairs = [*zip(trained, self.strengths, strict=True)]
            return lambda x, y, seed: [patch.laid(*t, x, size, seed) for t, size in pairs]
        slope, domain = attacks.slope(model), attacks.Domain.of(tasks.of(victim.record))

        def attack(x, y, seed):
            labels = np.int32(y) if target is None else np.full(len(y), target, np.int32)
            how = dict(domain=domain, targeted=target is not None)
            if self.method == "fgsm":
                return attacks.fgsm(slope, x, labels, self.strengths, **how)
            how |= dict(steps=self.steps, seed=seed)
            return [attacks.pgd(slope, x, labels, e, **how) for e in self.strengths]

        return attack


def chosen(count, most):
    """Return the rows of a sample without replacement, always the same, ascending."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def measure(victim, attack, most=500, batch_size=32):
    """Attack examples of the test split of a victim.

    Args:
        victim: a `Victim` with its data.
        attack: an `Attack`.
        most: the number of examples, or all if there are fewer.
        batch_size: examples that are attacked at once.

    Returns:
        (rows, shown): rows of a table, a dictionary each: model, kind, strength (0 before the
        attack), accuracy, and with a target the share of other classes' examples that are
        predicted as it; and examples for `figures.attacked`.
    """
    arrays, classes = victim.data.splits["test"], victim.record["info"]["classes"]
    target = None if attack.target is None else classes.index(attack.target)
    readers = [(victim.name, victim.model), *victim.members]
    counts = np.zeros((len(readers), 1 + len(attack.strengths), 3))  # right, as target, of how many
    function, shown, middle = attack.against(victim), [], shown_strength(attack.strengths)
    for x, y, size, seed in batches(arrays, chosen(len(arrays), most), batch_size):
        stages = [x, *function(x, y, seed)]
        outputs = [
            [predictors.predict(model, stage, len(x))[:size] for stage in stages]
            for _, model in readers
        ]
        y = y[:size]
        for i, row in enumerate(outputs):
            for j, logits in enumerate(row):
                predicted = np.argmax(logits, axis=-1)
                others = np.full(size, False) if target is None else y != target
                hits = (predicted == target) & others
                counts[i, j] += (predicted == y).sum(), hits.sum(), others.sum()
        before, after = outputs[0][0], outputs[0][middle + 1]
        shown += zip(x[:size], stages[middle + 1][:size], y, before, after, strict=True)
        shown = figures.most_telling(shown, SHOWN)
    total = min(most, len(arrays))
    rows = [
        {
            "model": name,
            "kind": TRANSFERRED.format(victim.name) if i else OWN,
            "strength": [0, *attack.strengths][j],
            "accuracy": right / total,
            **({} if target is None else {"target": hits / max(of, 1)}),
        }
        for i, (name, _) in enumerate(readers)
        for j, (right, hits, of) in enumerate(counts[i])
    ]
    for name, model in victim.members:
        member = Victim(name, model, victim.record, victim.data)
        rows += measure(member, attack, most, batch_size)[0]
    return rows, shown


def shown_strength(strengths):
    """Return the index of the strength that pictures are of: the paper's, or the middle one."""
    paper = options.PAPER
    return strengths.index(paper) if paper in strengths else len(strengths) // 2


def batches(arrays, rows, size):
    """Yield (x, y, count, start) of batches of one size, the last filled up with copies."""
    size = min(size, len(rows))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        filled = np.concatenate([part, np.repeat(part[:1], size - len(part))])
        x, y = arrays.take(filled)
        yield np.float32(x), y, len(part), start


def table(rows, attack, key="accuracy"):
    """Return rows of `measure` as text: a line a model, a column a strength.

    Args:
        rows: as many for each model as there are strengths, and one before the attack.
        attack: the `Attack`.
        key: "accuracy" or "target".
    """
    several = len({row["kind"] for row in rows}) > 1
    size = 1 + len(attack.strengths)
    lines = [rows[start : start + size] for start in range(0, len(rows), size)]
    names = [
        describe.one_line(f"{line[0]['model']}, {line[0]['kind']}" if several else line[0]["model"])
        for line in lines
    ]
    titles = ["0", *(f"{strength:g}" for strength in attack.strengths)]
    width = max(map(len, names))
    text = [" ".join([" " * width, *(f"{title:>7}" for title in titles)])]
    for name, line in zip(names, lines, strict=True):
        text.append(" ".join([f"{name:{width}}", *(f"{row[key]:7.3f}" for row in line)]))
    return "\n".join(text)


def run(sources, attack, prepare, folder, most=500, batch_size=32):
    """Attack models, and write attack.json, attack.csv and pages of pictures.

    Args:
        sources: presets, run folders or files.
        attack: an `Attack`.
        prepare: function (record, task, key) to the data, as `datasets.recorded.prepare`.
        folder: where to write, an empty folder.
        most: the number of examples.
        batch_size: examples that are attacked at once.

    Returns:
        What to print.

    Raises:
        ValueError: if the attack does not fit a model, or models have different classes.
    """
    victims = [opened(source, attack) for source in sources]
    for other in victims[1:]:
        if other.record["info"]["classes"] != victims[0].record["info"]["classes"]:
            why = f"its classes are not those of {sources[0]}"
            raise ValueError(f"{other.name}: {why}. Compare models of the same data")
    rows = []
    for i, victim in enumerate(victims, 1):
        victim.data = prepare(victim.record, tasks.of(victim.record), tasks.fingerprint())
        part, shown = measure(victim, attack, most, batch_size)
        rows += part
        if victim.record["task"].startswith("image"):
            name = "pictures.png" if len(victims) == 1 else f"pictures-{i}.png"
            strength = attack.strengths[shown_strength(attack.strengths)]
            page = figures.attacked(shown, victim.record["info"]["classes"], attack, strength)
            prediction.whole(functools.partial(plots.save, page), folder / name)
        if victim.patches:
            name = "patches.png" if len(victims) == 1 else f"patches-{i}.png"
            page = figures.patches(victim.patches, attack.strengths)
            prediction.whole(functools.partial(plots.save, page), folder / name)
    data = victims[0].data
    total = len(data.splits["test"])
    count, named = min(most, total), data.about["name"]
    facts = {"method": attack.method, "target": attack.target, "data": named, "examples": count}
    prediction.whole(
        lambda path: prediction.save_json({**facts, "rows": rows}, path), folder / "attack.json"
    )
    prediction.whole(lambda path: prediction.save_csv(rows, path), folder / "attack.csv")
    unit = "size" if attack.method == "patch" else "epsilon"
    what = f"{attack.method}, {count:,} of {total:,} test examples of {named}, by {unit}"
    text = [f"Accuracy under {what}:", table(rows, attack)]
    if attack.target is not None:
        text += ["", f"Examples of other classes predicted as {attack.target}:"]
        text += [table(rows, attack, "target")]
    return "\n".join([*text, f"\nSee {pathlib.Path(folder)}/"])
