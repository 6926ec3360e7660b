"""CSV files with a header: written whole or not at all, checked when they are read."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from experiment.errors import InputError
from experiment.files import write_atomic

Row = TypeVar("Row")
Key = TypeVar("Key")
Value = TypeVar("Value")


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

    more_columns: further columns may follow. growing: the file is still being appended to, and a last line without an
    end is left out. Raises InputError for a file that cannot be read, for other columns or one that stands twice, for
    an incomplete row, and where `parse` raises ValueError.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1] if growing else text, newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from error
    header = lines[0] if lines else []
    if header[: len(columns)] != list(columns) or (len(header) > len(columns) and not more_columns):
        found, expected = (",".join(names) for names in (header, columns))
        raise InputError(f"'{path}' has the columns '{found}': expected {expected}{' and more' * more_columns}")
    if len(set(header)) < len(header):
        raise InputError(f"'{path}' has a column twice: expected {','.join(dict.fromkeys(header))}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise InputError(f"'{path}', line {number}, has {len(line)} cells: expected {len(header)}")
        try:
            rows.append(parse(dict(zip(header, line, strict=True))))
        except ValueError as error:
            raise InputError(f"'{path}', line {number}: {error}") from error
    return rows


def finite(cell: str) -> float:
    """A cell's number. Raises ValueError for none, NaN and infinity."""
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"'{cell}': expected a finite number")
    return value


def whole(cell: str) -> int:
    """A cell's integer. Raises ValueError for another, and for one of more than 64 bits."""
    value = int(cell)
    if abs(value) >= 2**63:
        raise ValueError(f"'{cell}': expected an integer of at most 64 bits")
    return value


def once(path: Path, rows: Iterable[tuple[Key, Value]], name: Callable[[Key], str]) -> dict[Key, Value]:
    """{key: value}. Raises InputError for a key that stands twice; name: how it is written."""
    found: dict[Key, Value] = {}
    for key, value in rows:
        if key in found:
            raise InputError(f"'{path}' has {name(key)} twice: expected it once")
        found[key] = value
    return found
