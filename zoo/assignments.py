"""Options of models, tasks and recipes on the command line: KEY=VALUE words become values."""

import ast
import re

from zoo import index
from zoo.registry import unknown


def parse(parser, flag, words, known, owner, explanations=None):
    """Read KEY=VALUE words; a value has the type of the option's default.

    Args:
        parser: to exit with a message by its method `error`.
        flag: before each of the words, for messages.
        words: a list of texts.
        known: the defaults of the options.
        owner: "option of" what has these options, for messages.
        explanations: of the options.
    """
    chosen = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            parser.error(f"argument {flag}: {word!r} is not of the form KEY=VALUE")
        if key not in known:
            parser.error(f"argument {flag}: {unknown(owner, key, known)}")
        chosen[key] = value = assigned(text, known[key])
        if mistake := misfit(value, known[key], (explanations or {}).get(key, "")):
            parser.error(f"argument {flag}: {key} is {text!r}, it must be {mistake}")
    return chosen


def assigned(text, default):
    """Return the value that a text means for an option with this default."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False, "none": None}.get(text.lower(), text)
    if isinstance(default, str) and not isinstance(value, str):
        return text  # where text is expected, none and 5 are text
    if isinstance(default, float) and type(value) is int:
        return float(value)
    return value


def misfit(value, default, explanation):
    """Return what the value of an option must be, "" if it is valid."""
    if default is not None and type(value) is not type(default):
        return f"of type {type(default).__name__}, as {default}"
    if (listed := index.choices(default, explanation)) and value not in listed:
        return f"one of {', '.join(map(str, listed))}"
    if type(value) in (int, float):
        if not 0 <= value < float("inf"):
            return "a number from 0 on"
        if bounds := re.search(r"\bfrom (\d+) to (\d+)\b", explanation):
            low, high = map(int, bounds.groups())
        else:
            low, high = 0, 1 if re.search(r"\bshare\b", explanation) else float("inf")
        if type(default) is float and not low <= value <= high:
            return f"from {low} to {high}"
        if not value and "factor" in explanation:
            return "above 0"
        if type(default) is int and default and not value and not re.search(r"\b0\b", explanation):
            return "1 or more"
    return ""
