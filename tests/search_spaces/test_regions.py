"""Label regions: weights over valid pixels only."""

import pytest
import torch
from torch import Tensor, nn

from search_spaces import Architecture, Exchange
from tests.support import naive
from tests.support.exchanges import (
    CHANNELS,
    TASKS,
    Maps,
    assert_close,
    draw,
)

pytestmark = pytest.mark.usefixtures("double")


SEEN: list[Tensor] = []


class Witness(nn.Module):
    """A user's block that keeps the prototypes it could form."""

    regions = ("source",)
    legal_on_self = False

    def __init__(self, channels: int, message_channels: int):
        super().__init__()

    def forward(self, target: Tensor, source: Tensor, source_regions: Tensor) -> Tensor:
        SEEN.append(source_regions)
        return source[:, :3]


def regions_of(logits: Maps, valid: Tensor | None) -> Tensor:
    exchange = Exchange(Architecture.uniform(("a", "b"), f"{__name__}:Witness"), CHANNELS)
    SEEN.clear()  # of the call that checks the block
    exchange(draw()[0], logits, valid)
    return SEEN[0]  # of b, for a <- b


def test_regions_are_weights_over_valid_pixels():
    _, logits, valid = draw()
    torch.testing.assert_close(regions_of(logits, valid), naive.regions(logits["b"], valid))
    torch.testing.assert_close(regions_of(logits, None), naive.regions(logits["b"]))
    torch.testing.assert_close(regions_of(logits, valid).sum(2), torch.ones(2, 3))


@pytest.mark.parametrize("junk", [100.0, float("inf"), float("nan")])
def test_ignored_pixels_change_no_prototype(junk):
    features, logits, valid = draw()
    changed = {task: torch.where(valid, maps, junk) for task, maps in logits.items()}
    assert torch.equal(regions_of(changed, valid), regions_of(logits, valid))
    for name in ("t_label", "s_label"):
        exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, name), CHANNELS)).eval()
        before = exchange(features, logits, valid)
        assert_close(exchange(features, changed, valid), before, 0)
        # features there feed no prototype either: valid pixels keep their messages
        other = {task: torch.where(valid, maps, 7.0) for task, maps in features.items()}
        after = exchange(other, logits, valid)
        for task in TASKS:
            torch.testing.assert_close(after[task] * valid, before[task] * valid)


def test_nothing_valid():
    """One image of two is all padding: its regions weigh nothing, and nothing becomes NaN."""
    features, logits, valid = draw(grad=True)
    valid[1] = False
    assert not regions_of(logits, valid)[1].any()
    assert regions_of(logits, valid)[0].any()
    logits = {task: maps.requires_grad_() for task, maps in logits.items()}
    for mask in (valid, torch.zeros_like(valid)):
        for name in ("t_label", "s_label"):
            exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, name), CHANNELS))
            refined = exchange(features, logits, mask)
            assert all(maps.isfinite().all() for maps in refined.values())
            sum(maps.sum() for maps in refined.values()).backward()
            assert all(maps.grad.isfinite().all() for maps in (*features.values(), *logits.values()))


def test_regions_train_their_predictions():
    """The regions are not detached: the final loss reaches the auxiliary predictions."""
    features, logits, valid = draw()
    logits = {task: maps.requires_grad_() for task, maps in logits.items()}
    exchange = naive.randomise(Exchange(Architecture.uniform(TASKS, "s_label"), CHANNELS))
    exchange(features, logits, valid)["a"].square().sum().backward()
    assert logits["b"].grad.any() and logits["c"].grad.any()
    assert not (logits["b"].grad * ~valid).any()


def test_half_precision_regions():
    """Their softmax runs in float32, whatever the precision: weights over many pixels vanish in bfloat16."""
    torch.set_default_dtype(torch.float32)
    _, logits, valid = draw()
    logits = {task: maps.bfloat16() for task, maps in logits.items()}
    with torch.autocast("cpu", torch.bfloat16):
        actual = regions_of(logits, valid)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, naive.regions(logits["b"].float(), valid))
