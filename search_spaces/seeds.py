"""Common random numbers: initial weights that follow from a seed and a part's name, whatever else is built."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def initial_weights(seed: int | None, *names: str) -> Iterator[None]:
    """Modules built inside draw their weights, on the CPU, from a generator seeded by (seed, names).

    The global generator is left as it was. Without a seed they draw from the global generator.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived(seed, *names))
        yield


def derived(seed: int, *names: str) -> int:
    """A seed that follows from (seed, names)."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
