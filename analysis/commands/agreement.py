"""How often repeated searches choose the same blocks, beside what chance alone would give.

Observed: the percentage of pairs of tasks to which two searches give the same block, averaged over all couples of runs.
Chance: the same for two searches that keep their own proportions of blocks but assign them to pairs at random. Cohen's
kappa: (observed - chance) / (1 - chance), 0 for chance and 1 for full agreement. It is undefined for two searches that
chose one and the same block everywhere. A biased search agrees with itself: agreement does not prove that it is right.

The same for the coarser choice between an exchange and none, and for the pairs that both searches count as decided.
Noise nulls are compared among themselves only; their agreement is chance and bias. Per search: the number of undecided
pairs, and how often the likeliest block of a pair changed in the last third of the search. Over the searches: the
shares of block, pair and seed in the variance of the log-probabilities (analysis/measures/variance.py).
"""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Sequence

from analysis.arguments import add_output_options
from analysis.measures.agreement import Agreement, Repeated, repeated
from analysis.measures.searches import Search, marked, read_searches
from analysis.measures.variance import Variance
from analysis.report.numbers import decimal
from analysis.report.result import Result, Table
from supernet.records.pairs import rows_by_scale

SHARES = ("block_share", "pair_block_share", "seed_share")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs, or architecture files; two or more")
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> Result:
    searches = read_searches(arguments.runs)
    kinds = repeated(searches)
    tables = [
        *(table for kind in kinds for table in pair_tables(kind)),
        summary(kinds),
        *run_tables(searches),
        *variance_tables(kinds),
    ]
    return Result("", tables, _records(searches, kinds), _data(searches, kinds), remarks(searches, kinds))


def pair_tables(kind: Repeated) -> list[Table]:
    """One, or with scales one of each."""
    title = marked(f"agreement of {len(kind.searches)} searches", kind.noise_null)
    tables = []
    for scale, by_target in rows_by_scale(kind.by_pair).items():
        rows = [[t, *(f"{kind.by_pair[t, s]:.0f}" for s in sources)] for t, sources in by_target.items()]
        where = f"{title} at scale {scale}" if scale else title
        heading = f"{where}, in % of the couples of runs with the same block"
        tables.append(Table(["target \\ source", *by_target], rows, heading))
    return tables


def summary(kinds: Sequence[Repeated]) -> Table:
    """A row for each scope and kind."""
    header = ["", "pairs", "same\nblock", "by\nchance", "\nkappa", "exchange\nor none", "by\nchance", "\nkappa"]
    rows = []
    for name in dict.fromkeys(name for kind in kinds for name in kind.scopes):
        for kind in kinds:
            if name in kind.scopes:
                scope, label = kind.scopes[name], marked(name.replace("_", " "), kind.noise_null)
                rows.append([label, f"{scope.block.pairs:.3g}", *cells(scope.block), *cells(scope.exchange)])
    return Table(header, rows)


def cells(value: Agreement) -> list[str]:
    """Observed, by chance, kappa."""
    if value.agreement_percent is None:
        return ["n/a"] * 3
    return [
        f"{value.agreement_percent:.1f} %",
        f"{value.chance_percent:.1f} %",
        decimal(value.kappa, 2, missing="undefined"),
    ]


def run_tables(searches: Sequence[Search]) -> list[Table]:
    """A row for each run; no table if no run's folder holds any of this."""
    columns = {
        "undecided\npairs": [f"{len(s.undecided)} of {len(s.choices)}" if s.choices else "n/a" for s in searches],
        "changes a pair,\nlast third": [decimal(s.history.late_changes() if s.history else None, 2) for s in searches],
    }
    columns = {name: column for name, column in columns.items() if set(column) != {"n/a"}}
    return [Table.of_columns({"run": [search.name for search in searches], **columns})] if columns else []


def variance_tables(kinds: Sequence[Repeated]) -> list[Table]:
    """A row for each kind whose searches recorded probabilities."""
    rows = []
    for kind in kinds:
        split = kind.variance
        if split is not None:
            shares = split.shares()
            texts = ["undefined"] * 3 if shares is None else [f"{100 * share:.0f} %" for share in shares]
            rows.append([marked("searches", kind.noise_null), str(split.runs), str(split.pairs), *texts])
    title = "shares of block, pair x block and seed in the variance of the log-probabilities"
    return [Table(["", "runs", "pairs", "block", "pair x block", "seed"], rows, title)] if rows else []


def remarks(searches: Sequence[Search], kinds: Sequence[Repeated]) -> list[str]:
    """What the tables leave out or count otherwise."""
    lines = []
    for measure, where in (
        ("block", "chose one same block everywhere"),
        ("exchange", "exchange everywhere, or nowhere"),
    ):
        undefined = max(getattr(scope, measure).undefined_kappas for kind in kinds for scope in kind.scopes.values())
        if undefined:
            lines.append(f"kappa is undefined for {undefined} couples of runs that {where}")
    without = sum(not search.choices for search in searches)
    if 0 < without < len(searches):
        lines.append(f"all pairs count as decided in runs without choices.csv ({without} of {len(searches)})")
    alone = [search.name for search in searches if not any(search in kind.searches for kind in kinds)]
    lines += [f"{name} is the only one of its kind: it is compared with nothing" for name in alone]
    # the digest covers the seed
    digests = Counter(search.architecture.provenance.get("config_sha256") for search in searches)
    if any(count > 1 for digest, count in digests.items() if digest):
        lines.append("warning: some runs have the same configuration and seed: copies, not repeated searches")
    return lines


def _records(searches: Sequence[Search], kinds: Sequence[Repeated]) -> list[dict[str, object]]:
    """A row for each scope, pair, run, and the split of the variance."""
    rows: list[dict[str, object]] = []
    for kind in kinds:
        null = {"noise_null": str(kind.noise_null).lower()}
        for name, scope in kind.scopes.items():
            exchange = {f"exchange_{measure}": value for measure, value in dataclasses.asdict(scope.exchange).items()}
            rows.append({"scope": name, **null, **dataclasses.asdict(scope.block), **exchange})
        for (target, source), value in kind.by_pair.items():
            rows.append({"scope": "pair", **null, "target": target, "source": source, "agreement_percent": value})
        if kind.variance is not None:
            rows.append({"scope": "variance", **null, **_variance(kind.variance)})
    for search in searches:
        rows.append({"scope": "run", **_run(search), "noise_null": str(search.noise_null).lower()})
    return rows


def _run(search: Search) -> dict[str, object]:
    return {
        "run": search.path,
        "noise_null": search.noise_null,
        "undecided": len(search.undecided) if search.choices else None,
        "late_changes": search.history.late_changes() if search.history else None,
    }


def _variance(split: Variance) -> dict[str, object]:
    return {**dataclasses.asdict(split), **dict(zip(SHARES, split.shares() or (None,) * 3))}


def _data(searches: Sequence[Search], kinds: Sequence[Repeated]) -> dict[str, object]:
    """Noise nulls stand under a key of their own."""
    content: dict[str, object] = {"runs": [search.path for search in searches]}
    for kind in kinds:
        values: dict[str, object] = {
            name: {**dataclasses.asdict(scope.block), "exchange_or_none": dataclasses.asdict(scope.exchange)}
            for name, scope in kind.scopes.items()
        }
        values["by_pair"] = {
            target: {source: kind.by_pair[target, source] for source in sources}
            for rows in rows_by_scale(kind.by_pair).values()
            for target, sources in rows.items()
        }
        values["variance"] = _variance(kind.variance) if kind.variance else None
        content |= {"noise_null": values} if kind.noise_null else values
    return {**content, "by_run": [_run(search) for search in searches]}
