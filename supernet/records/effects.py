"""effects.csv: what the strategy score measured for every candidate of every pair."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from supernet.records.pairs import Pair, pair_name
from supernet.records.rows import finite, once, read_rows, write_rows

EFFECTS = "effects.csv"
COLUMNS = ("target", "source", "block", "measured", "error", "effect", "effect_low", "effect_high", "probability")


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


def write_effects(path: Path, effects: Mapping[tuple[Pair, str], MeasuredEffect]) -> None:
    rows: Iterable[list[str]] = (
        [*pair, block, *(f"{v:.4f}" for v in (e.measured, e.error, e.effect, e.low, e.high, e.probability))]
        for (pair, block), e in effects.items()
    )
    write_rows(path, COLUMNS, rows)


def read_effects(path: Path) -> dict[tuple[Pair, str], MeasuredEffect]:
    """{(pair, block): effect}. Raises InputError for a malformed file."""
    return once(path, read_rows(path, COLUMNS, _parse), lambda key: f"{pair_name(key[0])} by {key[1]}")


def _parse(row: Mapping[str, str]) -> tuple[tuple[Pair, str], MeasuredEffect]:
    numbers = [finite(row[column]) for column in COLUMNS[3:]]
    if numbers[1] < 0:
        raise ValueError(f"error is {numbers[1]:g}: expected a standard error")
    if not 0 <= numbers[-1] <= 1:
        raise ValueError(f"probability is {numbers[-1]:g}: expected 0 to 1")
    return ((row["target"], row["source"]), row["block"]), MeasuredEffect(*numbers)
