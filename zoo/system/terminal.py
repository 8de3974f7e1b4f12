"""What the commands share towards a terminal: mistakes in one line, and quiet while others load."""

import argparse
import contextlib
import difflib
import gc
import io
import logging
import os
import re
import signal
import sys
import threading
import unicodedata

from zoo.system import allocator

INTERRUPTED = 130  # exit status, as of a process that Ctrl-C ended
SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, movements
    r"|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links, the clipboard
    r"|\x1b[ -~]"
)
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # of the direction of writing


def say(*values, sep=" ", end="\n", file=None, flush=False):
    """Print as `print` does, without what commands a terminal: names come from strangers' files.

    A line that begins with a carriage return, and so overwrites the one before, may do so.
    """
    text = sep.join(str(value) for value in values)
    again = "\r" if not end and text.startswith("\r") else ""
    print(again + plain(text.removeprefix(again)), end=end, file=file, flush=flush)


class Parser(argparse.ArgumentParser):
    """An argument parser whose every error is one line that names the nearest right thing."""

    def error(self, message):
        """Print the line and leave with status 2."""
        word = message.rpartition(": ")[2].split(" ")[0]
        if "unrecognized" in message:
            near = difflib.get_close_matches(word.split("=")[0], self._option_string_actions, n=2)
            message += f" (did you mean {' or '.join(near)}?)" if near else " (see --help)"
        self.exit(2, f"{self.prog}: {plain(message)}\n")


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
    with open(os.devnull, "wb") as nowhere:
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


class Interrupt:
    """Ctrl-C as a flag that is looked at between two steps, and an exception elsewhere.

    TensorFlow calls Python from its C++, and an exception that is raised there may be lost: so
    would be what the user asked for. As a context manager it handles the signal of Ctrl-C, unless
    it is ignored, as in a shell's background jobs. The second Ctrl-C ends the process at once.

    Attributes:
        pressed: whether it was pressed.
    """

    def __init__(self):
        self.pressed = self.deferred = False

    def __enter__(self):
        main = threading.current_thread() is threading.main_thread()
        self.previous = signal.getsignal(signal.SIGINT) if main else None
        if self.previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.handle)
        return self

    def __exit__(self, *error):
        if self.previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.previous)

    def handle(self, number, frame):
        """Take note; raise KeyboardInterrupt unless that is deferred."""
        if self.pressed:
            os.write(2, b"\nstopped at once\n")  # print is not safe where a print was interrupted
            os._exit(INTERRUPTED)
        self.pressed = True
        if not self.deferred:
            raise KeyboardInterrupt
        os.write(2, b"\nStopping after this step; Ctrl-C again stops at once\n")

    def check(self):
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self.pressed:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def steps(self):
        """Leave it to `check`, called between steps, to raise the exception."""
        self.check()
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False
        self.check()


def import_keras():
    """Import Keras without the lines that TensorFlow's C++ prints before it can be told not to.

    From then on freed memory is reused, `zoo.system.allocator`, and garbage collections pass over
    what imports made, which Keras would have searched each time that it clears a session.
    """
    allocator.keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel("ERROR")  # that several models are traced is no news
    with hushed(2):
        import keras
    gc.freeze()
    return keras


def plain(text):
    r"""Return a text without what commands a terminal, such as escapes in the name of a file.

    Colours and other sequences go; any other control character but the line's end and the tab, and
    characters that turn the direction of writing, are shown as Python writes them, "\x07".
    """
    text = SEQUENCES.sub("", text)
    return "".join(
        character if character in "\n\t" or not is_control(character) else ascii(character)[1:-1]
        for character in text
    )


def is_control(character):
    """Tell whether a character is none to be seen, or is half of one that is not UTF-8."""
    return unicodedata.category(character) in ("Cc", "Cs") or character in TURNING
