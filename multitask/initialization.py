"""Initial weights by name: each part of a network draws from a generator of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from experiment.seeds import derive_seed


@contextmanager
def seeded(seed: int, *names: str) -> Iterator[None]:
    """Within, torch's CPU generator starts from `derive_seed(seed, *names)`; afterwards it is as it was before.

    Two networks of one seed therefore share the initial weights of every part that they both have.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, *names))
        yield
