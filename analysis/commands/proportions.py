"""The share of each block in one or several architectures: overall, by target, by source and by pair.

For searches with undecided pairs (choices.csv) also of the decided and of the undecided pairs alone. With --output also
stacked bars by target in proportions.png (as in Fig. 7 of Bruggemann et al., Exploring Relational Context for
Multi-Task Dense Prediction, ICCV 2021).
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.arguments import add_output_options
from analysis.measures.proportions import Proportions, count_by_decision, proportions
from analysis.measures.searches import NULL, Search, read_searches
from analysis.report.result import Result, Table
from supernet.records.pairs import pair_name, rows_by_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs, retrain runs or architecture files")
    add_output_options(parser, "proportions.png")


def run(arguments: argparse.Namespace) -> Result:
    searches = read_searches(arguments.runs)
    from search_spaces import BLOCKS  # loads torch

    tasks = searches[0].architecture.tasks
    exchanges = [search.architecture.exchanges for search in searches]
    shares = proportions(tasks, exchanges, tuple(BLOCKS), count_by_decision(searches))

    def draw() -> "Figure":
        from analysis.report.figures import stacked_bars  # loads matplotlib

        bars = {target: shares.shares(target=target) for target in tasks} | {"all": shares.shares()}
        return stacked_bars(bars, f"blocks by target; {_described(searches)}")

    title = f"share of each block in %; {_described(searches)}"
    return Result(title, _tables(shares), _records(shares), _data(searches, shares), figures={"proportions.png": draw})


def _described(searches: Sequence[Search]) -> str:
    nulls = sum(search.noise_null for search in searches)
    return f"architectures: {len(searches)}" + (f", {nulls} of them {NULL}" if nulls else "")


def _tables(shares: Proportions) -> list[Table]:
    """First overall, by target, by source and by decision, then pair by pair."""
    groups = {"overall": shares.shares()}
    groups |= {f"target {task}": shares.shares(target=task) for task in shares.tasks}
    groups |= {f"source {task}": shares.shares(source=task) for task in shares.tasks}
    groups |= {f"scale {scale}": shares.shares(scale=scale) for scale in shares.scales}
    decided = shares.shares_by_decision().items()
    groups |= {f"{name} pairs ({shares.by_decision[name].total()})": values for name, values in decided}
    pairs = {pair_name(pair): shares.shares(*pair) for pair in shares.counts}
    return [_table(shares.blocks, groups), _table(shares.blocks, pairs)]


def _table(blocks: Sequence[str], rows: Mapping[str, Mapping[str, float]]) -> Table:
    cells = [[name, *(f"{100 * share:.1f}" for share in values.values())] for name, values in rows.items()]
    return Table(["%", *blocks], cells)


def _records(shares: Proportions) -> list[dict[str, object]]:
    """A row for each block in each scope; an empty target or source stands for all."""
    scopes: list[tuple[str, str | None, str | None]] = [("overall", None, None)]
    scopes += [("target", task, None) for task in shares.tasks]
    scopes += [("source", None, task) for task in shares.tasks]
    scopes += [("pair", target, source) for target, source in shares.counts]
    groups = [(*scope, shares.count(*scope[1:]), shares.shares(*scope[1:])) for scope in scopes]
    groups += [(f"scale {one}", None, None, shares.count(scale=one), shares.shares(scale=one)) for one in shares.scales]
    groups += [
        (name, None, None, shares.by_decision[name], values) for name, values in shares.shares_by_decision().items()
    ]
    return [
        {"scope": scope, "target": target, "source": source, "block": block, "count": count[block], "share": share}
        for scope, target, source, count, values in groups
        for block, share in values.items()
    ]


def _data(searches: Sequence[Search], shares: Proportions) -> dict[str, object]:
    tasks = shares.tasks
    return {
        "runs": [search.path for search in searches],
        "tasks": list(tasks),
        "blocks": list(shares.blocks),
        "overall": shares.shares(),
        **shares.shares_by_decision(),
        "by_target": {task: shares.shares(target=task) for task in tasks},
        "by_source": {task: shares.shares(source=task) for task in tasks},
        **({"by_scale": {scale: shares.shares(scale=scale) for scale in shares.scales}} if shares.scales else {}),
        "by_pair": {
            target: {source: shares.shares(target, source) for source in sources}
            for rows in rows_by_scale(shares.counts).values()
            for target, sources in rows.items()
        },
    }
