"""What a command returns: tables for people, records and data for programs, figures for a folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """Printed cells. A header may hold several lines; the first `words` columns hold words, the others numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    words: int = 1

    @classmethod
    def of_columns(cls, columns: Mapping[str, Sequence[str]], title: str = "", words: int = 1) -> "Table":
        """columns: {header: cells}."""
        return cls(list(columns), list(zip(*columns.values(), strict=True)), title, words)


@dataclass(frozen=True)
class Result:
    """records: the rows of the csv file, {column: value}, None for an empty cell; rows may differ in their columns.
    data: the content of the json file. remarks: what a reader should know before believing the numbers, a line each.
    figures: {file name: function that draws it}.
    """

    title: str
    tables: Sequence[Table]
    records: Sequence[Mapping[str, object]]
    data: Any
    remarks: Sequence[str] = ()
    figures: Mapping[str, "Callable[[], Figure]"] = field(default_factory=dict)
