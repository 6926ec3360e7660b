"""An architecture, one block name for every ordered pair of tasks and an aggregator, and its file."""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import Pair, block_class, legal_on, regions_needed, scales_differ
from search_spaces.documents import read_document
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.scales import pairs_of, place, places, scale_of, task_of
from search_spaces.space import SPACES, SearchSpace, check_tasks

VERSION = 2
SCALED = 3  # the version of a file with several scales: exchanges are {scale: {target: {source: block}}}
KEYS = ("version", "tasks", "aggregator", "normalize_messages", "exchanges", "provenance")
# the integers of the genotypes that ATRC released, and its spelling of one task
ATRC_BLOCKS = ("none", "global", "local", "t_label", "s_label")
ATRC_TASKS = {"sal": "saliency"}


@dataclass(frozen=True)
class Architecture:
    """Determines the exchange module of a network, given the width of its features.

    tasks: their names, in order.
    exchanges: {(target, source): block name} for every ordered pair. With several scales, targets and sources are
        places (scales.py), such as depth@1, and every scale has all ordered pairs.
    aggregator: how a target joins its messages: atrc, mteb or pad.
    normalize_messages: whether every message ends in BatchNorm and ReLU. By default it does if some block lies outside
        ATRC's; an architecture of a search space has the rule of its space (`from_space`).
    provenance: where the architecture comes from; it takes no part in equality.
    Raises SpaceError for an unknown or illegal block, an unknown aggregator, a missing or a superfluous pair, and one
        that joins two scales.
    """

    tasks: tuple[str, ...]
    exchanges: dict[Pair, str]
    aggregator: str = "atrc"
    normalize_messages: bool | None = None
    provenance: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        check_tasks(self.tasks)
        if self.aggregator not in AGGREGATORS:
            raise unknown_name("aggregator", self.aggregator, AGGREGATORS)
        for pair in self.pairs:
            if pair not in self.exchanges:
                raise SpaceError(f"no block for {pair[0]} <- {pair[1]}: expected one for every ordered pair of tasks")
            name = self.exchanges[pair]
            block_class(name)
            if not legal_on(name, pair):
                raise SpaceError(
                    f"block '{name}' on {pair[0]} <- {pair[1]}: it is not defined on a task's own features"
                )
        superfluous = [pair for pair in self.exchanges if pair not in set(self.pairs)]
        if superfluous:
            target, source = superfluous[0]
            unknown = next((name for name in (target, source) if name not in self.places), None)
            if unknown is None:
                raise SpaceError(f"exchange {target} <- {source} joins two scales: expected pairs within a scale")
            raise unknown_name(f"task in exchange {target} <- {source}", unknown, self.places)
        if self.normalize_messages is None:
            object.__setattr__(self, "normalize_messages", scales_differ(self.exchanges.values()))

    @property
    def scales(self) -> tuple[int, ...]:
        """Empty where tasks exchange the features that a network's heads read."""
        found = {scale_of(target) for target, _ in self.exchanges} - {None}
        return tuple(sorted(scale for scale in found if scale is not None))

    @property
    def places(self) -> tuple[str, ...]:
        """The tasks, or with scales every task at every scale."""
        return places(self.tasks, self.scales)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return pairs_of(self.tasks, self.scales)

    def at(self, scale: int) -> "Architecture":
        """What one of the scales has: an architecture without scales."""
        exchanges = {(t, s): self.exchanges[place(t, scale), place(s, scale)] for t, s in pairs_of(self.tasks)}
        return replace(self, exchanges=exchanges)

    def region_tasks(self) -> tuple[str, ...]:
        """The tasks whose label regions some block reads, and which therefore need an auxiliary prediction."""
        needed = {task_of(end) for pair, name in self.exchanges.items() for end in regions_needed(name, pair)}
        return tuple(task for task in self.tasks if task in needed)

    @classmethod
    def from_space(
        cls, space: SearchSpace, exchanges: Mapping[Pair, str], provenance: Mapping[str, Any] | None = None
    ) -> "Architecture":
        """An architecture with the tasks, the aggregator and the normalisation of a space, so that all architectures
        of a space differ in their blocks only.
        """
        return cls(space.tasks, dict(exchanges), space.aggregator, space.normalize_messages, dict(provenance or {}))

    @classmethod
    def uniform(
        cls,
        tasks: Sequence[str],
        block: str,
        aggregator: str = "atrc",
        normalize_messages: bool | None = None,
        scales: Sequence[int] = (),
    ) -> "Architecture":
        """The same block on every pair; `none` on the self-pairs where that block is not legal."""
        exchanges = {pair: block if legal_on(block, pair) else "none" for pair in pairs_of(tasks, scales)}
        return cls(tuple(tasks), exchanges, aggregator, normalize_messages, {"source": f"uniform:{block}"})

    @classmethod
    def random(cls, space: SearchSpace, seed: int) -> "Architecture":
        """Each pair's block drawn uniformly from its legal ones."""
        draw = random.Random(seed)
        exchanges = {pair: draw.choice(space.legal(pair)) for pair in space.pairs}
        return cls.from_space(space, exchanges, {"source": "random", "space": space.name, "seed": seed})

    @classmethod
    def load(cls, path: str | Path) -> "Architecture":
        """Reads architecture.yaml, or a .json genotype as released with ATRC ({target: {source: integer}}).

        Version 1 of the file has no `normalize_messages`: there the space named in its provenance decides, and the
        blocks where it names none. Raises SpaceError for a file that cannot be used.
        """
        path = Path(path)
        content = read_document(path)
        if not isinstance(content, dict):
            raise SpaceError(f"'{path}' holds {type(content).__name__}: expected a mapping with tasks and exchanges")
        if "exchanges" not in content:
            content = _from_genotype(content, path)
        unknown = [key for key in content if key not in KEYS]
        if unknown:
            raise unknown_name(f"key in '{path}'", unknown[0], KEYS)
        version = content.get("version")
        if version not in (1, VERSION, SCALED) or isinstance(version, bool):
            raise SpaceError(f"'{path}' has version {version}: expected {VERSION}, {SCALED} (or 1)")
        exchanges = _exchanges(content["exchanges"], version == SCALED, path)
        tasks, aggregator = content.get("tasks"), content.get("aggregator", "atrc")
        tasks = list(dict.fromkeys(task_of(target) for target, _ in exchanges)) if tasks is None else tasks
        provenance = {} if content.get("provenance") is None else content["provenance"]
        for key, value, kind in (("tasks", tasks, list), ("provenance", provenance, dict)):
            if not isinstance(value, kind):
                raise SpaceError(f"'{path}': {key} is {value!r}, expected a {kind.__name__}")
        if not isinstance(aggregator, str):
            raise unknown_name("aggregator", aggregator, AGGREGATORS)
        normalize = content.get("normalize_messages", _rule_of_version_1(provenance) if version == 1 else None)
        if not (normalize is None or isinstance(normalize, bool)):
            raise SpaceError(f"'{path}': normalize_messages is {normalize!r}, expected true or false")
        return cls(tuple(tasks), exchanges, aggregator, normalize, provenance)

    def save(self, path: str | Path) -> None:
        """Writes architecture.yaml, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(self.to_yaml(), encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def to_yaml(self) -> str:
        """The text of architecture.yaml."""
        by_scale = {scale: self.at(scale)._rows() for scale in self.scales}
        rows = by_scale or self._rows()
        content = {
            "version": SCALED if by_scale else VERSION,
            "tasks": list(self.tasks),
            "aggregator": self.aggregator,
            "normalize_messages": self.normalize_messages,
            "exchanges": rows,
            "provenance": self.provenance,
        }
        text: str = yaml.dump(content, sort_keys=False, default_flow_style=None, width=120)
        return text

    def _rows(self) -> dict[str, dict[str, str]]:
        return {t: {s: self.exchanges[t, s] for s in self.tasks} for t in self.tasks}

    def table(self, mark: Mapping[Pair, str] | None = None) -> str:
        """A text table, a row for each target and a column for each source; `mark` adds a note to a pair's block. With
        scales, a table for each.
        """
        mark = mark or {}
        if self.scales:
            marks = {
                scale: {(task_of(t), task_of(s)): m for (t, s), m in mark.items() if scale_of(t) == scale}
                for scale in self.scales
            }
            return "\n\n".join(f"scale {scale}\n{self.at(scale).table(marks[scale])}" for scale in self.scales)
        rows = [["target \\ source", *self.tasks]]
        for target in self.tasks:
            blocks = (self.exchanges[target, source] + mark.get((target, source), "") for source in self.tasks)
            rows.append([target, *blocks])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def _exchanges(content: Any, scaled: bool, path: Path) -> dict[Pair, str]:
    """{target: {source: block}}, or if `scaled` {scale: {target: {source: block}}}, as a mapping of pairs."""
    nested = "{scale: {target: {source: block}}}" if scaled else "{target: {source: block}}"
    problem = SpaceError(f"'{path}': expected exchanges as {nested}")
    found: dict[Pair, str] = {}
    by_scale = content if scaled else {None: content}
    if not isinstance(by_scale, dict):
        raise problem
    for scale, table in by_scale.items():
        whole = isinstance(scale, int) and not isinstance(scale, bool) and scale >= 0
        if whole != scaled or not isinstance(table, dict) or not all(isinstance(row, dict) for row in table.values()):
            raise problem
        for target, row in table.items():
            found |= {(place(str(target), scale), place(str(source), scale)): str(name) for source, name in row.items()}
    return found


def _rule_of_version_1(provenance: Mapping[str, Any]) -> bool | None:
    """Whether the named space of a version 1 file normalises its messages; None if the file names none."""
    blocks = SPACES.get(str(provenance.get("space")))
    return None if blocks is None else scales_differ(blocks)


def _from_genotype(genotype: dict, path: Path) -> dict:
    """The content of architecture.yaml for a genotype as ATRC released it."""
    if not genotype or not all(isinstance(row, dict) for row in genotype.values()):
        raise SpaceError(f"'{path}' lacks 'exchanges'")

    def block(number: object) -> str:
        if isinstance(number, bool) or not (isinstance(number, int) and 0 <= number < len(ATRC_BLOCKS)):
            raise SpaceError(f"'{path}' holds block {number!r}: expected an integer from 0 to {len(ATRC_BLOCKS) - 1}")
        return ATRC_BLOCKS[number]

    rename = {task: ATRC_TASKS.get(task, task) for task in genotype}
    rows = {rename[t]: {rename.get(s, s): block(n) for s, n in row.items()} for t, row in genotype.items()}
    return {"version": VERSION, "tasks": list(rows), "exchanges": rows, "provenance": {"source": path.name}}
