"""selection.csv: how each pair's choice moved during a search."""

import csv
import io
from pathlib import Path

from experiment.files import write_atomic
from search_spaces import SearchSpace

COLUMNS = ("step", "target", "source", "block", "probability")


class SelectionRecord:
    """Appends the probabilities of all legal candidates; on resuming, first drops rows written after `step`."""

    def __init__(self, path: Path, space: SearchSpace, step: int):
        self.path, self.space = path, space
        kept: list[list[str]] = []
        if step and path.is_file():
            with path.open(newline="") as file:
                rows = list(csv.reader(file))[1:]
            kept = [row for row in rows if len(row) == len(COLUMNS) and int(row[0]) <= step]
        self.last = int(kept[-1][0]) if kept else -1
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *kept])
        write_atomic(path, text.getvalue())

    def add_even(self) -> None:
        """The start: all legal candidates of a pair are as likely."""
        legal = [self.space.legal(pair) for pair in self.space.pairs]
        self.add(0, [[(name in names) / len(names) for name in self.space.blocks] for names in legal])

    def add(self, step: int, probabilities: list[list[float]]) -> None:
        """probabilities: (pairs, blocks), in the order of the space."""
        if step <= self.last:
            return
        self.last = step
        rows = [
            (step, *pair, name, f"{probabilities[i][self.space.blocks.index(name)]:.6f}")
            for i, pair in enumerate(self.space.pairs)
            for name in self.space.legal(pair)
        ]
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
