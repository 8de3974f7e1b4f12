"""FCN: a fully convolutional classifier, its coarse scores refined by those of finer layers.

Long, Shelhamer & Darrell, CVPR 2015, https://arxiv.org/abs/1411.4038. Fig. 3 on VGG-16; borders,
crops and kernels follow the authors' code.
Departures: FCN-16s and 8s can be trained directly, where the paper initializes each from the
coarser one (`train.py --init`); without `encoder_weights` VGG is initialized as in He et al. 2015.
`encoder="resnet"` is the widely used form on ResNet, which the paper does not have: dilation keeps
the last map at stride 8, so that no finer scores are needed, and a head of one 3x3 convolution
replaces fc6 and fc7.
"""

import math

import keras
from keras import layers

from zoo.models.classification.vgg import features as vgg_features
from zoo.nn import encoders
from zoo.nn.auxiliary import supervised
from zoo.nn.blocks import conv_norm
from zoo.nn.layers import Bilinear, CropLike, ResizeLike
from zoo.registry import register

# Offset of the first up-sampled score within a map, by the stride of the map.
SKIPPED = {16: 5, 8: 9}
# Offset of the first up-sampled score within the border, by the stride of the network.
INSIDE = {32: 81, 16: 73, 8: 69}
LEAST = 97  # smallest border for which the 7 x 7 kernel of fc6 fits an image of one pixel
DEPTH, DROPOUT = {"vgg": 16, "resnet": 50}, {"vgg": 0.5, "resnet": 0.1}  # by encoder
WEIGHT = 0.5  # of the auxiliary head's loss, as in the widely used program


@register(
    "image_segmentation",
    paper=dict(input_shape=(500, 500, 3), num_classes=21),
    parameters=134_376_863,
    test=dict(width=0.0625, border=0, dropout=0.0),
)
def FCN(
    input_shape,
    num_classes,
    *,
    encoder="vgg",
    encoder_depth=None,
    stride=8,
    width=1.0,
    border=100,
    dropout=None,
    epsilon=1e-5,
    encoder_weights=None,
    auxiliary=False,
    name="fcn",
):
    """Build FCN-32s, FCN-16s or FCN-8s of Fig. 3, or the form on ResNet.

    Args:
        input_shape: (H, W, C); H and W may be None.
        num_classes: K, the number of classes.
        encoder: "vgg", or "resnet", whose last maps have stride 8 by dilation.
        encoder_depth: `depth` of the encoder; None for 16 and 50.
        stride: 32, 16 or 8, the stride in pixels of the finest scores; ResNet's is 8.
        width: factor on every channel count.
        border: pixels of zero padding around the image, at least 97; the authors use 100. With 0
            every layer pads its own input, which is several times faster on small images. ResNet
            has none.
        dropout: dropout rate after fc6 and fc7, or in front of the scores on ResNet; None for 0.5
            and 0.1.
        epsilon: of batch normalisation, added to the variance; VGG has none.
        encoder_weights: "imagenet", or a trained `vgg` or `resnet` of the zoo: a preset, run folder
            or file. VGG's dense layers become fc6 and fc7 if it was trained on images of 193 to
            224 pixels.
        auxiliary: train with a second head, on ResNet's last stage but one. Predictions and
            exported files do not use it.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, H, W, K).

    Raises:
        ValueError: if the encoder or the stride is not supported, or the border is too narrow.
    """
    if encoder not in DROPOUT:
        raise ValueError(f"the encoder of FCN is {' or '.join(DROPOUT)}, not {encoder!r}")
    if stride not in INSIDE or (encoder == "resnet" and stride != 8):
        known = "8 on ResNet" if encoder == "resnet" else ", ".join(map(str, INSIDE))
        raise ValueError(f"FCN has stride {known}, not {stride!r}")
    if border and border < LEAST:
        raise ValueError(f"border must be 0 or at least {LEAST} pixels, not {border!r}")
    if auxiliary and encoder == "vgg":
        raise ValueError('the auxiliary head is for encoder="resnet": leave auxiliary out')
    image = keras.Input(input_shape, name="image")
    style = dict(width=width, depth=encoder_depth or DEPTH[encoder])
    rate = DROPOUT[encoder] if dropout is None else dropout
    if encoder == "vgg":
        return on_vgg(image, num_classes, stride, border, rate, style, encoder_weights, name)
    style |= dict(epsilon=epsilon)
    return on_resnet(image, num_classes, rate, style, encoder_weights, auxiliary, name)


def on_resnet(image, num_classes, dropout, style, weights, auxiliary, name):
    """Return the model whose scores are those of the dilated ResNet's last map, interpolated."""
    if weights == encoders.IMAGENET:  # those of keras.applications have other strides
        raise ValueError("there are no ImageNet weights of resnet with dilation: name others")
    x = encoders.prepared(image, "resnet", weights, style["depth"])
    maps = encoders.features("resnet", weights)(x, output_stride=8, **style)
    last = maps[max(maps)]
    trunk = keras.Model(image, last)
    if weights:
        encoders.load_weights(trunk, "resnet", weights, style["depth"])

    def head(x, name):
        x = conv_norm(x, x.shape[-1] // 4, 3, f"{name}_hidden", epsilon=style["epsilon"])
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        x = layers.Conv2D(num_classes, 1, dtype="float32", name=f"{name}_score")(x)
        return ResizeLike(dtype="float32", name=name)([x, image])

    heads = [head(inner_stage(trunk), "auxiliary")] if auxiliary else []
    return supervised(image, head(last, "logits"), heads, WEIGHT, name)


def inner_stage(trunk):
    """Return the output of ResNet's last stage but one."""
    names = [layer.name.split("_") for layer in trunk.layers if layer.name.startswith("stage")]
    blocks = [name for name in names if len(name) == 2]  # longer ones are of layers inside of them
    stage, block = [name for name in blocks if name[0] != blocks[-1][0]][-1]
    return trunk.get_layer(f"{stage}_{block}").output


def on_vgg(image, num_classes, stride, border, dropout, style, weights, name):
    """Return the model of Fig. 3."""
    padding, width = "valid" if border else "same", style["width"]
    x = encoders.prepared(image, "vgg", weights)
    if border:
        x = layers.ZeroPadding2D(border - 1, name="border")(x)  # the first convolution pads 1 more
    maps = vgg_features(x, **style)
    x = pool(maps, 32)
    for kernel, hidden in [(7, "fc6"), (1, "fc7")]:
        x = layers.Conv2D(
            int(4096 * width),
            kernel,
            padding=padding,
            activation="relu",
            kernel_initializer="he_normal",
            name=hidden,
        )(x)
        x = layers.Dropout(dropout, name=f"{hidden}_dropout")(x)
    x = score(x, num_classes, 32)
    for finer in [16, 8][: [32, 16, 8].index(stride)]:
        x = enlarge(x, 2, padding, f"up{finer}")
        detail = score(pool(maps, finer), num_classes, finer)
        if border:
            detail = CropLike(SKIPPED[finer], name=f"crop{finer}")([detail, x])
        else:
            x = CropLike(name=f"crop{finer}")([x, detail])
        x = layers.Add(name=f"sum{finer}")([x, detail])
    x = enlarge(x, stride, padding, "up", trainable=False, dtype="float32")  # Sec. 4.3: fixed
    start = border - INSIDE[stride] if border else 0
    logits = CropLike(start, dtype="float32", name="logits")([x, image])
    model = keras.Model(image, logits, name=name)
    if weights:
        convolutionalize(model, keras.Model(image, list(maps.values())), weights, style)
    return model


def pool(maps, stride):
    """Pool the last map of a VGG block, which `features` returns before pooling."""
    name = f"pool{stride.bit_length() - 1}"
    return layers.MaxPooling2D(2, padding="same", name=name)(maps[stride // 2])


def score(x, num_classes, stride):
    """Return the class scores at every position of a map; initially all 0."""
    return layers.Conv2D(num_classes, 1, kernel_initializer="zeros", name=f"score{stride}")(x)


def enlarge(x, factor, padding, name, **options):
    """Up-sample scores by a transposed convolution, initially bilinear interpolation."""
    return layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        strides=factor,
        padding=padding,
        use_bias=False,
        kernel_initializer=Bilinear(),
        name=name,
        **options,
    )(x)


def convolutionalize(model, encoder, weights, style):
    """Load VGG's weights, with its dense layers converted to convolutions (Sec. 3.1)."""
    trained = encoders.load_weights(encoder, "vgg", weights, style["depth"], top=True)
    dense = {layer.name: layer for layer in trained.layers if layer.name in ("fc1", "fc2")}
    for name, source in zip(("fc6", "fc7"), dense.values(), strict=False):
        layer, (kernel, bias) = model.get_layer(name), source.get_weights()
        if kernel.size != math.prod(layer.kernel.shape):
            break  # VGG was trained on images of another size
        layer.set_weights([kernel.reshape(layer.kernel.shape), bias])
