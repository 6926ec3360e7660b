"""The aggregators inside an exchange: dropout, initial gain, residual sums."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from search_spaces import Architecture, Exchange, SearchSpace
from search_spaces.blocks import NATIVE
from tests.support import naive
from tests.support.exchanges import (
    CHANNELS,
    TASKS,
    draw,
    one_hot,
)

pytestmark = pytest.mark.usefixtures("double")


def test_dropout_outside_search_only():
    space = SearchSpace(TASKS, NATIVE)
    architecture = Architecture.uniform(TASKS, "global")
    features = {task: torch.randn(40, CHANNELS, 2, 2) for task in TASKS}

    def dropped(exchange: Exchange) -> bool:
        """Whether two passes in training mode differ."""
        inputs = (features, {t: torch.zeros(40, 2, 2, 2) for t in TASKS}, None)
        weights = one_hot(exchange, architecture) if isinstance(exchange.plan, SearchSpace) else None
        first, second = exchange(*inputs, weights), exchange(*inputs, weights)
        return any(not torch.equal(first[task], second[task]) for task in TASKS)

    assert not dropped(Exchange(space, CHANNELS))
    assert dropped(Exchange(architecture, CHANNELS))
    assert not dropped(Exchange(architecture, CHANNELS, dropout=0.0))
    assert not dropped(Exchange(architecture, CHANNELS).eval())
    assert not dropped(Exchange(space, CHANNELS).extract(architecture).train())
    rates = [m.p for m in Exchange(architecture, CHANNELS).modules() if isinstance(m, nn.Dropout2d)]
    assert rates == [0.05]
    for aggregator in ("mteb", "pad"):
        assert not dropped(Exchange(Architecture.uniform(TASKS, "global", aggregator), CHANNELS))


def test_atrc_aggregator_starts_without_messages():
    """Gain and offset of the messages' norm are zero; the output is still not the features themselves."""
    features, _, _ = draw()
    exchange = Exchange(Architecture.uniform(TASKS, "global"), CHANNELS, dropout=0.0)
    other = {task: maps if task == "a" else maps + 1 for task, maps in features.items()}
    assert torch.equal(exchange(features)["a"], exchange(other)["a"])
    assert not torch.equal(exchange(features)["a"], features["a"])


@pytest.mark.parametrize("aggregator", ["mteb", "pad"])
def test_residual_aggregators(aggregator):
    """mteb: F_t + ReLU BN conv1x1[messages] in training mode; pad: F_t + their sum."""
    features, _, _ = draw()
    architecture = Architecture.uniform(TASKS, "padnet_linear", aggregator)
    architecture = replace(architecture, normalize_messages=False)
    exchange = naive.randomise(Exchange(architecture, CHANNELS))
    refined = exchange(features)
    block, state = exchange.block("padnet_linear"), exchange.aggregator.state_dict()
    for target in TASKS:
        messages = [
            naive.conv(features[source], block.pair_state(block.pairs.index((target, source)))["project.weight"][0])
            for source in TASKS
        ]
        if aggregator == "pad":
            expected = features[target] + sum(messages)
        else:
            maps = naive.conv(torch.cat(messages, 1), state[f"fuse.{target}.0.weight"])
            expected = features[target] + naive.relu(naive.norm(maps, state, f"fuse.{target}.1.", train=True))
        torch.testing.assert_close(refined[target], expected, rtol=1e-10, atol=1e-10)
