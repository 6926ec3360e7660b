"""Whether the C library gives freed memory back. What torch makes on a CPU comes from its malloc.

glibc maps large blocks one by one and unmaps them when they are freed, but raises its limit for that, of 128 KB, to the
size of each that was freed, up to 32 MB. What is smaller comes from a heap that ends at its highest block, so that a
small one that stays keeps all that was freed below. With the limit fixed, a training step takes what its tensors do and
little more; but fresh memory costs time, which the heap saves (docs/log/performance.md).
"""

import ctypes
import os
import sys

LIMIT = 2**20  # bytes
MMAP_THRESHOLD = -3  # of mallopt, from malloc.h


def give_back() -> bool:
    """From now on glibc gives freed blocks of LIMIT bytes and more back to the system at once. Returns whether it does.

    Nothing happens with other C libraries, or where MALLOC_MMAP_THRESHOLD_ or GLIBC_TUNABLES in the environment set
    the limit.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "glibc.malloc.mmap_threshold=" in tunables:
        return False
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(MMAP_THRESHOLD, LIMIT))
