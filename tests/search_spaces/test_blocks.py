"""The exchange blocks against their formulas in plain loops, and what every block must do."""

import io

import pytest
import torch
from torch import Tensor, nn

from search_spaces import BLOCKS, Architecture, Exchange, SearchSpace, SpaceError
from search_spaces.blocks import NATIVE, ExchangeBlock, ExchangeInputs, build_block, legal_on, regions_needed
from search_spaces.blocks import xtam as xtam_file
from search_spaces.blocks.global_context import linear_attention
from search_spaces.blocks.layers import PairBatchNorm
from search_spaces.blocks.local_context import WINDOW, _ChunkedTiles, local_attention
from tests.support import naive

TASKS = ("a", "b", "c")
REGIONS = {"a": 2, "b": 3, "c": 5}  # tasks differ, so that label contexts cannot batch them all
# source by source, so that the pairs of one target lie apart
PAIRS = [(target, source) for source in TASKS for target in TASKS]
SIZES = [(7, 5), (11, 13)]
WIDTHS = [(6, 3), (4, 4), (5, 2)]  # channels of the features and of the messages

every_block = pytest.mark.parametrize("name", BLOCKS)
every_width = pytest.mark.parametrize("widths", WIDTHS, ids=str)
both_modes = pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])


@pytest.fixture(autouse=True)
def double():
    """float64, to compare digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pairs_for(name: str) -> list[tuple[str, str]]:
    return [pair for pair in PAIRS if legal_on(name, pair)]


def make(name: str, widths: tuple[int, int] = (6, 3), affine: bool = True) -> ExchangeBlock:
    torch.manual_seed(0)
    block = build_block(name, pairs_for(name), *widths, affine)
    naive.randomise(block)
    return block


def draw(channels: int, size: tuple[int, int], batch: int = 2, grad: bool = False) -> ExchangeInputs:
    generator = torch.Generator().manual_seed(1)
    maps = {t: torch.randn(batch, channels, *size, generator=generator).requires_grad_(grad) for t in TASKS}
    logits = {t: torch.randn(batch, REGIONS[t], *size, generator=generator) for t in TASKS}
    return ExchangeInputs(maps, {t: naive.regions(logits[t]) for t in TASKS})


def buffers(block: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in block.named_buffers()}


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# ---- the contract


@every_block
@every_width
@pytest.mark.parametrize("size", [*SIZES, (1, 2)], ids=str)
def test_shape_and_gradients(name, widths, size):
    block = make(name, widths)
    active = range(len(block.pairs))
    messages = block(draw(widths[0], size), active)
    assert messages.shape == (2, len(block.pairs), widths[1], *size)
    assert messages.isfinite().all()
    if not list(block.parameters()):
        assert name == "none" and not messages.any()
        return
    (messages * torch.randn_like(messages)).sum().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert size == (1, 2) or parameter.grad.any(), key


@every_block
@every_width
def test_save_and_load(name, widths):
    block, inputs = make(name, widths), draw(widths[0], (7, 5))
    active = range(len(block.pairs))
    block(inputs, active)  # moves the running statistics
    file = io.BytesIO()
    torch.save(block.state_dict(), file)
    file.seek(0)
    torch.manual_seed(9)
    other = build_block(name, pairs_for(name), *widths)
    other.load_state_dict(torch.load(file))
    assert torch.equal(block.eval()(inputs, active), other.eval()(inputs, active))


@every_block
def test_deterministic(name):
    inputs = draw(6, (7, 5))
    first, second = make(name), make(name)
    active = range(len(first.pairs))
    assert torch.equal(first(inputs, active), second(inputs, active))
    assert torch.equal(first.eval()(inputs, active), first(inputs, active))


@every_block
@both_modes
def test_subset_of_pairs(name, train):
    """The others are neither needed nor touched."""
    whole, part, inputs = make(name).train(train), make(name).train(train), draw(6, (7, 5))
    some = list(range(len(whole.pairs)))[1::2]
    rest = [i for i in range(len(whole.pairs)) if i not in some]
    before = buffers(part)
    expected = whole(inputs, range(len(whole.pairs)))[:, some]
    close(part(inputs, some), expected)
    for key, value in buffers(part).items():
        close(value[some], buffers(whole)[key][some])
        assert torch.equal(value[rest], before[key][rest]), key


@every_block
def test_pairs_in_any_order(name):
    block, inputs = make(name).eval(), draw(6, (7, 5))
    active = list(range(len(block.pairs)))
    close(block(inputs, active[::-1]), block(inputs, active).flip(1))


@every_block
@both_modes
def test_batched_equals_simple(name, train):
    """All pairs at once, or a block for each pair alone: same messages, gradients and running statistics."""
    block, inputs = make(name).train(train), draw(6, (7, 5), grad=True)
    states = [{k: v.clone() for k, v in block.pair_state(i).items()} for i in range(len(block.pairs))]
    messages = block(inputs, range(len(block.pairs)))
    upstream = torch.randn_like(messages)
    if messages.requires_grad:
        (messages * upstream).sum().backward()
    from_all = {task: maps.grad for task, maps in inputs.features.items()}

    again = draw(6, (7, 5), grad=True)
    for i, pair in enumerate(block.pairs):
        alone = build_block(name, [pair], 6, 3).train(train)
        alone.load_state_dict(states[i])
        message = alone(again, [0])
        close(message[:, 0], messages[:, i])
        for key, value in alone.state_dict().items():
            close(value, block.pair_state(i)[key])
        if message.requires_grad:
            (message[:, 0] * upstream[:, i]).sum().backward(retain_graph=True)  # prototypes are shared
        for key, parameter in alone.named_parameters():
            close(parameter.grad[0], block.get_parameter(key).grad[i])
    for task, maps in again.features.items():
        if from_all[task] is not None:
            close(maps.grad, from_all[task])


@every_block
def test_bfloat16(name):
    """Loses digits, nothing else."""
    torch.set_default_dtype(torch.float32)
    block, inputs = make(name), draw(6, (11, 13))
    active = range(len(block.pairs))
    with torch.no_grad():
        exact = block.eval()(inputs, active)
        with torch.autocast("cpu", torch.bfloat16):
            found = block(inputs, active).float()
            assert block.train()(inputs, active).isfinite().all()
    assert (found - exact).abs().mean() <= 0.02 * exact.abs().mean()


def test_norm_is_batch_norm():
    pairs = PairBatchNorm(3, 4)
    plain = [nn.BatchNorm2d(4) for _ in range(3)]
    maps = torch.randn(6, 5, 3, 4, 7, 5)
    for step, active in enumerate([[0, 1, 2], [1], [0, 2], [0, 1, 2], [0, 1]]):
        found = pairs(maps[step][:, active], active)
        for k, i in enumerate(active):
            close(found[:, k], plain[i](maps[step][:, i]))
    pairs.eval()
    for i in range(3):
        close(pairs(maps[5][:, [i]], [i])[:, 0], plain[i].eval()(maps[5][:, i]))


def test_initial_weights():
    """Context projections Xavier-uniform, other convolutions as in nn.Conv2d, the attention's gate closed."""
    context, attention = build_block("global", [("a", "b")], 24, 12), build_block("xtam", [("a", "b")], 24, 24)
    bounds = {
        context.get_parameter("query.first.conv.weight"): (6 / (24 + 12)) ** 0.5,
        context.get_parameter("value.conv.weight"): (6 / (24 + 12)) ** 0.5,
        attention.get_parameter("embed.weight"): (9 * 24) ** -0.5,
        attention.get_parameter("project.conv.weight"): 36**-0.5,
    }
    for weight, bound in bounds.items():
        assert 0.9 * bound < weight.abs().max() <= bound
    assert not attention.get_parameter("alpha").any()


# ---- each block against its formula


@every_block
@every_width
@both_modes
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "plain"])
def test_formula(name, widths, train, affine):
    block, inputs = make(name, widths, affine).train(train), draw(widths[0], (5, 4))
    states = [{k: v.clone() for k, v in block.pair_state(i).items()} for i in range(len(block.pairs))]
    messages = block(inputs, range(len(block.pairs)))
    spread = []
    for i in (0, 1, 3):  # a pair of one task where that is legal, and two others
        (target, source), maps, regions = block.pairs[i], inputs.features, inputs.regions
        expected = naive.message(
            name, states[i], maps[target], maps[source], regions[target], regions[source], widths[1], train
        )
        close(messages[:, i], expected)
        spread.append(expected.std())
    assert name == "none" or max(spread) > 0.02  # not all shut


def one_pair(block: ExchangeBlock, target: Tensor, source: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    naive.randomise(block)
    with torch.no_grad():
        message = block.eval()(ExchangeInputs({"a": target, "b": source}, {}), [0])[:, 0]
    return message, {key: value[0] for key, value in block.pair_state(0).items()}


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (3, 4), (8, 8), (9, 9), (17, 3), (11, 13)], ids=str)
def test_local_at_borders(size):
    """Maps smaller than the window, of exactly a tile, and beyond it: every pixel, corners too."""
    torch.manual_seed(5)
    maps = [(3 * torch.randn(1, 3, *size)).requires_grad_() for _ in range(3)]
    found, expected = local_attention(*maps), naive.local_window(*maps)
    close(found, expected)
    if len(found.flatten()) > 3 * 64:
        return  # the loops' gradients are slow
    upstream = torch.randn_like(found)
    for ours, theirs in zip(torch.autograd.grad(found, maps, upstream), torch.autograd.grad(expected, maps, upstream)):
        close(ours, theirs)


@pytest.mark.parametrize("size", [(5, 7), (10, 10), (12, 9)], ids=str)
def test_local_of_small_maps_equals_tiles(size):
    torch.manual_seed(6)
    maps = [torch.randn(3, 4, *size, requires_grad=True) for _ in range(3)]
    found, expected = local_attention(*maps), _ChunkedTiles.apply(*maps, WINDOW)
    close(found, expected)
    upstream = torch.randn_like(found)
    for ours, theirs in zip(torch.autograd.grad(found, maps, upstream), torch.autograd.grad(expected, maps, upstream)):
        close(ours, theirs)


def test_local_corner():
    """With equal logits each of the 81 positions weighs 1/81, outside the image as well: a corner keeps 25 of them."""
    nothing, ones = torch.zeros(1, 2, 12, 10), torch.ones(1, 2, 12, 10)
    found = local_attention(nothing, nothing, ones)
    assert found[0, 0, 0, 0] == pytest.approx(25 / 81)
    assert found[0, 0, 0, 5] == pytest.approx(45 / 81)
    assert found[0, 0, 6, 5] == pytest.approx(1)


def test_global_is_an_average():
    """The kernel's weights are positive and add up to one, also where they all but vanish."""
    query, key = (torch.rand(2, 1, 3, 4, 5) + 0.1 for _ in range(2))
    value = torch.randn(2, 1, 3, 4, 5)
    close(linear_attention(query, key, torch.ones_like(value)), torch.ones_like(value))
    message = linear_attention(query, key, value)
    assert (message <= value.amax((3, 4), keepdim=True)).all() and (message >= value.amin((3, 4), keepdim=True)).all()
    vanishing = linear_attention(torch.zeros_like(query), key, value)
    assert not vanishing.any()


@pytest.mark.parametrize(
    ("size", "scale"), [((8, 12), 4), ((11, 14), 4), ((11, 14), 1), ((7, 5), 2), ((5, 13), 8), ((10, 7), 3)], ids=str
)
def test_xtam_scales(size, scale):
    torch.manual_seed(3)
    target, source = torch.randn(2, 4, *size), torch.randn(2, 4, *size)
    block = xtam_file.CrossTaskAttention([("a", "b")], 4, 3, scale=scale)
    found, weights = one_pair(block, target, source)
    close(found, naive.xtam(weights, target, source, False, scale))
    with torch.no_grad():
        block.alpha.zero_()
    silent = block(ExchangeInputs({"a": target, "b": source}, {}), [0])[:, 0]
    assert (found - silent).abs().max() > 0.01  # so the comparison did see the attention


def test_xtam_on_atrc_maps():
    """107 x 140 by 4: 27 x 35 windows, the last row of which are one pixel short."""
    torch.manual_seed(4)
    target, source = torch.randn(1, 2, 107, 140), torch.randn(1, 2, 107, 140)
    found, weights = one_pair(xtam_file.CrossTaskAttention([("a", "b")], 2, 1, scale=4), target, source)
    close(found, naive.xtam(weights, target, source, False, 4))


def test_xtam_bounds_its_attention(monkeypatch):
    """The scale doubles until few enough positions are left."""
    monkeypatch.setattr(xtam_file, "MAX_POSITIONS", 8)
    target, source = torch.randn(1, 4, 9, 10), torch.randn(1, 4, 9, 10)
    found, weights = one_pair(xtam_file.CrossTaskAttention([("a", "b")], 4, 4, scale=2), target, source)
    close(found, naive.xtam(weights, target, source, False, 8))  # 5 x 5, then 3 x 3, then 2 x 2


# ---- a user's own block


class Product(nn.Module):
    """Plain, with a norm of its own."""

    def __init__(self, channels: int, message_channels: int):
        super().__init__()
        self.project = nn.Conv2d(channels, message_channels, 1)
        self.norm = nn.BatchNorm2d(message_channels)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return self.norm(self.project(target * source))


class Regional(nn.Module):
    """Reads the regions of both ends; the mean of the source over its first region, where the target's is."""

    regions = ("target", "source")
    legal_on_self = False

    def __init__(self, channels: int, message_channels: int):
        super().__init__()
        self.width = message_channels
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, target: Tensor, source: Tensor, target_regions: Tensor, source_regions: Tensor) -> Tensor:
        mean = (source[:, : self.width].flatten(2) * source_regions[:, :1]).sum(2)
        where = target_regions[:, 0].view(len(source), 1, *source.shape[2:])
        return self.scale * mean[:, :, None, None] * where


class TooNarrow(Product):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source)[:, :-1]


class Halved(Product):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source)[..., ::2, ::2]


def own(block: type[nn.Module]) -> str:
    return f"{__name__}:{block.__name__}"


def test_own_block():
    block, inputs = build_block(own(Product), PAIRS, 6, 3).eval(), draw(6, (7, 5))
    naive.randomise(block)
    messages = block(inputs, [1, 4, 5])
    assert messages.shape == (2, 3, 3, 7, 5)
    for row, i in enumerate([1, 4, 5]):
        alone = build_block(own(Product), [PAIRS[i]], 6, 3).eval()
        alone.load_state_dict(block.pair_state(i))
        close(alone(inputs, [0])[:, 0], messages[:, row])
        simple = Product(6, 3).eval()
        simple.load_state_dict({key.removeprefix("blocks.0."): v for key, v in block.pair_state(i).items()})
        target, source = PAIRS[i]
        close(simple(inputs.features[target], inputs.features[source]), messages[:, row])


def test_own_block_with_regions():
    name = own(Regional)
    assert regions_needed(name, ("a", "b")) == ("a", "b")
    assert not legal_on(name, ("a", "a")) and legal_on(name, ("a", "b"))
    space = SearchSpace(TASKS, (name,))
    assert space.legal(("a", "a")) == ("none",) and space.legal(("a", "b")) == ("none", name)

    exchange = Exchange(Architecture.uniform(TASKS, name, "pad", normalize_messages=False), 6)
    assert exchange.region_tasks() == TASKS
    maps = draw(6, (4, 3)).features
    logits = {t: torch.randn(2, REGIONS[t], 4, 3) for t in TASKS}
    refined = exchange(maps, logits)
    weights = {t: naive.regions(logits[t]) for t in TASKS}
    for target in TASKS:
        expected = maps[target].clone()
        for source in TASKS:
            if source != target:
                mean = (maps[source] * weights[source][:, 0].view(2, 1, 4, 3)).sum((2, 3), keepdim=True)
                expected += mean * weights[target][:, 0].view(2, 1, 4, 3)
        close(refined[target], expected)


@pytest.mark.parametrize("block", [TooNarrow, Halved])
def test_own_block_of_wrong_shape(block):
    exchange = Exchange(Architecture.uniform(TASKS, own(block)), 6)
    with pytest.raises(SpaceError, match=f"{block.__name__}.*returned .*expected \\(2, 3, 7, 5\\)") as error:
        exchange(draw(6, (7, 5)).features)
    assert "\n" not in str(error.value)


# ---- cost


def parameters(name: str, widths: tuple[int, int], affine: bool = True) -> float:
    """Per pair."""
    pairs = pairs_for(name)
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
    # in a search no last norm may rescale its message
    assert parameters("xtam", (64, 64), affine=False) == 22.5 * 64**2 + 8 * 64
    assert parameters("padnet_conv", (c, c), affine=False) == 9 * c**2
    assert parameters("padnet_conv", (c, d), affine=False) == 9 * c**2 + 2 * c + c * d
    assert parameters("padnet_gate", (c, d), affine=False) == 18 * c**2 + c * d


@pytest.mark.parametrize("name", ["local", "global", "t_label", "xtam"])
def test_inference_first_leaves_training_possible(name):
    """Index tensors and masks are cached; one made in inference mode could not be saved for a backward pass."""
    size = (19, 23)  # no other test caches this size
    block, inputs = build_block(name, pairs_for(name), 6, 4), draw(6, size)
    with torch.inference_mode():
        block(inputs, [1])
    maps = {task: torch.randn(1, 6, *size, requires_grad=True) for task in TASKS}
    regions = {task: naive.regions(torch.randn(1, REGIONS[task], *size)) for task in TASKS}
    block(ExchangeInputs(maps, regions), [1]).sum().backward()
    assert any(feature.grad is not None for feature in maps.values())
