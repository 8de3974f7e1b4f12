"""ResNet: blocks add what they compute to what they are given, so that a hundred layers train.

He, Zhang, Ren & Sun, CVPR 2016, https://arxiv.org/abs/1512.03385. Table 1 (depths 18 to 152) and
Sec. 4.2 (the form for CIFAR-10, depths 20 to 110); `version=2` is He et al., ECCV 2016,
https://arxiv.org/abs/1603.05027, Fig. 4 (e): normalisation and ReLU before each convolution.
Departures: bottlenecks halve the size in their 3x3 convolution, as the widely used programs do,
where the paper does in the first 1x1; the stride of a stage is in its first block. Those of
`keras.applications` differ (`form="keras"`): version 1 is as the paper; in version 2 the last block
of a stage halves the size, and nothing follows the first convolution, which has a bias.
"""

import keras
from keras import layers, ops

from zoo.nn.blocks import MOMENTUM, conv_norm, padded_conv, standardized
from zoo.registry import register

BLOCKS = {  # of each stage, by depth
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    **{depth: ((depth - 2) // 6,) * 3 for depth in (20, 32, 44, 56, 110)},
}


@register(
    "image_classification",
    paper=dict(input_shape=(224, 224, 3), num_classes=1000),
    parameters=25_557_032,
    test=dict(depth=20, width=0.5),
)
def ResNet(
    input_shape,
    num_classes,
    *,
    depth=50,
    width=1.0,
    version=1,
    shortcut="paper",
    epsilon=1e-5,
    form="torch",
    pixel_mean=None,
    pixel_std=None,
    name="resnet",
):
    """Build the classifier of Table 1, or of Sec. 4.2.

    Args:
        input_shape: (H, W, C); H and W may be None.
        num_classes: K, the number of classes.
        depth: layers with weights: 18, 20, 32, 34, 44, 50, 56, 101, 110 or 152; of these 20, 32,
            44, 56 and 110 are for small images.
        width: factor on every channel count.
        version: 1, or 2 for normalisation and ReLU before each convolution.
        shortcut: where the size changes: "projection" is a convolution, "zeros" takes every second
            pixel and zeros for new channels; "paper" is zeros for small images, else projection.
        epsilon: of batch normalisation, added to the variance.
        form: "torch", or "keras" for strides as in `keras.applications`, of depth 50, 101 and 152.
        pixel_mean: of each channel, from 0 to 1, subtracted first, as published weights need it.
        pixel_std: standard deviation of each channel, by which it is then divided.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) in [0, 1] to float32 logits (B, K).

    Raises:
        ValueError: if there is no such depth, version, shortcut or form.
    """
    image = keras.Input(input_shape, name="image")
    options = dict(depth=depth, width=width, version=version, shortcut=shortcut, epsilon=epsilon)
    maps = features(standardized(image, pixel_mean, pixel_std), form=form, **options)
    x = layers.GlobalAveragePooling2D(name="pool")(maps[max(maps)])
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def features(
    x,
    *,
    depth=50,
    width=1.0,
    version=1,
    shortcut="paper",
    epsilon=1e-5,
    form="torch",
    output_stride=32,
):
    """Apply all convolutions to images (B, H, W, C), with the options of `ResNet`.

    The largest stride is `output_stride`. A stage that would exceed it has dilated convolutions
    instead of a stride, and every second pixel of its output is what it would have been.

    Returns:
        The last output of each stride in a dictionary: 4, 8, 16, 32, or 1, 2, 4 for small images; a
        tensor (B, ⌈H / stride⌉, ⌈W / stride⌉, channels).

    Raises:
        ValueError: as `ResNet`.
    """
    if depth not in BLOCKS:
        raise ValueError(f"ResNet has depth {', '.join(map(str, sorted(BLOCKS)))}, not {depth!r}")
    if version not in (1, 2):
        raise ValueError(f"version is 1 or 2, not {version!r}")
    if shortcut not in ("paper", "projection", "zeros"):
        raise ValueError(f'shortcut is "paper", "projection" or "zeros", not {shortcut!r}')
    small, bottleneck = len(BLOCKS[depth]) == 3, depth in (50, 101, 152)
    if form not in ("torch", "keras"):
        raise ValueError(f'form is "torch" or "keras", not {form!r}')
    if form == "keras" and (not bottleneck or output_stride < 32):
        raise ValueError('form="keras" has depth 50, 101 or 152, and no dilation')
    late = form == "keras" and version == 2  # the last block of a stage halves the size
    if shortcut == "paper":
        shortcut = "zeros" if small else "projection"
    style = dict(shortcut=shortcut, epsilon=epsilon)
    channels, stride, dilation = int((16 if small else 64) * width), 1 if small else 4, 1
    if small:
        x = conv_norm(x, channels, 3, "stem", epsilon=epsilon)
    else:
        stem = padded_conv if late else conv_norm
        x = stem(x, channels, 7, "stem", strides=2, **({} if late else dict(epsilon=epsilon)))
        x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)  # below zero is nothing after ReLU
        x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    block, maps = residual if version == 1 else preactivated, {}
    style |= dict(bottleneck=bottleneck, form=form)
    for stage, count in enumerate(BLOCKS[depth], 1):
        halving, dilations = 0, (dilation, dilation)
        if late:
            halving = count if stage < len(BLOCKS[depth]) else 0
        elif stage > 1 and stride < output_stride:
            halving = 1
        elif stage > 1:  # the first convolution, of stride 2 elsewhere, still sees old pixels
            dilations = (dilation, 2 * dilation)
        for i in range(1, count + 1):
            name, strides = f"stage{stage}_block{i}", 2 if i == halving else 1
            x = block(x, channels, name, strides=strides, dilations=dilations, **style)
            stride, dilations = stride * strides, dilations[1:] * 2
            maps[stride] = x
        channels, dilation = channels * 2, dilations[1]
    if version == 2:
        last = max(maps)
        maps[last] = norm_relu(maps[last], "last", epsilon)
    return maps


def residual(x, channels, name, *, strides, dilations, bottleneck, shortcut, epsilon, form):
    """Apply a block of version 1: the sum is in front of the last ReLU."""
    style, first = dict(epsilon=epsilon), dict(strides=strides, dilation=dilations[0])
    if bottleneck:
        options = (first, {}) if form == "keras" else ({}, first)
        y = conv_norm(x, channels, 1, f"{name}_1", **options[0], **style)
        y = conv_norm(y, channels, 3, f"{name}_2", **options[1], **style)
        y = conv_norm(y, 4 * channels, 1, f"{name}_3", activation=None, **style)
    else:
        y = conv_norm(x, channels, 3, f"{name}_1", **first, **style)
        last = dict(dilation=dilations[1], activation=None)
        y = conv_norm(y, channels, 3, f"{name}_2", **last, **style)
    if shortcut == "projection" and (strides > 1 or x.shape[-1] != y.shape[-1]):
        out = y.shape[-1]
        x = conv_norm(x, out, 1, f"{name}_skip", strides=strides, activation=None, **style)
        strides = 1
    x = layers.Add(name=f"{name}_add")([reduced(x, y, strides, name), y])
    return layers.ReLU(name=name)(x)


def preactivated(x, channels, name, *, strides, dilations, bottleneck, shortcut, epsilon, form):
    """Apply a block of version 2: nothing but the sum is between blocks."""
    y = first = norm_relu(x, f"{name}_1", epsilon)
    if bottleneck:
        plan = ((channels, 1, 1, 1), (channels, 3, strides, dilations[0]), (4 * channels, 1, 1, 1))
    else:
        plan = ((channels, 3, strides, dilations[0]), (channels, 3, 1, dilations[1]))
    for i, (filters, size, step, dilation) in enumerate(plan, 1):
        if i > 1:
            y = norm_relu(y, f"{name}_{i}", epsilon)
        options = dict(strides=step, dilation_rate=dilation, use_bias=False)
        y = padded_conv(y, filters, size, f"{name}_{i}", **options)
    halved = strides > 1 and form == "torch"
    if shortcut == "projection" and (halved or x.shape[-1] != y.shape[-1]):
        x = padded_conv(first, y.shape[-1], 1, f"{name}_skip", strides=strides, use_bias=False)
        strides = 1
    return layers.Add(name=name)([reduced(x, y, strides, name), y])


def norm_relu(x, name, epsilon):
    """Apply batch normalisation and ReLU."""
    norm = layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon, name=f"{name}_norm")
    return layers.ReLU(name=f"{name}_relu")(norm(x))


def reduced(x, y, strides, name):
    """Return x in the shape of y: every second pixel, and zeros for channels that x lacks."""
    rest = y.shape[-1] - x.shape[-1]
    if strides > 1:
        x = layers.MaxPooling2D(1, strides, name=f"{name}_subsample")(x)
    if rest == 0:
        return x
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [rest // 2, rest - rest // 2]])
