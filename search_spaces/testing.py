"""Conformance checks for exchange blocks and aggregators, for those who write one.

    from search_spaces.testing import check_block

    def test_my_block():
        check_block("my_package.my_block:MyBlock")

A check raises AssertionError, in one line that names the property that does not hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from search_spaces.aggregators import AGGREGATORS, Aggregator
from search_spaces.architecture import Architecture
from search_spaces.blocks import BLOCKS, ExchangeBlock, ExchangeInputs, Pair, block_class, build_block, legal_on
from search_spaces.errors import SpaceError
from search_spaces.exchange import Exchange
from search_spaces.space import SearchSpace, pairs_of

TASKS = ("a", "b", "c")
REGIONS = {"a": 2, "b": 3, "c": 5}  # tasks differ in their number of label regions
SOURCES = {"a": ("a", "b", "c"), "b": ("c",), "c": ()}  # {target: sources with a message}, for aggregators
BATCH = 2
SIZES = ((7, 5), (11, 13), (1, 2))  # odd, not square, larger and smaller than windows and tiles
UNSEEN = (19, 23)  # a size at which no other check has filled a block's caches

State = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


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
            return _perturb(block.to(self.dtype))

    def inputs(self, size: tuple[int, int], grad: bool = False) -> ExchangeInputs:
        features, regions = _maps(self.channels, size, self.dtype, grad)
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
        (messages * _noise(messages)).sum().backward()
    for key, parameter in block.named_parameters():
        assert parameter.grad is not None, case.fail(f"parameter {key} gets no gradient")
        assert parameter.grad.any() or size == SIZES[-1], case.fail(f"the gradient of {key} is zero at size {size}")
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
    first, second = (_clone(case.build(seed=2).state_dict()) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first), case.fail(
        "two blocks built under one seed have different weights: draw them from torch's global generator"
    )


def _check_pair_by_pair(case: _BlockCase, train: bool) -> None:
    """All pairs at once against a block for each pair alone."""
    block, inputs = case.build().train(train), case.inputs(SIZES[0], grad=True)
    states = [_clone(block.pair_state(i)) for i in range(len(block.pairs))]
    messages = block(inputs, range(len(block.pairs)))
    upstream = _noise(messages)
    if messages.requires_grad:
        (messages * upstream).sum().backward()
    _descend(block)
    again = case.inputs(SIZES[0], grad=True)
    for i, pair in enumerate(block.pairs):
        alone = case.build([pair], seed=1).train(train)
        alone.load_state_dict(states[i])
        message = alone(again, [0])
        mode = f"{pair[0]} <- {pair[1]}, {'training' if train else 'eval'} mode"
        _close(message[:, 0], messages[:, i], case.fail(f"the message of {mode}, differs from the pair's alone"))
        if message.requires_grad:
            (message[:, 0] * upstream[:, i]).sum().backward(retain_graph=True)  # prototypes are shared
        _descend(alone)  # a gradient step, so that equal states mean equal gradients
        for key, value in block.pair_state(i).items():
            what = f"the gradient or the running statistics of {key} on {mode}, differ from the pair's alone"
            _close(alone.state_dict()[key], value, case.fail(what))
    for task in TASKS:
        ours, theirs = inputs.features[task].grad, again.features[task].grad
        if ours is not None and theirs is not None:
            _close(ours, theirs, case.fail(f"gradients of the features of {task} differ from those of single pairs"))
        assert (ours is None) == (theirs is None), case.fail(f"gradients reach the features of {task} in one form only")


def _check_subsets(case: _BlockCase, train: bool) -> None:
    """Some pairs, in another order."""
    whole, part, inputs = case.build().train(train), case.build().train(train), case.inputs(SIZES[0])
    some = list(range(len(whole.pairs)))[::-2]
    before = [_clone(part.pair_state(i)) for i in range(len(part.pairs))]
    expected = whole(inputs, range(len(whole.pairs)))[:, some]
    _close(part(inputs, some), expected, case.fail(f"messages of the active pairs {some} are not those of all pairs"))
    for i, pair in enumerate(part.pairs):
        for key, value in part.pair_state(i).items():
            if i in some:
                _close(value, whole.pair_state(i)[key], case.fail(f"{key} of {pair} differs if other pairs rest"))
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
            _close(block(changed, [i]), block(inputs, [i]), case.fail("the probe's messages depend on the target"))


def _check_inside_exchange(case: _BlockCase) -> None:
    """One architecture, and a space from which it is extracted."""
    features, regions = _maps(case.channels, SIZES[0], case.dtype)
    plan = Architecture.uniform(TASKS, case.name, "pad", normalize_messages=False)
    space = SearchSpace(TASKS, (case.name,), "pad", normalize_messages=False)
    exchange, again = (Exchange(plan, case.channels, seed=0).to(case.dtype) for _ in range(2))
    supernet = _perturb(Exchange(space, case.channels, seed=0).to(case.dtype)).eval()
    assert _same(exchange.state_dict(), again.state_dict()), case.fail("two exchanges of one seed differ")
    given = {task: regions[task] for task in exchange.region_tasks()}  # and no other regions
    for task, maps in _perturb(exchange).eval()(features, given).items():
        assert maps.shape == features[task].shape and maps.isfinite().all(), case.fail(f"refines {task} badly")
    again.eval().load_state_dict(exchange.state_dict())
    assert _same(exchange(features, given), again(features, given)), case.fail("a loaded exchange differs")
    weights = torch.zeros(len(space.pairs), len(space.blocks), dtype=case.dtype)
    for i, pair in enumerate(space.pairs):
        weights[i, space.blocks.index(plan.exchanges[pair])] = 1
    mixed, alone = supernet(features, given, None, weights), supernet.extract(plan)(features, given)
    for task in TASKS:
        _close(alone[task], mixed[task], case.fail(f"extracted from a space, it refines {task} in another way"))


def check_aggregator(
    aggregator: str | type[Aggregator], *, channels: int = 6, dtype: torch.dtype = torch.float64
) -> None:
    """Checks an aggregator, given by name or as a class, for targets with three, one and no sources.

    - Refined features have the shape of the features and are finite at odd and at tiny sizes.
    - Every parameter gets a finite gradient, and so do the features of every target.
    - A second pass in eval mode, and an aggregator loaded anew, give the same.
    - After `load_sources` an aggregator of fewer sources gives what the larger one gives with messages of zeros from
      the others; for no messages at all, both give the same too.
    - With a seed, weights follow from the seed and the part's name, and the global generator is left alone.
    - A first pass in inference mode leaves later training possible.
    """
    kind = AGGREGATORS[aggregator] if isinstance(aggregator, str) else aggregator
    case = _AggregatorCase(kind, channels, dtype)
    _check_seeds(case)
    for size in SIZES:
        _check_refined(case, size)
    _check_aggregator_repetition(case)
    _check_fewer_sources(case)
    module = _perturb(case.build())
    with torch.inference_mode():
        module(case.features(UNSEEN), case.messages(UNSEEN))
    refined = module(case.features(UNSEEN, grad=True), case.messages(UNSEEN))
    torch.stack([maps.sum() for maps in refined.values()]).sum().backward()


@dataclass(frozen=True)
class _AggregatorCase:
    kind: type[Aggregator]
    channels: int
    dtype: torch.dtype

    def build(self, sources: Mapping[str, Sequence[str]] = SOURCES, seed: int = 0) -> Aggregator:
        return self.kind(sources, self.channels, 0.0, seed).to(self.dtype)

    def features(self, size: tuple[int, int], grad: bool = False) -> State:
        return _maps(self.channels, size, self.dtype, grad)[0]

    def messages(self, size: tuple[int, int]) -> dict[str, list[Tensor]]:
        width = self.kind.message_channels(self.channels)
        maps = {task: _maps(width, size, self.dtype, seed=10 + i)[0] for i, task in enumerate(TASKS)}
        return {target: [maps[target][source] for source in sources] for target, sources in SOURCES.items()}

    def fail(self, text: str) -> str:
        return f"aggregator {self.kind.__name__}: {text}"


def _check_seeds(case: _AggregatorCase) -> None:
    before = torch.get_rng_state()
    first, second = case.build().state_dict(), case.build().state_dict()
    assert torch.equal(torch.get_rng_state(), before), case.fail("draws from the global generator in spite of a seed")
    assert _same(first, second), case.fail("two of one seed have different weights")
    other = case.build({**SOURCES, "a": ("b",)}).state_dict()
    for key, value in first.items():
        if key in other and other[key].shape == value.shape:
            assert torch.equal(other[key], value), case.fail(f"the initial {key} depends on what else is built")


def _check_refined(case: _AggregatorCase, size: tuple[int, int]) -> None:
    """Shapes and gradients."""
    module, features = _perturb(case.build()).train(), case.features(size, grad=True)
    refined = module(features, case.messages(size))
    assert list(refined) == list(SOURCES), case.fail(f"refines {list(refined)}: expected {list(SOURCES)}")
    for target, maps in refined.items():
        shape, expected = tuple(maps.shape), tuple(features[target].shape)
        assert shape == expected, case.fail(f"{target} has shape {shape}: expected {expected}")
        assert maps.isfinite().all(), case.fail(f"{target} is not finite at size {size}")
    torch.stack([(maps * _noise(maps)).sum() for maps in refined.values()]).sum().backward()
    for key, value in (*module.named_parameters(), *features.items()):
        assert value.grad is not None and value.grad.isfinite().all(), case.fail(f"{key} gets no finite gradient")


def _check_aggregator_repetition(case: _AggregatorCase) -> None:
    module, inputs = _perturb(case.build()).eval(), (case.features(SIZES[0]), case.messages(SIZES[0]))
    refined = module(*inputs)
    assert _same(refined, module(*inputs)), case.fail("two passes in eval mode differ")
    other = case.build(seed=1).eval()
    other.load_state_dict(module.state_dict())
    assert _same(refined, other(*inputs)), case.fail("loaded from a state dict, it differs")


def _check_fewer_sources(case: _AggregatorCase) -> None:
    """Fewer sources, and in another order."""
    module, small = _perturb(case.build()).eval(), case.build({"a": ("c", "b"), "b": (), "c": ()}, seed=1).eval()
    with torch.no_grad():
        small.load_sources(module)
    features, messages = case.features(SIZES[0]), case.messages(SIZES[0])
    zero, from_b, from_c = torch.zeros_like(messages["a"][0]), *messages["a"][1:]
    expected = module(features, {"a": [zero, from_b, from_c], "b": [], "c": []})
    refined = small(features, {"a": [from_c, from_b], "b": [], "c": []})
    for target, text in (("a", "messages of zeros"), ("b", "no messages"), ("c", "no messages")):
        _close(refined[target], expected[target], case.fail(f"with fewer sources, {target} differs from {text}"))


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


def _maps(
    channels: int, size: tuple[int, int], dtype: torch.dtype, grad: bool = False, seed: int = 1
) -> tuple[State, State]:
    """Features {task: (B, C, H, W)} and logits of the label regions {task: (B, R, H, W)}."""
    generator = torch.Generator().manual_seed(seed)

    def draw(width: int) -> Tensor:
        return torch.randn(BATCH, width, *size, generator=generator, dtype=torch.float64).to(dtype)

    features = {task: draw(channels).requires_grad_(grad) for task in TASKS}
    return features, {task: draw(REGIONS[task]) for task in TASKS}


def _noise(like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.dtype)


def _perturb(module: Module) -> Module:
    """Moves weights and running statistics off values such as 0 and 1."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
                value.mul_(1 + 0.3 * noise).add_(0.2 * noise)
    return module


def _descend(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)


def _clone(state: Mapping[str, Tensor]) -> State:
    return {key: value.clone() for key, value in state.items()}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _close(actual: Tensor, expected: Tensor, text: str) -> None:
    scale = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
    tolerance = scale * {torch.float64: 1e-9, torch.float32: 1e-4}.get(expected.dtype, 3e-2)
    off = float((actual - expected).detach().abs().max()) if expected.numel() else 0.0
    assert actual.shape == expected.shape and off <= tolerance, f"{text} (by {off:.1e})"
