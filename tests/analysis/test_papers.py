"""The networks of published tables: their costs against the printed ones, and the command."""

import contextlib
import io
import json

import pytest

from analysis.__main__ import main

PAIRWISE = {
    *("cross-stitch", "PAD-Net A / NDDR-CNN", "PAD-Net B", "PAD-Net C"),
    *("global", "local", "T-label", "S-label", "ATRC"),
}


@pytest.fixture(scope="module")
def output():
    with contextlib.redirect_stdout(io.StringIO()) as text:
        main(["papers", "--format", "json"])
    return json.loads(text.getvalue())


def test_atrc(output):
    """Table 1: parameters within 0.01 M, multiply-adds of pairwise modules and hosts within 2 %."""
    rows = {row["row"]: row for row in output["rows"] if "ATRC" in row["paper"]}
    assert len(rows) == 13 and {row["table"] for row in rows.values()} == {"1"}
    for name, row in rows.items():
        assert abs(row["parameters"] - row["published_parameters"]) <= 10_000, name
        if name != "PAP":
            assert row["multiply_adds"] == pytest.approx(row["published_multiply_adds"], rel=0.02), name
    assert rows["PAP"]["multiply_adds"] < rows["PAP"]["published_multiply_adds"]
    assert PAIRWISE | {"single task", "multi-task", "PAP", "PSD"} == rows.keys()


def test_rows(output):
    keys = {"paper", "table", "row", "parameters", "multiply_adds", "published_parameters", "published_multiply_adds"}
    assert all(row.keys() == keys for row in output["rows"])


def test_sizes_of_decoders(output):
    """To the parameter where a count is exact; the necks are printed in millions."""
    rows = [row for row in output["rows"] if "ATRC" not in row["paper"] and "BMTAS" not in row["paper"]]
    assert len(rows) == 13
    for row in rows:
        rounding = 2_000 if "FPM" in row["row"] else 0
        assert abs(row["parameters"] - row["published_parameters"]) <= rounding, row["row"]
        assert row["multiply_adds"] is None and row["published_multiply_adds"] is None


def test_units_of_bmtas(output):
    """Published with three digits a unit."""
    (row,) = [row for row in output["rows"] if "BMTAS" in row["paper"]]
    assert row["multiply_adds"] == pytest.approx(row["published_multiply_adds"], abs=17 * 250_000)
    assert row["published_parameters"] is None and row["parameters"] > 0
