"""An estimate of the memory that a search step needs, printed before the search starts."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from multitask.cost import free_memory, step_memory
from multitask.network import MultiTaskNetwork
from search_spaces import Exchange
from supernet.supernet import Supernet


class Fixed(nn.Module):
    """The supernet's exchange with a given set of blocks to compute, without any draw."""

    def __init__(self, exchange: Exchange, active: Mapping[str, Sequence[int]]):
        super().__init__()
        self.exchange, self.active = exchange, active
        self.weights = nn.Parameter(torch.ones(len(exchange.pairs), len(exchange.block_names)))

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        return self.exchange(features, regions, valid, self.weights, self.active)


def search_memory(network: MultiTaskNetwork, batch_size: int, height: int, width: int) -> int:
    """Bytes of a step, about: of all candidates, or of the single path that takes most."""
    supernet = network.exchange
    assert isinstance(supernet, Supernet)
    served = supernet.exchange.served
    paths: list[Mapping[str, Sequence[int]]]
    paths = [{name: on} for name, on in served.items()] if supernet.sampler.single_path else [served]
    try:
        needs = []
        for active in paths:
            network.exchange = Fixed(supernet.exchange, active)
            needs.append(step_memory(network, batch_size, height, width))
    finally:
        network.exchange = supernet
    return max(needs, default=0)


def describe(need: int, device: torch.device, single_path: bool) -> str:
    """One line, with a way out where it will not fit."""
    free = free_memory(device)
    line = f"a step needs about {need / 1e9:.1f} GB of {free / 1e9:.1f} GB free"
    if need <= free:
        return line
    other = "" if single_path else "--search.strategy gumbel --search.gumbel.sampling single_path, "
    return f"warning: {line}: try {other}--search.recompute '[xtam, local]' or a smaller training.batch_size"
