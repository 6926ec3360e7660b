"""What every aggregator must do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.aggregators import AGGREGATORS, Aggregator
from search_spaces.errors import unknown_name
from search_spaces.testing.maps import (
    SIZES,
    TASKS,
    UNSEEN,
    State,
    assert_close,
    maps_of,
    noise,
    perturb,
    same,
)

SOURCES = {"a": ("a", "b", "c"), "b": ("c",), "c": ()}  # {target: sources with a message}, for aggregators


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
    if isinstance(aggregator, str):
        if aggregator not in AGGREGATORS:
            raise unknown_name("aggregator", aggregator, AGGREGATORS)
        aggregator = AGGREGATORS[aggregator]
    case = _AggregatorCase(aggregator, channels, dtype)
    _check_seeds(case)
    for size in SIZES:
        _check_refined(case, size)
    _check_aggregator_repetition(case)
    _check_fewer_sources(case)
    module = perturb(case.build())
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
        return maps_of(self.channels, size, self.dtype, grad)[0]

    def messages(self, size: tuple[int, int]) -> dict[str, list[Tensor]]:
        width = self.kind.message_channels(self.channels)
        maps = {task: maps_of(width, size, self.dtype, seed=10 + i)[0] for i, task in enumerate(TASKS)}
        return {target: [maps[target][source] for source in sources] for target, sources in SOURCES.items()}

    def fail(self, text: str) -> str:
        return f"aggregator {self.kind.__name__}: {text}"


def _check_seeds(case: _AggregatorCase) -> None:
    before = torch.get_rng_state()
    first, second = case.build().state_dict(), case.build().state_dict()
    assert torch.equal(torch.get_rng_state(), before), case.fail("draws from the global generator in spite of a seed")
    assert same(first, second), case.fail("two of one seed have different weights")
    other = case.build({**SOURCES, "a": ("b",)}).state_dict()
    for key, value in first.items():
        if key in other and other[key].shape == value.shape:
            assert torch.equal(other[key], value), case.fail(f"the initial {key} depends on what else is built")


def _check_refined(case: _AggregatorCase, size: tuple[int, int]) -> None:
    """Shapes and gradients."""
    module, features = perturb(case.build()).train(), case.features(size, grad=True)
    refined = module(features, case.messages(size))
    assert list(refined) == list(SOURCES), case.fail(f"refines {list(refined)}: expected {list(SOURCES)}")
    for target, maps in refined.items():
        shape, expected = tuple(maps.shape), tuple(features[target].shape)
        assert shape == expected, case.fail(f"{target} has shape {shape}: expected {expected}")
        assert maps.isfinite().all(), case.fail(f"{target} is not finite at size {size}")
    torch.stack([(maps * noise(maps)).sum() for maps in refined.values()]).sum().backward()
    for key, value in (*module.named_parameters(), *features.items()):
        assert value.grad is not None and value.grad.isfinite().all(), case.fail(f"{key} gets no finite gradient")


def _check_aggregator_repetition(case: _AggregatorCase) -> None:
    module, inputs = perturb(case.build()).eval(), (case.features(SIZES[0]), case.messages(SIZES[0]))
    refined = module(*inputs)
    assert same(refined, module(*inputs)), case.fail("two passes in eval mode differ")
    other = case.build(seed=1).eval()
    other.load_state_dict(module.state_dict())
    assert same(refined, other(*inputs)), case.fail("loaded from a state dict, it differs")


def _check_fewer_sources(case: _AggregatorCase) -> None:
    """Fewer sources, and in another order."""
    module, small = perturb(case.build()).eval(), case.build({"a": ("c", "b"), "b": (), "c": ()}, seed=1).eval()
    with torch.no_grad():
        small.load_sources(module)
    features, messages = case.features(SIZES[0]), case.messages(SIZES[0])
    zero, from_b, from_c = torch.zeros_like(messages["a"][0]), *messages["a"][1:]
    expected = module(features, {"a": [zero, from_b, from_c], "b": [], "c": []})
    refined = small(features, {"a": [from_c, from_b], "b": [], "c": []})
    for target, text in (("a", "messages of zeros"), ("b", "no messages"), ("c", "no messages")):
        assert_close(refined[target], expected[target], case.fail(f"with fewer sources, {target} differs from {text}"))
