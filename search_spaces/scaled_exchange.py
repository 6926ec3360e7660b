"""The exchange at several scales of a network's features, each as `Exchange` runs it.

A scale whose pairs all have `none` keeps its aggregator; without messages, mteb and pad leave features as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.errors import SpaceError
from search_spaces.exchange import Exchange
from search_spaces.seeds import derived
from search_spaces.space import SearchSpace

Scales = Mapping[int, Mapping[str, Tensor]]  # {scale: {task: (B, channels, h, w)}}
Channels = int | Mapping[int, int]  # C of the features, or {scale: C}


class ScaledExchange(nn.Module):
    """plan: an Architecture or a SearchSpace with scales. channels: {scale: C of every task's features there}.

    seed: as of `Exchange`; each scale has initial weights of its own. options: further arguments of `Exchange`.
    Raises SpaceError for a plan without scales, and for a scale without channels.
    """

    def __init__(
        self,
        plan: Architecture | SearchSpace,
        channels: Mapping[int, int],
        *,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__()
        if not plan.scales or not set(plan.scales) <= set(channels):
            raise SpaceError(f"the plan has the scales {list(plan.scales)}, and channels are of {list(channels)}")
        self.plan, self.tasks, self.pairs, self.scales = plan, plan.tasks, plan.pairs, plan.scales
        self.channels = {scale: channels[scale] for scale in plan.scales}
        self.parts = nn.ModuleDict()
        for scale in plan.scales:
            own = None if seed is None else derived(seed, "scale", str(scale))
            self.parts[str(scale)] = Exchange(plan.at(scale), channels[scale], seed=own, **options)
        self.block_names = tuple(dict.fromkeys(name for part in self.by_scale.values() for name in part.block_names))
        if isinstance(plan, SearchSpace):
            assert self.block_names == plan.blocks  # so that weights have one order at all scales

    @property
    def by_scale(self) -> dict[int, Exchange]:
        return {scale: part for scale, part in zip(self.scales, self.parts.values()) if isinstance(part, Exchange)}

    @property
    def recompute(self) -> tuple[str, ...]:
        return next(iter(self.by_scale.values())).recompute

    @recompute.setter
    def recompute(self, blocks: Sequence[str]) -> None:
        for part in self.by_scale.values():
            part.recompute = tuple(blocks)

    @property
    def served(self) -> dict[str, list[int]]:
        """{block: its pairs, as indices into `pairs`}"""
        served: dict[str, list[int]] = {}
        for first, part in self._parts():
            for name, own in part.served.items():
                served.setdefault(name, []).extend(first + i for i in own)
        return served

    def region_tasks(self) -> tuple[str, ...]:
        """The tasks whose label regions some block reads."""
        needed = {task for part in self.by_scale.values() for task in part.region_tasks()}
        return tuple(task for task in self.tasks if task in needed)

    def forward(
        self,
        features: Scales,
        regions: Scales | None = None,
        valid: Mapping[int, Tensor] | None = None,
        weights: Tensor | None = None,
        active: Mapping[str, Sequence[int]] | None = None,
    ) -> dict[int, dict[str, Tensor]]:
        """Refined features, {scale: {task: (B, C, h, w)}}; those of other scales are returned as they are.

        The arguments are those of `Exchange.forward` at each scale, of sizes that may differ between scales; weights:
        (pairs, blocks), and active: {block name: pairs}, over the pairs of all scales. Raises SpaceError as it does,
        and for features that lack a scale.
        """
        missing = [scale for scale in self.scales if scale not in features]
        if missing:
            raise SpaceError(f"no features of scale {missing[0]}: found {list(features)}, expected {list(self.scales)}")
        refined = {scale: dict(maps) for scale, maps in features.items()}
        for (first, part), scale in zip(self._parts(), self.scales):
            last = first + len(part.pairs)
            on = None if active is None else {n: [i - first for i in o if first <= i < last] for n, o in active.items()}
            refined[scale] = part(
                features[scale],
                None if regions is None else regions.get(scale),
                None if valid is None else valid.get(scale),
                None if weights is None else weights[first:last],
                on,
            )
        return refined

    def _parts(self) -> Iterator[tuple[int, Exchange]]:
        """The exchange of each scale, and the index of its first pair."""
        first = 0
        for part in self.by_scale.values():
            yield first, part
            first += len(part.pairs)

    def extract(self, architecture: Architecture) -> "ScaledExchange":
        """As `Exchange.extract`."""
        if architecture.scales != self.scales:
            raise SpaceError(
                f"the architecture has the scales {list(architecture.scales)}: expected {list(self.scales)}"
            )
        parts = {scale: part.extract(architecture.at(scale)) for scale, part in self.by_scale.items()}
        rule = next(iter(parts.values())).normalize_messages
        with torch.random.fork_rng(devices=[]):  # the initial weights are all replaced
            single = ScaledExchange(replace(architecture, normalize_messages=rule), self.channels)
        single.parts = nn.ModuleDict({str(scale): part for scale, part in parts.items()})
        return single.train(self.training)


def build_exchange(plan: Architecture | SearchSpace, channels: Channels, **options: Any) -> Exchange | ScaledExchange:
    """The exchange of a plan with or without scales; channels: {scale: C} of one with scales, else C.

    Raises SpaceError where the two do not fit.
    """
    if isinstance(channels, int):
        if plan.scales:
            raise SpaceError(f"the plan has the scales {list(plan.scales)}: expected channels of each, {{scale: C}}")
        return Exchange(plan, channels, **options)
    return ScaledExchange(plan, channels, **options)
