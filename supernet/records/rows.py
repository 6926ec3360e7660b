"""CSV files with a header: written whole or not at all, checked when they are read."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from experiment.errors import InputError
from experiment.files import write_atomic

PLACES, SCALE = ("target", "source"), "scale"  # columns
AT = "@"  # between a task and its scale, as in search_spaces/scales.py, which loads torch
Row = TypeVar("Row")
Key = TypeVar("Key")
Value = TypeVar("Value")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]], scaled: bool = False) -> None:
    """scaled: targets and sources are places at scales (search_spaces/scales.py), which get a column `scale`."""
    cells = [list(row) for row in rows]
    header = [*columns, SCALE] if scaled else columns
    write_atomic(path, csv_text([header, *(split_scale(columns, row) if scaled else row for row in cells)]))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def split_scale(columns: Sequence[str], row: Sequence[object]) -> list[object]:
    """A row whose target and source are places, with the tasks in their columns and the scale in a last one."""
    cells, scale = list(row), ""
    for column in PLACES:
        i = columns.index(column)
        task, at, number = str(cells[i]).partition(AT)
        cells[i], scale = task, number if at else scale
    return [*cells, scale]


def _join_scale(row: dict[str, str]) -> dict[str, str]:
    """The inverse of `split_scale`. Raises ValueError for a scale that is no number from 0."""
    scale = row.pop(SCALE)
    if scale and not scale.isdecimal():
        raise ValueError(f"scale is '{scale}': expected a whole number from 0")
    places = {column: f"{row[column]}{AT}{int(scale)}" for column in PLACES if scale and row[column]}
    return {**row, **places}


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
    scaled = set(PLACES) <= set(columns) and header == [*columns, SCALE]
    more_columns = more_columns or scaled
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
            cells = dict(zip(header, line, strict=True))
            rows.append(parse(_join_scale(cells) if scaled else cells))
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
