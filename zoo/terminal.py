"""What the commands share towards a terminal: mistakes in one line, and quiet while others load."""

import argparse
import contextlib
import difflib
import io
import logging
import os
import sys


class Parser(argparse.ArgumentParser):
    """An argument parser whose every error is one line that names the nearest right thing."""

    def error(self, message):
        """Print the line and leave with status 2."""
        word = message.rpartition(": ")[2].split(" ")[0]
        if "unrecognized" in message:
            near = difflib.get_close_matches(word.split("=")[0], self._option_string_actions, n=2)
            message += f" (did you mean {' or '.join(near)}?)" if near else " (see --help)"
        self.exit(2, f"{self.prog}: {message}\n")


def accept_any_name():
    """Let names of files whose bytes are no text of the terminal's be printed, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def hushed(*streams):
    """Send what is written to file descriptors (1 output, 2 errors) nowhere, C++ included."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(stream, os.dup(stream)) for stream in streams]
    with open(os.devnull, "w") as nowhere:
        for stream in streams:
            os.dup2(nowhere.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)


def import_keras():
    """Import Keras without the lines that TensorFlow's C++ prints before it can be told not to."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel("ERROR")  # that several models are traced is no news
    with hushed(2):
        import keras
    return keras
