"""The share of each block in one or several architectures: overall, by target, by source and by pair.

Where searches say which pairs they decided (choices.csv), also of the decided and of the undecided pairs alone.
With --output also as proportions.csv, and as stacked bars by target in proportions.png (as in Fig. 7 of Bruggemann et
al., Exploring Relational Context for Multi-Task Dense Prediction, ICCV 2021).
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from analysis.arguments import output_folder
from analysis.measures.searches import NULL, Search, read_searches
from analysis.report.tables import aligned, comma_separated

Pair = tuple[str, str]  # target, source


@dataclass(frozen=True)
class Proportions:
    """How often each block serves each pair, of some architectures. `blocks`: those that occur, in palette order.

    by_decision: {"decided" or "undecided": the count over those pairs}, where searches tell the two apart.
    """

    tasks: tuple[str, ...]
    blocks: tuple[str, ...]
    counts: Mapping[Pair, Counter[str]]
    by_decision: Mapping[str, Counter[str]] = field(default_factory=dict)

    def shares(self, target: str | None = None, source: str | None = None) -> dict[str, float]:
        """{block: share, 0 to 1} over the pairs with this target and this source; None stands for all."""
        return self._shares(self.count(target, source))

    def shares_by_decision(self) -> dict[str, dict[str, float]]:
        return {name: self._shares(found) for name, found in self.by_decision.items()}

    def _shares(self, found: Counter[str]) -> dict[str, float]:
        return {block: found[block] / found.total() for block in self.blocks}

    def count(self, target: str | None = None, source: str | None = None) -> Counter[str]:
        pairs = [pair for pair in self.counts if target in (None, pair[0]) and source in (None, pair[1])]
        return sum((self.counts[pair] for pair in pairs), Counter())


def proportions(tasks: Sequence[str], choices: Sequence[Mapping[Pair, str]], order: Sequence[str]) -> Proportions:
    """Counts blocks over architectures, each {pair: block}. `order`: of the known blocks; others follow by name."""
    counts = {(t, s): Counter(choice[t, s] for choice in choices) for t in tasks for s in tasks}
    found = {block for count in counts.values() for block in count}
    known = [block for block in order if block in found]
    return Proportions(tuple(tasks), (*known, *sorted(found - set(known))), counts)


def by_decision(searches: Sequence[Search]) -> dict[str, Counter[str]]:
    """Of the searches that say which pairs they decided; empty if none left any undecided."""
    chosen = [chosen for search in searches for chosen in search.choices.values()]
    if all(choice.decided for choice in chosen):
        return {}
    names = {"decided": True, "undecided": False}
    counts = {n: Counter(choice.block for choice in chosen if choice.decided is kind) for n, kind in names.items()}
    return {name: count for name, count in counts.items() if count}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs, retrain runs or architecture files")
    parser.add_argument("--output", metavar="DIR", help="folder for proportions.csv and proportions.png")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), csv or json")


def run(arguments: argparse.Namespace) -> None:
    folder = output_folder(arguments.output)
    searches = read_searches(arguments.runs)
    from search_spaces import BLOCKS  # loads torch

    tasks = searches[0].architecture.tasks
    shares = proportions(tasks, [search.architecture.exchanges for search in searches], tuple(BLOCKS))
    shares = replace(shares, by_decision=by_decision(searches))
    print(FORMATS[arguments.format](searches, shares))
    if folder is not None:
        from analysis.report.figures import stacked_bars  # loads matplotlib
        from experiment.files import write_atomic  # loads torch

        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "proportions.csv", as_csv(searches, shares) + "\n")
        bars = {target: shares.shares(target=target) for target in tasks} | {"all": shares.shares()}
        stacked_bars(bars, folder / "proportions.png", f"blocks by target; {_described(searches)}")


def _described(searches: Sequence[Search]) -> str:
    nulls = sum(search.noise_null for search in searches)
    return f"architectures: {len(searches)}" + (f", {nulls} of them {NULL}" if nulls else "")


def as_table(searches: Sequence[Search], found: Proportions) -> str:
    """Percentages; first overall, by target and by source, then pair by pair."""
    groups = {"overall": found.shares()}
    groups |= {f"target {task}": found.shares(target=task) for task in found.tasks}
    groups |= {f"source {task}": found.shares(source=task) for task in found.tasks}
    groups |= {f"{name} pairs ({found.by_decision[name].total()})": s for name, s in found.shares_by_decision().items()}
    pairs = {f"{target} <- {source}": found.shares(target, source) for target, source in found.counts}
    header = ["%", *found.blocks]
    parts = [
        aligned(header, [[name, *(f"{100 * share:.1f}" for share in shares.values())] for name, shares in rows.items()])
        for rows in (groups, pairs)
    ]
    return "\n\n".join([f"share of each block in %; {_described(searches)}", *parts])


def as_csv(searches: Sequence[Search], found: Proportions) -> str:
    """A line a block in each scope; an empty target or source stands for all."""
    scopes: list[tuple[str, str | None, str | None]] = [("overall", None, None)]
    scopes += [("target", task, None) for task in found.tasks]
    scopes += [("source", None, task) for task in found.tasks]
    scopes += [("pair", target, source) for target, source in found.counts]
    rows: list[list[object]] = [
        [scope, target, source, block, found.count(target, source)[block], share]
        for scope, target, source in scopes
        for block, share in found.shares(target, source).items()
    ]
    rows += [
        [name, None, None, block, found.by_decision[name][block], share]
        for name, shares in found.shares_by_decision().items()
        for block, share in shares.items()
    ]
    return comma_separated(["scope", "target", "source", "block", "count", "share"], rows)


def as_json(searches: Sequence[Search], found: Proportions) -> str:
    tasks = found.tasks
    content = {
        "runs": [search.path for search in searches],
        "tasks": list(tasks),
        "blocks": list(found.blocks),
        "overall": found.shares(),
        **found.shares_by_decision(),
        "by_target": {task: found.shares(target=task) for task in tasks},
        "by_source": {task: found.shares(source=task) for task in tasks},
        "by_pair": {target: {source: found.shares(target, source) for source in tasks} for target in tasks},
    }
    return json.dumps(content, indent=1)


FORMATS: dict[str, Callable[[Sequence[Search], Proportions], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}
