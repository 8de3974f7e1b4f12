"""Freed memory is reused: a step that needs as much as the last one waits for no new pages."""

import resource
import subprocess
import sys

import pytest

from zoo.system import allocator

PROGRAM = """
import resource, sys
import numpy as np
from zoo.system import allocator

if sys.argv[1] == "keep":
    allocator.keep_freed_memory()
np.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode):
    """Return the page faults of a separate process in four equal steps."""
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(allocator.platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_arrays_are_reused():
    """Arrays of 128 MB, made and freed four times, cost a hundredth of the page faults."""
    pages = 4 * 2**27 // resource.getpagesize()
    faults = page_faults("keep")
    assert faults < 0.01 * pages
    assert page_faults("return") > 10 * max(faults, 1)


def test_another_allocator_is_left_alone(monkeypatch):
    """Without glibc nothing is called."""
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("it was called"))
    allocator.keep_freed_memory()
