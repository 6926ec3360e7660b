"""How many parameters blocks and aggregators have: the formulas, and ATRC's published table."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces import Architecture, Exchange, SearchSpace
from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import NATIVE, ExchangeInputs, build_block, legal_on
from tests.support.exchanges import count

PAIRS = [(target, source) for target in ("a", "b", "c") for source in ("a", "b", "c")]


def parameters(name: str, widths: tuple[int, int], affine: bool = True) -> float:
    """Per pair."""
    pairs = [pair for pair in PAIRS if legal_on(name, pair)]
    count = sum(p.numel() for p in build_block(name, pairs, *widths, affine).parameters())
    assert count % len(pairs) == 0
    return count / len(pairs)


@pytest.mark.parametrize("name", NATIVE[1:])
def test_parameters_of_contexts(name):
    assert parameters(name, (67, 33)) == 3 * 67 * 33 + 2 * 33**2 + 10 * 33 == 9141
    assert parameters(name, (67, 33), affine=False) == 9141 - 2 * 33


def test_parameters_of_others():
    c, d = 67, 33
    assert parameters("none", (c, d)) == 0
    assert parameters("xtam", (64, 64)) == 22.5 * 64**2 + 10 * 64
    assert parameters("xtam", (128, 128)) == 369_920
    assert parameters("padnet_conv", (c, c)) == 9 * c**2 + 2 * c
    assert parameters("padnet_gate", (c, c)) == 18 * c**2
    assert parameters("padnet_linear", (c, d)) == c * d
    # narrower messages: one 1x1 convolution and norm more
    assert parameters("padnet_gate", (c, d)) == 18 * c**2 + c * d + 2 * d
    assert parameters("padnet_conv", (c, d)) == 9 * c**2 + 2 * c + c * d + 2 * d
    # blocks of later papers, and the published xtam with channels in the place of pixels, or beside them
    assert parameters("query", (c, d)) == 11_880
    assert parameters("deform", (c, d)) == 4_113
    assert parameters("target_gate", (c, d)) == 7_804
    assert parameters("low_rank", (c, d)) == 10_242
    assert parameters("xtam_channel", (64, 64)) == parameters("xtam", (64, 64))
    assert parameters("xtam_both", (64, 64)) == parameters("xtam", (64, 64)) + 64 + 64**2
    for name in ("query", "deform", "target_gate", "low_rank"):
        assert parameters(name, (c, d), affine=False) == parameters(name, (c, d)) - 2 * d
    # in a search no last norm may rescale its message
    assert parameters("xtam", (64, 64), affine=False) == 22.5 * 64**2 + 8 * 64
    assert parameters("padnet_conv", (c, c), affine=False) == 9 * c**2
    assert parameters("padnet_conv", (c, d), affine=False) == 9 * c**2 + 2 * c + c * d
    assert parameters("padnet_gate", (c, d), affine=False) == 18 * c**2 + c * d


MULTIPLY_ADDS = {  # of one pair, by the formulas in the blocks' files: for each pixel, and for the image
    "query": (8_167, 16 * (2 * 67 * 33 + 33**2)),
    "deform": (5_505, 0),
    "target_gate": (7_705, 0),
    "low_rank": (10_176, 0),
}


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds(name):
    height, width = 12, 16
    with torch.device("meta"), torch.no_grad():
        block = build_block(name, [("a", "b")], 67, 33).eval()
        features = {task: torch.empty(1, 67, height, width) for task in "ab"}
        with FlopCounterMode(display=False) as counter:
            block(ExchangeInputs(features, {}), [0])
    pixel, image = MULTIPLY_ADDS[name]
    assert counter.get_total_flops() == 2 * (pixel * height * width + image)


def built(plan: Architecture | SearchSpace, channels: int = 67) -> Exchange:
    with torch.device("meta"):
        return Exchange(plan, channels)


def test_parameters_of_aggregators():
    c, d, tasks = 67, 33, ("a", "b", "c", "d")
    for n in (4, 3, 1, 0):  # messages that each target receives
        exchanges = {(t, s): "padnet_linear" if tasks.index(s) < n else "none" for t in tasks for s in tasks}
        counts = {
            kind: count(built(Architecture(tasks, exchanges, kind)).aggregator) / len(tasks) for kind in AGGREGATORS
        }
        if n == 0:
            assert counts == {"atrc": c**2 + 2 * c, "mteb": 0, "pad": 0}
        else:
            assert counts == {"atrc": n * d * c + 2 * c**2 + 4 * c, "mteb": n * c**2 + 2 * c, "pad": 0}
    densemtl = built(Architecture.uniform(tasks, "xtam", "mteb"), 128)
    assert count(densemtl.aggregator) / 4 == 3 * 128**2 + 2 * 128
    assert count(densemtl.blocks) / 12 == 369_920


def auxiliary_heads(channels: int = 270, regions: tuple[int, ...] = (40, 40, 40, 2)) -> int:
    """conv1x1 BN ReLU conv1x1 with bias for each of NYUD's four tasks (HRNet18 gives 270 channels)."""
    return sum(
        count(
            nn.Sequential(
                nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.Conv2d(channels, r, 1)
            )
        )
        for r in regions
    )


def published(tasks: tuple[str, ...]) -> dict[str, tuple[float, Callable[[], int]]]:
    """Millions of parameters in ATRC's Table 1 (NYUD-v2, HRNet18), and how we count them."""
    c, n = 67, len(tasks)
    omega = n * (c**2 + 2 * c)  # PAD-Net's convolution and norm behind the sum, which our aggregator leaves out
    on_self = {(t, t): "t_label" for t in tasks}
    s_label = Architecture(tasks, Architecture.uniform(tasks, "s_label").exchanges | on_self)

    def pad(name: str) -> int:  # as published, without the norm by which we compare blocks of different scale
        return count(built(Architecture.uniform(tasks, f"padnet_{name}", "pad", normalize_messages=False)))

    return {
        "global": (4.73, lambda: count(built(Architecture.uniform(tasks, "global")))),
        "local": (4.73, lambda: count(built(Architecture.uniform(tasks, "local")))),
        "t_label": (5.06, lambda: count(built(Architecture.uniform(tasks, "t_label"))) + auxiliary_heads()),
        "s_label": (5.06, lambda: count(built(s_label)) + auxiliary_heads()),
        "pad a": (4.59, lambda: pad("linear") + 2 * n * c),
        "pad b": (5.02, lambda: pad("conv") + omega),
        "pad c": (5.50, lambda: pad("gate") + omega),
    }


NYUD = ("semseg", "depth", "normals", "edge")


@pytest.mark.parametrize("row", published(NYUD))
def test_parameters_of_the_published_table(row):
    millions, counted = published(NYUD)[row]
    assert round((4_515_600 + counted()) / 1e6, 2) == millions
