"""Mean and standard deviation of few values, some of which may be missing."""

import statistics
from collections.abc import Iterable


def mean(values: Iterable[float | None]) -> float | None:
    """Of the values that exist; None if there is none."""
    given = [value for value in values if value is not None]
    return statistics.fmean(given) if given else None


def std(values: Iterable[float | None]) -> float | None:
    """Sample standard deviation of the values that exist; None for fewer than two."""
    given = [value for value in values if value is not None]
    return statistics.stdev(given) if len(given) > 1 else None
