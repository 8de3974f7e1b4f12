"""Siamese network: one network for both images of a pair draws equal classes near, others apart.

Hadsell, Chopra & LeCun, CVPR 2006, https://doi.org/10.1109/CVPR.2006.100, Eq. 1 to 4. The twins are
from Bromley et al., IJPRAI 1993, https://doi.org/10.1142/S0218001493000339, and `encoder="koch"` is
Fig. 4 of Koch, Zemel & Salakhutdinov 2015,
https://www.cs.cmu.edu/~rsalakhu/papers/oneshot1.pdf.
Departures: the loss is over all pairs of a batch, those of equal and of different classes averaged
apart, so that the many of the latter do not outweigh the former; it replaces Koch's weighted L1
distance and cross-entropy; the default encoder is that of Vinyals et al., NeurIPS 2016,
https://arxiv.org/abs/1606.04080, Sec. 4.1, which learns small images within minutes.
"""

import keras
from keras import layers, ops

from zoo.nn import encoders
from zoo.nn.blocks import conv_norm
from zoo.registry import register

KOCH = ((64, 10), (128, 7), (128, 4), (256, 4))  # channels and kernel size of each convolution
OWN = ("conv4", "koch")  # encoders that are defined here


@register(
    "image_embedding",
    paper=dict(input_shape=(105, 105, 1), encoder="koch", embedding_size=4096),
    parameters=38_947_648,
    test=dict(width=0.5, embedding_size=8),
)
def Siamese(
    input_shape,
    *,
    encoder="conv4",
    encoder_depth=None,
    encoder_weights=None,
    width=1.0,
    embedding_size=64,
    margin=1.0,
    epsilon=1e-5,
    name="siamese",
):
    """Build the network that both images of a pair share.

    Args:
        input_shape: (H, W, C).
        encoder: `conv4`, four convolutions with poolings, for small images; `koch`, those of
            Koch 2015, for images of 105 pixels; or the name of a classifier, whose coarsest
            features are averaged.
        encoder_depth: `depth` of the classifier, if not its default.
        encoder_weights: "imagenet", or a trained classifier of the zoo: a preset, run folder or
            file. They are fine-tuned with the rest of the network.
        width: factor on every channel count of the encoder.
        embedding_size: D, the number of values of a vector.
        margin: distance from which images of different classes are far enough apart.
        epsilon: of the batch normalisation of conv4, added to the variance.
        name: name of the model.

    Returns:
        A `SiameseNetwork` from images (B, H, W, C) in [0, 1] to float32 vectors (B, D).

    Raises:
        ValueError: if there is no such encoder, or the images are too small for it.
    """
    image = keras.Input(input_shape, name="image")
    x, activation = encode(image, encoder, encoder_depth, encoder_weights, width, epsilon)
    options = dict(activation=activation, dtype="float32", name="embedding")
    vectors = layers.Dense(embedding_size, **options)(x)
    return SiameseNetwork(image, vectors, name=name, margin=margin)


def encode(image, encoder, depth, weights, width, epsilon):
    """Return features (B, C) of images, and the activation of the layer behind them."""
    if encoder in OWN:
        if depth or weights:
            raise ValueError("encoder_depth and encoder_weights need a classifier as the encoder")
        if encoder == "conv4":
            return conv4(image, width, epsilon), None
        return koch(image, width), "sigmoid"
    encoders.home(encoder, OWN)  # raises if there is no such encoder
    options = {"depth": depth} if depth else {}
    x = encoders.prepared(image, encoder, weights, depth)
    maps = encoders.features(encoder, weights)(x, width=width, **options)
    if weights:
        encoders.load_weights(keras.Model(image, list(maps.values())), encoder, weights, depth)
    return layers.GlobalAveragePooling2D(name="pool")(maps[max(maps)]), None


def conv4(x, width, epsilon):
    """Apply four convolutions of Vinyals et al. 2016, each with a pooling: images to vectors."""
    for i in range(1, 5):
        if None in x.shape[1:3] or min(x.shape[1:3]) < 2:
            raise ValueError("conv4 takes images of a fixed size of 16 pixels or more")
        x = conv_norm(x, int(64 * width), 3, f"conv{i}", epsilon=epsilon)
        x = layers.MaxPooling2D(2, name=f"pool{i}")(x)
    return layers.Flatten(name="flatten")(x)


def koch(x, width):
    """Apply the convolutions of Koch 2015, Fig. 4: images to vectors."""
    for i, (channels, size) in enumerate(KOCH, start=1):
        if i > 1:
            x = layers.MaxPooling2D(2, name=f"pool{i - 1}")(x)
        if None in x.shape[1:3] or min(x.shape[1:3]) < size:
            raise ValueError("images are too small for koch: --set image_size=105")
        x = layers.Conv2D(int(channels * width), size, activation="relu", name=f"conv{i}")(x)
    return layers.Flatten(name="flatten")(x)


@keras.saving.register_keras_serializable("zoo")
class SiameseNetwork(keras.Model):
    """A functional model from images to vectors, with the contrastive loss of the pairs of a batch.

    Args:
        inputs: of a functional model.
        outputs: vectors (B, D).
        name: name of the model.
        margin: distance from which vectors of different classes are far enough apart.
        options: of `keras.Model`.
    """

    def __init__(self, inputs, outputs, name=None, *, margin=1.0, **options):
        super().__init__(inputs, outputs, name=name, **options)
        self.margin = margin

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of a batch of vectors (B, D) with labels y (B,), a scalar."""
        return contrastive(y, y_pred, self.margin) + sum(self.losses)

    def parts(self):
        """Return the networks inside by name, each a `keras.Model`."""
        return {"twin": keras.Model(self.input, self.output, name="twin")}

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "margin": self.margin}


def contrastive(y, vectors, margin):
    """Return the contrastive loss of all pairs of a batch, Eq. 4.

    Args:
        y: labels (B,).
        vectors: (B, D).
        margin: m.

    Returns:
        The mean of D²/2 over pairs of one class plus that of max(0, m - D)²/2 over the others.
    """
    same, different = kinds(y)
    squares = squared_distances(vectors)
    apart = ops.maximum(margin - safe_sqrt(squares), 0.0) ** 2
    return (mean(squares, same) + mean(apart, different)) / 2


def kinds(y):
    """Return masks (B, B) float32 of pairs of equal labels, but no image itself, and of others."""
    y = ops.reshape(y, (-1,))
    equal = ops.cast(ops.equal(y[:, None], y[None]), "float32")
    return equal - ops.eye(ops.shape(y)[0], dtype="float32"), 1.0 - equal


def squared_distances(vectors):
    """Return squared Euclidean distances (B, B) of vectors (B, D); those of equal ones are 0."""
    vectors = ops.cast(vectors, "float32")
    return ops.sum((vectors[:, None] - vectors[None]) ** 2, axis=-1)


def safe_sqrt(x):
    """Return square roots whose gradient at 0 is 0, not infinite."""
    positive = ops.cast(x > 0, "float32")
    return positive * ops.sqrt(x + (1.0 - positive))


def mean(values, mask):
    """Return the mean of values where a mask is 1; 0 if it is so nowhere."""
    return ops.sum(values * mask) / ops.maximum(ops.sum(mask), 1.0)
