"""How reliably repeated searches choose alike, beside what chance alone would give.

Observed: the percentage of two searches that give a pair of tasks the same block, averaged over all couples of runs.
Chance: what two searches would agree on that kept each its own proportions of blocks but dealt them out at random.
Cohen's kappa: (observed - chance) / (1 - chance), 0 for chance and 1 for full agreement, with the pairs of tasks as
items and two searches as raters; averaged over the couples of runs. It is undefined for two searches that chose one
and the same block everywhere. A search can also agree with itself because it is biased: agreement is no proof.

Beside the same block also the same answer to 'exchange or none?', and beside all pairs those that both searches call
decided. Noise nulls are compared among themselves only: what they have in common, no search may claim. Per search: how
many pairs are undecided, and how often the likeliest block of a pair changed in the last third of the search; over the
searches: how much of their preference is the block's, the pair's and the seed's (analysis/variance.py).
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.measures.searches import Search, marked, read_searches
from analysis.measures.variance import Variance, variance_split
from analysis.report.tables import Cells, aligned, comma_separated
from experiment.errors import InputError
from supernet.records.pairs import Pair

Choice = Mapping[Pair, str]  # one search: {pair: block}


@dataclass(frozen=True)
class Agreement:
    """Means over couples of runs, in percent; kappa over those where it is defined; None if nothing can be said.

    pairs: of tasks, as many as a couple has in common on average.
    """

    agreement_percent: float | None
    chance_percent: float | None
    kappa: float | None
    undefined_kappas: int
    pairs: float


def pair_agreement(choices: Sequence[Choice]) -> dict[Pair, float]:
    """For each pair of tasks, the percentage of couples of searches that gave it the same block."""
    couples = list(itertools.combinations(choices, 2))
    return {pair: 100 * statistics.fmean(a[pair] == b[pair] for a, b in couples) for pair in choices[0]}


def agreement(choices: Sequence[Choice]) -> Agreement:
    """Agreement of two or more searches; each couple over the pairs of tasks that both have."""
    couples = [shared(a, b) for a, b in itertools.combinations(choices, 2)]
    told = [(a, b) for a, b in couples if a]
    kappas = [cohen_kappa(a, b) for a, b in told]
    return Agreement(
        _mean([100 * statistics.fmean(a[pair] == b[pair] for pair in a) for a, b in told]),
        _mean([100 * expected_by_chance(a, b) for a, b in told]),
        _mean([kappa for kappa in kappas if kappa is not None]),
        kappas.count(None),
        statistics.fmean(len(a) for a, _ in couples),
    )


def shared(a: Choice, b: Choice) -> tuple[Choice, Choice]:
    """Both choices on the pairs that both have."""
    pairs = [pair for pair in a if pair in b]
    return {pair: a[pair] for pair in pairs}, {pair: b[pair] for pair in pairs}


def exchange_or_none(choice: Choice) -> dict[Pair, str]:
    return {pair: "none" if block == "none" else "exchange" for pair, block in choice.items()}


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def expected_by_chance(a: Choice, b: Choice) -> float:
    """The share of pairs on which two searches agree that deal out their blocks at random: sum over blocks of p q."""
    p, q = Counter(a.values()), Counter(b.values())
    return sum(p[block] * q[block] for block in p) / (len(a) * len(b))


def cohen_kappa(a: Choice, b: Choice) -> float | None:
    """Cohen, A Coefficient of Agreement for Nominal Scales, 1960. None if both chose one same block everywhere."""
    import torch  # as slow to load as all the rest of this package
    from torchmetrics.functional.classification import multiclass_cohen_kappa

    blocks = sorted({*a.values(), *b.values()})
    if len(blocks) == 1:
        return None
    first, second = (torch.tensor([blocks.index(choice[pair]) for pair in a]) for choice in (a, b))
    return float(multiclass_cohen_kappa(first, second, num_classes=len(blocks)))


@dataclass(frozen=True)
class Scope:
    """Agreement over some of the pairs: on the block, and on whether there is an exchange at all."""

    block: Agreement
    exchange: Agreement

    @classmethod
    def of(cls, choices: Sequence[Choice]) -> "Scope":
        return cls(agreement(choices), agreement([exchange_or_none(choice) for choice in choices]))


@dataclass(frozen=True)
class Repeated:
    """What two or more searches of one kind have in common: searches proper, or noise nulls."""

    noise_null: bool
    searches: Sequence[Search]
    scopes: Mapping[str, Scope]
    by_pair: Mapping[Pair, float]
    variance: Variance | None


def repeated(searches: Sequence[Search]) -> list[Repeated]:
    """By kind, since no couple mixes the kinds. Raises InputError if there are not two searches of either."""
    kinds = {kind: [search for search in searches if search.noise_null == kind] for kind in (False, True)}
    if all(len(found) < 2 for found in kinds.values()):
        nulls = f" and {len(kinds[True])} noise null" if kinds[True] else ""
        raise InputError(f"agreement needs two or more searches: found {len(kinds[False])}{nulls}")
    return [_of_kind(kind, found) for kind, found in kinds.items() if len(found) > 1]


def _of_kind(noise_null: bool, searches: Sequence[Search]) -> Repeated:
    choices = [search.architecture.exchanges for search in searches]
    scopes = {"all": Scope.of(choices)}
    if len(searches[0].architecture.tasks) > 1:
        scopes["different_tasks"] = Scope.of([{p: b for p, b in choice.items() if p[0] != p[1]} for choice in choices])
    if any(search.choices for search in searches):
        scopes["decided_in_both"] = Scope.of([search.decided() for search in searches])
    last = [search.history.last() for search in searches if search.history is not None]
    return Repeated(noise_null, searches, scopes, pair_agreement(choices), variance_split(last))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs, or architecture files; two or more")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), csv or json")


def run(arguments: argparse.Namespace) -> None:
    searches = read_searches(arguments.runs)
    print(FORMATS[arguments.format](searches, repeated(searches)))
    # the digest covers the seed
    digests = Counter(search.architecture.provenance.get("config_sha256") for search in searches)
    if any(count > 1 for digest, count in digests.items() if digest):
        print(
            "warning: some runs have the same configuration and seed: no repeated searches, but copies", file=sys.stderr
        )


def summary(kinds: Sequence[Repeated]) -> Cells:
    """A row for each scope and kind."""
    header = ["", "pairs", "same\nblock", "by\nchance", "\nkappa", "exchange\nor none", "by\nchance", "\nkappa"]
    rows = []
    for name in dict.fromkeys(name for kind in kinds for name in kind.scopes):
        for kind in kinds:
            if name in kind.scopes:
                scope, label = kind.scopes[name], marked(name.replace("_", " "), kind.noise_null)
                rows.append([label, f"{scope.block.pairs:.3g}", *_texts(scope.block), *_texts(scope.exchange)])
    return header, rows


def _texts(found: Agreement) -> list[str]:
    if found.agreement_percent is None:
        return ["n/a"] * 3
    kappa = "undefined" if found.kappa is None else f"{found.kappa:.2f}"
    return [f"{found.agreement_percent:.1f} %", f"{found.chance_percent:.1f} %", kappa]


def run_cells(searches: Sequence[Search]) -> Cells | None:
    """A row a run, of what its folder tells; None if no run tells anything."""
    columns = {
        "undecided\npairs": [f"{len(s.undecided)} of {len(s.choices)}" if s.choices else "n/a" for s in searches],
        "changes a pair,\nlast third": [_text(s.history.late_changes() if s.history else None) for s in searches],
    }
    told = {name: cells for name, cells in columns.items() if set(cells) != {"n/a"}}
    if not told:
        return None
    return ["run", *told], [list(row) for row in zip([s.name for s in searches], *told.values(), strict=True)]


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def variance_cells(kinds: Sequence[Repeated]) -> Cells | None:
    """A row for each kind; None where no kind's searches recorded probabilities."""
    rows = []
    for kind in kinds:
        split = kind.variance
        if split is not None:
            shares = split.shares()
            texts = ["undefined"] * 3 if shares is None else [f"{100 * share:.0f} %" for share in shares]
            rows.append([marked("searches", kind.noise_null), str(split.runs), str(split.pairs), *texts])
    return (["", "runs", "pairs", "block", "pair x block", "seed"], rows) if rows else None


VARIANCE = "whose is the preference? shares of the variance of the log-probabilities"


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
    silent = sum(not search.choices for search in searches)
    if 0 < silent < len(searches):
        lines.append(f"all pairs count as decided in runs without choices.csv ({silent} of {len(searches)})")
    alone = [search.name for search in searches if not any(search in kind.searches for kind in kinds)]
    lines += [f"{name} is the only one of its kind: it has nothing to agree with" for name in alone]
    return lines


def as_table(searches: Sequence[Search], kinds: Sequence[Repeated]) -> str:
    tasks = searches[0].architecture.tasks
    lines = []
    for kind in kinds:
        rows = [[target, *(f"{kind.by_pair[target, source]:.0f}" for source in tasks)] for target in tasks]
        title = marked(f"agreement of {len(kind.searches)} searches", kind.noise_null)
        lines.append(f"{title}, in % of the couples of runs that chose alike")
        lines.append(aligned(["target \\ source", *tasks], rows))
    lines.append(aligned(*summary(kinds)))
    of_runs, of_variance = run_cells(searches), variance_cells(kinds)
    if of_runs is not None:
        lines.append(aligned(*of_runs))
    if of_variance is not None:
        lines += [VARIANCE, aligned(*of_variance)]
    return "\n\n".join([*lines, *remarks(searches, kinds)])


def as_csv(searches: Sequence[Search], kinds: Sequence[Repeated]) -> str:
    """A line a scope, a pair, a run, and the variance's split; a column that says nothing there is empty."""
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
    return comma_separated(CSV_COLUMNS, [[row.get(column) for column in CSV_COLUMNS] for row in rows])


CSV_COLUMNS = (
    "scope", "target", "source", "agreement_percent", "chance_percent", "kappa", "noise_null", "pairs",
    "exchange_agreement_percent", "exchange_chance_percent", "exchange_kappa", "run", "undecided", "late_changes",
    "runs", "block_share", "pair_block_share", "seed_share",
)  # fmt: skip


def _run(search: Search) -> dict[str, object]:
    return {
        "run": search.path,
        "noise_null": search.noise_null,
        "undecided": len(search.undecided) if search.choices else None,
        "late_changes": search.history.late_changes() if search.history else None,
    }


def _variance(split: Variance) -> dict[str, object]:
    shares = zip(("block_share", "pair_block_share", "seed_share"), split.shares() or (None,) * 3)
    return {**dataclasses.asdict(split), **dict(shares)}


def as_json(searches: Sequence[Search], kinds: Sequence[Repeated]) -> str:
    """Of noise nulls under a key of their own."""
    tasks = searches[0].architecture.tasks
    content: dict[str, object] = {"runs": [search.path for search in searches]}
    for kind in kinds:
        found: dict[str, object] = {
            name: {**dataclasses.asdict(scope.block), "exchange_or_none": dataclasses.asdict(scope.exchange)}
            for name, scope in kind.scopes.items()
        }
        found["by_pair"] = {target: {source: kind.by_pair[target, source] for source in tasks} for target in tasks}
        found["variance"] = _variance(kind.variance) if kind.variance else None
        content |= {"noise_null": found} if kind.noise_null else found
    return json.dumps({**content, "by_run": [_run(search) for search in searches]}, indent=1)


FORMATS: dict[str, Callable[[Sequence[Search], Sequence[Repeated]], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}
