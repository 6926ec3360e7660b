"""What every candidate block costs on every pair, as a search wrote it to costs.csv, and what an architecture costs.

The sum of its lines: the first, with no exchange anywhere; a line for each pair that speaks; and the line `any` of each
target that hears anyone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.measures.runs import read_rows
from analysis.report.tables import Cells
from experiment.errors import InputError

FILE = "costs.csv"
MEASURES = {"multiply_adds": "multiply-adds", "parameters": "parameters", "latency": "latency, ms"}
COLUMNS = ("target", "source", "block", *MEASURES)

Pair = tuple[str, str]  # target, source
Cost = tuple[float, ...]  # in the order of MEASURES; latency in seconds
Line = tuple[str, str, str, Cost]


@dataclass(frozen=True)
class BlockCosts:
    """base: with `none` on every pair; per_target_overhead: {target: more, once it has incoming messages}; rows:
    {pair: {block: more}}.
    """

    base: Cost
    per_target_overhead: Mapping[str, Cost]
    rows: Mapping[Pair, Mapping[str, Cost]]

    def parts(self, exchanges: Mapping[Pair, str]) -> list[Cost]:
        """What an architecture's exchange is the sum of. Raises InputError for a block that is not in the file."""
        try:
            lines = [self.rows[pair][block] for pair, block in exchanges.items()]
            return [self.base, *(self.per_target_overhead[target] for target in listeners(exchanges)), *lines]
        except KeyError as error:
            found = f"{FILE} has no line of {error}"
            raise InputError(f"{found}: expected every pair and block of the architecture") from error

    def total(self, exchanges: Mapping[Pair, str]) -> Cost:
        return tuple(map(sum, zip(*self.parts(exchanges), strict=True)))


def read_block_costs(path: Path) -> BlockCosts:
    """Raises InputError for a malformed file."""
    lines: list[Line] = read_rows(path, COLUMNS, lambda t, s, block, *cost: (t, s, block, tuple(map(float, cost))))
    rows: dict[Pair, dict[str, Cost]] = {}
    for target, source, block, cost in lines:
        if source:
            rows.setdefault((target, source), {})[block] = cost
    base = [cost for target, _, _, cost in lines if not target]
    per_target_overhead = {target: cost for target, source, _, cost in lines if target and not source}
    if len(base) != 1 or not rows or set(per_target_overhead) != {target for target, _ in rows}:
        raise InputError(f"'{path}' is incomplete: expected a line without target, one per target, and those of pairs")
    return BlockCosts(base[0], per_target_overhead, rows)


def listeners(exchanges: Mapping[Pair, str]) -> list[str]:
    """The targets that hear anyone."""
    return list(dict.fromkeys(target for (target, _), block in exchanges.items() if block != "none"))


def cells(costs: BlockCosts, exchanges: Mapping[Pair, str]) -> Cells:
    """A row for each block: how often it was chosen, and what it costs on one pair, from the cheapest to the dearest;
    then what comes on top, and the sum.
    """
    blocks = dict.fromkeys(name for row in costs.rows.values() for name in row if name != "none")
    chosen = list(exchanges.values())
    each = [(name, chosen.count(name), [row[name] for row in costs.rows.values() if name in row]) for name in blocks]
    each.append(("any, on top for its target", len(listeners(exchanges)), list(costs.per_target_overhead.values())))
    rows = [[name, str(count), *_ranges(values)] for name, count, values in each]
    rows.append(["no exchange at all", "", *_ranges([costs.base])])
    rows.append(["the chosen exchange", "", *_ranges([costs.total(exchanges)])])
    return ["block", "chosen", *MEASURES.values()], rows


def _ranges(costs: Sequence[Cost]) -> list[str]:
    return [_range(name, values) for name, values in zip(MEASURES, zip(*costs, strict=True), strict=True)]


def _range(measure: str, values: Sequence[float]) -> str:
    texts = [f"{1000 * value:.3f}" if measure == "latency" else f"{value:,.0f}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(texts))
