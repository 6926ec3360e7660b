"""What a loss on the refined features reaches: selection logits, blocks and features."""

import pytest
import torch

from search_spaces import BLOCKS, SPACES, Architecture, Exchange, SearchSpace
from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import NATIVE
from supernet.supernet import Supernet
from tests.support import naive
from tests.support.exchanges import (
    CHANNELS,
    SIZE,
    TASKS,
    draw,
)

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("blocks", [NATIVE, SPACES["full"]], ids=["atrc", "full"])
def test_logits_learn_from_the_second_step(blocks):
    """ATRC's aggregator starts with a gain of zero: no task gradient reaches logits or messages at step 0."""
    torch.manual_seed(0)
    net = Supernet(SearchSpace(TASKS, blocks), CHANNELS, torch.Generator().manual_seed(0))
    inputs = draw()
    goal = {task: torch.randn(2, CHANNELS, *SIZE) for task in TASKS}
    optimizer = torch.optim.SGD(net.exchange.parameters(), 0.1)
    gradients = []
    for _ in range(2):
        net.zero_grad()
        refined = net(*inputs)
        loss = sum(((refined[task] - goal[task]) ** 2).mean() for task in TASKS)
        loss.backward()
        gradients.append(net.selection.logits.grad.clone())
        in_blocks = [p.grad.abs().max() for p in net.exchange.blocks.parameters()]
        assert all(g == 0 for g in in_blocks) == (len(gradients) == 1)
        optimizer.step()
    assert torch.equal(gradients[0], torch.zeros_like(gradients[0]))
    assert (gradients[1].abs().max(1).values > 0).all()  # of every pair
    assert not gradients[1][~net.selection.legal].any()


@pytest.mark.parametrize("aggregator", ["mteb", "pad"])
def test_logits_learn_at_once(aggregator):
    net = Supernet(SearchSpace(TASKS, NATIVE, aggregator), CHANNELS, torch.Generator().manual_seed(0))
    sum((maps**2).sum() for maps in net(*draw()).values()).backward()
    assert (net.selection.logits.grad.abs().max(1).values > 0).all()


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "none"])
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_gradients_flow_to_features(name, aggregator):
    """From one target's output to its own features, and to those of each source."""
    features, logits, valid = draw(grad=True)
    exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, name, aggregator), CHANNELS)).train()
    exchange(features, logits, valid)["a"].square().sum().backward()
    for task in TASKS:
        grad = features[task].grad
        assert grad is not None and grad.isfinite().all() and grad.any()
    # in its own row of the module, and nowhere else
    block = exchange.block(name)
    for i, (target, _) in enumerate(block.pairs):
        assert target == "a" or not any(p.grad[i].any() for p in block.parameters() if p.grad is not None)
