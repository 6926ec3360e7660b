"""What the report shows of a trained exchange: the weights of which pair; nothing of blocks that show nothing."""

import pytest
import torch
from torch import nn

from analysis.measures.attention import POINTS, look
from experiment.errors import InputError
from multitask.data.samples import Batch
from search_spaces import Architecture, build_exchange
from tests.support import naive
from tests.support.own_blocks import Gated, Mistaken, Product, path_of

TASKS, SIZE = ("a", "b"), (6, 10)

pytestmark = pytest.mark.usefixtures("double")


class Host(nn.Module):
    """Features of its own, through an exchange."""

    def __init__(self, blocks: dict[tuple[str, str], str], scales: tuple[int, ...] = ()):
        super().__init__()
        names = dict.fromkeys(((t, s) for t in TASKS for s in TASKS), "none") | blocks
        if scales:
            names = {(f"{t}@{k}", f"{s}@{k}"): block for k in scales for (t, s), block in names.items()}
        plan = Architecture(TASKS, names, "mteb", normalize_messages=True)
        self.exchange = build_exchange(plan, dict.fromkeys(scales, 4) if scales else 4)
        naive.randomise(self.exchange).eval()
        self.scales = scales

    def forward(self, image, valid):
        features = {task: (k + 1) * image[:, :1].expand(-1, 4, -1, -1).sin() for k, task in enumerate(TASKS)}
        self.given = {scale: features for scale in self.scales} if self.scales else features
        return self.exchange(self.given)


def seen(network, effects):
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    return look(network, Batch(image, torch.ones(1, 1, *SIZE, dtype=torch.bool), {}, {}), effects)


def test_the_weights_are_those_of_the_pair_with_the_largest_effect():
    blocks = {("a", "b"): "global", ("b", "a"): "local", ("a", "a"): "global", ("b", "b"): "padnet_linear"}
    network = Host(blocks)
    found = seen(network, {("a", "a"): 1.0, ("a", "b"): 2.0, ("b", "b"): 3.0})
    assert (found.pair, found.block, found.source) == (("a", "b"), "global", "b")
    block = network.exchange.block("global")
    w = {name: value[0] for name, value in block.pair_state(block.pairs.index(("a", "b"))).items()}
    query = naive.two_steps(network.given["a"], w, "query", False).exp().log1p().flatten(2)[0]
    key = naive.two_steps(network.given["b"], w, "key", False).exp().log1p().flatten(2)[0]
    for (y, x), (down, along), shown in zip(POINTS, found.points, found.maps, strict=True):
        row, column = int(y * SIZE[0]), int(x * SIZE[1])
        assert down == pytest.approx((row + 0.5) / SIZE[0]) and along == pytest.approx((column + 0.5) / SIZE[1])
        kernel = key.T @ query[:, row * SIZE[1] + column]
        torch.testing.assert_close(shown.flatten().double(), kernel / kernel.sum(), rtol=1e-5, atol=1e-9)
    assert seen(network, {("b", "a"): 1.0}).block == "local"


def test_gates_are_shown_where_nothing_attends():
    network = Host({("a", "b"): "padnet_gate", ("b", "a"): "padnet_conv"})
    found = seen(network, {})
    assert (found.block, found.points) == ("padnet_gate", ())
    w = {name: value[0] for name, value in network.exchange.block("padnet_gate").pair_state(0).items()}
    gate = naive.sigmoid(naive.conv(network.given["b"], w["gate.weight"]))[0].mean(0, keepdim=True)
    torch.testing.assert_close(found.maps.double(), gate, rtol=1e-5, atol=1e-7)


def test_at_several_scales_the_pair_has_its_scale():
    found = seen(Host({("a", "b"): "local"}, (0, 1)), {("a@1", "b@1"): 2.0, ("a@0", "b@0"): 1.0})
    assert (found.pair, found.source) == (("a@1", "b@1"), "b")


def test_blocks_of_ones_own():
    nothing = {("a", "b"): path_of(Product)}
    assert seen(Host(nothing), {}) is None and seen(nn.Conv2d(3, 4, 1), {}) is None
    own = seen(Host({("a", "b"): path_of(Gated)}), {})
    assert own.block == path_of(Gated) and torch.equal(own.maps, torch.full((1, *SIZE), 0.25))
    with pytest.raises(InputError, match=r"Mistaken' cannot show what it reads: .*\(1, 2, h, w\)"):
        seen(Host({("a", "b"): path_of(Mistaken)}), {})
