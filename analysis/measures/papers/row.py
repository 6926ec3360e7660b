"""A row of a published table beside ours."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Parameters and multiply-adds of one image; None where nothing is published. note: why the two differ."""

    paper: str
    table: str
    row: str
    parameters: int
    multiply_adds: int | None
    published_parameters: int | None
    published_multiply_adds: int | None
    note: str = ""
