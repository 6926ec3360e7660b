"""A table that grows during a search: rows are appended step by step, and a resumed search goes on where it was."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiment.errors import InputError
from experiment.files import naming
from experiment.processes import leads
from supernet.records.rows import csv_text, read_rows, split_scale, write_rows


class GrowingTable:
    """Appends rows that begin with a step; on resuming, first drops those written after `step`.

    Of several processes, the one that leads reads and writes.

    check: a row's cells as they are; raises ValueError unless they can be used. digest: what the table's was at that
    step. scaled: see `write_rows`. Raises InputError if the file is damaged or has another digest.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        check: Callable[[Mapping[str, str]], tuple[str, ...]],
        step: int,
        digest: str | None = None,
        scaled: bool = False,
    ):
        self.path, self.columns, self.scaled = path, columns, scaled
        kept: list[tuple[str, ...]] = []
        if step and path.is_file() and leads():
            rows = read_rows(path, columns, check, growing=True)
            kept = [row for row in rows if int(row[0]) <= step]
        self.last = int(kept[-1][0]) if kept else -1
        self._sha256 = hashlib.sha256(self._text(kept).encode())
        if digest is not None and digest != self.digest and leads():
            state = "is damaged" if path.is_file() else "is missing"
            raise InputError(f"'{path}' {state}: expected the rows that were written up to step {step}")
        write_rows(path, columns, kept, scaled)

    @property
    def digest(self) -> str:
        """Of all rows."""
        return self._sha256.hexdigest()

    def append(self, step: int, rows: Sequence[Sequence[object]]) -> None:
        """Each row is its cells after the step; a step that is there already is left as it is."""
        if step <= self.last:
            return
        self.last = step
        text = self._text([(step, *row) for row in rows])
        self._sha256.update(text.encode())
        if not leads():
            return
        with naming(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a checkpoint that follows rests on these rows

    def _text(self, rows: Sequence[Sequence[object]]) -> str:
        return csv_text([split_scale(self.columns, row) for row in rows] if self.scaled else rows)
