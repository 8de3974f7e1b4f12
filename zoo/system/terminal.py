"""Terminal functions shared by the commands: one-line errors, Ctrl-C, and silent imports."""

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

INTERRUPTED = 130  # exit status of a process ended by Ctrl-C
SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, movements
    r"|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links, the clipboard
    r"|\x1b[ -~]"
)
BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # text direction


def say(*values, sep=" ", end="\n", file=None, flush=False):
    """Print like `print`, without control sequences: names come from untrusted files.

    A carriage return at the beginning, which overwrites the last line, is kept.
    """
    text = sep.join(str(value) for value in values)
    prefix = "\r" if not end and text.startswith("\r") else ""
    print(prefix + plain(text.removeprefix(prefix)), end=end, file=file, flush=flush)


def counted(number, noun):
    """Return a number with its noun: "1 epoch", "1,200 epochs"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors that suggest the nearest valid option."""

    def error(self, message):
        """Print the line and exit with status 2."""
        word = message.rpartition(": ")[2].split(" ")[0]
        if "unrecognized" in message:
            near = difflib.get_close_matches(word.split("=")[0], self._option_string_actions, n=2)
            message += f" (did you mean {' or '.join(near)}?)" if near else " (see --help)"
        self.exit(2, f"{self.prog}: {plain(message)}\n")


def accept_any_name():
    """Print file names that the terminal's encoding cannot represent as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def hushed(*streams):
    """Discard output to file descriptors (1 stdout, 2 stderr), including that of C++."""
    sys.stdout.flush()
    sys.stderr.flush()
    copies = [(stream, os.dup(stream)) for stream in streams]
    with open(os.devnull, "wb") as nowhere:
        for stream in streams:
            os.dup2(nowhere.fileno(), stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in copies:
            os.dup2(copy, stream)
            os.close(copy)


class Interrupt:
    """Ctrl-C as a flag that is checked between training steps, and an exception elsewhere.

    TensorFlow calls Python from C++, where an exception may be lost, and with it the user's
    request. As a context manager it handles the signal of Ctrl-C, unless that is ignored, as in
    background jobs of a shell. The second Ctrl-C ends the process immediately.

    Attributes:
        pressed: whether Ctrl-C was pressed.
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
        """Set the flag; raise KeyboardInterrupt unless it is deferred."""
        if self.pressed:
            os.write(2, b"\nstopped at once\n")  # print is not reentrant
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
        """Defer the exception to `check`, which is called between steps."""
        self.check()
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False
        self.check()


def import_keras():
    """Import Keras without the messages that TensorFlow's C++ prints during the import.

    Freed memory is reused from then on, see `zoo.system.allocator`, and the garbage collector
    ignores imported objects, which makes `keras.utils.clear_session` faster. A second call ignores
    nothing more: the models of an earlier command in this process are still to be freed.
    """
    first = "keras" not in sys.modules
    allocator.keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel("ERROR")  # no warnings about retracing
    with hushed(2):
        import keras
    if first:
        gc.freeze()
    return keras


def leave(status):
    """End the process with an exit status.

    An epoch that an error or Ctrl-C ended leaves an iterator in reference cycles. Without a
    collection it lives until Python has stopped its threads, and then waits for one of them.
    """
    gc.collect()
    sys.exit(status)


def plain(text):
    r"""Return a text without terminal control sequences, such as escapes in a file name.

    Colours and other sequences are removed; other control characters except newline and tab, and
    characters that change the text direction, are shown as Python escapes, "\x07".
    """
    text = SEQUENCES.sub("", text)
    return "".join(
        character if character in "\n\t" or not is_control(character) else ascii(character)[1:-1]
        for character in text
    )


def is_control(character):
    """Return whether a character is a control character or a surrogate of invalid UTF-8."""
    return unicodedata.category(character) in ("Cc", "Cs") or character in BIDI_CONTROLS
