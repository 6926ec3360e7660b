"""Paired differences between arms that are trained with the same seeds, and their t-intervals.

A score is modelled as arm + seed + noise of one variance for all arms, which is estimated from all of them together:
the residual mean square of a two-way layout without interaction (Scheffe, The Analysis of Variance, 1959, chapter 4).
A few seeds of many arms so give an interval that a few differences alone could not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

Scores = Mapping[str, Mapping[int, float]]  # {arm: {seed: score}}


@dataclass(frozen=True)
class Difference:
    """Of two arms' mean scores over the seeds that both have; error: its standard error."""

    mean: float
    error: float
    freedom: int
    seeds: int

    def upper(self, confidence: float) -> float:
        """The one-sided upper limit."""
        return self.mean + self._quantile(confidence) * self.error

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        half = self._quantile((1 + confidence) / 2) * self.error
        return self.mean - half, self.mean + half

    def _quantile(self, confidence: float) -> float:
        return float(stdtrit(self.freedom, confidence))  # of Student's t


class Paired:
    """The fitted model. deviation: standard deviation of the noise; freedom: its degrees of freedom.

    Raises ValueError where nothing is left to estimate the noise from.
    """

    def __init__(self, scores: Scores):
        self.scores = scores
        rows = [(arm, seed, score) for arm, of_arm in scores.items() for seed, score in of_arm.items()]
        arms, seeds = list(scores), sorted({seed for _, seed, _ in rows})
        design = np.zeros((len(rows), len(arms) + len(seeds)))
        for i, (arm, seed, _) in enumerate(rows):
            design[i, arms.index(arm)] = design[i, len(arms) + seeds.index(seed)] = 1
        values = np.array([score for _, _, score in rows])
        values = values - values.mean()
        fitted, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
        self.freedom = len(rows) - int(rank)
        if self.freedom < 1:
            raise ValueError(f"{len(rows)} scores of {len(arms)} arms: expected more, to estimate the noise")
        self.deviation = math.sqrt(float(((values - design @ fitted) ** 2).sum()) / self.freedom)
        self.effects = {arm: float(effect) for arm, effect in zip(arms, fitted)}  # up to a common constant

    def common(self, arm: str, other: str) -> list[int]:
        """The seeds that both have."""
        return [seed for seed in self.scores.get(arm, ()) if seed in self.scores.get(other, ())]

    def difference(self, arm: str, other: str, seeds: Sequence[int] | None = None) -> Difference:
        """arm minus other, over all their common seeds or only these. Raises ValueError if there are none."""
        common = [seed for seed in self.common(arm, other) if seeds is None or seed in seeds]
        if not common:
            raise ValueError(f"{arm} and {other} have no seed in common")
        mean = math.fsum(self.scores[arm][seed] - self.scores[other][seed] for seed in common) / len(common)
        return Difference(mean, self.deviation * math.sqrt(2 / len(common)), self.freedom, len(common))


def simultaneous(confidence: float, comparisons: int) -> float:
    """The confidence of each of several intervals that hold together with `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, comparisons)
