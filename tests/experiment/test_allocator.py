"""Freed memory goes back to the system: measured by the process's own pages."""

import os
import platform
import subprocess
import sys

import pytest

from tests.support.commands import ROOT

# glibc raises its limit to a block's size when the block is freed, so what the second one leaves behind shows
KEPT = """
import ctypes, gc, os
from experiment.allocator import give_back
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
if {call}:
    give_back()
before = held()
for _ in range(2):
    block = ctypes.c_void_p(library.malloc(ctypes.c_size_t({size})))
    ctypes.memset(block, 1, {size})
    full = held()
    library.free(block)
print(full - before, held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the limit is glibc's")
@pytest.mark.parametrize(
    ("call", "environment", "kept"),
    [
        (True, {}, False),
        (False, {}, True),
        (True, {"MALLOC_MMAP_THRESHOLD_": "33554432"}, True),
        (True, {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7:glibc.malloc.mmap_threshold=33554432"}, True),
        (True, {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}, False),
    ],
)
def test_a_freed_block_goes_back_unless_the_environment_sets_the_limit(call, environment, kept):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    if environment and kept:  # the limit alone would leave the block at the heap's end, which is given back
        environment = environment | {"MALLOC_TRIM_THRESHOLD_": "67108864", "MALLOC_TOP_PAD_": "0"}
    size = 8 * 2**20
    ran = subprocess.run(
        [sys.executable, "-c", KEPT.format(call=call, size=size)],
        cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    taken, left = map(int, ran.stdout.split())
    assert taken > 0.9 * size
    assert (left > 0.9 * size) == kept and (left < 0.1 * size) == (not kept)
