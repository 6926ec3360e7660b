"""What each block costs on one pair."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from search_spaces import Architecture, Exchange, SearchSpace


def block_costs(space: SearchSpace, channels: int, size: tuple[int, int]) -> dict[str, float]:
    """Multiply-adds of each block on the first pair on which it is legal, at features (C, H, W); see `Exchange`."""
    costs = {}
    none = {pair: "none" for pair in space.pairs}
    for name in space.blocks:
        pair = next((pair for pair in space.pairs if name in space.legal(pair)), None)
        if pair is None:
            continue
        architecture = Architecture(space.tasks, {**none, pair: name}, space.aggregator)
        exchange = Exchange(architecture, channels, normalize=space.is_mixed).to("meta").eval()
        costs[name] = _multiply_adds(exchange, channels, size)
    base = costs["none"]
    return {name: cost - base for name, cost in costs.items()}


def _multiply_adds(exchange: Exchange, channels: int, size: tuple[int, int]) -> float:
    features = {task: torch.empty(1, channels, *size, device="meta") for task in exchange.tasks}
    regions = {task: torch.empty(1, 40, *size, device="meta") for task in exchange.region_tasks()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        exchange(features, regions)
    return counter.get_total_flops() / 2
