"""Knowledge distillation: a student learns from the labels, and from what a teacher thinks of them.

Hinton, Vinyals & Dean 2015, https://arxiv.org/abs/1503.02531, Sec. 2. Keras does it; what it lacks
is here: teachers of the zoo, checked against the student; models of one logit; regularization.
The labels do not enter what the teacher says: pixels and points that are void count there too.
"""

import keras

from zoo.nn.ensemble import TwoClasses
from zoo.weights import presets, saving

OWN = 0.5  # weight of the student's own loss, the teacher's has the rest


class LogitsDistillation(keras.distillation.LogitsDistillation):
    """T² times the divergence of the student's from the teacher's probabilities, both at T.

    One logit z, which tells class 1 from class 0, counts as the pair (0, z): the probability
    that a softmax makes of one alone is always 1, and nothing would be learnt from it.

    Args:
        temperature: T, what logits are divided by.
    """

    def __init__(self, temperature):
        # By its name, Keras' default, the divergence would be taken of the logits themselves.
        super().__init__(temperature, keras.losses.KLDivergence())

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        """Return the mean over all examples, pixels or points, of logits (B, ..., K): a scalar."""
        pair = TwoClasses.of(teacher_outputs), TwoClasses.of(student_outputs)
        return super().compute_loss(*pair, **kwargs)


class Distiller(keras.distillation.Distiller):
    """Keras' distiller, with the penalties that the student's layers add: it forgets them."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of a batch, a scalar."""
        own = sum(self.losses)  # taken before the teacher is called, and adds its own
        return own + super().compute_loss(x, y, y_pred, sample_weight, training)


def distiller(teacher, student, temperature):
    """Return the model to compile with the student's loss and metrics, and to fit.

    Args:
        teacher: a `keras.Model` to logits (B, ..., K), see `load`.
        student: a `keras.Model` from the same inputs to logits of the same shape; it is trained.
        temperature: what the logits of both are divided by.
    """
    loss = LogitsDistillation(temperature)
    return Distiller(teacher, student, loss, student_loss_weight=OWN)


def load(source, student, record, task):
    """Load a teacher that fits a student.

    Args:
        source: a preset, a run folder or a file, see `zoo.weights.presets.locate`.
        student: the `keras.Model` that it will teach.
        record: of the student, with its "task_options" and "info".
        task: the task of the student.

    Returns:
        (model, about): a `keras.Model`, and what the record says of it: source, sha256, name.

    Raises:
        ValueError: if there is no such model, or it does not fit; names it, and what differs.
    """
    path = presets.locate(source)
    theirs, model = saving.record(path), saving.load(path)
    if reason := objection(theirs, record, task) or mismatch(model, student):
        raise ValueError(f"{source}: {reason}")
    name = path.parent.name if path.name == presets.MODEL else path.stem
    return model, {"source": str(source), "sha256": saving.sha256(path), "name": name}


def objection(theirs, record, task):
    """Return why a teacher of that record cannot teach for this one, with the remedy, or None."""
    if not {"task", "task_options", "info"} <= theirs.keys():
        return "it has no record of its task and classes. Give a model that the zoo has trained"
    if theirs["task"] != task.name:
        return f"it was trained for {theirs['task']}, not for {task.name}. Give one for this task"
    if task.values:
        return "it says values, and teachers say how probable classes are. Train without a teacher"
    a, b = theirs["info"], record["info"]
    if a["classes"] != b["classes"]:
        known, given = ", ".join(a["classes"]), ", ".join(b["classes"])
        return f"it knows the classes {known}, and the data have {given}. Give one of the same"
    for key in sorted(set(a) | set(b)):
        if a.get(key) != b.get(key):
            both = f"{a.get(key)}, and that of the data {b.get(key)}"
            return f"the {key} of its inputs is {both}. Give one that was trained on the same data"
    for key in sorted(set(task.data.prepared) - set(task.data.sizes)):
        x, y = (each["task_options"].get(key, task.options[key]) for each in (theirs, record))
        if x != y:
            return f"it was trained with {key}={x}, the student has {y}. Take --set {key}={x}"
    return None


def mismatch(teacher, student):
    """Return which shapes of two models do not go together, with the remedy, or None."""
    for kind in ("inputs", "outputs"):
        a, b = ([tuple(t.shape[1:]) for t in getattr(model, kind)] for model in (teacher, student))
        if len(a) != len(b) or not all(map(_alike, a, b)):
            a, b = (", ".join(map(str, shapes)) for shapes in (a, b))
            return f"its {kind} have the shape {a}, and the student's {b}. Give one of the same"
    return None


def _alike(one, other):
    """Say whether two shapes are the same, as far as both are known."""
    return len(one) == len(other) and all(
        i == j or None in (i, j) for i, j in zip(one, other, strict=True)
    )
