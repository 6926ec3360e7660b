"""Supernets outside a search, for benchmarks and tests."""

from collections.abc import Sequence

import torch

from search_spaces import SearchSpace
from search_spaces.scaled_exchange import Channels
from supernet.samplers.relaxed import GumbelSampler
from supernet.selection import Selection
from supernet.supernet import Supernet


def gumbel_supernet(
    space: SearchSpace,
    channels: Channels,
    generator: torch.Generator | None = None,
    single_path: bool = False,
    recompute: Sequence[str] = (),
) -> Supernet:
    """A supernet with Gumbel-softmax weights; its initial weights come from the global generator."""
    sampler = GumbelSampler(Selection(space), generator or torch.Generator().manual_seed(0), single_path)
    return Supernet(space, channels, sampler, recompute)
