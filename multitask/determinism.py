"""Torch's faster algorithms, for what comes out the same in any order.

`torch.use_deterministic_algorithms` is on (training/hardware.py). Its forms of some operations are much slower, and one
of them waits for a GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def any_algorithms() -> Iterator[None]:
    """While open, torch takes any algorithm, also where deterministic ones are asked for."""
    asked, only_warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=only_warned)
