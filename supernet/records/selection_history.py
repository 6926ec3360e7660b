"""selection.csv: the probability of every legal block of every pair over the steps of a search."""

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiment.errors import InputError
from supernet.records.growing import GrowingTable
from supernet.records.pairs import Pair, pair_name
from supernet.records.rows import finite, once, read_rows, whole

if TYPE_CHECKING:
    from search_spaces import SearchSpace

SELECTION = "selection.csv"
COLUMNS = ("step", "target", "source", "block", "probability")


class SelectionRecord(GrowingTable):
    """Appends the probabilities of all legal candidates; see `GrowingTable`."""

    def __init__(self, path: Path, space: "SearchSpace", step: int, digest: str | None = None):
        super().__init__(path, COLUMNS, _checked, step, digest, bool(space.scales))
        self.space = space

    def add_even(self) -> None:
        """The start: all legal candidates of a pair are equally probable."""
        legal = [self.space.legal(pair) for pair in self.space.pairs]
        self.add(0, [[(name in names) / len(names) for name in self.space.blocks] for names in legal])

    def add(self, step: int, probabilities: Sequence[Sequence[float]]) -> None:
        """probabilities: (pairs, blocks), in the order of the space. Raises InputError if one is not finite."""
        if step <= self.last:
            return
        for pair, row in zip(self.space.pairs, probabilities, strict=True):
            if not all(map(math.isfinite, row)):
                raise InputError(
                    f"step {step}: the probabilities of the blocks of {pair_name(pair)} are not finite: expected "
                    "finite numbers; try a lower training.learning_rate"
                )
        rows = [
            (*pair, name, f"{probabilities[i][self.space.blocks.index(name)]:.6f}")
            for i, pair in enumerate(self.space.pairs)
            for name in self.space.legal(pair)
        ]
        self.append(step, rows)


def _checked(row: Mapping[str, str]) -> tuple[str, ...]:
    """A row's cells. Raises ValueError unless its numbers are some."""
    _parse(row)
    return tuple(row.values())


def _parse(row: Mapping[str, str]) -> tuple[tuple[int, Pair, str], float]:
    step, probability = whole(row["step"]), finite(row["probability"])
    if step < 0 or not 0 <= probability <= 1:
        raise ValueError(f"step {step} with probability {probability:g}: expected 0 or more, and 0 to 1")
    return (step, (row["target"], row["source"]), row["block"]), probability


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

    @property
    def _at(self) -> Iterator[list[list[float]]]:
        """Step by step, the probabilities of each pair's blocks."""
        for i in range(len(self.steps)):
            yield [[line[i] for line in blocks.values()] for blocks in self.probabilities.values()]


def read_history(path: Path) -> History:
    """The history of a finished or a running search; a step with missing rows is left out.

    Raises InputError for a malformed file or one without a step.
    """
    rows: dict[int, dict[tuple[Pair, str], float]] = {}
    lines = read_rows(path, COLUMNS, _parse, growing=True)
    for (step, pair, block), probability in once(path, lines, _name).items():
        rows.setdefault(step, {})[pair, block] = probability
    if not rows:
        raise InputError(f"'{path}' holds no step: expected {','.join(COLUMNS)}")
    first = next(iter(rows.values()))
    steps = tuple(step for step in sorted(rows) if rows[step].keys() == first.keys())
    probabilities: dict[Pair, dict[str, list[float]]] = {}
    for pair, block in first:
        probabilities.setdefault(pair, {})[block] = [rows[step][pair, block] for step in steps]
    return History(steps, probabilities)


def _name(key: tuple[int, Pair, str]) -> str:
    step, pair, block = key
    return f"step {step} of {pair_name(pair)}, {block},"
