"""From the probes' losses on held-out images to an effect per candidate, in percent of the target's loss.

    effect = 100 * (loss of the control - loss of the probe) / loss of the frozen network

Every image is held out once: the probes of one fold are tested on the other's images. Candidates that the first fold
rules out have that one alone (score_test/screening.py). The standard error has two parts. Images: the groups of
neighbouring images are independent, so the ratio's variance is that of the group sums (Cochran, Sampling Techniques,
1977, section 6.3). Training: another training gives another probe; its variance is what the folds differ by beyond
their images, averaged over all candidates of a target.

The blocks of a pair are tested on the same images and trained on the same ones, so that their errors are correlated:
what one fold has in common for all of them says nothing of which is better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import torch
from scipy.stats import norm
from scipy.stats import t as student_t
from torch import Tensor

from search_spaces import SearchSpace
from search_spaces.blocks import Pair
from supernet.score_test.probes import ORDINARY, Probe

Candidate = tuple[Pair, str]


@dataclass(frozen=True)
class FoldLosses:
    """Of one target on one fold. losses: (1 + probes, images), the network's own loss first; probes: their order;
    groups: (images,), which images belong together.
    """

    probes: tuple[Probe, ...]
    losses: Tensor
    groups: Tensor

    def of(self, probe: Probe) -> Tensor:
        """(images,)"""
        return self.losses[1 + self.probes.index(probe)].double()


@dataclass(frozen=True)
class Effect:
    """In percent of the target's loss; error: its standard error.

    parts: of the error, what the blocks of a pair have in common, by fold: its images, and its training.
    """

    value: float
    error: float
    parts: Mapping[int, Tensor] = field(default_factory=dict, compare=False)

    def covariance(self, other: "Effect") -> float:
        """Of the errors of two blocks of a pair."""
        return sum(float(part @ other.parts[fold]) for fold, part in self.parts.items() if fold in other.parts)


class Ratio(NamedTuple):
    """Percent of a base loss that is saved. deviations: of each group, scaled so that their squares add up to the
    sampling variance.
    """

    value: float
    deviations: Tensor

    @property
    def variance(self) -> float:
        return float(self.deviations.square().sum())


def ratio(saved: Tensor, base: Tensor, groups: Tensor) -> Ratio:
    """From the values of each image, (N,), in at least two groups.

    With few groups the variance is itself unsure; it is enlarged so that the normal 95 % interval is as wide as that of
    Student's t.
    """
    names, index = groups.unique(return_inverse=True)
    by_group = torch.zeros(2, len(names), dtype=torch.double).index_add(1, index, torch.stack([saved, base]).double())
    total = by_group.sum(1)
    effect, count = total[0] / total[1], len(names)
    wider = student_t.ppf(0.975, count - 1) / norm.ppf(0.975) * (count / (count - 1)) ** 0.5
    return Ratio(float(100 * effect), 100 * wider * (by_group[0] - effect * by_group[1]) / total[1])


def effects(space: SearchSpace, folds: Sequence[Mapping[str, FoldLosses]]) -> dict[Candidate, Effect]:
    """The effect of every legal candidate of every pair; folds: {target: losses}. A later fold may lack probes, or
    targets.
    """
    found: dict[Candidate, Effect] = {}
    for target in space.tasks:
        measured: dict[Candidate, dict[int, Ratio]] = {
            (pair, block): {
                i: _of_fold(fold[target], pair, block) for i, fold in enumerate(folds) if _measured(fold, pair, block)
            }
            for pair in space.pairs
            if pair[0] == target
            for block in space.legal(pair)
            if block != "none"
        }
        training = training_variance([list(ratios.values()) for ratios in measured.values()])
        of_pairs = 0.0
        if training is not None:
            pairs = [list(of_pair) for _, of_pair in groupby(measured, lambda candidate: candidate[0])]
            of_pairs = training - block_variance([[list(measured[c].values()) for c in own] for own in pairs], training)
        for candidate, ratios in measured.items():
            found[candidate] = mean_effect(ratios, training, of_pairs)
    return found


def mean_effect(ratios: Mapping[int, Ratio], training: float | None, of_pairs: float) -> Effect:
    """Over the folds, by number, in which a candidate was measured.

    training: see `training_variance`; of_pairs: what the blocks of a pair have in common of it.
    """
    count = len(ratios)
    sampling = sum(one.variance for one in ratios.values()) / count**2
    more = sampling if training is None else training / count
    common = torch.tensor([of_pairs**0.5], dtype=torch.double)
    parts = {fold: torch.cat([one.deviations, common]) / count for fold, one in ratios.items()}
    return Effect(sum(one.value for one in ratios.values()) / count, (sampling + more) ** 0.5, parts)


def training_variance(by_fold: Sequence[Sequence[Ratio]]) -> float | None:
    """What folds differ by beyond their sampling variances, the mean over candidates; not negative. None where each
    candidate has one fold: then it is taken to be as large as the sampling variance.
    """
    beyond = []
    for measured in by_fold:
        if len(measured) > 1:
            values = torch.tensor([one.value for one in measured], dtype=torch.double)
            beyond.append(float(values.var()) - sum(one.variance for one in measured) / len(measured))
    return max(0.0, sum(beyond) / len(beyond)) if beyond else None


def block_variance(pairs: Sequence[Sequence[Sequence[Ratio]]], training: float) -> float:
    """The part of the variance between trainings by which the blocks of a pair differ: from 0 to `training`, which it
    is where no pair has two blocks with two folds.

    pairs: of each pair, the ratios of each block in all folds.
    """
    beyond, count = 0.0, 0
    for blocks in pairs:
        several = [ratios for ratios in blocks if len(ratios) == 2]
        if len(several) < 2:
            continue
        values = torch.tensor([[one.value for one in ratios] for ratios in several], dtype=torch.double)
        between = float((values - values.mean(0)).var(1).sum())
        for fold in range(2):
            deviations = torch.stack([ratios[fold].deviations for ratios in several])
            between -= float((deviations - deviations.mean(0)).square().sum()) / 2
        beyond, count = beyond + between, count + len(several) - 1
    return min(max(0.0, beyond / count), training) if count else training


def probes_for(pair: Pair, block: str) -> tuple[Probe, Probe]:
    """What a candidate is measured by: its control and its probe."""
    target, source = pair
    if source == target:
        return Probe(target, None, ORDINARY), Probe(target, None, block)
    return Probe(target, None, block), Probe(target, source, block)


def _measured(fold: Mapping[str, FoldLosses], pair: Pair, block: str) -> bool:
    return pair[0] in fold and set(probes_for(pair, block)) <= set(fold[pair[0]].probes)


def _of_fold(fold: FoldLosses, pair: Pair, block: str) -> Ratio:
    control, probe = probes_for(pair, block)
    return ratio(fold.of(control) - fold.of(probe), fold.losses[0].double(), fold.groups)
