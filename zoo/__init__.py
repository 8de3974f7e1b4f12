"""A zoo of Keras 3 architectures: one paper is one file, and every one trains on your own data.

    import zoo

    zoo.names("pointcloud_classification")                             # ["pointnet", ...]
    zoo.create("pointnet", input_shape=(1024, 3), num_classes=10, width=0.5)
    zoo.load("pointnet_lidar_objects")                                 # a preset, trained
    zoo.load("runs/pointnet-my_scans-1")                               # a run, a .keras or .h5 file

Keras is imported by the first call that needs it, so listing names costs nothing.
"""

from zoo import index

__version__ = "0.1.0"
__all__ = ["create", "load", "names"]


def names(task=None):
    """Return the names of all models, or of those for one task, sorted."""
    return [row.name for row in index.models().values() if task is None or task in row.tasks]


def create(name, *arguments, **options):
    """Build the model called `name`; the arguments are those of its builder.

    Returns:
        A `keras.Model` with fresh weights.

    Raises:
        ValueError: if no model has that name; the message names the nearest.
        TypeError: if the builder has no such option.
    """
    from zoo import registry

    return registry.get(name).builder(*arguments, **options)


def load(source):
    """Load a trained model without running any code from its file.

    Args:
        source: the name of a preset, a run folder, or the path of a `.keras` or `.h5` file.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if there is no such thing, its bytes changed, or it holds foreign code.
    """
    from zoo import presets

    return presets.load(source)
