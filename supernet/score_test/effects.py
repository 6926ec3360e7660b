"""From the probes' losses on held-out images to an effect per candidate, in percent of the target's loss.

    effect = 100 * (loss of the control - loss of the probe) / loss of the frozen network

Every image is held out once: the probes of one fold are tested on the other's images. Candidates that the first fold
rules out have that one alone (score_test/screening.py). The standard error has two parts. Images: the groups of
neighbouring images are independent, so the ratio's variance is that of the group sums (Cochran, Sampling Techniques,
1977, section 6.3). Training: another training gives another probe; its variance is what the folds differ by beyond
their images, averaged over all candidates of a target.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    """In percent of the target's loss; error: its standard error."""

    value: float
    error: float


def ratio(saved: Tensor, base: Tensor, groups: Tensor) -> tuple[float, float]:
    """Percent of the base loss that is saved, and its sampling variance, from the values of each image, (N,).

    With few groups the variance is itself unsure; it is enlarged so that the normal 95 % interval is as wide as that of
    Student's t. At least two groups.
    """
    names, index = groups.unique(return_inverse=True)
    by_group = torch.zeros(2, len(names), dtype=torch.double).index_add(1, index, torch.stack([saved, base]).double())
    total = by_group.sum(1)
    effect = total[0] / total[1]
    count = len(names)
    rest = by_group[0] - effect * by_group[1]
    variance = rest.square().sum() / total[1] ** 2 * count / (count - 1)
    variance = variance * (student_t.ppf(0.975, count - 1) / norm.ppf(0.975)) ** 2
    return float(100 * effect), float(1e4 * variance)


def effects(space: SearchSpace, folds: Sequence[Mapping[str, FoldLosses]]) -> dict[Candidate, Effect]:
    """The effect of every legal candidate of every pair; folds: {target: losses}. A later fold may lack probes, or
    targets.
    """
    found: dict[Candidate, Effect] = {}
    for target in space.tasks:
        by_fold: dict[Candidate, list[tuple[float, float]]] = {}
        for pair in (pair for pair in space.pairs if pair[0] == target):
            for block in space.legal(pair):
                if block != "none":
                    by_fold[pair, block] = [
                        _of_fold(fold[target], pair, block) for fold in folds if _measured(fold, pair, block)
                    ]
        training = training_variance(list(by_fold.values()))
        for candidate, measured in by_fold.items():
            count = len(measured)
            value = sum(one for one, _ in measured) / count
            sampling = sum(variance for _, variance in measured) / count**2
            more = sampling if training is None else training / count
            found[candidate] = Effect(value, (sampling + more) ** 0.5)
    return found


def training_variance(by_fold: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """What folds differ by beyond their sampling variances, the mean over candidates; not negative. None where each
    candidate has one fold: then it is taken to be as large as the sampling variance.
    """
    beyond = []
    for measured in by_fold:
        values = torch.tensor(measured, dtype=torch.double)
        if len(values) > 1:
            beyond.append(values[:, 0].var() - values[:, 1].mean())
    return max(0.0, float(torch.stack(beyond).mean())) if beyond else None


def probes_for(pair: Pair, block: str) -> tuple[Probe, Probe]:
    """What a candidate is measured by: its control and its probe."""
    target, source = pair
    if source == target:
        return Probe(target, None, ORDINARY), Probe(target, None, block)
    return Probe(target, None, block), Probe(target, source, block)


def _measured(fold: Mapping[str, FoldLosses], pair: Pair, block: str) -> bool:
    return pair[0] in fold and set(probes_for(pair, block)) <= set(fold[pair[0]].probes)


def _of_fold(fold: FoldLosses, pair: Pair, block: str) -> tuple[float, float]:
    control, probe = probes_for(pair, block)
    return ratio(fold.of(control) - fold.of(probe), fold.losses[0].double(), fold.groups)
