"""Parameters and multiply-adds of the networks that papers compare, beside the published figures.

Every network is counted at its paper's size; nothing is trained. Multiply-adds are those of one image as ATRC prints
them: convolutions with their biases, matrix products, two for each element of a batch norm and one of a ReLU.
"""

import argparse
from dataclasses import asdict
from itertools import groupby

from analysis.arguments import add_output_options
from analysis.report.result import Result, Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> Result:
    from analysis.measures.papers import Row, rows  # loads torch

    found = rows()

    def cells(row: Row) -> list[str]:
        return [
            row.row,
            _counted(row.parameters, 1e6, row.published_parameters),
            _number(row.published_parameters, 1e6),
            _number(row.multiply_adds, 1e9),
            _number(row.published_multiply_adds, 1e9),
        ]

    header = ["network", "parameters, M", "published", "multiply-adds, G", "published"]
    tables, remarks = [], []
    for (paper, table), group in groupby(found, lambda row: (row.paper, row.table)):
        members = list(group)
        tables.append(Table(header, [cells(row) for row in members], f"{paper}, table {table}" if table else paper))
        remarks += [f"{row.row}: {row.note}" for row in members if row.note]
    records = [{key: value for key, value in asdict(row).items() if key != "note"} for row in found]
    return Result("", tables, records, {"rows": records}, remarks)


def _number(value: float | None, unit: float) -> str:
    """With two digits as ATRC prints them, or all where a count is published exactly."""
    if value is None:
        return "-"
    return f"{value / unit:.2f}" if value % (unit / 100) == 0 or unit == 1e9 else f"{value / unit:.6f}"


def _counted(value: float, unit: float, published: float | None) -> str:
    exact = published is not None and published % (unit / 100) != 0
    return f"{value / unit:.6f}" if exact else f"{value / unit:.2f}"
