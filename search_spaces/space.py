"""A search space: for every ordered pair of tasks, the blocks that are legal there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from search_spaces.aggregators import AGGREGATORS
from search_spaces.architecture import check_tasks, pairs_of
from search_spaces.blocks import BLOCKS, NATIVE, Pair, block_class, legal_on
from search_spaces.errors import SpaceError, unknown_name

SPACES: dict[str, tuple[str, ...]] = {
    "full": ("none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate"),
    "atrc": NATIVE,
    "densemtl": ("none", "xtam"),
    "padnet": ("none", "padnet_linear", "padnet_conv", "padnet_gate"),
    "extended": tuple(BLOCKS),
}


class Settings(Protocol):
    """What `SearchSpace.from_settings` reads (experiment.config.SpaceSettings)."""

    @property
    def name(self) -> str: ...
    @property
    def blocks(self) -> list[str] | None: ...
    @property
    def aggregator(self) -> str: ...
    @property
    def normalize(self) -> bool | None: ...


@dataclass(frozen=True)
class SearchSpace:
    """tasks x tasks x legal block names. Raises SpaceError for bad tasks, an unknown block or aggregator."""

    tasks: tuple[str, ...]
    blocks: tuple[str, ...]
    aggregator: str = "atrc"
    name: str = "custom"
    normalize: bool | None = None

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        if self.aggregator not in AGGREGATORS:
            raise unknown_name("aggregator", self.aggregator, AGGREGATORS)
        names = tuple(dict.fromkeys(("none", *self.blocks)))
        for name in names:
            block_class(name)
        object.__setattr__(self, "blocks", names)

    @classmethod
    def from_settings(cls, settings: Settings, tasks: Sequence[str]) -> "SearchSpace":
        if settings.blocks is not None:
            if not settings.blocks:
                raise SpaceError("space.blocks is empty: expected at least one block name")
            name, blocks = "custom", tuple(settings.blocks)
        elif settings.name in SPACES:
            name, blocks = settings.name, SPACES[settings.name]
        else:
            raise unknown_name("space", settings.name, SPACES)
        return cls(tuple(tasks), blocks, settings.aggregator, name, settings.normalize)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return pairs_of(self.tasks)

    def legal(self, pair: Pair) -> tuple[str, ...]:
        """The blocks that may serve a pair, in the order of `blocks`."""
        if pair not in self.pairs:
            raise unknown_name("task", next(name for name in pair if name not in self.tasks), self.tasks)
        return tuple(name for name in self.blocks if legal_on(name, pair))

    @property
    def normalize_messages(self) -> bool:
        """Whether candidates of different output scale compete, so that each must end in the same norm."""
        if self.normalize is not None:
            return self.normalize
        return any(name not in NATIVE for name in self.blocks)

    def size(self) -> int:
        """How many architectures the space holds."""
        size = 1
        for pair in self.pairs:
            size *= len(self.legal(pair))
        return size
