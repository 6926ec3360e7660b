"""Pairs in one batch and attention in tiles give what slower, simpler forms give."""

import pytest
import torch

from benchmarks.naive import NaiveExchange, unfold_attention
from search_spaces import Exchange, SearchSpace
from search_spaces.blocks.local_context import local_attention, tiled_attention
from search_spaces.space import SPACES
from tests.support import naive
from tests.support.exchanges import CHANNELS, TASKS, assert_close, draw

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("space", ["atrc", "full"])
def test_batched_pairs_equal_one_module_per_pair(space):
    plan = SearchSpace(TASKS, SPACES[space])
    batched = naive.randomise(Exchange(plan, CHANNELS))
    single = NaiveExchange(plan, CHANNELS)
    single.take_weights(batched)
    features, regions, _ = draw(grad=True)
    legal = torch.tensor([[name in plan.legal(pair) for name in plan.blocks] for pair in plan.pairs])
    weights = torch.rand(legal.shape, generator=torch.Generator().manual_seed(2)) * legal
    outputs, theirs = batched(features, regions, None, weights), single(features, regions, None, weights)
    assert_close(outputs, theirs)
    gradients = [
        torch.autograd.grad(
            sum((maps * (i + 1)).cos().sum() for i, maps in enumerate(refined.values())), features.values()
        )
        for refined in (outputs, theirs)
    ]
    for ours, other in zip(*gradients):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [(3, 4), (8, 8), (9, 17), (20, 13)])
@pytest.mark.parametrize("attention", [local_attention, tiled_attention])
def test_local_attention_equals_unfold(size, attention):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(5, 6, *size, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    gradient = torch.randn(5, 6, *size, generator=generator, dtype=torch.float64)
    results = []
    for each in (attention, unfold_attention):
        out = each(*maps)
        results.append([out.detach(), *torch.autograd.grad(out, maps, gradient)])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_local_attention_gradients_are_those_of_differences():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 2, 5, 9, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(local_attention, maps)
