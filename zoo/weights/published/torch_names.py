"""The names that PyTorch programs give to the layers of our models: timm's, and torchvision's.

Each function takes a model and the names of the arrays in a file, and returns the name there of
each layer with weights. Where the programs differ, the arrays of the file decide.
"""

import re

from zoo.weights.published import preparation
from zoo.weights.records import trouble

HEADS = {  # the last layer, by model, under each name that it has
    "googlenet": ("fc",),
    "mobilenet": ("classifier", "classifier.1"),
    "resnet": ("fc", "linear"),
    "vgg": ("head.fc", "classifier.6"),
    "vit": ("head",),
}
BRANCHES = {  # of an Inception module, by the end of our name
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "pool_project": "branch4.1",
}
UNUSED = {  # arrays that a model does not need for its predictions
    "googlenet": r"aux[12]\..*",  # the auxiliary heads, which only help training
}


def of(name, path):
    """Return the function of a model, for the file of a path.

    Raises:
        ValueError: if there is none.
    """
    if name not in NAMES:
        why = f"no published names of the arrays of {name} are known"
        raise trouble(path, why, f"Train another model from it: {', '.join(NAMES)}")
    return NAMES[name]


def head(name, arrays, path):
    """Return the name of the last layer of a model in a file with these arrays.

    Raises:
        ValueError: if there is none.
    """
    for theirs in HEADS[name]:
        if f"{theirs}.weight" in arrays:
            return theirs
    names = " or ".join(f"{theirs}.weight" for theirs in HEADS[name])
    why = f"it has no {names}, so it holds no classifier of the kind {name}"
    raise trouble(path, why, "Name the model that it was saved from")


def resnet(model, arrays):
    """Return the names of a ResNet of version 1."""

    def block(stage, number, part, kind):
        place = f"layer{stage}.{int(number) - 1}"
        if part == "skip":
            return f"{place}.downsample.{0 if kind == 'conv' else 1}"
        return f"{place}.{kind}{part}"

    if "last_norm" in layers(model):
        why = "version 2 has other names in timm, which are not known"
        raise trouble("resnet", why, "Use weights of version 1")
    last = next(name for name in HEADS["resnet"] if f"{name}.weight" in arrays)
    names = {"stem_conv": "conv1", "stem_norm": "bn1", "logits": last}
    for layer in layers(model):
        if parsed := re.fullmatch(r"stage(\d)_block(\d+)_(\w+?)_(conv|norm)", layer):
            kind = "bn" if parsed[4] == "norm" else "conv"
            names[layer] = block(parsed[1], parsed[2], parsed[3], kind)
    return names


def vgg(model, arrays):
    """Return the names of a VGG, whose convolutions PyTorch counts with all layers between them."""
    names, index, block = {}, 0, "1"
    ours = layers(model)
    for layer in ours:
        if not (parsed := re.fullmatch(r"block(\d)_conv\d", layer)):
            continue
        if parsed[1] != block:
            index, block = index + 1, parsed[1]  # the pooling
        names[layer] = f"features.{index}"
        if f"{layer}_norm" in ours:
            index += 1
            names[f"{layer}_norm"] = f"features.{index}"
        index += 2
    if "head.fc.weight" in arrays:  # timm's
        dense = {"fc1": "pre_logits.fc1", "fc2": "pre_logits.fc2", "logits": "head.fc"}
    else:
        dense = {"fc1": "classifier.0", "fc2": "classifier.3", "logits": "classifier.6"}
    return {**names, **dense}


def vit(model, arrays):
    """Return the names of a ViT; the class token and the positions are in no layer there."""
    parts = {"norm1": "norm1", "norm2": "norm2", "attention": "attn"}
    parts |= {"expand": "mlp.fc1", "project": "mlp.fc2"}
    names = {"tokens": "", "patches": "patch_embed.proj", "norm": "norm", "logits": "head"}
    for layer in layers(model):
        if parsed := re.fullmatch(r"block(\d+)_(\w+)", layer):
            names[layer] = f"blocks.{int(parsed[1]) - 1}.{parts[parsed[2]]}"
    return names


def mobilenet(model, arrays):
    """Return the names of a MobileNetV2, whose blocks timm numbers by stage."""
    if preparation.TIMM_MOBILENET not in arrays:
        return mobilenet_of_torchvision(model)
    pairs = re.findall(r"^blocks\.(\d+)\.(\d+)\.conv_dw\.weight$", "\n".join(arrays), re.MULTILINE)
    places = sorted((int(stage), int(number)) for stage, number in pairs)
    names = {"stem_conv": "conv_stem", "stem_norm": "bn1", "logits": "classifier"}
    names |= {"last_conv": "conv_head", "last_norm": "bn2"}
    ours = layers(model)
    for layer in ours:
        if parsed := re.fullmatch(r"block(\d+)_(expand|depthwise|project)_(conv|norm)", layer):
            number = int(parsed[1])
            stage, place = places[number - 1] if number <= len(places) else ("?", number)
            whole = f"block{number}_expand_conv" in ours
            kinds = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
            if not whole:  # the first block does not expand
                kinds["project"] = "conv_pw"
            order = [kind for kind in kinds if whole or kind != "expand"]
            conv, norm = kinds[parsed[2]], f"bn{order.index(parsed[2]) + 1}"
            kind = conv if parsed[3] == "conv" else norm
            names[layer] = f"blocks.{stage}.{place}.{kind}"
    return names


def mobilenet_of_torchvision(model):
    """Return torchvision's names of a MobileNetV2."""
    ours = layers(model)
    count = len([layer for layer in ours if layer.endswith("_depthwise_conv")])
    names = {"stem_conv": "features.0.0", "stem_norm": "features.0.1", "logits": "classifier.1"}
    names |= {
        f"last_{kind}": f"features.{count + 1}.{i}" for i, kind in enumerate(("conv", "norm"))
    }
    for layer in ours:
        if parsed := re.fullmatch(r"block(\d+)_(expand|depthwise|project)_(conv|norm)", layer):
            number, part, norm = parsed[1], parsed[2], parsed[3] == "norm"
            parts = ["expand", "depthwise", "project"]
            place = parts.index(part) - (f"block{number}_expand_conv" not in ours)
            inner = f"{place + norm}" if part == "project" else f"{place}.{int(norm)}"
            names[layer] = f"features.{number}.conv.{inner}"
    return names


def googlenet(model, arrays):
    """Return torchvision's names of a GoogLeNet with batch normalisation; timm has none."""
    names = {"logits": "fc"}
    stem = {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
    for layer in layers(model):
        ours, _, kind = layer.rpartition("_")
        kind = "bn" if kind == "norm" else kind
        if ours in stem:
            names[layer] = f"{stem[ours]}.{kind}"
        elif parsed := re.fullmatch(r"(\d[a-e])_(\w+)", ours):
            names[layer] = f"inception{parsed[1]}.{BRANCHES[parsed[2]]}.{kind}"
        elif parsed := re.fullmatch(r"auxiliary_(4a|4d)_reduce", ours):
            names[layer] = f"aux{1 + (parsed[1] == '4d')}.conv.{kind}"
        elif parsed := re.fullmatch(r"auxiliary_(4a|4d)(_hidden)?", layer):
            names[layer] = f"aux{1 + (parsed[1] == '4d')}.fc{1 if parsed[2] else 2}"
    return names


def layers(model):
    """Return the names of the layers with weights, in their order."""
    return [layer.name for layer in model.layers if layer.weights]


NAMES = {
    "googlenet": googlenet,
    "mobilenet": mobilenet,
    "resnet": resnet,
    "vgg": vgg,
    "vit": vit,
}
