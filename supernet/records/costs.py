"""costs.csv: what every candidate block costs on every pair, for one image.

The exchange of an architecture costs the sum of its parts: the base, which is the exchange with `none` on every pair;
the row of each pair's block; and a fixed overhead for each target with incoming messages.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from experiment.errors import InputError
from supernet.records.pairs import Pair, has_scales, pair_name, scale_of
from supernet.records.rows import finite, once, read_rows, whole, write_rows

if TYPE_CHECKING:
    from search_spaces import SearchSpace

COSTS = "costs.csv"
OVERHEAD = "any"  # in the column of blocks: the rows of the overheads


@dataclass(frozen=True)
class Cost:
    """multiply_adds: convolutions and matrix products only; latency: seconds of a forward pass, 0 if not measured."""

    multiply_adds: int = 0
    parameters: int = 0
    latency: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(*(mine - its for mine, its in zip(astuple(self), astuple(other), strict=True)))


MEASURES = tuple(item.name for item in fields(Cost))
COLUMNS = ("target", "source", "block", *MEASURES)


@dataclass(frozen=True)
class Costs:
    """The costs in one unit: `base`, per pair and block a row (0 for none), and the overhead of targets, 0 where it is
    not given.
    """

    rows: Mapping[Pair, Mapping[str, float]]
    base: float = 0.0
    overheads: Mapping[str, float] = field(default_factory=dict)

    def overhead(self, target: str) -> float:
        return self.overheads.get(target, 0.0)

    def total(self, exchanges: Mapping[Pair, str]) -> float:
        rows = sum(self.rows[pair][block] for pair, block in exchanges.items())
        return self.base + sum(map(self.overhead, receiving_targets(exchanges))) + rows


@dataclass(frozen=True)
class CostTable:
    """The costs by all measures. The latency of the overhead is part of the rows."""

    base: Cost
    overheads: Mapping[str, Cost]  # of each target with incoming messages
    rows: Mapping[Pair, Mapping[str, Cost]]

    def costs(self, measure: str) -> Costs:
        rows = {p: {name: getattr(cost, measure) for name, cost in row.items()} for p, row in self.rows.items()}
        overheads = {target: getattr(cost, measure) for target, cost in self.overheads.items()}
        return Costs(rows, getattr(self.base, measure), overheads)

    def total(self, exchanges: Mapping[Pair, str]) -> Cost:
        """Of an architecture's exchange. Raises InputError for a block that the table lacks."""
        for pair, block in exchanges.items():
            if block not in self.rows.get(pair, {}):
                raise InputError(f"{COSTS} has no row for {block} on {pair_name(pair)}: expected the run's own blocks")
        sums = {measure: self.costs(measure).total(exchanges) for measure in MEASURES}
        return Cost(int(sums["multiply_adds"]), int(sums["parameters"]), sums["latency"])

    def covers(self, space: "SearchSpace") -> bool:
        return all(tuple(self.rows.get(pair, ())) == space.legal(pair) for pair in space.pairs)

    def write(self, path: Path) -> None:
        """The base has neither target nor source; the overhead has a target and the block `any`."""
        lines: list[tuple[object, ...]] = [("", "", "none", *astuple(self.base))]
        lines += [(target, "", OVERHEAD, *astuple(cost)) for target, cost in self.overheads.items()]
        lines += [(*pair, name, *astuple(cost)) for pair, row in self.rows.items() for name, cost in row.items()]
        write_rows(path, COLUMNS, lines, has_scales(self.rows))

    @classmethod
    def read(cls, path: Path) -> "CostTable":
        """Raises InputError for a malformed or incomplete file."""
        base: Cost | None = None
        overhead: dict[str, Cost] = {}
        rows: dict[Pair, dict[str, Cost]] = {}
        lines = once(path, read_rows(path, COLUMNS, _parse), lambda key: f"the row {','.join(key)}")
        for (target, source, block), cost in lines.items():
            if source:
                rows.setdefault((target, source), {})[block] = cost
            elif target and block == OVERHEAD:
                overhead[target] = cost
            elif not target and block == "none":
                base = cost
            else:
                raise InputError(f"'{path}' has a row {target},,{block}: expected '{OVERHEAD}' or ',,none' there")
        if base is None or not rows or set(overhead) != {target for target, _ in rows}:
            raise InputError(
                f"'{path}' is incomplete: expected one row without a target, one '{OVERHEAD}' per target, and a row "
                "for each block of each pair"
            )
        if len({(scale_of(target), cost) for target, cost in overhead.items()}) > len(set(map(scale_of, overhead))):
            raise InputError(f"'{path}' has '{OVERHEAD}' rows that differ: expected one overhead for all targets")
        return cls(base, overhead, rows)


def _parse(row: Mapping[str, str]) -> tuple[tuple[str, str, str], Cost]:
    cost = Cost(whole(row["multiply_adds"]), whole(row["parameters"]), finite(row["latency"]))
    return (row["target"], row["source"], row["block"]), cost


def receiving_targets(exchanges: Mapping[Pair, str]) -> list[str]:
    """The targets with incoming messages."""
    return list(dict.fromkeys(target for (target, _), block in exchanges.items() if block != "none"))
