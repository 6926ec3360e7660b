"""Exchanges over three tasks, their inputs, and what they give by their formulas."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from search_spaces import SPACES, Architecture, Exchange, SearchSpace
from tests.support import naive

TASKS = ("a", "b", "c")
REGIONS = {"a": 2, "b": 3, "c": 5}
CHANNELS, SIZE = 6, (5, 4)
ALL = SPACES["extended"]

Maps = dict[str, Tensor]


def draw(grad: bool = False) -> tuple[Maps, Maps, Tensor]:
    """Features, logits of the regions, and validity: some padding on the right, more in the second image."""
    generator = torch.Generator().manual_seed(1)
    features = {t: torch.randn(2, CHANNELS, *SIZE, generator=generator).requires_grad_(grad) for t in TASKS}
    logits = {t: 2 * torch.randn(2, REGIONS[t], *SIZE, generator=generator) for t in TASKS}
    valid = torch.ones(2, 1, *SIZE, dtype=torch.bool)
    valid[0, :, :, 3:] = False
    valid[1, :, 2:, 2:] = False
    return features, logits, valid


def supernet(blocks: tuple[str, ...] = ALL, aggregator: str = "atrc", tasks: tuple[str, ...] = TASKS) -> Exchange:
    torch.manual_seed(2)
    exchange = Exchange(SearchSpace(tasks, blocks, aggregator), CHANNELS)
    naive.randomise(exchange)
    return exchange.eval()


def one_hot(exchange: Exchange, architecture: Architecture) -> Tensor:
    weights = torch.zeros(len(exchange.pairs), len(exchange.block_names))
    for i, pair in enumerate(exchange.pairs):
        weights[i, exchange.block_names.index(architecture.exchanges[pair])] = 1
    return weights


def chosen(exchange: Exchange, architecture: Architecture) -> dict[str, list[int]]:
    pairs = list(enumerate(exchange.pairs))
    return {name: [i for i, pair in pairs if architecture.exchanges[pair] == name] for name in exchange.block_names}


def message_by_formula(exchange: Exchange, name: str, pair: tuple[str, str], features: Maps, regions: Maps) -> Tensor:
    """One candidate of one pair, with the exchange's weights."""
    target, source = pair
    if name == "none":
        return torch.zeros(2, exchange.message_channels, *SIZE)
    block = exchange.block(name)
    row = block.pairs.index(pair)
    message = naive.message(
        name,
        block.pair_state(row),
        features[target],
        features[source],
        regions[target],
        regions[source],
        exchange.message_channels,
    )
    if exchange.normalize_messages:
        state = exchange.norms[name].state_dict()
        message = naive.rescale(message, {key: value[row] for key, value in state.items()})
    return message


def by_formula(exchange: Exchange, weights: Tensor, features: Maps, logits: Maps, valid: Tensor | None) -> Maps:
    """The refined features of a space under mixture weights, pair by pair and candidate by candidate."""
    regions = {task: naive.regions(maps, valid) for task, maps in logits.items()}
    refined = {}
    for target in exchange.tasks:
        messages = []
        for source in exchange.sources[target]:
            row = weights[exchange.pairs.index((target, source))]
            parts = [
                row[k] * message_by_formula(exchange, name, (target, source), features, regions)
                for k, name in enumerate(exchange.block_names)
                if row[k] > 0
            ]
            messages.append(sum(parts))
        state = exchange.aggregator.state_dict()
        refined[target] = naive.aggregate(exchange.plan.aggregator, state, target, features[target], messages)
    return refined


def count(module: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def assert_close(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-10) -> None:
    assert list(actual) == list(expected)
    for task in expected:
        torch.testing.assert_close(actual[task], expected[task], rtol=tolerance, atol=tolerance)
