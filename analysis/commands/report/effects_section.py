"""What each exchange is worth: the effects that a search measured, drawn, and those of the chosen blocks in a table."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.measures.searches import Search, effects_of
from analysis.report.figures import data_uri, short
from analysis.report.intervals import Groups, Row, intervals
from analysis.report.numbers import interval, probability, spread
from analysis.report.page import Section
from analysis.report.result import Table
from search_spaces import Architecture
from supernet.records.costs import COSTS, CostTable
from supernet.records.effects import EFFECTS, Effects
from supernet.records.pairs import Pair, pair_name

BEST = 3  # blocks of a pair that are drawn, beside the chosen one


def worth(folder: Path, architecture: Architecture, least: float, searches: Sequence[Search]) -> Section | None:
    """least: search.worth; searches: this one and its repetitions, where there are some.

    None without effects. Raises InputError for a malformed file, or one of another architecture.
    """
    path = folder / EFFECTS
    effects = effects_of(path, architecture) if path.is_file() else {}
    if not effects:
        return None
    repeated = [one.effects for one in searches if one.effects and one.noise_null == searches[0].noise_null]
    drawn = panels(effects, architecture, repeated[1:])
    count = sum(len(rows) for groups in drawn.values() for rows in groups.values())
    figure = intervals(drawn, "effect, % of the loss", least)
    return {
        "figure": data_uri(figure),
        "inches": figure.get_figwidth(),
        "table": table(effects, architecture, _costs(folder / COSTS), repeated),
        "least": f"{least:g} %",
        "best": BEST if count < len(effects) else None,
        "repeated": len(repeated) > 1,
    }


def panels(effects: Effects, architecture: Architecture, others: Sequence[Effects] = ()) -> Mapping[str, Groups]:
    """{target: {source: rows, the largest effect first}}; others: of repetitions, shown for the chosen blocks."""
    found: dict[str, dict[str, list[Row]]] = {}
    for pair, chosen in architecture.exchanges.items():
        of_pair = {block: effect for (place, block), effect in effects.items() if place == pair}
        ranked = sorted(of_pair, key=lambda block: -of_pair[block].effect)
        for block in [*ranked[:BEST], *(block for block in ranked[BEST:] if block == chosen)]:
            one, again = of_pair[block], _again(others, pair, block) if block == chosen else []
            row = Row(block, one.effect, one.low, one.high, block == chosen, again)
            found.setdefault(f"into {pair[0]}", {}).setdefault(f"from {pair[1]}", []).append(row)
    return found


def table(
    effects: Effects, architecture: Architecture, costs: CostTable | None, repeated: Sequence[Effects] = ()
) -> Table:
    """Of the chosen blocks, the largest effect first; repeated: of all searches, whose mean and spread follow."""
    header = ["pair", "block", "effect, %", "95 % interval", "probability", "multiply-adds"]
    if len(repeated) > 1:
        header.append(f"mean of {len(repeated)} searches")
    chosen = [(pair, block) for pair, block in architecture.exchanges.items() if block != "none"]
    rows = []
    for pair, block in sorted(chosen, key=lambda candidate: -effects[candidate].effect):
        one = effects[pair, block]
        cost = None if costs is None else costs.rows.get(pair, {}).get(block)
        numbers = [f"{one.effect:+.2f}", interval((one.low, one.high)), probability(one.probability)]
        numbers.append("n/a" if cost is None else f"{cost.multiply_adds:,}")
        if len(repeated) > 1:
            again = _again(repeated, pair, block)
            everywhere = len(again) == len(repeated)
            numbers.append(spread(statistics.fmean(again), statistics.stdev(again), 2, "+") if everywhere else "n/a")
        rows.append([pair_name(pair), short(block), *numbers])
    return Table(header, rows, words=2)


def _again(searches: Sequence[Effects], pair: Pair, block: str) -> list[float]:
    """The effects of one candidate in the searches that measured it."""
    return [effects[pair, block].effect for effects in searches if (pair, block) in effects]


def _costs(path: Path) -> CostTable | None:
    return CostTable.read(path) if path.is_file() else None
