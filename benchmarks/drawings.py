"""Block diagrams of the models, as SVG, from each model's graph in its paper's configuration.

Operations whose names start with the same word form a box, in topological order. Boxes of feature
maps are indented by their number of downsamplings, which aligns encoder and decoder levels.
"""

import html
import math

import keras

WIDTH, LINE, GAP, INDENT, LANE, PAD = 292, 17, 22, 15, 13, 9
WRAP = 42  # maximum characters per line in a box
STYLE = (
    "text{font:12px system-ui,-apple-system,Segoe UI,Roboto,DejaVu Sans,sans-serif;fill:#1c2733}"
    ".t{font-weight:600}.s{fill:#52606d}"
    "rect{stroke-width:1.2;rx:6px}.input{fill:#eceff1;stroke:#90a4ae}"
    ".conv{fill:#e3f0fd;stroke:#5c9bd6}.up{fill:#e2f4e6;stroke:#58a868}"
    ".dense{fill:#fdf0dc;stroke:#d9993f}.recurrent{fill:#efe7fb;stroke:#9270cf}"
    "path{fill:none;stroke:#7b8a99;stroke-width:1.5}.h{fill:#7b8a99;stroke:none}"
)
UNLABELLED = (  # operations that are not listed in a box
    "Activation BatchNormalization BroadcastTo CropLike Dropout ExpandDims GetItem InputLayer "
    "LeakyReLU Multiply Ones OnesLike Pad Permute ReLU SpatialDropout2D Reshape "
    "RowNormalization StepReshape ZeroPadding2D"
).split()
ATTACHED = (
    "Dropout Flatten Reshape StepReshape Permute Split".split()
)  # operations that never form their own box
LABELS = {
    "Absolute": "absolute value",
    "Add": "sum",
    "Concatenate": "concatenate",
    "CropLike": "crop",
    "Dot": "matrix product",
    "Flatten": "flatten",
    "GlobalAveragePooling2D": "global average pooling",
    "GlobalMaxPooling1D": "global max pooling",
    "LayerNormalization": "layer norm",
    "LocalContrast": "local contrast norm",
    "LocalResponseNormalization": "local response norm",
    "PartialConv2D": "partly connected conv",
    "Split": "split the channels",
    "Tokens": "class token and positions",
    "UnitLength": "unit length",
    "Grid": "decode the cells to rows of boxes",
}


def drawing(model):
    """Return the SVG text of a functional `keras.Model`."""
    boxes, edges, counts = merged(*blocks(model))
    order = sort(boxes, edges)
    size = next((s for s in (shape(o) for o in boxes[order[0]]) if len(s) == 3), None)
    levels, lines, level = {}, {}, 0
    for key in order:
        out = shape(boxes[key][-1])
        halved = size and len(out) == 3 and None not in (size[0], out[0]) and out[0]
        level = max(0, round(math.log2(size[0] / out[0]))) if halved else level
        levels[key] = level  # vectors have the level of the last map
        lines[key] = wrapped(times(labels(boxes[key]), counts.get(key, 1)))
    tops, y = {}, PAD
    for key in order:
        tops[key] = y
        y += height(lines[key]) + GAP
    total = y - GAP + PAD
    lefts = {key: PAD + INDENT * levels[key] for key in order}
    right = max(lefts.values()) + WIDTH
    body, lanes = [], []
    place = {key: i for i, key in enumerate(order)}
    skips = sorted(edges, key=lambda edge: (place[edge[1]] - place[edge[0]], place[edge[0]]))
    for start, end in skips:
        bottom = tops[start] + height(lines[start])
        if place[end] == place[start] + 1:
            x = max(lefts[start], lefts[end]) + 40
            body.append(f'<path d="M{x} {bottom}V{tops[end] - 5}"/>{arrow(x, tops[end])}')
            continue
        a, b = bottom - 9, tops[end] + 11
        lane = next(
            (i for i, spans in enumerate(lanes) if all(b < s or a > e for s, e in spans)), None
        )
        if lane is None:
            lanes.append([])
            lane = len(lanes) - 1
        lanes[lane].append((a, b))
        x, target = right + LANE * (lane + 1), lefts[end] + WIDTH
        body.append(f'<path d="M{lefts[start] + WIDTH} {a}H{x}V{b}H{target + 6}"/>')
        body.append(f'<path class="h" d="M{target} {b}l7 -4v8z"/>')
    for key in order:
        body.append(box(key, lefts[key], tops[key], lines[key], boxes[key]))
    total_width = right + LANE * len(lanes) + PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_width} {total}" '
        f'width="{total_width}" '
        f'height="{total}"><style>{STYLE}</style>\n' + "\n".join(body) + "\n</svg>\n"
    )


def blocks(model):
    """Return the operations of each box by its name, and the edges between boxes as pairs."""
    operations, parents = list(model.operations), {}
    known = {operation.name for operation in operations}
    for operation in operations:
        tensors = [tensor for node in operation._inbound_nodes for tensor in node.input_tensors]
        sources = [tensor._keras_history.operation.name for tensor in tensors]
        parents[operation.name] = [name for name in sources if name in known]
    split_words, keys = set(), {}
    while True:
        keys = {o.name: key_of(o.name, split_words) for o in operations}
        attach(operations, parents, keys)
        edges = {
            (keys[parent], keys[name])
            for name, sources in parents.items()
            for parent in sources
            if keys[parent] != keys[name]
        }
        boxes = {}
        for operation in operations:
            boxes.setdefault(keys[operation.name], []).append(operation)
        cycle = [operation.name for key in cyclic(boxes, edges) for operation in boxes[key]]
        candidates = {name.split("_")[0] for name in cycle} - split_words
        if not candidates:
            return boxes, edges
        split_words |= {
            max(sorted(candidates), key=lambda word: sum(name.startswith(word) for name in cycle))
        }


def merged(boxes, edges):
    """Combine equal boxes in a row: return boxes, edges, and how many each combined one stands for.

    Boxes are equal if they have the same labels and the same output shape.
    """
    order, counts = sort(boxes, edges), {}
    for start in order:
        run = [start]
        while len(after := {end for first, end in edges if first == run[-1]}) == 1:
            (end,) = after
            equal = labels(boxes[end]) == labels(boxes[start]) and shape(boxes[end][-1]) == shape(
                boxes[start][-1]
            )
            if not equal or {first for first, last in edges if last == end} != {run[-1]}:
                break
            run.append(end)
        if len(run) > 1 and start in boxes:
            name = f"{run[0]} to {run[-1]}"
            counts[name] = len(run)
            boxes = {
                name if key == start else key: boxes[key] for key in boxes if key not in run[1:]
            }
            names = dict.fromkeys(run, name)
            edges = {(names.get(a, a), names.get(b, b)) for a, b in edges}
            edges = {(a, b) for a, b in edges if a != b}
    return boxes, edges, counts


def times(words, count):
    """Return the labels of so many equal boxes."""
    if count == 1:
        return words
    return [f"{count} × {words[0]}" if len(words) == 1 else f"{count} × ({' → '.join(words)})"]


def key_of(name, split_words):
    """Return the box of a name: its first word, or its first two if the first is a split word."""
    words = name.split("_")
    return "_".join(words[: 2 if words[0] in split_words else 1])


def attach(operations, parents, keys):
    """Move small operations into the box before them, or after them if there are several before."""
    children = {}
    for name, sources in parents.items():
        for source in sources:
            children.setdefault(source, []).append(name)
    small = {operation.name for operation in operations if is_small(operation)}
    for operation in operations:
        name = operation.name
        members = [member for member, key in keys.items() if key == keys[name]]
        if not (parents[name] and small.issuperset(members)):
            continue
        source, after = parents[name][0], {keys[child] for child in children.get(name, ())}
        direct = len(set(parents[name])) == len(children[source]) == 1
        if direct and keys[source] not in (keys[operations[0].name], keys[name]):
            keys |= dict.fromkeys(members, keys[source])
        elif len(after) == 1:
            keys |= dict.fromkeys(members, *after)


def is_small(operation):
    """Return whether an operation is attached to the box before or after it."""
    kind = type(operation).__name__
    shown = kind in UNLABELLED or kind in ATTACHED or "Pooling" in kind
    return shown and kind != "InputLayer"


def cyclic(boxes, edges):
    """Return the boxes that remain after repeatedly removing those without inputs (Kahn)."""
    rest = set(boxes)
    while free := {key for key in rest if not any(e == key and s in rest for s, e in edges)}:
        rest -= free
    return rest


def sort(boxes, edges):
    """Return the names of boxes in topological order, short branches right before their use.

    Branches of one length are in the order of the model.
    """
    depths, order, rest = {}, [], set(boxes)
    while len(depths) < len(boxes):
        for key in boxes:
            before = [start for start, end in edges if end == key]
            if depths.keys() >= set(before):
                depths[key] = 1 + max((depths[start] for start in before), default=0)
    while rest:  # from the output backwards
        free = [key for key in boxes if key in rest and not any((key, e) in edges for e in rest)]
        near = [key for key in free if order and (key, order[-1]) in edges]
        order.append(min(reversed(near or free), key=depths.get))
        rest.discard(order[-1])
    return order[::-1]


def shape(operation):
    """Return the output shape of an operation without the batch axis; () for several outputs.

    Of a split it is that of all parts together.
    """
    split = type(operation).__name__ == "Split"
    outputs = keras.tree.flatten(operation.input if split else operation.output)
    return tuple(outputs[0].shape[1:]) if len(outputs) == 1 else ()


def labels(operations):
    """Return the labels of a box's operations, with repetitions combined."""
    words = [label(operation) for operation in operations if label(operation)]
    for period in range(1, 8):
        words = repeated(words, period)
    return words or ["input"]


def label(operation):
    """Return the label of an operation; "" if it is not listed in a box."""
    kind = type(operation).__name__
    if kind in LABELS:
        return LABELS[kind]
    if kind in UNLABELLED:
        return ""
    if kind in ("Conv2D", "Conv2DTranspose"):
        sides = "×".join(map(str, operation.kernel_size))
        stride = operation.strides[0]
        text = "transposed conv" if "Transpose" in kind else "conv"
        return f"{text} {sides}{f' /{stride}' if stride > 1 else ''}, {operation.filters}"
    if kind == "DepthwiseConv2D":
        sides, stride = "×".join(map(str, operation.kernel_size)), operation.strides[0]
        return f"depthwise conv {sides}{f' /{stride}' if stride > 1 else ''}"
    if kind == "MultiHeadAttention":
        return f"attention of {operation.num_heads} heads"
    if kind == "AveragePooling2D":
        return f"average pooling {'×'.join(map(str, operation.pool_size))}"
    if kind == "MaxPooling2D":
        stride = f" /{operation.strides[0]}" if operation.strides[0] > 1 else ", stride 1"
        return f"max pooling {'×'.join(map(str, operation.pool_size))}{stride}"
    if kind == "Dense":
        return f"dense {operation.units}"
    if kind == "UpSampling2D":
        return f"up-sampling ×{operation.size[0]}"
    if kind == "Bidirectional":
        return f"bidirectional {label(operation.forward_layer)} + {operation.backward_layer.units}"
    if kind == "RNN":
        return f"{type(operation.cell).__name__.removesuffix('Cell')} {operation.cell.units} units"
    if hasattr(operation, "units"):
        return f"{kind} {operation.units}"
    return kind


def repeated(words, period):
    """Return labels in which repeated sequences of length `period` are combined into one label."""
    out, i = [], 0
    while i < len(words):
        part, count = words[i : i + period], 1
        while words[i + count * period : i + (count + 1) * period] == part:
            count += 1
        if count > 1 and len(part) == period and not any("×(" in w or "× " in w for w in part):
            text = " → ".join(part)
            out.append(f"{count} × ({text})" if period > 1 else f"{count} × {text}")
            i += count * period
        else:
            out.append(words[i])
            i += 1
    return out


def wrapped(words):
    """Return the lines of a box: labels separated by arrows."""
    lines = [""]
    for word in " → ".join(words).split(" → "):
        line = f"{lines[-1]} → {word}" if lines[-1] else word
        if len(line) > WRAP - 2 and lines[-1]:
            lines[-1] += " →"
            lines.append(word)
        else:
            lines[-1] = line
    return lines


def height(lines):
    """Return the height of a box with these lines below its title."""
    return LINE * (len(lines) + 1) + 10


def box(key, x, y, lines, operations):
    """Return the SVG of a box: name, output shape, and its operations below them."""
    out = " × ".join("any" if n is None else f"{n}" for n in shape(operations[-1]))
    text = [f'<text class="t" x="{x + 9}" y="{y + 18}">{html.escape(key.replace("_", " "))}</text>']
    text.append(f'<text class="s" x="{x + WIDTH - 9}" y="{y + 18}" text-anchor="end">{out}</text>')
    for i, line in enumerate(lines, 1):
        text.append(f'<text x="{x + 9}" y="{y + 18 + LINE * i}">{html.escape(line)}</text>')
    size = f'x="{x}" y="{y}" width="{WIDTH}" height="{height(lines)}"'
    return f'<g><rect class="{colour(operations)}" {size}/>{"".join(text)}</g>'


def colour(operations):
    """Return the CSS class of a box, which depends on its operations."""
    kinds = " ".join(type(operation).__name__ for operation in operations)
    if any(word in kinds for word in ("Transpose", "UpSampling")):
        return "up"
    if any(word in kinds for word in ("RNN", "LSTM", "GRU", "Bidirectional")):
        return "recurrent"
    if "Conv" in kinds or "Pooling2D" in kinds:
        return "conv"
    return "input" if kinds == "InputLayer" else "dense"


def arrow(x, y):
    """Return an arrow head that points down at (x, y)."""
    return f'<path class="h" d="M{x} {y}l-4 -7h8z"/>'
