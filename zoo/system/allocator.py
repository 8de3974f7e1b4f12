"""How glibc's allocator keeps memory that was freed, so that the next step need not ask for it."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # parameters of mallopt(3)
LARGEST = 2**31 - 1  # bytes that the function can be told


def keep_freed_memory():
    """Let this process reuse the memory that it freed, instead of returning it to the system.

    A training step frees all activations at its end. By default glibc returns them, and each step
    then waits for the system to map and clear the same pages. Memory at its peak grows,
    as holes between arrays stay. Nothing happens where the allocator is another one.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGEST)
    mallopt(M_TOP_PAD, 128 * 2**20)
