"""Triplet network: an image is nearer to those of its class than to any other, by a margin.

Schroff, Kalenichenko & Philbin, CVPR 2015, https://arxiv.org/abs/1503.03832, Eq. 1 to 4: vectors on
the unit sphere, semi-hard negatives; `mining="batch-hard"` is Eq. 5 of Hermans, Beyer & Leibe 2017,
https://arxiv.org/abs/1703.07737, whose TriNet is the published configuration here.
Departures: triplets are those of one batch of some images of each class, as in Hermans et al.;
Schroff et al. have batches of 1,800 images; TriNet's vectors are on the sphere, too; the default
encoder is that of `siamese`.
"""

import keras
from keras import layers, ops

from zoo.models.embedding.siamese import encode, kinds, mean, safe_sqrt, squared_distances
from zoo.nn.blocks import MOMENTUM
from zoo.registry import register

TINY = 1e-12  # of a squared length, below which a vector has no direction
FAR = 1e9  # beyond all distances, for pairs that are left out


@register(
    "image_embedding",
    paper=dict(
        input_shape=(256, 128, 3),
        encoder="resnet",
        encoder_depth=50,
        hidden=1024,
        embedding_size=128,
        mining="batch-hard",
    ),
    parameters=25_739_456,
    test=dict(width=0.5, embedding_size=8),
)
def Triplet(
    input_shape,
    *,
    encoder="conv4",
    encoder_depth=None,
    encoder_weights=None,
    width=1.0,
    hidden=0,
    embedding_size=128,
    margin=0.2,
    mining="semi-hard",
    epsilon=1e-5,
    name="triplet",
):
    """Build the network and its loss.

    Args:
        input_shape: (H, W, C).
        encoder: `conv4` or `koch`, see `zoo.models.embedding.siamese`, or the name of a classifier,
            whose coarsest features are averaged.
        encoder_depth: `depth` of the classifier, if not its default.
        encoder_weights: "imagenet", or a trained classifier of the zoo: a preset, run folder or
            file. They are fine-tuned with the rest of the network.
        width: factor on every channel count of the encoder.
        hidden: units of a dense layer with batch normalisation in front of the last one, as in
            TriNet (1024); 0 for none.
        embedding_size: D, the number of values of a vector.
        margin: α, by how much images of other classes are farther; in squared distance, unless
            `mining` is "batch-hard".
        mining: "semi-hard": each pair of a class with the nearest image of another class that is
            farther than the pair; or "batch-hard": each image with the farthest of its class
            and the nearest of another one.
        epsilon: of batch normalisation, added to the variance, except a classifier's.
        name: name of the model.

    Returns:
        A `TripletNetwork` from images (B, H, W, C) in [0, 1] to float32 vectors (B, D) of length 1.

    Raises:
        ValueError: if there is no such encoder or mining, or the images are too small.
    """
    if mining not in MINING:
        raise ValueError(f"mining is {' or '.join(MINING)}, not {mining!r}")
    image = keras.Input(input_shape, name="image")
    x, _ = encode(image, encoder, encoder_depth, encoder_weights, width, epsilon)
    if hidden:
        x = layers.Dense(hidden, name="hidden_dense")(x)
        norm = layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon, name="hidden_norm")
        x = layers.ReLU(name="hidden")(norm(x))
    x = layers.Dense(embedding_size, dtype="float32", name="embedding")(x)
    vectors = UnitLength(dtype="float32", name="sphere")(x)
    return TripletNetwork(image, vectors, margin=margin, mining=mining, name=name)


@keras.saving.register_keras_serializable("zoo")
class UnitLength(layers.Layer):
    """Divides vectors (B, D) by their length; unlike in Keras, the gradient is finite at zero."""

    def call(self, x):
        """Return vectors of length 1; zero stays zero."""
        return x * ops.rsqrt(ops.maximum(ops.sum(x * x, axis=-1, keepdims=True), TINY))

    def compute_output_shape(self, input_shape):
        """Return the shape of the input."""
        return input_shape


@keras.saving.register_keras_serializable("zoo")
class TripletNetwork(keras.Model):
    """A functional model from images to vectors, with the triplet loss of a batch.

    Args:
        inputs: of a functional model.
        outputs: vectors (B, D).
        name: name of the model.
        margin: α.
        mining: a key of MINING.
        options: of `keras.Model`.
    """

    def __init__(self, inputs, outputs, name=None, *, margin=0.2, mining="semi-hard", **options):
        super().__init__(inputs, outputs, name=name, **options)
        self.margin, self.mining = margin, mining

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss of a batch of vectors (B, D) with labels y (B,), a scalar."""
        return MINING[self.mining](y, y_pred, self.margin) + sum(self.losses)

    def parts(self):
        """Return the networks inside by name, each a `keras.Model`."""
        return {"encoder": keras.Model(self.input, self.output, name="encoder")}

    def get_config(self):
        """Return the arguments."""
        return {**super().get_config(), "margin": self.margin, "mining": self.mining}


def semi_hard(y, vectors, margin):
    """Return the mean of [|a - p|² - |a - n|² + α]+ over all pairs (a, p) of one class, Eq. 4.

    n is the nearest to a of those of other classes that are farther than p; the farthest of
    all if none is farther.

    Args:
        y: labels (B,).
        vectors: (B, D).
        margin: α.
    """
    (same, different), squares = kinds(y), squared_distances(vectors)
    positives, negatives = squares[:, :, None], squares[:, None]  # (a, p, 1), (a, 1, n)
    farther = different[:, None] * ops.cast(negatives > positives, "float32")
    nearest = ops.min(negatives + FAR * (1.0 - farther), axis=-1)
    farthest = ops.max(squares * different, axis=-1, keepdims=True)
    chosen = ops.where(nearest < FAR / 2, nearest, farthest)
    valid = same * ops.max(different, axis=-1, keepdims=True)
    return mean(ops.relu(squares - chosen + margin), valid)


def batch_hard(y, vectors, margin):
    """Return the mean of [|a - p| - |a - n| + α]+ over all images a.

    p is the farthest of the class of a, and n the nearest of another class. Distances are not
    squared: the gradient of squares vanishes where all vectors are equal.

    Args:
        y: labels (B,).
        vectors: (B, D).
        margin: α.
    """
    (same, different), distances = kinds(y), safe_sqrt(squared_distances(vectors))
    farthest = ops.max(distances * same, axis=-1)
    nearest = ops.min(distances + FAR * (1.0 - different), axis=-1)
    valid = ops.max(same, axis=-1) * ops.max(different, axis=-1)
    return mean(ops.relu(farthest - nearest + margin), valid)


MINING = {"semi-hard": semi_hard, "batch-hard": batch_hard}
