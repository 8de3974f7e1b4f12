"""Adversarial training: half of the loss is of inputs that are attacked anew at every step.

Goodfellow, Shlens & Szegedy, ICLR 2015, https://arxiv.org/abs/1412.6572, Sec. 6: the loss J becomes
a J(x, y) + (1 - a) J(x + epsilon sign(dJ/dx), y) with a = 0.5. The attack is computed in inference
mode, as an attacker sees the model; both terms are computed in training mode.
"""

import types

import keras
from keras import ops

from zoo.insight import options
from zoo.insight.attack import attacks, robustness, victims
from zoo.nn import gradients
from zoo.nn.auxiliary import split
from zoo.weights import saving

CLEAN = 0.5  # share of the loss of the inputs as they are


class AdversarialTraining(keras.Model):
    """A model around the one that is trained, `student`, with the loss of adversarial training.

    Args:
        student: a `keras.Model` from x to logits.
        epsilon: the largest change of a value of x.
        domain: the `zoo.insight.attack.attacks.Domain` of x.
    """

    def __init__(self, student, epsilon, domain):
        super().__init__(name=student.name)
        self.student, self.epsilon, self.domain = student, epsilon, domain
        self.built = True

    def compile(self, optimizer="adam", loss=None, metrics=None, **settings):
        """Set the optimizer, the loss of logits, a `keras.losses.Loss`, and the metrics."""
        self.loss_of_logits = loss
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **settings)

    def call(self, inputs, training=None, mask=None):
        """Return the outputs of the student."""
        return self.student(inputs, training=training, mask=mask)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of a batch; in validation that of the inputs as they are."""
        loss, penalty = self.loss_of_outputs(y, y_pred, sample_weight), sum(self.losses)
        if training:
            attacked = ops.stop_gradient(self.attacked(x, y))
            outputs = self.student(attacked, training=True)
            others = self.loss_of_outputs(y, outputs, sample_weight)
            loss = CLEAN * loss + (1 - CLEAN) * others
        return loss + penalty

    def loss_of_outputs(self, y, outputs, sample_weight):
        """Return the loss of the student's outputs, auxiliary heads included."""
        logits, heads = split(self.student, outputs)
        loss = self.loss_of_logits(y, logits, sample_weight)
        return loss + sum(w * self.loss_of_logits(y, head, sample_weight) for w, head in heads)

    def attacked(self, x, y):
        """Return x after the fast gradient sign method."""
        weights, state = self.student.trainable_variables, self.student.non_trainable_variables
        values = [[variable.value for variable in group] for group in (weights, state)]

        def loss(x):  # stateless: no losses of layers and no state are left behind
            logits, _ = self.student.stateless_call(*values, x, training=False)
            return self.loss_of_logits(y, logits)

        _, slope = gradients.of(loss)(x)
        return self.domain.project(x + self.epsilon * ops.sign(slope), x, self.epsilon)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Return the metrics of the main logits of the inputs as they are."""
        return super().compute_metrics(x, y, split(self.student, y_pred)[0], sample_weight)


def learner(model, settings, task):
    """Return what is fitted: the model, or adversarial training around it.

    Args:
        model: the `keras.Model` that is trained.
        settings: of the command: adversarial, epsilon.
        task: the task record.

    Raises:
        ValueError: "what: why. remedy", if the task is not classification.
    """
    if not settings.get("adversarial"):
        return model
    if reason := victims.objection(task):
        raise ValueError(f"--adversarial: {reason}")
    return AdversarialTraining(model, settings["epsilon"], attacks.Domain.of(task))


def report(run, splits):
    """Attack the best epoch's model of a finished run; note the accuracies, and return a text."""
    settings, path = run.record["settings"], run.folder / "model.keras"
    epsilon = settings["epsilon"]
    attack = robustness.Attack("fgsm", tuple(sorted({*options.EPSILONS, epsilon})))
    data = types.SimpleNamespace(splits=splits)
    victim = victims.Victim(run.folder.name, saving.load(path), run.record, data)
    rows, _ = robustness.measure(victim, attack)
    run.note(attacked={"method": "fgsm", "rows": rows})
    table = robustness.table(rows, attack)
    compare = f"Compare it with another run: python -m zoo attack {run.folder} OTHER_RUN"
    return f"Accuracy on attacked test examples (fgsm), by epsilon:\n{table}\n{compare}"
