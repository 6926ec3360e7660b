"""A search space: for every ordered pair of tasks, the blocks that are legal there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import BLOCKS, NATIVE, Pair, block_class, legal_on, scales_differ
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.scales import AT, check_scales, pairs_of, places

SPACES: dict[str, tuple[str, ...]] = {
    "full": ("none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate"),
    "atrc": NATIVE,
    "densemtl": ("none", "xtam"),
    "padnet": ("none", "padnet_linear", "padnet_conv", "padnet_gate"),
    "extended": (*NATIVE, "xtam", "padnet_gate", "padnet_conv", "padnet_linear"),
    "modern": ("none", "global", "query", "deform", "target_gate", "low_rank"),
    "mtl_nas": ("none", "padnet_linear"),  # the linear edges of MTL-NAS (Gao et al., CVPR 2020)
    "all": tuple(BLOCKS),
}


class Settings(Protocol):
    """The settings of a space: a name in `SPACES`, or block names; an aggregator; the normalisation; the scales."""

    @property
    def name(self) -> str: ...
    @property
    def blocks(self) -> list[str] | None: ...
    @property
    def aggregator(self) -> str: ...
    @property
    def normalize(self) -> bool | None: ...
    @property
    def scales(self) -> list[int]: ...


def check_tasks(tasks: Sequence[str]) -> None:
    """Raises SpaceError unless these are one or more different names."""
    if not tasks or not all(isinstance(name, str) for name in tasks) or len(set(tasks)) != len(tasks):
        raise SpaceError(f"tasks {list(tasks)}: expected one or more different names")
    for name in tasks:
        if AT in name:
            raise SpaceError(f"task '{name}' has a {AT} in its name, which separates tasks from scales")


@dataclass(frozen=True)
class SearchSpace:
    """tasks x tasks x legal block names.

    normalize_messages: whether every message ends in BatchNorm and ReLU. By default it does if some block lies outside
        ATRC's: candidates of different output scale compete only if their messages share one scale.
    scales: of the features on which tasks exchange, each with pairs of its own; empty for one exchange on the features
        that a network's heads read.
    Raises SpaceError for bad tasks or scales, an unknown block or an unknown aggregator.
    """

    tasks: tuple[str, ...]
    blocks: tuple[str, ...]
    aggregator: str = "atrc"
    name: str = "custom"
    normalize_messages: bool | None = None
    scales: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        object.__setattr__(self, "scales", check_scales(self.scales))
        if self.aggregator not in AGGREGATORS:
            raise unknown_name("aggregator", self.aggregator, AGGREGATORS)
        names = tuple(dict.fromkeys(("none", *self.blocks)))
        for name in names:
            block_class(name)
        object.__setattr__(self, "blocks", names)
        if self.normalize_messages is None:
            object.__setattr__(self, "normalize_messages", scales_differ(names))

    @classmethod
    def from_settings(cls, settings: Settings, tasks: Sequence[str]) -> "SearchSpace":
        """Raises SpaceError for settings that describe no space."""
        if settings.blocks is not None:
            if not settings.blocks:
                raise SpaceError("space.blocks is empty: expected at least one block name")
            name, blocks = "custom", tuple(settings.blocks)
        elif settings.name in SPACES:
            name, blocks = settings.name, SPACES[settings.name]
        else:
            raise unknown_name("space", settings.name, SPACES)
        scales = () if list(settings.scales) == [0] else tuple(settings.scales)
        return cls(tuple(tasks), blocks, settings.aggregator, name, settings.normalize, scales)

    @property
    def places(self) -> tuple[str, ...]:
        """The tasks, or with scales every task at every scale."""
        return places(self.tasks, self.scales)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return pairs_of(self.tasks, self.scales)

    def at(self, scale: int) -> "SearchSpace":
        """What one of the scales has: a space without scales."""
        return replace(self, scales=())

    def legal(self, pair: Pair) -> tuple[str, ...]:
        """The blocks that may serve a pair, in the order of `blocks`. Raises SpaceError for a pair of other tasks."""
        if pair not in self.pairs:
            unknown = next((name for name in pair if name not in self.places), pair[1])
            raise unknown_name("task", unknown, self.places)
        return tuple(name for name in self.blocks if legal_on(name, pair))

    def size(self) -> int:
        """How many architectures the space holds."""
        size = 1
        for pair in self.pairs:
            size *= len(self.legal(pair))
        return size
