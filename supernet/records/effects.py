"""effects.csv: what the strategy score measured for every candidate of every pair."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from supernet.records.pairs import Pair, has_scales, pair_name
from supernet.records.rows import finite, once, read_rows, write_rows

EFFECTS = "effects.csv"
COLUMNS = ("target", "source", "block", "measured", "error", "effect", "effect_low", "effect_high", "probability")
LARGEST = 1e30  # of a number, whose square and ratios are finite too


@dataclass(frozen=True)
class MeasuredEffect:
    """Of one candidate, in percent of the target's loss.

    measured, error: the measurement and its standard error; effect, low, high: posterior mean and 95 % interval;
    probability: that the effect is above `search.worth`.
    """

    measured: float
    error: float
    effect: float
    low: float
    high: float
    probability: float


Effects = Mapping[tuple[Pair, str], MeasuredEffect]  # of candidates, (pair, block)


def write_effects(path: Path, effects: Effects) -> None:
    rows: Iterable[list[str]] = (
        [*pair, block, *(f"{v:.4f}" for v in (e.measured, e.error, e.effect, e.low, e.high, e.probability))]
        for (pair, block), e in effects.items()
    )
    write_rows(path, COLUMNS, rows, has_scales(pair for pair, _ in effects))


def read_effects(path: Path) -> dict[tuple[Pair, str], MeasuredEffect]:
    """{(pair, block): effect}. Raises InputError for a malformed file."""
    return once(path, read_rows(path, COLUMNS, _parse), lambda key: f"{pair_name(key[0])} by {key[1]}")


def _parse(row: Mapping[str, str]) -> tuple[tuple[Pair, str], MeasuredEffect]:
    numbers = [finite(row[column]) for column in COLUMNS[3:]]
    if max(map(abs, numbers)) > LARGEST:
        raise ValueError(f"a number of {max(numbers, key=abs):g}: expected percents of a loss")
    effect = MeasuredEffect(*numbers)
    if effect.error < 0:
        raise ValueError(f"error is {effect.error:g}: expected a standard error")
    if effect.low > effect.high:
        raise ValueError(f"the interval is {effect.low:g} to {effect.high:g}: expected its lower end first")
    if not 0 <= effect.probability <= 1:
        raise ValueError(f"probability is {effect.probability:g}: expected 0 to 1")
    return ((row["target"], row["source"]), row["block"]), effect
