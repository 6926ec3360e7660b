"""How the choice moved during a search: what selection.csv holds."""

import csv
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multitask.errors import InputError

Pair = tuple[str, str]  # target, source
COLUMNS = ("step", "target", "source", "block", "probability")


@dataclass(frozen=True)
class History:
    """probabilities: {pair: {block: one probability per recorded step}}."""

    steps: tuple[int, ...]
    probabilities: dict[Pair, dict[str, list[float]]]

    def entropy(self) -> list[float]:
        """Mean over the pairs, in nats, at each step; a decided pair has none."""
        return [statistics.fmean(sum(-p * math.log(p) for p in pair if p > 0) for pair in pairs) for pairs in self._at]

    def undecided(self) -> list[int]:
        """Pairs that were not yet fixed to a block, at each step."""
        return [sum(max(pair) < 1 for pair in pairs) for pairs in self._at]

    @property
    def _at(self) -> Iterator[list[list[float]]]:
        """Step by step, the probabilities of each pair's blocks."""
        for i in range(len(self.steps)):
            yield [[line[i] for line in blocks.values()] for blocks in self.probabilities.values()]

    def thinned(self, most: int) -> "History":
        """At most `most` of the steps, evenly spread, the first and the last among them."""
        if len(self.steps) <= most:
            return self
        kept = [round(i * (len(self.steps) - 1) / (most - 1)) for i in range(most)]
        thin = {
            pair: {block: [line[i] for i in kept] for block, line in blocks.items()}
            for pair, blocks in self.probabilities.items()
        }
        return History(tuple(self.steps[i] for i in kept), thin)


def read_history(path: Path) -> History:
    """Reads selection.csv, of a search that still runs as well: a step of which rows are missing is left out.

    Raises InputError for a file that is none.
    """
    rows: dict[int, dict[tuple[Pair, str], float]] = {}
    try:
        with path.open(newline="") as file:
            header, *lines = csv.reader(file)
            if tuple(header) != COLUMNS:
                raise ValueError(f"columns {','.join(header)}, expected {','.join(COLUMNS)}")
            for line in lines:
                if len(line) == len(COLUMNS):
                    step, target, source, block, probability = line
                    rows.setdefault(int(step), {})[(target, source), block] = float(probability)
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read: {error}") from error
    if not rows:
        raise InputError(f"'{path}' holds no step: expected {','.join(COLUMNS)}")
    first = next(iter(rows.values()))
    steps = tuple(step for step in sorted(rows) if rows[step].keys() == first.keys())
    probabilities: dict[Pair, dict[str, list[float]]] = {}
    for pair, block in first:
        probabilities.setdefault(pair, {})[block] = [rows[step][pair, block] for step in steps]
    return History(steps, probabilities)
