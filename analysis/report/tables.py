"""Text tables: aligned for a terminal, markdown, csv. Cells are strings; the first column names the row."""

import csv
import io
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]
Cells = tuple[list[str], list[list[str]]]  # a table's header and rows


def aligned(header: Sequence[str], rows: Rows, width: int = 100) -> str:
    """Columns side by side, at most `width` characters; those beyond follow below, with the first column again.

    A header may hold several lines.
    """
    depth = max(name.count("\n") for name in header) + 1
    # headers end on the same line
    columns = [["", *name.split("\n")][-depth:] if depth > 1 else [name] for name in header]
    columns = [[""] * (depth - len(column)) + column for column in columns]
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    first, *others = [_padded(column, left=i == 0) for i, column in enumerate(columns)]
    blocks: list[list[list[str]]] = []
    room = 0
    for column in others:
        needed = 2 + len(column[0])
        if not blocks or needed > room:
            blocks.append([first])
            room = width - len(first[0])
        blocks[-1].append(column)
        room -= needed
    return "\n\n".join("\n".join("  ".join(cells).rstrip() for cells in zip(*block, strict=True)) for block in blocks)


def _padded(cells: Sequence[str], left: bool) -> list[str]:
    width = max(map(len, cells))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in cells]


def markdown(header: Sequence[str], rows: Rows) -> str:
    """A table as GitHub renders it; all columns but the first on the right."""
    names = [name.replace("\n", " ").strip() for name in header]
    lines = [names, ["---"] + ["---:"] * (len(names) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """csv with full precision; None is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")


def spread(mean: float, std: float | None, digits: int, sign: str = "") -> str:
    """The mean, and ± the standard deviation where there is one; sign: + writes the sign of a positive mean too."""
    return f"{mean:{sign}.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")


def scaled(value: float | None, unit: float, letter: str) -> str:
    """In so many units; n/a for None."""
    return "n/a" if value is None else f"{value / unit:.2f} {letter}"
