"""Multilayer perceptron: fully connected layers with a nonlinearity between them.

Rumelhart, Hinton & Williams, Nature 1986, https://doi.org/10.1038/323533a0. Fig. 1; dropout as in
Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html, and DropConnect as in Wan et
al. 2013, https://proceedings.mlr.press/v28/wan13.html, Sec. 2.
Departures: ReLU in place of the logistic function (`activation="sigmoid"` is the paper's); logits
in place of squared errors; with batch normalisation, which the paper did not have, hidden layers
have no bias; at inference DropConnect's weights are the mean, not a sample of Gaussian units.
"""

import keras
from keras import layers, ops

from zoo.nn.blocks import MOMENTUM
from zoo.registry import register


@register(
    "image_classification",
    paper=dict(input_shape=(28, 28, 1), num_classes=10),
    parameters=795_010,
    test=dict(widths=(32, 16)),
)
def MLP(
    input_shape,
    num_classes,
    *,
    widths=(1000,),
    activation="relu",
    dropout=0.0,
    drop_connect=0.0,
    batch_norm=False,
    epsilon=1e-5,
    name="mlp",
):
    """Build a stack of fully connected layers.

    Args:
        input_shape: (H, W, C), both sizes fixed.
        num_classes: K, the number of classes.
        widths: units of each hidden layer.
        activation: of the hidden units, one that Keras knows by name.
        dropout: rate of the hidden units behind each hidden layer.
        drop_connect: rate of the weights of each hidden layer that are dropped in training.
        batch_norm: normalise in front of each activation.
        epsilon: of batch normalisation, added to the variance.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if its layers refuse a width, the activation or a rate.
    """
    image = keras.Input(input_shape, name="image")
    x = layers.Flatten(name="flatten")(image)
    for i, units in enumerate(widths, 1):
        settings = dict(use_bias=not batch_norm, kernel_initializer="he_normal", name=f"hidden{i}")
        if drop_connect:
            x = DropConnect(units, rate=drop_connect, **settings)(x)
        else:
            x = layers.Dense(units, **settings)(x)
        if batch_norm:
            norm = dict(momentum=MOMENTUM, epsilon=epsilon, name=f"hidden{i}_norm")
            x = layers.BatchNormalization(**norm)(x)
        x = layers.Activation(activation, name=f"hidden{i}_activation")(x)
        x = layers.Dropout(dropout, name=f"hidden{i}_dropout")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


@keras.saving.register_keras_serializable("zoo")
class DropConnect(layers.Dense):
    """A fully connected layer whose weights, not units, are dropped in training.

    One mask is drawn per batch, where the paper draws one per example.

    Args:
        units: of the output.
        rate: share of the weights that are dropped, from 0 to below 1; the rest is scaled up.

    Raises:
        ValueError: if the rate is another one.
    """

    def __init__(self, units, rate=0.5, seed=None, **options):
        if not 0 <= rate < 1:
            raise ValueError(f"the rate of DropConnect is {rate}, and must be from 0 to below 1")
        super().__init__(units, **options)
        self.rate, self.seed = rate, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """Return the outputs (B, units) for inputs (B, C)."""
        kernel = self.kernel
        if training:
            kernel = keras.random.dropout(ops.copy(kernel), self.rate, seed=self.generator)
        x = ops.matmul(inputs, ops.cast(kernel, inputs.dtype))
        return x + ops.cast(self.bias, x.dtype) if self.use_bias else x

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
