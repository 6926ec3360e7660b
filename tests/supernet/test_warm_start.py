"""Readouts in closed form: what they find, that losses' units do not matter, and that nothing is added to nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from search_spaces.blocks.layers import PairConv
from supernet.score_test.warm_start import Look, start_readouts

CHANNELS, WIDTH, SIZE, IMAGES = 5, 4, (6, 7), 64
TRUTH = torch.randn(CHANNELS, WIDTH, generator=torch.Generator().manual_seed(9))


def looks(unit: float, loss: Callable[[Tensor], Tensor], seed: int, strength: float = 0.3) -> list[Look]:
    """Two probes of one target: the first one's messages are what the refined features lack, the other's are noise."""
    draw = torch.Generator().manual_seed(seed)
    messages = torch.randn(IMAGES, 2, WIDTH, *SIZE, generator=draw)
    refined = torch.randn(IMAGES, CHANNELS, *SIZE, generator=draw)
    missing = torch.einsum("cd,bdhw->bchw", TRUTH, messages[:, 0])
    label = refined + strength * missing + torch.randn(refined.shape, generator=draw)
    return [
        Look(m, {"t": r}, lambda target, maps, y=y: unit * loss(maps - y).mean((2, 3, 4)))
        for m, r, y in zip(messages.split(16), refined.split(16), label.split(16), strict=True)
    ]


@pytest.mark.parametrize("loss", [torch.square, torch.abs], ids=["square", "absolute"])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_a_message_is_read_as_by_least_squares(loss: Callable[[Tensor], Tensor], unit: float):
    readout = PairConv(2, WIDTH, CHANNELS, bias=True)
    start_readouts(readout, {"t": [0, 1]}, looks(unit, loss, 0), looks(unit, loss, 1))
    found = readout.weight.detach()[0, :, :, 0, 0]
    # gradients, and so their covariance, hold the message too, which turns the direction; the line search is coarse
    assert torch.cosine_similarity(found.flatten(), TRUTH.flatten(), dim=0) > 0.95
    assert 0.7 < float(found.norm() / (0.3 * TRUTH.norm())) < 1.4
    assert float(readout.weight[1].detach().norm()) < 0.2 * float(found.norm())


def test_readouts_that_would_harm_stay_zero():
    """The scale comes from images on which the message says the opposite."""
    readout = PairConv(2, WIDTH, CHANNELS, bias=True)
    start_readouts(readout, {"t": [0, 1]}, looks(1.0, torch.square, 0), looks(1.0, torch.square, 1, strength=-0.3))
    assert not readout.weight[0].any() and not readout.bias[0].any()


def test_a_constant_message_is_not_read_in_its_rounding():
    """A block of differences, on a task's own features: a norm in training leaves the rounding of 0."""
    readout = PairConv(2, WIDTH, CHANNELS, bias=True)
    constant = [
        Look(look.messages * torch.tensor([1.0, 1e-6])[:, None, None, None], look.refined, look.losses)
        for look in looks(1.0, torch.square, 0)
    ]
    start_readouts(readout, {"t": [0, 1]}, constant, constant)
    assert readout.weight[0].any() and not readout.weight[1].any()
