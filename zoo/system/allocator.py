"""Let glibc's allocator reuse freed memory instead of returning it to the system."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # parameters of mallopt(3)
LARGEST = 2**31 - 1  # largest threshold in bytes, an int


def keep_freed_memory():
    """Let this process reuse the memory that it freed, instead of returning it to the system.

    A training step frees all activations at its end. By default glibc returns them, and each step
    then waits for the system to map and clear the same pages. Peak memory grows because of
    fragmentation. With other allocators this has no effect.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGEST)
    mallopt(M_TOP_PAD, 128 * 2**20)
