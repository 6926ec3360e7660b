"""How reliably repeated searches choose alike, beside what chance alone would give.

Observed: the percentage of two searches that give a pair of tasks the same block, averaged over all couples of runs.
Chance: what two searches would agree on that kept each its own proportions of blocks but dealt them out at random.
Cohen's kappa: (observed - chance) / (1 - chance), 0 for chance and 1 for full agreement, with the pairs of tasks as
items and two searches as raters; averaged over the couples of runs. It is undefined for two searches that chose one
and the same block everywhere. A search can also agree with itself because it is biased: agreement is no proof.
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

from analysis.runs import read_architectures
from analysis.tables import aligned, comma_separated
from multitask.errors import InputError

Pair = tuple[str, str]  # target, source
Choice = Mapping[Pair, str]  # one search: {pair: block}


@dataclass(frozen=True)
class Agreement:
    """Means over couples of runs, in percent; kappa over those where it is defined, None if it is nowhere."""

    agreement_percent: float
    chance_percent: float
    kappa: float | None
    undefined_kappas: int
    pairs: int


def pair_agreement(choices: Sequence[Choice]) -> dict[Pair, float]:
    """For each pair of tasks, the percentage of couples of searches that gave it the same block."""
    couples = list(itertools.combinations(choices, 2))
    return {pair: 100 * statistics.fmean(a[pair] == b[pair] for a, b in couples) for pair in choices[0]}


def agreement(choices: Sequence[Choice]) -> Agreement:
    """Agreement of two or more searches over the same pairs of tasks."""
    couples = list(itertools.combinations(choices, 2))
    kappas = [cohen_kappa(a, b) for a, b in couples]
    defined = [kappa for kappa in kappas if kappa is not None]
    return Agreement(
        statistics.fmean(pair_agreement(choices).values()),
        100 * statistics.fmean(expected_by_chance(a, b) for a, b in couples),
        statistics.fmean(defined) if defined else None,
        len(kappas) - len(defined),
        len(choices[0]),
    )


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs, or architecture files; two or more")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), csv or json")


def run(arguments: argparse.Namespace) -> None:
    found = read_architectures(arguments.runs)
    if len(found) < 2:
        raise InputError(f"agreement needs two or more searches: found {len(found)}")
    choices = [architecture.exchanges for architecture in found.values()]
    tasks = next(iter(found.values())).tasks
    different = [{pair: block for pair, block in choice.items() if pair[0] != pair[1]} for choice in choices]
    scopes = {"all": agreement(choices)}
    if len(tasks) > 1:
        scopes["different_tasks"] = agreement(different)
    print(FORMATS[arguments.format](list(found), tasks, scopes, pair_agreement(choices)))
    # the digest covers the seed
    digests = Counter(architecture.provenance.get("config_sha256") for architecture in found.values())
    if any(count > 1 for digest, count in digests.items() if digest):
        print(
            "warning: some runs have the same configuration and seed: no repeated searches, but copies", file=sys.stderr
        )


Scopes = Mapping[str, Agreement]


def as_table(runs: Sequence[str], tasks: Sequence[str], scopes: Scopes, pairs: Mapping[Pair, float]) -> str:
    rows = [[target, *(f"{pairs[target, source]:.0f}" for source in tasks)] for target in tasks]
    summary = [
        [
            f"{name.replace('_', ' ')} ({found.pairs} pairs)",
            f"{found.agreement_percent:.1f} %",
            f"{found.chance_percent:.1f} %",
            "undefined" if found.kappa is None else f"{found.kappa:.2f}",
        ]
        for name, found in scopes.items()
    ]
    lines = [
        f"agreement of {len(runs)} searches, in % of the couples of runs that chose alike",
        aligned(["target \\ source", *tasks], rows),
        aligned(["", "agreement", "by chance", "kappa"], summary),
    ]
    undefined = max(found.undefined_kappas for found in scopes.values())
    if undefined:
        lines.append(f"kappa is undefined for {undefined} couples of runs that chose one same block everywhere")
    return "\n\n".join(lines)


def as_csv(runs: Sequence[str], tasks: Sequence[str], scopes: Scopes, pairs: Mapping[Pair, float]) -> str:
    header = ["scope", "target", "source", "agreement_percent", "chance_percent", "kappa"]
    rows: list[list[object]] = [
        [name, None, None, found.agreement_percent, found.chance_percent, found.kappa] for name, found in scopes.items()
    ]
    rows += [["pair", target, source, value, None, None] for (target, source), value in pairs.items()]
    return comma_separated(header, rows)


def as_json(runs: Sequence[str], tasks: Sequence[str], scopes: Scopes, pairs: Mapping[Pair, float]) -> str:
    content = {
        "runs": list(runs),
        **{name: dataclasses.asdict(found) for name, found in scopes.items()},
        "by_pair": {target: {source: pairs[target, source] for source in tasks} for target in tasks},
    }
    return json.dumps(content, indent=1)


FORMATS: dict[str, Callable[[Sequence[str], Sequence[str], Scopes, Mapping[Pair, float]], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
}
