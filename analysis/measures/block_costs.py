"""The costs of costs.csv as a table: every block of the space beside what was chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple

from analysis.report.tables import Cells
from supernet.records.costs import MEASURES, Cost, CostTable, receiving_targets
from supernet.records.pairs import Pair

NAMES = {"multiply_adds": "multiply-adds", "parameters": "parameters", "latency": "latency, ms"}


def cells(costs: CostTable, exchanges: Mapping[Pair, str]) -> Cells:
    """A row for each block: how often it was chosen, and its range of costs over the pairs; then the fixed overhead of
    each target with incoming messages, the base, and the sum.
    """
    total = costs.total(exchanges)
    blocks = dict.fromkeys(name for row in costs.rows.values() for name in row if name != "none")
    chosen = list(exchanges.values())
    each = [(name, chosen.count(name), [row[name] for row in costs.rows.values() if name in row]) for name in blocks]
    each.append(("overhead per target", len(receiving_targets(exchanges)), [costs.per_target_overhead]))
    rows = [[name, str(count), *_ranges(values)] for name, count, values in each]
    rows.append(["no exchange at all", "", *_ranges([costs.base])])
    rows.append(["the chosen exchange", "", *_ranges([total])])
    return ["block", "chosen", *(NAMES[measure] for measure in MEASURES)], rows


def _ranges(costs: Sequence[Cost]) -> list[str]:
    return [_range(name, values) for name, values in zip(MEASURES, zip(*map(astuple, costs)), strict=True)]


def _range(measure: str, values: Sequence[float]) -> str:
    texts = [f"{1000 * value:.3f}" if measure == "latency" else f"{value:,.0f}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(texts))
