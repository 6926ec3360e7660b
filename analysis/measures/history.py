"""How the choice moved during a search: what selection.csv holds."""

import itertools
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis.measures.runs import read_rows
from experiment.errors import InputError

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

    def late_changes(self) -> float | None:
        """How often a pair's likeliest block changed between recorded steps of the last third of the search.

        Mean over the pairs. None where fewer than two steps were recorded there, as by searches that decide at the end.
        """
        first, last = self.steps[0], self.steps[-1]
        late = [i for i, step in enumerate(self.steps) if 3 * (step - first) >= 2 * (last - first)]
        if len(late) < 2:
            return None
        pairs = self.probabilities.values()
        winners = [[max(blocks, key=lambda block: blocks[block][i]) for i in late] for blocks in pairs]
        return statistics.fmean(sum(a != b for a, b in itertools.pairwise(pair)) for pair in winners)

    def last(self) -> dict[Pair, dict[str, float]]:
        """The probabilities at the last recorded step."""
        return {
            pair: {block: line[-1] for block, line in blocks.items()} for pair, blocks in self.probabilities.items()
        }

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

    def add(step: str, target: str, source: str, block: str, probability: str) -> None:
        rows.setdefault(int(step), {})[(target, source), block] = float(probability)

    read_rows(path, COLUMNS, add)
    if not rows:
        raise InputError(f"'{path}' holds no step: expected {','.join(COLUMNS)}")
    first = next(iter(rows.values()))
    steps = tuple(step for step in sorted(rows) if rows[step].keys() == first.keys())
    probabilities: dict[Pair, dict[str, list[float]]] = {}
    for pair, block in first:
        probabilities.setdefault(pair, {})[block] = [rows[step][pair, block] for step in steps]
    return History(steps, probabilities)
