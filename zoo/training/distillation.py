"""Knowledge distillation: a student learns from the labels and the predictions of a teacher.

Hinton, Vinyals & Dean 2015, https://arxiv.org/abs/1503.02531, Sec. 2. This extends Keras' distiller
by teachers of the zoo, checked against the student; models of one logit; regularization losses.
The distillation loss does not use the labels, so it includes void pixels and points.
"""

import keras

from zoo.nn.auxiliary import split
from zoo.nn.ensemble import TwoClasses
from zoo.weights import presets, saving

STUDENT_WEIGHT = 0.5  # of the student's loss; the distillation loss has the rest


class LogitsDistillation(keras.distillation.LogitsDistillation):
    """T² times the KL divergence between the student's and the teacher's probabilities at T.

    One logit z of class 1 is replaced by the pair (0, z), because the softmax of a single logit is
    always 1; so is each logit of several labels, whose divergences are averaged.

    Args:
        temperature: T, the divisor of the logits.
        multilabel: whether the logits are of labels, with a sigmoid each.
    """

    def __init__(self, temperature, multilabel=False):
        self.multilabel = multilabel
        # Given by name, as in Keras' default, the divergence would be computed on the logits.
        super().__init__(temperature, keras.losses.KLDivergence())

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        """Return the mean over all examples, pixels or points of logits (B, ..., K), a scalar."""
        if self.multilabel:
            teacher_outputs, student_outputs = (
                teacher_outputs[..., None],
                student_outputs[..., None],
            )
        pair = TwoClasses.of(teacher_outputs), TwoClasses.of(student_outputs)
        return super().compute_loss(*pair, **kwargs)


class Distiller(keras.distillation.Distiller):
    """Keras' distiller, with the losses of the student that it omits.

    These are regularization losses of its layers, and the losses of its auxiliary heads on the
    labels. Only its main logits are compared with those of the teacher.
    """

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of a batch, a scalar."""
        penalty = sum(self.losses)  # before the teacher is called, which adds its own
        logits, heads = split(self.student, y_pred)
        loss = super().compute_loss(x, y, logits, sample_weight, training)
        auxiliary = sum(weight * self._student_loss(y, outputs) for weight, outputs in heads)
        return penalty + loss + self.student_loss_weight * auxiliary

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Return the metrics of the main logits."""
        return super().compute_metrics(x, y, split(self.student, y_pred)[0], sample_weight)


def distiller(teacher, student, temperature, multilabel=False):
    """Return the distiller, to compile with the student's loss and metrics, and to fit.

    Args:
        teacher: a `keras.Model` that returns logits (B, ..., K), see `load`.
        student: the `keras.Model` to train, with the same inputs and logits of the same shape.
        temperature: divisor of the logits of both.
        multilabel: whether the logits are of labels, with a sigmoid each.
    """
    loss = LogitsDistillation(temperature, multilabel)
    return Distiller(teacher, student, loss, student_loss_weight=STUDENT_WEIGHT)


def load(source, student, record, task):
    """Load a teacher that fits a student.

    Args:
        source: a preset, a run folder or a file, see `zoo.weights.presets.locate`.
        student: the `keras.Model` to train.
        record: record of the student, with "task_options" and "info".
        task: the task of the student.

    Returns:
        (model, about): a `keras.Model`, and its entry in the record: source, sha256, name.

    Raises:
        ValueError: if there is no such model, or it does not fit; the message has the difference.
    """
    path = presets.locate(source)
    teacher_record, model = saving.record(path), saving.load(path)
    if reason := objection(teacher_record, record, task) or mismatch(model, student):
        raise ValueError(f"{source}: {reason}")
    name = path.parent.name if path.name == presets.MODEL else path.stem
    return model, {"source": str(source), "sha256": saving.sha256(path), "name": name}


def objection(teacher, student, task):
    """Return why a teacher's record does not fit the student's, with the remedy, or None."""
    if not {"task", "task_options", "info"} <= teacher.keys():
        return "it has no record of its task and classes. Use a model that the zoo has trained"
    if teacher["task"] != task.name:
        return f"it was trained for {teacher['task']}, not for {task.name}. Use one for this task"
    if task.values:
        return "it predicts values, and a teacher must predict classes. Train without a teacher"
    a, b = teacher["info"], student["info"]
    if a.get("target") != b.get("target"):
        known, given = (info.get("target", "classes") for info in (a, b))
        return f"it predicts {known}, and the data have {given}. Use a teacher of {given}"
    if a["classes"] != b["classes"]:
        known, given = ", ".join(a["classes"]), ", ".join(b["classes"])
        return f"its classes are {known}, those of the data {given}. Use one of the same classes"
    for key in sorted((set(a) | set(b)) - {"class_weights"}):  # of the loss alone
        if a.get(key) != b.get(key):
            both = f"{a.get(key)}, and that of the data {b.get(key)}"
            return f"the {key} of its inputs is {both}. Use one that was trained on the same data"
    for key in sorted(set(task.data.prepared) - set(task.data.sizes)):
        x, y = (row["task_options"].get(key, task.options[key]) for row in (teacher, student))
        if x != y:
            return f"it was trained with {key}={x}, the student has {y}. Use --set {key}={x}"
    return None


def mismatch(teacher, student):
    """Return which shapes of two models differ, with the remedy, or None."""
    for kind in ("inputs", "outputs"):
        a, b = ([tuple(t.shape[1:]) for t in getattr(model, kind)] for model in (teacher, student))
        if len(a) != len(b) or not all(map(_compatible, a, b)):
            a, b = (", ".join(map(str, shapes)) for shapes in (a, b))
            return f"its {kind} have the shape {a}, and the student's {b}. Use one of this shape"
    return None


def _compatible(a, b):
    """Return whether two shapes are equal where both are known."""
    return len(a) == len(b) and all(i == j or None in (i, j) for i, j in zip(a, b, strict=True))
