"""The exchange blocks against their formulas in slow loops; what every block must do is in test_conformance.py."""

import pytest
import torch
from torch import Tensor, nn

from search_spaces import BLOCKS, Architecture, Exchange, SearchSpace, SpaceError
from search_spaces.blocks import ExchangeBlock, ExchangeInputs, build_block, check_call, legal_on, regions_needed
from search_spaces.blocks import xtam as xtam_file
from search_spaces.blocks.deform import sample, sample_by_gathering
from search_spaces.blocks.global_context import linear_attention
from search_spaces.blocks.layers import PairBatchNorm
from search_spaces.blocks.local_context import WINDOW, _ChunkedTiles, local_attention
from tests.support import naive
from tests.support.own_blocks import Halved, OddHalved, Product, Regional, TooNarrow, path_of

TASKS = ("a", "b", "c")
REGIONS = {"a": 2, "b": 3, "c": 5}  # tasks differ, so that label contexts cannot batch them all
# source by source, so that the pairs of one target lie apart
PAIRS = [(target, source) for source in TASKS for target in TASKS]
SIZES = [(7, 5), (11, 13)]
WIDTHS = [(6, 3), (4, 4), (5, 2)]  # channels of the features and of the messages

every_block = pytest.mark.parametrize("name", BLOCKS)
every_width = pytest.mark.parametrize("widths", WIDTHS, ids=str)
both_modes = pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])


pytestmark = pytest.mark.usefixtures("double")


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


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@every_block
def test_bfloat16(name):
    """Loses digits, nothing else."""
    torch.set_default_dtype(torch.float32)
    block, inputs = make(name), draw(6, (11, 13))
    active = range(len(block.pairs))
    with torch.no_grad():
        exact = block.eval()(inputs, active)
        with torch.autocast("cpu", torch.bfloat16):
            actual = block(inputs, active).float()
            assert block.train()(inputs, active).isfinite().all()
    assert (actual - exact).abs().mean() <= 0.02 * exact.abs().mean()


def test_norm_is_batch_norm():
    pairs = PairBatchNorm(3, 4)
    single = [nn.BatchNorm2d(4) for _ in range(3)]
    maps = torch.randn(6, 5, 3, 4, 7, 5)
    for step, active in enumerate([[0, 1, 2], [1], [0, 2], [0, 1, 2], [0, 1]]):
        actual = pairs(maps[step][:, active], active)
        for k, i in enumerate(active):
            close(actual[:, k], single[i](maps[step][:, i]))
    pairs.eval()
    for i in range(3):
        close(pairs(maps[5][:, [i]], [i])[:, 0], single[i].eval()(maps[5][:, i]))


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
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "not affine"])
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
    actual, expected = local_attention(*maps), naive.local_window(*maps)
    close(actual, expected)
    if len(actual.flatten()) > 3 * 64:
        return  # the loops' gradients are slow
    upstream = torch.randn_like(actual)
    for ours, theirs in zip(torch.autograd.grad(actual, maps, upstream), torch.autograd.grad(expected, maps, upstream)):
        close(ours, theirs)


@pytest.mark.parametrize("size", [(5, 7), (10, 10), (12, 9)], ids=str)
def test_local_of_small_maps_equals_tiles(size):
    torch.manual_seed(6)
    maps = [torch.randn(3, 4, *size, requires_grad=True) for _ in range(3)]
    actual, expected = local_attention(*maps), _ChunkedTiles.apply(*maps, WINDOW)
    close(actual, expected)
    upstream = torch.randn_like(actual)
    for ours, theirs in zip(torch.autograd.grad(actual, maps, upstream), torch.autograd.grad(expected, maps, upstream)):
        close(ours, theirs)


def test_local_corner():
    """With equal logits each of the 81 positions weighs 1/81, outside the image as well: a corner keeps 25 of them."""
    nothing, ones = torch.zeros(1, 2, 12, 10), torch.ones(1, 2, 12, 10)
    actual = local_attention(nothing, nothing, ones)
    assert actual[0, 0, 0, 0] == pytest.approx(25 / 81)
    assert actual[0, 0, 0, 5] == pytest.approx(45 / 81)
    assert actual[0, 0, 6, 5] == pytest.approx(1)


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
    actual, weights = one_pair(block, target, source)
    close(actual, naive.xtam(weights, target, source, False, scale))
    with torch.no_grad():
        block.alpha.zero_()
    closed = block(ExchangeInputs({"a": target, "b": source}, {}), [0])[:, 0]
    assert (actual - closed).abs().max() > 0.01  # so the comparison did see the attention


def test_xtam_on_atrc_maps():
    """107 x 140 by 4: 27 x 35 windows, the last row of which are one pixel short."""
    torch.manual_seed(4)
    target, source = torch.randn(1, 2, 107, 140), torch.randn(1, 2, 107, 140)
    actual, weights = one_pair(xtam_file.CrossTaskAttention([("a", "b")], 2, 1, scale=4), target, source)
    close(actual, naive.xtam(weights, target, source, False, 4))


def test_xtam_bounds_its_attention(monkeypatch):
    """The scale doubles until few enough positions are left."""
    monkeypatch.setattr(xtam_file, "MAX_POSITIONS", 8)
    target, source = torch.randn(1, 4, 9, 10), torch.randn(1, 4, 9, 10)
    actual, weights = one_pair(xtam_file.CrossTaskAttention([("a", "b")], 4, 4, scale=2), target, source)
    close(actual, naive.xtam(weights, target, source, False, 8))  # 5 x 5, then 3 x 3, then 2 x 2


# ---- deform


def test_deform_starts_as_a_mean():
    """Over 3x3 pixels, zeros outside."""
    torch.manual_seed(7)
    block = build_block("deform", [("a", "b")], 4, 3).eval()
    source = torch.randn(1, 4, 5, 6)
    value = block.value.from_tasks({"b": source}, ["b"], [0])[:, 0]
    actual = block(ExchangeInputs({"a": torch.randn(1, 4, 5, 6), "b": source}, {}), [0])[:, 0]
    close(actual, nn.functional.avg_pool2d(value, 3, 1, 1))


@pytest.mark.parametrize("move", [(1.0, -2.0), (0.0, 0.0), (-3.0, 1.0)])
def test_one_tap_is_a_shift(move):
    torch.manual_seed(8)
    maps = torch.randn(2, 3, 6, 7)
    offsets = torch.tensor(move).view(1, 1, 2, 1, 1).expand(2, 1, 2, 6, 7)
    padded = nn.functional.pad(maps, (4, 4, 4, 4))
    rows, columns = 4 + int(move[0]), 4 + int(move[1])
    close(sample(maps, offsets)[:, :, 0], padded[:, :, rows : rows + 6, columns : columns + 7])


def test_gathering_samples_alike():
    """The form that is deterministic on CUDA, and its gradients."""
    torch.manual_seed(9)
    maps, offsets = torch.randn(2, 3, 4, 5, requires_grad=True), (2 * torch.randn(2, 9, 2, 4, 5)).requires_grad_()
    rows = torch.arange(4.0).view(1, 1, -1, 1) + offsets[:, :, 0]
    columns = torch.arange(5.0).view(1, 1, 1, -1) + offsets[:, :, 1]
    one, other = sample(maps, offsets), sample_by_gathering(maps, rows, columns)
    close(one, other)
    upstream = torch.randn_like(one)
    for ours, theirs in zip(*(torch.autograd.grad(found, (maps, offsets), upstream) for found in (one, other))):
        close(ours, theirs)


# ---- what is shown of a block


@pytest.mark.parametrize("name", ["global", "local", "deform", "t_label", "s_label", "query", "xtam", "xtam_both"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_attention_maps_are_the_weights_of_the_message(name, size):
    """The message of each pixel once more, from the weights that are shown and from the values that the block has."""
    block, inputs = make(name).eval(), draw(6, size)
    pixels, row = torch.tensor([0, 3, size[0] * size[1] - 1]), block.pairs.index(("a", "b"))
    given: list[Tensor] = []  # to the values, and behind them
    block.value.register_forward_hook(lambda _, inputs, values: given.append(values[:, 0].flatten(2)))
    if name.startswith("xtam"):
        block.project.register_forward_hook(lambda _, inputs, values: given.append(inputs[0][:, 0]))
        nn.init.ones_(block.alpha)
    weights = block.attention_maps(inputs, row, pixels).flatten(2).transpose(1, 2)  # (B, L, n)
    assert (weights >= 0).all()
    message = block(inputs, [row])[:, 0].flatten(2)[..., pixels]
    source = inputs.features["b"].flatten(2)
    if name in ("global", "local", "deform"):
        close(block.value.from_tasks(inputs.features, ["b"], [row])[:, 0].flatten(2) @ weights, message)
    elif name.startswith("xtam"):
        values, joined = given
        close(values @ weights, joined[:, 3:9].flatten(2)[..., pixels])  # behind C / 2 gated channels
    else:
        regions = inputs.regions[{"t_label": "a", "s_label": "b"}.get(name, "a")]
        if name == "query":
            logits = block.queries[row] @ block.gather.weight[row, :, :, 0, 0] @ source / 3**0.5
            regions = torch.stack([torch.stack([naive.softmax(one) for one in image]) for image in logits])
        of_regions = torch.linalg.lstsq(regions.transpose(1, 2), weights).solution  # (B, R, n)
        close(regions.transpose(1, 2) @ of_regions, weights)
        close(given[0] @ of_regions, message, 1e-8)


def test_gate_maps_are_the_gates_of_the_message(monkeypatch):
    """A message of ones that passes the gates is the gates."""
    inputs, ones = draw(6, (7, 5)), torch.ones(2, 1, 6, 7, 5)
    for name in ("padnet_gate", "target_gate"):
        block = make(name, (6, 6)).eval()
        row = block.pairs.index(("a", "b"))
        if name == "padnet_gate":
            monkeypatch.setattr(block.conv, "from_tasks", lambda *_: ones)
        else:
            block.value.register_forward_hook(lambda *_: ones)
        close(block.gate_maps(inputs, row), block(inputs, [row])[:, 0])


# ---- a user's own block


def test_own_block():
    block, inputs = build_block(path_of(Product), PAIRS, 6, 3).eval(), draw(6, (7, 5))
    naive.randomise(block)
    messages = block(inputs, [1, 4, 5])
    assert messages.shape == (2, 3, 3, 7, 5)
    for row, i in enumerate([1, 4, 5]):
        alone = build_block(path_of(Product), [PAIRS[i]], 6, 3).eval()
        alone.load_state_dict(block.pair_state(i))
        close(alone(inputs, [0])[:, 0], messages[:, row])
        simple = Product(6, 3).eval()
        simple.load_state_dict({key.removeprefix("blocks.0."): v for key, v in block.pair_state(i).items()})
        target, source = PAIRS[i]
        close(simple(inputs.features[target], inputs.features[source]), messages[:, row])


def test_own_block_with_regions():
    name = path_of(Regional)
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
    with pytest.raises(SpaceError, match=f"{block.__name__}.*messages of shape .*expected \\(3, 8, 8\\)") as error:
        Exchange(Architecture.uniform(TASKS, path_of(block)), 6)
    assert "\n" not in str(error.value)


def test_own_block_of_wrong_shape_on_some_maps():
    exchange = Exchange(Architecture.uniform(TASKS, path_of(OddHalved)), 6)
    with pytest.raises(SpaceError, match=r"OddHalved.*returned .*expected \(2, 3, 7, 5\)") as error:
        exchange(draw(6, (7, 5)).features)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torch.nn:Linear", "takes 2 positional arguments but 3 were given"),
        ("torch.nn:Conv2d", "missing 1 required positional argument"),
        ("torch.nn:Identity", "takes 2 positional arguments but 3 were given"),
    ],
)
def test_a_module_that_is_no_block_is_refused_when_the_exchange_is_built(name, reason):
    with pytest.raises(SpaceError, match=f"{name}.*{reason}.*expected Block"):
        Exchange(Architecture.uniform(TASKS, name), 6)


def test_checking_a_block_draws_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    check_call(path_of(Product), ("a", "b"), 6, 3)
    assert torch.equal(torch.rand(1), expected)
