"""The PyTorch tiny YOLOv3 matches the zoo's: equal layers, outputs, loss and gradients."""

import numpy as np
import pytest
from test_benchmarks import apart, needs_torch, train

from benchmarks import yolo

SIZE, WIDTH = 64, 0.0625


def truth():
    """Return images and boxes, some of them ignored, absent, or without an area."""
    x, y = yolo.examples(2, SIZE)
    y[0, 1, 6], y[1, 5, 6] = 1, 2
    y[1, 3, 2] = y[1, 3, 0]
    y[1, 7, 4] = -1
    y[0, 6, :4] = y[0, 7, :4]  # one prediction is assigned to two boxes
    return x, y


def raw_rows(grid, y):
    """Return random raw outputs, close to the ground truth in the assigned predictions."""
    from zoo.tasks.boxes import coding, losses

    rng = np.random.default_rng(1)
    cells, strides, anchors = coding.places(grid)
    raw = rng.normal(size=(len(y), len(cells), 5 + yolo.CLASSES)).astype(np.float32)
    corners = y[..., :4]
    rows = np.asarray(losses.YOLOv3Loss(grid).assign(corners, None))
    share = (corners[..., :2] + corners[..., 2:]) / 2 / strides[rows] - cells[rows]
    share = share.clip(0.01, 0.99)
    sizes = (corners[..., 2:] - corners[..., :2]).clip(1) / anchors[rows]
    near = np.concatenate([np.log(share / (1 - share)), np.log(sizes)], axis=-1)
    raw[np.arange(len(y))[:, None], rows, :4] = near + rng.normal(0, 0.02, near.shape)
    return raw


def loss_and_gradient(raw, y):
    """Return the PyTorch loss and its gradient in the raw outputs."""
    import torch

    from benchmarks import torch_yolo

    raw = torch.from_numpy(raw).requires_grad_()
    loss = torch_yolo.Loss(SIZE)(raw, torch.from_numpy(y))
    loss.backward()
    return loss.item(), raw.grad.numpy()


def predict(x, weights):
    """Return the PyTorch model's outputs with our weights, a dictionary by their paths."""
    import torch

    from benchmarks import torch_yolo

    net = torch_yolo.YOLOv3Tiny(yolo.CLASSES, WIDTH).to(memory_format=torch.channels_last).eval()
    kinds = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "bias": "bias"}
    kinds |= {"moving_variance": "running_var", "kernel": "weight"}
    state = {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
    copied = {}
    for path, value in weights.items():
        layer, kind = path.split("/")
        layer = layer.replace("_conv", ".0").replace("_norm", ".1")
        value = value.transpose(3, 2, 0, 1) if kind == "kernel" else value
        copied[f"{layer}.{kinds[kind]}"] = torch.from_numpy(value.copy())
    assert copied.keys() == state.keys()
    net.load_state_dict(copied, strict=False)
    with torch.inference_mode():
        return net(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()


def train_yolo():
    """Train the PyTorch model for some steps."""
    from benchmarks import torch_yolo

    return train(*torch_yolo.steps(*yolo.examples(2, SIZE), yolo.CLASSES, WIDTH), 6)


def count(width):
    """Return the PyTorch model's number of parameters, and the anchors and strides of its loss."""
    from benchmarks import torch_yolo

    net = torch_yolo.YOLOv3Tiny(yolo.CLASSES, width)
    return (
        sum(weight.numel() for weight in net.parameters()),
        torch_yolo.ANCHORS,
        torch_yolo.STRIDES,
    )


@needs_torch
def test_equal_weights_give_equal_outputs():
    model = yolo.create(SIZE, WIDTH)
    rng = np.random.default_rng(0)
    for weight in model.weights:  # trained statistics and biases are not 0 and 1
        if not weight.path.endswith("kernel"):
            weight.assign(np.asarray(weight) + rng.uniform(0, 0.5, weight.shape))
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    x, _ = yolo.examples(2, SIZE)
    outputs, ours = apart(predict, x, weights), model.predict_on_batch(x)
    assert np.ptp(ours, axis=1).min() > 0.01
    np.testing.assert_allclose(outputs, ours, atol=1e-4)


@needs_torch
def test_equal_rows_give_equal_losses_and_gradients():
    import tensorflow as tf

    from zoo.tasks.boxes import coding, losses

    grid, (_, y) = coding.grid(yolo.create(SIZE, WIDTH)), truth()
    raw = raw_rows(grid, y)
    our_loss = losses.YOLOv3Loss(grid, ciou=True)
    rows = tf.constant(raw)
    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss = our_loss(y, rows)
    gradient = tape.gradient(loss, rows).numpy()
    assert (gradient[..., 4] == 0).any(axis=1).all()  # ignored predictions
    torch_loss, torch_gradient = apart(loss_and_gradient, raw, y)
    assert torch_loss == pytest.approx(float(loss), rel=1e-4)
    np.testing.assert_allclose(torch_gradient, gradient, atol=1e-4)


@needs_torch
def test_torch_yolo_is_as_large_as_ours_and_learns():
    parameters, shape, losses = apart(train_yolo)
    expected, ours = yolo.ours(*yolo.examples(2, SIZE), WIDTH, jit=False)
    assert parameters == expected
    assert shape == ours["inference"]().shape
    assert min(losses[1:]) < losses[0]


@needs_torch
@pytest.mark.parametrize("width", [0.5, 1.0])
def test_torch_yolo_is_as_large_as_the_paper_and_has_the_anchors_of_ours(width):
    from zoo.tasks.boxes import coding

    model = yolo.create(SIZE, width)
    parameters, anchors, strides = apart(count, width)
    assert parameters == sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    assert width < 1 or parameters == 8_852_366
    grid = coding.grid(model)
    np.testing.assert_array_equal(anchors, grid["anchors"])
    assert list(strides) == grid["strides"]
