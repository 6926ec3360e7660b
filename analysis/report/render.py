"""The renderer of all results: tables for a terminal or in markdown, csv, json."""

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from analysis.report.result import Result, Table
from experiment.files import write_atomic

WIDTH = 100  # characters at most; fewer on a narrow terminal


def as_csv(result: Result) -> str:
    """Full precision; the columns of all records, in the order in which they appear."""
    columns = list(dict.fromkeys(column for record in result.records for column in record))
    text = io.StringIO()
    rows = [[record.get(column) for column in columns] for record in result.records]
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().rstrip("\n")


def as_json(result: Result) -> str:
    return json.dumps(result.data, indent=1, allow_nan=False)


def as_text(result: Result, draw: Callable[[Table], str]) -> str:
    parts = [result.title]
    for table in result.tables:
        parts += [table.title, draw(table)]
    return "\n\n".join([part for part in (*parts, "\n".join(result.remarks)) if part])


def aligned(table: Table) -> str:
    """Columns side by side; those beyond the terminal or `WIDTH` follow below, with the first column again."""
    width = min(WIDTH, shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTH
    depth = max(name.count("\n") for name in table.header) + 1
    # headers end on the same line
    columns = [[""] * (depth - name.count("\n") - 1) + name.split("\n") for name in table.header]
    for row in table.rows:
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    first, *others = [_padded(column, left=i < table.words) for i, column in enumerate(columns)]
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


def markdown(table: Table) -> str:
    """A table as GitHub renders it, numbers on the right."""
    names = [name.replace("\n", " ").strip() for name in table.header]
    rule = ["---" if i < table.words else "---:" for i in range(len(names))]
    lines = [names, rule, *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


FORMATS: Mapping[str, Callable[[Result], str]] = {
    "table": lambda result: as_text(result, aligned),
    "markdown": lambda result: as_text(result, markdown),
    "csv": as_csv,
    "json": as_json,
}


def write(result: Result, name: str, form: str, folder: Path | None) -> None:
    """Prints the result, with its remarks on stderr beside csv and json; into the folder go NAME.csv, NAME.json and
    the figures.
    """
    print(FORMATS[form](result))
    if form in ("csv", "json"):
        for remark in result.remarks:
            print(remark, file=sys.stderr)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{name}.csv", as_csv(result) + "\n")
    write_atomic(folder / f"{name}.json", as_json(result) + "\n")
    for file, draw in result.figures.items():
        draw().savefig(folder / file, dpi=150)
