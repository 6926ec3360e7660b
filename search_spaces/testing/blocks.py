"""What every exchange block must do."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.blocks import BLOCKS, ExchangeBlock, ExchangeInputs, Pair, block_class, build_block, legal_on
from search_spaces.errors import SpaceError
from search_spaces.exchange import Exchange
from search_spaces.scales import pairs_of
from search_spaces.space import SearchSpace
from search_spaces.testing.maps import (
    BATCH,
    SIZES,
    TASKS,
    UNSEEN,
    assert_close,
    clone,
    maps_of,
    noise,
    perturb,
    same,
)


def check_block(
    block: str | type[nn.Module],
    *,
    channels: int = 6,
    message_channels: int = 3,
    dtype: torch.dtype = torch.float64,
    random_training: bool = False,
) -> None:
    """Checks a block, given as in `space.blocks` or as a class, on all its pairs of three tasks.

    - Messages have shape (B, pairs, message_channels, H, W) and are finite at odd and at tiny sizes.
    - Every parameter gets a finite gradient.
    - A block built and loaded anew gives the same messages, and so does a second pass in eval mode.
    - All pairs at once give the same messages, gradients and running statistics as a block for each pair alone; so does
      any subset of the pairs, in any order, and it leaves the other pairs untouched.
    - `legal_on_self` and `regions` are honoured by spaces, architectures and `Exchange`.
    - Initial weights come from torch's generator: equal seeds give equal weights.
    - A first pass in inference mode leaves later training possible.
    - Where `as_probe` returns True, messages do not depend on the target.
    - What `attention_maps` and `gate_maps` show, if a block has them, is of the shape and range that they promise.

    channels: C of the features; message_channels: d of the messages; dtype: of features and weights; random_training:
    the block draws random numbers in training mode (dropout), where its messages are then not compared.
    """
    case = _BlockCase(_name_of(block), channels, message_channels, dtype)
    _check_declarations(case)
    for size in SIZES:
        _check_shape_and_gradients(case, size)
    _check_repetition(case)
    for train in (False,) if random_training else (False, True):
        _check_pair_by_pair(case, train)
        _check_subsets(case, train)
    _check_inference_first(case)
    _check_probe(case)
    _check_shown(case)
    _check_inside_exchange(case)


@dataclass(frozen=True)
class _BlockCase:
    name: str
    channels: int
    message_channels: int
    dtype: torch.dtype

    @property
    def pairs(self) -> list[Pair]:
        """The legal pairs source by source, so that the pairs of one target lie apart."""
        return sorted((pair for pair in pairs_of(TASKS) if legal_on(self.name, pair)), key=lambda pair: pair[1])

    def build(self, pairs: Sequence[Pair] | None = None, seed: int = 0) -> ExchangeBlock:
        """Weights away from the initial ones, which may be 0 or 1 and hide an error."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            pairs = self.pairs if pairs is None else list(pairs)
            block = build_block(self.name, pairs, self.channels, self.message_channels)
            return perturb(block.to(self.dtype))

    def inputs(self, size: tuple[int, int], grad: bool = False) -> ExchangeInputs:
        features, regions = maps_of(self.channels, size, self.dtype, grad)
        return ExchangeInputs(features, {task: maps.flatten(2).softmax(2) for task, maps in regions.items()})

    def fail(self, text: str) -> str:
        return f"block '{self.name}': {text}"


def _check_declarations(case: _BlockCase) -> None:
    regions = getattr(block_class(case.name), "regions", ())
    strange = [end for end in regions if end not in ("target", "source")]
    assert not strange, case.fail(f"regions are {tuple(regions)}: expected 'target', 'source' or both")
    space = SearchSpace(TASKS, (case.name,))
    legal = getattr(block_class(case.name), "legal_on_self", True)
    for pair in space.pairs:
        expected = legal or pair[0] != pair[1]
        assert (case.name in space.legal(pair)) == expected or case.name == "none", case.fail(
            f"legal_on_self is {legal}, but the space has {space.legal(pair)} on {pair}"
        )
        exchanges = dict.fromkeys(space.pairs, "none") | {pair: case.name}
        try:
            Architecture(TASKS, exchanges)
            accepted = True
        except SpaceError:
            accepted = False
        assert accepted == expected, case.fail(f"legal_on_self is {legal}, but an architecture with {pair} is not")


def _check_shape_and_gradients(case: _BlockCase, size: tuple[int, int]) -> None:
    block, inputs = case.build().train(), case.inputs(size, grad=True)
    messages = block(inputs, range(len(block.pairs)))
    expected = (BATCH, len(block.pairs), case.message_channels, *size)
    assert messages.shape == expected, case.fail(f"messages have shape {tuple(messages.shape)}: expected {expected}")
    assert messages.isfinite().all(), case.fail(f"messages of maps of size {size} are not finite in training mode")
    if messages.requires_grad:
        (messages * noise(messages)).sum().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None, case.fail(f"parameter {key} gets no gradient")
        assert parameter.grad.isfinite().all(), case.fail(f"the gradient of {key} is not finite at size {size}")
    for task, maps in inputs.features.items():
        assert maps.grad is None or maps.grad.isfinite().all(), case.fail(f"gradients of {task} are not finite")
    messages = block.eval()(case.inputs(size), range(len(block.pairs)))
    assert messages.isfinite().all(), case.fail(f"messages of maps of size {size} are not finite in eval mode")


def _check_repetition(case: _BlockCase) -> None:
    """Building, saving and loading."""
    block, inputs = case.build(), case.inputs(SIZES[0])
    active = range(len(block.pairs))
    block(inputs, active)  # moves running statistics
    messages = block.eval()(inputs, active)
    assert torch.equal(messages, block(inputs, active)), case.fail("two passes in eval mode differ")
    other = case.build(seed=1).eval()
    other.load_state_dict(block.state_dict())
    assert torch.equal(messages, other(inputs, active)), case.fail("a block loaded from a state dict differs")
    first, second = (clone(case.build(seed=2).state_dict()) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first), case.fail(
        "two blocks built under one seed have different weights: draw them from torch's global generator"
    )


def _check_pair_by_pair(case: _BlockCase, train: bool) -> None:
    """All pairs at once against a block for each pair alone."""
    block, inputs = case.build().train(train), case.inputs(SIZES[0], grad=True)
    states = [clone(block.pair_state(i)) for i in range(len(block.pairs))]
    messages = block(inputs, range(len(block.pairs)))
    upstream = noise(messages)
    if messages.requires_grad:
        (messages * upstream).sum().backward()
    _descend(block)
    again = case.inputs(SIZES[0], grad=True)
    for i, pair in enumerate(block.pairs):
        alone = case.build([pair], seed=1).train(train)
        alone.load_state_dict(states[i])
        message = alone(again, [0])
        mode = f"{pair[0]} <- {pair[1]}, {'training' if train else 'eval'} mode"
        assert_close(message[:, 0], messages[:, i], case.fail(f"the message of {mode}, differs from the pair's alone"))
        if message.requires_grad:
            (message[:, 0] * upstream[:, i]).sum().backward(retain_graph=True)  # prototypes are shared
        _descend(alone)  # a gradient step, so that equal states mean equal gradients
        for key, value in block.pair_state(i).items():
            what = f"the gradient or the running statistics of {key} on {mode}, differ from the pair's alone"
            assert_close(alone.state_dict()[key], value, case.fail(what))
    for task in TASKS:
        ours, theirs = inputs.features[task].grad, again.features[task].grad
        if ours is not None and theirs is not None:
            assert_close(
                ours, theirs, case.fail(f"gradients of the features of {task} differ from those of single pairs")
            )
        assert (ours is None) == (theirs is None), case.fail(f"gradients reach the features of {task} in one form only")


def _check_subsets(case: _BlockCase, train: bool) -> None:
    """Some pairs, in another order."""
    whole, part, inputs = case.build().train(train), case.build().train(train), case.inputs(SIZES[0])
    some = list(range(len(whole.pairs)))[::-2]
    before = [clone(part.pair_state(i)) for i in range(len(part.pairs))]
    expected = whole(inputs, range(len(whole.pairs)))[:, some]
    assert_close(
        part(inputs, some), expected, case.fail(f"messages of the active pairs {some} are not those of all pairs")
    )
    for i, pair in enumerate(part.pairs):
        for key, value in part.pair_state(i).items():
            if i in some:
                assert_close(value, whole.pair_state(i)[key], case.fail(f"{key} of {pair} differs if other pairs rest"))
            else:
                assert torch.equal(value, before[i][key]), case.fail(f"{key} of {pair} changed while the pair rested")


def _check_inference_first(case: _BlockCase) -> None:
    """Tensors that a block caches in inference mode could not be saved for a backward pass."""
    block = case.build()
    active = range(len(block.pairs))
    with torch.inference_mode():
        block(case.inputs(UNSEEN), active)
    try:
        messages = block(case.inputs(UNSEEN, grad=True), active)
        if messages.requires_grad:
            messages.sum().backward()
    except RuntimeError as error:
        raise AssertionError(case.fail(f"cannot be trained after a pass in inference mode: {error}")) from error


def _check_probe(case: _BlockCase) -> None:
    """Messages that follow from the source alone: other features of the target do not change them."""
    pairs = [pair for pair in case.pairs if pair[0] != pair[1]]
    block, inputs = case.build(pairs), case.inputs(SIZES[0])
    projection = torch.eye(case.channels, dtype=case.dtype)[: case.message_channels]
    if block.as_probe(projection):
        for i, (target, _) in enumerate(block.pairs):
            maps = dict(inputs.features)
            maps[target] = maps[target].flip(2) + 1
            changed = ExchangeInputs(maps, inputs.regions)
            assert_close(
                block(changed, [i]), block(inputs, [i]), case.fail("the probe's messages depend on the target")
            )


def _check_shown(case: _BlockCase) -> None:
    block, inputs = case.build().eval(), case.inputs(SIZES[0])
    maps = block.attention_maps(inputs, 0, torch.tensor([0, 5]))
    if maps is not None:
        assert maps.ndim == 4 and maps.shape[:2] == (BATCH, 2), case.fail(
            f"attention_maps of 2 pixels have shape {tuple(maps.shape)}: expected ({BATCH}, 2, h, w)"
        )
        assert (maps >= 0).all(), case.fail("attention_maps has weights below 0 or without a value")
    gates = block.gate_maps(inputs, 0)
    if gates is not None:
        assert gates.ndim == 4 and len(gates) == BATCH, case.fail(
            f"gate_maps have shape {tuple(gates.shape)}: expected ({BATCH}, c, h, w)"
        )
        assert ((gates >= 0) & (gates <= 1)).all(), case.fail("gate_maps has values outside 0..1")


def _check_inside_exchange(case: _BlockCase) -> None:
    """One architecture, and a space from which it is extracted."""
    features, regions = maps_of(case.channels, SIZES[0], case.dtype)
    plan = Architecture.uniform(TASKS, case.name, "pad", normalize_messages=False)
    space = SearchSpace(TASKS, (case.name,), "pad", normalize_messages=False)
    exchange, again = (Exchange(plan, case.channels, seed=0).to(case.dtype) for _ in range(2))
    supernet = perturb(Exchange(space, case.channels, seed=0).to(case.dtype)).eval()
    assert same(exchange.state_dict(), again.state_dict()), case.fail("two exchanges of one seed differ")
    given = {task: regions[task] for task in exchange.region_tasks()}  # and no other regions
    for task, maps in perturb(exchange).eval()(features, given).items():
        assert maps.shape == features[task].shape and maps.isfinite().all(), case.fail(f"refines {task} badly")
    again.eval().load_state_dict(exchange.state_dict())
    assert same(exchange(features, given), again(features, given)), case.fail("a loaded exchange differs")
    weights = torch.zeros(len(space.pairs), len(space.blocks), dtype=case.dtype)
    for i, pair in enumerate(space.pairs):
        weights[i, space.blocks.index(plan.exchanges[pair])] = 1
    mixed, alone = supernet(features, given, None, weights), supernet.extract(plan)(features, given)
    for task in TASKS:
        assert_close(alone[task], mixed[task], case.fail(f"extracted from a space, it refines {task} in another way"))


def _name_of(block: str | type[nn.Module]) -> str:
    """The name by which spaces and architectures know a block."""
    if isinstance(block, str):
        return block
    for name, known in BLOCKS.items():
        if known is block:
            return name
    name = f"{block.__module__}:{block.__qualname__}"
    try:
        importable = block_class(name) is block
    except SpaceError:
        importable = False
    assert importable, f"block '{name}' is not importable: expected a class on the level of its module"
    return name


def _descend(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
