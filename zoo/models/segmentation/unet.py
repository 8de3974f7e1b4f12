"""U-Net: a contracting and an expanding path, with skip connections between equal levels.

Ronneberger, Fischer & Brox, MICCAI 2015, https://arxiv.org/abs/1505.04597. Fig. 1; initial weights
as in Sec. 3; dropout after the last two levels of the contracting path, as in the authors' code.
Departures: convolutions are padded and poolings round up unless `padding` is "valid", so that the
output has the size of the image; with batch normalisation, which the paper does not use,
convolutions have no bias. As in Fig. 1, no ReLU follows an up-convolution; the authors' code
has one.
"""

import keras
from keras import layers

from zoo.nn import encoders
from zoo.nn.blocks import MOMENTUM
from zoo.nn.layers import BilinearUpSampling, CropLike
from zoo.registry import register


@register(
    "image_segmentation",
    paper=dict(input_shape=(572, 572, 1), num_classes=2),
    parameters=31_030_658,
    test=dict(depth=2, width=0.125, dropout=0.0),
)
def UNet(
    input_shape,
    num_classes,
    *,
    depth=4,
    width=1.0,
    padding="same",
    batch_norm=False,
    epsilon=1e-5,  # as in the widely used programs; Keras' is 1e-3
    dropout=0.5,
    up="transpose",
    encoder=None,
    encoder_depth=None,
    encoder_weights=None,
    name="unet",
):
    """Build the network of Fig. 1, or its expanding path on the features of a classifier.

    Args:
        input_shape: (H, W, C); H and W may be None unless padding is "valid".
        num_classes: K, the number of classes.
        depth: number of poolings; without effect if there is an encoder.
        width: factor on every channel count, including the encoder's.
        padding: "same", for any size; or "valid", as in the paper, for sizes 2^depth n - 4: the
            output is smaller by 6·2^depth - 4 pixels on each side.
        batch_norm: apply batch normalisation after every 3x3 convolution, except in an encoder
            with ImageNet weights.
        epsilon: of batch normalisation, added to the variance.
        dropout: dropout rate after the last two levels of the contracting path.
        up: "transpose", or "bilinear" up-sampling before a 2x2 convolution.
        encoder: name of a classifier whose features replace the contracting path.
        encoder_depth: `depth` of the encoder, if not its default.
        encoder_weights: "imagenet", or a trained classifier of the zoo: a preset, run folder or
            file. They are fine-tuned with the rest of the network.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, H, W, K);
        fewer pixels with padding "valid".

    Raises:
        ValueError: if a fixed size does not fit padding "valid", or options contradict each other.
    """
    if up not in ("transpose", "bilinear"):
        raise ValueError(f'up is "transpose" or "bilinear", not {up!r}')
    if encoder is None and (encoder_depth or encoder_weights):
        raise ValueError("encoder_depth and encoder_weights need an encoder: name the encoder")
    if encoder and padding != "same":
        raise ValueError(f'the encoder {encoder} is padded: padding is "same", not {padding!r}')
    if padding == "valid":
        check_sizes(input_shape[:2], depth)
    image = keras.Input(input_shape, name="image")
    style = dict(padding=padding, batch_norm=batch_norm, epsilon=epsilon)
    if encoder:
        maps = encode(image, encoder, encoder_depth, encoder_weights, width, batch_norm, dropout)
    else:
        maps = contract(image, depth, width, dropout, style)
    x = maps[max(maps)]
    for level in range(max(maps).bit_length() - 1, 0, -1):
        channels = int(64 * width * 2 ** (level - 1))
        x = enlarge(x, channels, up, f"up{level}_up")
        skip = maps.get(2 ** (level - 1))
        if skip is not None:
            x = concatenate(skip, x, padding, f"up{level}")
        x = convs(x, channels, f"up{level}", **style)
    x = crop(x, image, 0, "crop") if 1 not in maps else x
    logits = layers.Conv2D(
        num_classes, 1, kernel_initializer="he_normal", dtype="float32", name="logits"
    )(x)
    return keras.Model(image, logits, name=name)


def contract(x, depth, width, dropout, style):
    """Apply the contracting path; return the last map of each level by its stride."""
    maps = {}
    for level in range(1, depth + 2):
        if level > 1:
            x = layers.MaxPooling2D(2, padding=style["padding"], name=f"down{level}_pool")(x)
        x = convs(x, int(64 * width * 2 ** (level - 1)), f"down{level}", **style)
        if level >= depth:
            x = layers.Dropout(dropout, name=f"down{level}_dropout")(x)
        maps[2 ** (level - 1)] = x
    return maps


def encode(image, encoder, depth, weights, width, batch_norm, dropout):
    """Return a classifier's feature maps by stride, with trained weights if given."""
    options = {"depth": depth, "batch_norm": batch_norm and weights != encoders.IMAGENET}
    options = {key: value for key, value in options.items() if value}
    x = encoders.prepared(image, encoder, weights, depth)
    maps = encoders.features(encoder, weights)(x, width=width, **options)
    encoders.check_sizes(encoder, image, maps)
    if weights:
        encoders.load_weights(keras.Model(image, list(maps.values())), encoder, weights, depth)
    for stride in sorted(maps)[-2:]:
        maps[stride] = layers.Dropout(dropout, name=f"encoder{stride}_dropout")(maps[stride])
    return maps


def convs(x, channels, name, *, padding, batch_norm, epsilon):
    """Apply a 3x3 convolution, optional batch normalisation, and ReLU, twice."""
    for i in (1, 2):
        x = layers.Conv2D(
            channels,
            3,
            padding=padding,
            use_bias=not batch_norm,
            activation=None if batch_norm else "relu",
            kernel_initializer="he_normal",
            name=f"{name}_conv{i}",
        )(x)
        if batch_norm:
            norm = dict(momentum=MOMENTUM, epsilon=epsilon, name=f"{name}_norm{i}")
            x = layers.BatchNormalization(**norm)(x)
            x = layers.ReLU(name=f"{name}_relu{i}")(x)
    return x


def enlarge(x, channels, up, name):
    """Double height and width: (B, H, W, C) to (B, 2H, 2W, channels)."""
    options = dict(kernel_initializer="he_normal", name=name)
    if up == "transpose":
        return layers.Conv2DTranspose(channels, 2, strides=2, **options)(x)
    x = BilinearUpSampling(name=f"{name}_sample")(x)
    return layers.Conv2D(channels, 2, padding="same", **options)(x)


def concatenate(skip, x, padding, name):
    """Concatenate a map with its skip connection, the larger one cropped to the smaller one."""
    if padding == "valid":
        skip = crop(skip, x, None, f"{name}_crop")
    else:
        x = crop(x, skip, 0, f"{name}_crop")
    return layers.Concatenate(name=f"{name}_join")([skip, x])


def crop(x, like, offset, name):
    """Crop a map to the height and width of another, unless they are known to be equal."""
    if x.shape[1:3] == like.shape[1:3] and None not in x.shape[1:3]:
        return x
    return CropLike(offset, name=name)([x, like])


def check_sizes(sizes, depth):
    """Raise ValueError if a size is unknown, or not even at every level.

    Two convolutions remove 4 pixels and pooling halves, so n' pixels at a level need 2n' + 4 at the
    level above, and b pixels at the coarsest need 2^depth (b + 4) - 4 at the input. The output has
    12·2^depth - 8 pixels fewer than the input.
    """
    step = 2**depth
    least = step * (12 - 3 // step) - 4  # smallest size with an output
    if None in sizes:
        raise ValueError(
            'padding "valid" needs images of a fixed height and width, and does not label a margin '
            f"around them; in train.py: --set margin={6 * step - 4}"
        )
    for size in sizes:
        if size < least or (size + 4) % step:
            below = max(least, (size + 4) // step * step - 4)
            near = f"{below} or {below + step}" if size > least else least
            raise ValueError(
                f"unet without padding, of depth {depth}, needs a height and width that is a "
                f"multiple of {step} plus {-4 % step} and at least {least}, not {size}: "
                f'choose {near}, or padding "same"'
            )
