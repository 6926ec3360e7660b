"""How a loss on the refined features reaches the selection logits."""

import pytest
import torch

from search_spaces import SPACES, SearchSpace
from search_spaces.blocks import NATIVE
from tests.support.exchanges import (
    CHANNELS,
    SIZE,
    TASKS,
    draw,
)
from tests.support.supernets import gumbel_supernet

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("blocks", [NATIVE, SPACES["full"]], ids=["atrc", "full"])
def test_logits_learn_from_the_second_step(blocks):
    """ATRC's aggregator starts with a gain of zero: no task gradient reaches logits or messages at step 0."""
    torch.manual_seed(0)
    net = gumbel_supernet(SearchSpace(TASKS, blocks), CHANNELS, torch.Generator().manual_seed(0))
    inputs = draw()
    goal = {task: torch.randn(2, CHANNELS, *SIZE) for task in TASKS}
    optimizer = torch.optim.SGD(net.exchange.parameters(), 0.1)
    gradients = []
    for _ in range(2):
        net.zero_grad()
        refined = net(*inputs)
        loss = sum(((refined[task] - goal[task]) ** 2).mean() for task in TASKS)
        loss.backward()
        gradients.append(net.sampler.selection.logits.grad.clone())
        in_blocks = [p.grad.abs().max() for p in net.exchange.blocks.parameters()]
        assert all(g == 0 for g in in_blocks) == (len(gradients) == 1)
        optimizer.step()
    assert torch.equal(gradients[0], torch.zeros_like(gradients[0]))
    assert (gradients[1].abs().max(1).values > 0).all()  # of every pair
    assert not gradients[1][~net.sampler.selection.legal].any()


@pytest.mark.parametrize("aggregator", ["mteb", "pad"])
def test_logits_learn_at_once(aggregator):
    net = gumbel_supernet(SearchSpace(TASKS, NATIVE, aggregator), CHANNELS, torch.Generator().manual_seed(0))
    sum((maps**2).sum() for maps in net(*draw()).values()).backward()
    assert (net.sampler.selection.logits.grad.abs().max(1).values > 0).all()
