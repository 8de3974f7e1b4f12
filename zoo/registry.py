"""The registry: a dictionary from a model's name to the function that builds it.

A model file registers its builder with one decorator; the name is the default of the builder's
`name` argument.
"""

import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping

from zoo import index

MODELS: dict[str, "Model"] = {}


@dataclasses.dataclass(frozen=True)
class Model:
    """A registered model.

    Attributes:
        name: its name in `--model` and `zoo.create`.
        tasks: names of the tasks that it can be trained for, the default first.
        builder: the function that returns the `keras.Model`.
        paper: arguments of the published configuration.
        parameters: its exact number of trainable parameters.
        test: keyword arguments of a small instance for tests.
    """

    name: str
    tasks: tuple
    builder: Callable
    paper: Mapping
    parameters: int
    test: Mapping


def register(*tasks, paper, parameters, test):
    """Register a builder. Arguments must be literals, because `zoo.index` does not import the file.

    Args:
        tasks: names of its tasks, folders of `zoo/tasks`; the default first.
        paper: arguments of the published configuration, including the sizes of the data.
        parameters: exact number of trainable parameters of that configuration.
        test: keyword arguments of a small instance; the test adds the sizes of its data.

    Raises:
        ValueError: if the name is taken.
    """

    def decorate(builder):
        name = inspect.signature(builder).parameters["name"].default
        if name in MODELS:
            module = inspect.getmodule(MODELS[name].builder).__name__
            raise ValueError(f"{name!r} is registered by {module} already: choose another name")
        MODELS[name] = Model(name, tasks, builder, paper, parameters, test)
        return builder

    return decorate


def import_models():
    """Import every model file, which registers its models."""
    for file in sorted({row.file for row in index.models().values()}):
        importlib.import_module(file.removesuffix(".py").replace("/", "."))


def get(name):
    """Return the `Model` called `name`; import the model files if necessary.

    Raises:
        ValueError: if there is none; the message suggests similar names.
    """
    import_models()
    if name not in MODELS:
        raise ValueError(unknown("model", name, MODELS))
    return MODELS[name]


def unknown(kind, name, known):
    """Return a one-line message that `name` is unknown, with similar known names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(known))}"
    return f"unknown {kind} {name!r}: {hint}"
