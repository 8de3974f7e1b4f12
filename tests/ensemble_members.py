"""Small saved models that the tests of ensembles combine."""

import keras
import numpy as np

SIZE = 32


def record(task="image_segmentation", **changes):
    """Return the record that a run of train.py leaves in its model's file."""
    from zoo import tasks

    defaults = {
        "model": "unet",
        "arguments": {},
        "options": {},
        "task": task,
        "task_options": dict(tasks.get(task).options),
        "info": {"classes": ["background", "nucleus"], "channels": 1, "range": [0.0, 255.0]},
        "data": {"name": "toy", "source": "toy", "fingerprint": "0123456789abcdef"},
        "settings": {"command": "python train.py --model unet"},
    }
    return {**defaults, **changes}


def mapper(name="unet", size=None, channels=1, units=1, seed=0, ending=None, **more):
    """Build a small network from images to maps."""
    keras.utils.set_random_seed(seed)
    x = entry = keras.Input((size, size, channels), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    return ended(entry, keras.layers.Conv2D(units, 1, activation=ending, name="logits")(x), name)


def classifier(name="net", units=4, seed=0, ending=None, size=SIZE):
    """Build a small network from images to classes."""
    keras.utils.set_random_seed(seed)
    x = entry = keras.Input((size, size, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return ended(entry, keras.layers.Dense(units, activation=ending, name="logits")(x), name)


def ended(entry, x, name):
    """Return the model, with moving statistics that a training might have left."""
    model = keras.Model(entry, x, name=name)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            count = layer.moving_mean.shape[0]
            layer.moving_mean.assign(np.linspace(-0.2, 0.3, count))
            layer.moving_variance.assign(np.linspace(0.5, 2.0, count))
    return model


def images(count=6, size=SIZE, channels=1, seed=0):
    """Return images with bright squares (n, H, W, C) float32, and their masks (n, H, W) int16."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.3, 0.1, (count, size, size, channels)).astype(np.float32)
    y = np.zeros((count, size, size), np.int16)
    for i, (top, left) in enumerate(rng.integers(0, size - 8, (count, 2))):
        x[i, top : top + 8, left : left + 8] += 0.4
        y[i, top : top + 8, left : left + 8] = 1
    return x, y
