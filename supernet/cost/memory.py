"""How much memory a search will need, told before it starts."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from multitask.cost import free_memory, step_memory
from multitask.network import MultiTaskNetwork
from supernet.supernet import Supernet


class _Fixed(nn.Module):
    """The supernet with a given set of blocks to compute, without any draw."""

    def __init__(self, supernet: Supernet, active: Mapping[str, Sequence[int]]):
        super().__init__()
        self.exchange, self.active = supernet.exchange, active
        self.weights = nn.Parameter(torch.ones_like(supernet.selection.logits))

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor], valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        return self.exchange(features, regions, valid, self.weights, self.active)


def search_memory(network: MultiTaskNetwork, supernet: Supernet, batch_size: int, height: int, width: int) -> int:
    """Bytes of a step, about: of the mixture, or of the single path that takes most."""
    if supernet.sampling == "single_path":
        actives: list[Mapping[str, Sequence[int]]] = [{k: on} for k, on in supernet.exchange.served.items()]
    else:
        actives = [supernet.selection.active(everything=True)]
    try:
        needs = []
        for active in actives:
            network.exchange = _Fixed(supernet, active)
            needs.append(step_memory(network, batch_size, height, width))
    finally:
        network.exchange = supernet
    return max(needs, default=0)


def describe(need: int, device: torch.device, sampling: str) -> str:
    """One line for people, with a way out where it will not fit."""
    free = free_memory(device)
    line = f"a step needs about {need / 1e9:.1f} GB of {free / 1e9:.1f} GB free"
    if need <= free:
        return line
    other = {"mixture": "--search.gumbel.sampling single_path, ", "softmax": "--search.strategy gdas, "}.get(
        sampling, ""
    )
    return f"warning: {line}: try {other}--search.recompute '[xtam, local]' or a smaller training.batch_size"
