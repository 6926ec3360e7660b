"""A bootstrap interval of Delta_m over seeds. The formula itself is in multitask/delta_m.py."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from multitask.metrics.delta_m import PrimaryValues


def bootstrap_interval(
    model: Sequence[PrimaryValues],
    baseline: Sequence[PrimaryValues],
    higher_is_better: Mapping[str, bool],
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of Delta_m: the seeds of the model and of the baseline are drawn with replacement.

    One mapping of values per seed. None if either side has a single seed. With few seeds
    the interval is too narrow: on normal noise, 95 % intervals cover 66 % (2 seeds a side), 80 % (3), 87 % (5),
    90 % (8), 92 % (16).
    """
    if min(len(model), len(baseline)) < 2:
        return None
    tasks = list(baseline[0])
    generator = np.random.default_rng(seed)

    def resampled_means(seeds: Sequence[PrimaryValues]) -> NDArray[np.float64]:  # (draws, tasks)
        values = np.array([[one[task] for task in tasks] for one in seeds])
        return values[generator.integers(0, len(seeds), (draws, len(seeds)))].mean(1)

    reference, means = resampled_means(baseline), resampled_means(model)
    sign = np.array([1 if higher_is_better[task] else -1 for task in tasks])
    deltas = 100 * (sign * (means - reference) / reference).mean(1)
    low, high = np.quantile(deltas, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
