"""Shares of blocks against hand counts."""

import csv
import io
import json

import pytest
from PIL import Image

from analysis.measures.proportions import proportions
from analysis.report.figures import COLOURS
from search_spaces import BLOCKS
from tests.support.results import analyse, refusal, write_architecture, write_choices

FIRST = {("a", "a"): "local", ("a", "b"): "xtam", ("b", "a"): "xtam", ("b", "b"): "none"}
SECOND = {("a", "a"): "local", ("a", "b"): "global", ("b", "a"): "xtam", ("b", "b"): "global"}


@pytest.fixture
def runs(tmp_path):
    return [write_architecture(tmp_path / "first", FIRST), write_architecture(tmp_path / "second", SECOND)]


def printed(capsys, *argv):
    return analyse(capsys, "proportions", *argv).out


def test_shares_by_hand(runs, capsys):
    result = json.loads(printed(capsys, *runs, "--format", "json"))
    assert result["tasks"] == ["a", "b"]
    assert result["blocks"] == ["none", "global", "local", "xtam"]  # the order of BLOCKS, and only those that occur
    assert result["overall"] == {"none": 1 / 8, "global": 2 / 8, "local": 2 / 8, "xtam": 3 / 8}
    assert result["by_target"]["a"] == {"none": 0, "global": 1 / 4, "local": 2 / 4, "xtam": 1 / 4}
    assert result["by_source"]["a"] == {"none": 0, "global": 0, "local": 2 / 4, "xtam": 2 / 4}
    assert result["by_pair"]["a"]["b"] == {"none": 0, "global": 1 / 2, "local": 0, "xtam": 1 / 2}
    assert result["by_pair"]["b"]["a"] == {"none": 0, "global": 0, "local": 0, "xtam": 1}


def test_csv_and_table_hold_the_same(runs, capsys):
    result = json.loads(printed(capsys, *runs, "--format", "json"))
    lines = list(csv.DictReader(io.StringIO(printed(capsys, *runs, "--format", "csv"))))
    where = {
        "overall": lambda line: result["overall"],
        "target": lambda line: result["by_target"][line["target"]],
        "source": lambda line: result["by_source"][line["source"]],
        "pair": lambda line: result["by_pair"][line["target"]][line["source"]],
    }
    assert len(lines) == 4 * (1 + 2 + 2 + 4)
    for line in lines:
        assert float(line["share"]) == where[line["scope"]](line)[line["block"]]
    assert sum(int(line["count"]) for line in lines if line["scope"] == "pair") == 8
    table = [line.split() for line in printed(capsys, *runs).splitlines()]
    assert ["overall", "12.5", "25.0", "25.0", "37.5"] in table
    assert ["target", "b", "25.0", "25.0", "0.0", "50.0"] in table
    assert ["b", "<-", "a", "0.0", "0.0", "0.0", "100.0"] in table


def test_blocks_of_users_follow_by_name():
    result = proportions(("a",), [{("a", "a"): name} for name in ("z:Z", "local", "m:M")], tuple(BLOCKS))
    assert result.blocks == ("local", "m:M", "z:Z")
    assert result.shares() == pytest.approx(dict.fromkeys(result.blocks, 1 / 3))


def test_files_and_retrained_seeds_are_read(runs, tmp_path, capsys):
    """The seeds of a retrain run usually share one architecture, which then counts once."""
    for k, exchanges in enumerate((FIRST, FIRST, SECOND)):
        write_architecture(tmp_path / "retrained" / f"seed_{k}", exchanges)
    of_seeds = json.loads(printed(capsys, tmp_path / "retrained", "--format", "json"))
    file = f"{runs[0]}/architecture.yaml"
    of_files = json.loads(printed(capsys, file, runs[1], "--format", "json"))
    assert of_seeds["by_pair"] == of_files["by_pair"] and len(of_seeds["runs"]) == 2


def test_output_holds_csv_and_figure(runs, tmp_path, capsys):
    output = tmp_path / "new" / "figures"
    assert printed(capsys, *runs, "--format", "csv", "--output", output) == (output / "proportions.csv").read_text()
    with Image.open(output / "proportions.png") as figure:
        colours = {colour for _, colour in figure.convert("RGB").getcolors(maxcolors=10**6)}
    shown = {name for name, colour in COLOURS.items() if tuple(bytes.fromhex(colour[1:])) in colours}
    assert {"none", "global", "local", "xtam"} <= shown
    assert not {"t_label", "s_label", "padnet_gate", "padnet_conv"} & shown  # padnet_linear is black, as text is


def test_every_block_has_its_own_colour():
    assert set(COLOURS) == set(BLOCKS)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_refusals(runs, tmp_path, capsys):
    other = write_architecture(tmp_path / "other", {("a", "a"): "local"}, tasks=("a",))
    assert "differ in tasks: a, b against a" in refusal(capsys, "proportions", *runs, other)
    assert "given twice" in refusal(capsys, "proportions", runs[0], f"{runs[0]}/architecture.yaml")
    assert "does not exist" in refusal(capsys, "proportions", tmp_path / "nowhere")
    assert "holds no architecture.yaml" in refusal(capsys, "proportions", tmp_path)
    assert "--output" in refusal(capsys, "proportions", *runs, "--output", f"{runs[0]}/architecture.yaml")
    assert "nearest: '--output'" in refusal(capsys, "proportions", *runs, "--ouput", "x")
    (tmp_path / "broken.yaml").write_text("exchanges: {a: {a: locall}}\nversion: 1\n")
    assert "nearest: 'local'" in refusal(capsys, "proportions", tmp_path / "broken.yaml")


def test_decided_and_undecided_pairs_by_hand(runs, tmp_path, capsys):
    """The first run is undecided about b <- b, where it takes none; the second has no choices.csv and is in neither."""
    write_choices(tmp_path / "first", FIRST, [("b", "b")])
    result = json.loads(printed(capsys, *runs, "--format", "json"))
    assert result["decided"] == {"none": 0, "global": 0, "local": 1 / 3, "xtam": 2 / 3}
    assert result["undecided"] == {"none": 1, "global": 0, "local": 0, "xtam": 0}
    assert result["overall"]["xtam"] == 3 / 8  # all pairs, as ever
    table = printed(capsys, *runs)
    assert [line.split()[-4:] for line in table.splitlines() if line.startswith("decided pairs (3)")] == [
        ["0.0", "0.0", "33.3", "66.7"]
    ]
    lines = list(csv.DictReader(io.StringIO(printed(capsys, *runs, "--format", "csv"))))
    assert [line["count"] for line in lines if line["scope"] == "undecided"] == ["1", "0", "0", "0"]
    write_choices(tmp_path / "first", FIRST)
    assert "decided" not in printed(capsys, *runs)


def test_noise_nulls_are_marked(runs, tmp_path, capsys):
    (tmp_path / "second/config.yaml").write_text("search: {noise_null: true}\n")
    assert "architectures: 2, 1 of them (noise null)" in printed(capsys, *runs)
