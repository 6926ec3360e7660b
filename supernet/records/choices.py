"""choices.csv: the block that a search chose for each pair, and how well it is supported."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supernet.records.pairs import Pair, has_scales, pair_name
from supernet.records.rows import finite, once, read_rows, write_rows

CHOICES = "choices.csv"
COLUMNS = ("target", "source", "block", "effect", "effect_low", "effect_high", "probability", "decided")


@dataclass(frozen=True)
class Choice:
    """The block of one pair.

    probability: posterior probability of the choice, None where the strategy has none. decided: False where that
    probability is below `search.confidence`. effect: the loss that the block is expected to save, in percent of the
    target's loss, with its 95 % interval; None where the strategy measures no effect. Raises ValueError for numbers
    that contradict this.
    """

    block: str
    probability: float | None = None
    decided: bool = True
    effect: float | None = None
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability:g}: expected 0 to 1")
        if (self.effect is None) != (self.interval is None):
            raise ValueError("the effect or its interval is missing: expected both or neither")
        if self.effect is not None and self.interval is not None:
            low, high = self.interval
            if not low <= self.effect <= high:
                raise ValueError(f"effect {self.effect:g} is outside its interval, {low:g} to {high:g}")


def write_choices(path: Path, choices: Mapping[Pair, Choice]) -> None:
    rows = []
    for pair, choice in choices.items():
        effect = (None, None, None) if choice.interval is None else (choice.effect, *choice.interval)
        numbers = ["" if value is None else f"{value:.4f}" for value in (*effect, choice.probability)]
        rows.append([*pair, choice.block, *numbers, str(choice.decided).lower()])
    write_rows(path, COLUMNS, rows, has_scales(choices))


def read_choices(path: Path) -> dict[Pair, Choice]:
    """{pair: choice}. Raises InputError for a malformed file."""
    return once(path, read_rows(path, COLUMNS, _parse), pair_name)


def _parse(row: Mapping[str, str]) -> tuple[Pair, Choice]:
    def number(column: str) -> float | None:
        return finite(row[column]) if row[column] else None

    decided = row["decided"]
    if decided not in ("true", "false"):
        raise ValueError(f"decided is '{decided}': expected true or false")
    low, high = number("effect_low"), number("effect_high")
    if (low is None) != (high is None):
        raise ValueError("the lower or upper end of the effect's interval is missing: expected both or neither")
    interval = None if low is None or high is None else (low, high)
    choice = Choice(row["block"], number("probability"), decided == "true", number("effect"), interval)
    return (row["target"], row["source"]), choice
