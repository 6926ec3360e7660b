"""Agreement of repeated searches, beside the agreement by chance.

Chance: the expected agreement of two searches that keep their proportions of blocks but assign them to pairs at random.
Cohen's kappa, (observed - chance) / (1 - chance), with pairs of tasks as items and two searches as raters: Cohen, A
Coefficient of Agreement for Nominal Scales, 1960. All measures are averaged over the couples of searches.
"""

import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.measures.searches import Search
from analysis.measures.spread import mean
from analysis.measures.variance import Variance, variance_split
from experiment.errors import InputError
from supernet.records.pairs import Pair, rows_by_scale, scale_of

Blocks = Mapping[Pair, str]  # of one search: {pair: block}


@dataclass(frozen=True)
class Agreement:
    """Means over couples of searches, in percent; kappa over those where it is defined; None without a common pair.

    pairs: of tasks, as many as a couple has in common on average.
    """

    agreement_percent: float | None
    chance_percent: float | None
    kappa: float | None
    undefined_kappas: int
    pairs: float


def agreement(searches: Sequence[Blocks]) -> Agreement:
    """Agreement of two or more searches; each couple over the pairs of tasks that both have."""
    couples = [common_pairs(a, b) for a, b in itertools.combinations(searches, 2)]
    given = [(a, b) for a, b in couples if a]
    kappas = [cohen_kappa(a, b) for a, b in given]
    return Agreement(
        mean(100 * statistics.fmean(a[pair] == b[pair] for pair in a) for a, b in given),
        mean(100 * expected_by_chance(a, b) for a, b in given),
        mean(kappas),
        kappas.count(None),
        statistics.fmean(len(a) for a, _ in couples),
    )


def common_pairs(a: Blocks, b: Blocks) -> tuple[Blocks, Blocks]:
    """Both searches' blocks on the pairs that both have."""
    pairs = [pair for pair in a if pair in b]
    return {pair: a[pair] for pair in pairs}, {pair: b[pair] for pair in pairs}


def pair_agreement(searches: Sequence[Blocks]) -> dict[Pair, float]:
    """For each pair of tasks, the percentage of couples of searches that gave it the same block."""
    couples = list(itertools.combinations(searches, 2))
    return {pair: 100 * statistics.fmean(a[pair] == b[pair] for a, b in couples) for pair in searches[0]}


def exchange_or_none(blocks: Blocks) -> dict[Pair, str]:
    return {pair: "none" if block == "none" else "exchange" for pair, block in blocks.items()}


def expected_by_chance(a: Blocks, b: Blocks) -> float:
    """The sum over blocks of p q, with p and q the block's shares of the pairs in the two searches."""
    p, q = Counter(a.values()), Counter(b.values())
    return sum(p[block] * q[block] for block in p) / (len(a) * len(b))


def cohen_kappa(a: Blocks, b: Blocks) -> float | None:
    """None if both chose one same block everywhere."""
    import torch  # as slow to load as all the rest of this package
    from torchmetrics.functional.classification import multiclass_cohen_kappa

    blocks = sorted({*a.values(), *b.values()})
    if len(blocks) == 1:
        return None
    first, second = (torch.tensor([blocks.index(search[pair]) for pair in a]) for search in (a, b))
    return float(multiclass_cohen_kappa(first, second, num_classes=len(blocks)))


@dataclass(frozen=True)
class Scope:
    """Agreement over some of the pairs: on the block, and on whether there is an exchange at all."""

    block: Agreement
    exchange: Agreement

    @classmethod
    def of(cls, searches: Sequence[Blocks]) -> "Scope":
        return cls(agreement(searches), agreement([exchange_or_none(blocks) for blocks in searches]))


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
    if all(len(members) < 2 for members in kinds.values()):
        nulls = f" and {len(kinds[True])} noise null" if kinds[True] else ""
        raise InputError(f"agreement needs two or more searches: found {len(kinds[False])}{nulls}")
    return [_of_kind(kind, members) for kind, members in kinds.items() if len(members) > 1]


def _of_kind(noise_null: bool, searches: Sequence[Search]) -> Repeated:
    blocks = [search.architecture.exchanges for search in searches]
    scopes = {"all": Scope.of(blocks)}
    if len(searches[0].architecture.tasks) > 1:
        scopes["different_tasks"] = Scope.of([{p: b for p, b in one.items() if p[0] != p[1]} for one in blocks])
    scales = rows_by_scale(searches[0].architecture.pairs)
    for scale in scales if len(scales) > 1 else ():
        scopes[f"scale_{scale}"] = Scope.of(
            [{p: b for p, b in one.items() if scale_of(p[0]) == scale} for one in blocks]
        )
    if any(search.choices for search in searches):
        scopes["decided_in_both"] = Scope.of([search.decided() for search in searches])
    last = [search.history.last() for search in searches if search.history is not None]
    return Repeated(noise_null, searches, scopes, pair_agreement(blocks), variance_split(last))
