"""The registry: one dictionary from a model's name to the function that builds it.

A model file says what it is with one decorator; the name is the default of the builder's own
`name` argument, so it is written once.
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
    """One row of the zoo.

    Attributes:
        name: what `--model` and `zoo.create` call it.
        tasks: the names of the tasks whose data, loss and pictures it can use, the usual first.
        builder: the function that returns the `keras.Model`.
        paper: the arguments of the published configuration.
        parameters: its exact number of trainable parameters.
        test: keyword arguments that make it small enough to test.
    """

    name: str
    tasks: tuple
    builder: Callable
    paper: Mapping
    parameters: int
    test: Mapping


def register(*tasks, paper, parameters, test):
    """Enter a builder into the zoo. Every argument is a literal: `zoo.index` reads it unimported.

    Args:
        tasks: names of the tasks that it is for, folders of `zoo/tasks`; the usual one first.
        paper: arguments of the published configuration, sizes of the data included.
        parameters: the exact number of trainable parameters of that configuration.
        test: keyword arguments of a small instance; the test adds what the data decides.

    Raises:
        ValueError: if the name is taken.
    """

    def enter(builder):
        name = inspect.signature(builder).parameters["name"].default
        if name in MODELS:
            other = inspect.getmodule(MODELS[name].builder).__name__
            raise ValueError(f"{name!r} is registered by {other} already: choose another name")
        MODELS[name] = Model(name, tasks, builder, paper, parameters, test)
        return builder

    return enter


def import_models():
    """Import every model file, which registers its models and layers."""
    for file in sorted({row.file for row in index.models().values()}):
        importlib.import_module(file.removesuffix(".py").replace("/", "."))


def get(name):
    """Return the `Model` called `name`, importing the model files if that has not happened.

    Raises:
        ValueError: if there is none; the message names the nearest ones.
    """
    import_models()
    if name not in MODELS:
        raise ValueError(unknown("model", name, MODELS))
    return MODELS[name]


def unknown(kind, name, known):
    """Say in one line that `name` is no `kind`, and which known names come nearest."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(known))}"
    return f"unknown {kind} {name!r}: {hint}"
