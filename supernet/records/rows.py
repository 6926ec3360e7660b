"""CSV files with a header: written whole or not at all, checked when they are read."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from experiment.errors import InputError
from experiment.files import write_atomic

Row = TypeVar("Row")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_atomic(path, text.getvalue())


def read_rows(
    path: Path,
    columns: Sequence[str],
    parse: Callable[[Mapping[str, str]], Row],
    *,
    more_columns: bool = False,
    growing: bool = False,
) -> list[Row]:
    """The parsed rows, in the order of the file.

    more_columns: further columns may follow. growing: the file is still being appended to, and an incomplete row is
    left out. Raises InputError for a file that cannot be read, for other columns, for an incomplete row, and where
    `parse` raises ValueError.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from error
    header = lines[0] if lines else []
    if header[: len(columns)] != list(columns) or (len(header) > len(columns) and not more_columns):
        found, expected = (",".join(names) for names in (header, columns))
        raise InputError(f"'{path}' has the columns '{found}': expected {expected}{' and more' * more_columns}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            if growing:
                continue
            raise InputError(f"'{path}', line {number}, has {len(line)} cells: expected {len(header)}")
        try:
            rows.append(parse(dict(zip(header, line, strict=True))))
        except ValueError as error:
            raise InputError(f"'{path}', line {number}: {error}") from error
    return rows
