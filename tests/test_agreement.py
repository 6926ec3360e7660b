"""Agreement of repeated searches against hand counts, and against chance."""

import csv
import io
import json
import random
import statistics

import pytest

from analysis.__main__ import main
from analysis.agreement import agreement, cohen_kappa, expected_by_chance, pair_agreement
from multitask.command import exit_code
from multitask.errors import InputError
from search_spaces import Architecture

TASKS = ("a", "b")
PAIRS = [(target, source) for target in TASKS for source in TASKS]


def choice(*blocks):
    """Blocks of a<-a, a<-b, b<-a, b<-b."""
    return dict(zip(PAIRS, blocks, strict=True))


FIRST = choice("local", "local", "global", "global")
SECOND = choice("local", "global", "global", "global")
THIRD = choice("local", "none", "none", "none")


def write_runs(folder, *choices, provenance=None):
    files = [folder / f"run_{i}" / "architecture.yaml" for i in range(len(choices))]
    for file, exchanges in zip(files, choices, strict=True):
        Architecture(TASKS, exchanges, provenance=provenance or {}).save(file)
    return [str(file.parent) for file in files]


def printed(capsys, *argv):
    main(["agreement", *argv])
    return capsys.readouterr()


def test_two_searches_by_hand():
    """Alike on 3 of 4 pairs; chance: local 1/2 * 1/4, global 1/2 * 3/4."""
    found = agreement([FIRST, SECOND])
    assert found.agreement_percent == pytest.approx(75)
    assert found.chance_percent == pytest.approx(50)
    assert found.kappa == pytest.approx((0.75 - 0.5) / (1 - 0.5), abs=1e-6)
    assert (found.undefined_kappas, found.pairs) == (0, 4)


def test_three_searches_are_taken_two_by_two():
    searches = [FIRST, SECOND, THIRD]
    shares = pair_agreement(searches)
    assert [shares[pair] for pair in PAIRS] == pytest.approx([100, 0, 100 / 3, 100 / 3])
    found = agreement(searches)
    assert found.agreement_percent == pytest.approx(100 * (3 + 1 + 1) / 12)
    # couples: 1/2, then local only: 1/2 * 1/4 and 1/4 * 1/4
    assert found.chance_percent == pytest.approx(100 * (1 / 2 + 1 / 8 + 1 / 16) / 3)
    kappas = [0.5, (1 / 4 - 1 / 8) / (7 / 8), (1 / 4 - 1 / 16) / (15 / 16)]
    assert found.kappa == pytest.approx(statistics.mean(kappas), abs=1e-6)


def test_kappa_of_equal_and_opposite_choices():
    assert cohen_kappa(FIRST, FIRST) == pytest.approx(1)
    assert cohen_kappa(FIRST, choice("global", "global", "local", "local")) == pytest.approx(-1)


def test_kappa_is_undefined_where_both_collapsed_on_one_block():
    collapsed = choice(*["none"] * 4)
    assert cohen_kappa(collapsed, collapsed) is None
    found = agreement([collapsed, collapsed])
    assert (found.agreement_percent, found.chance_percent, found.kappa) == (100, 100, None)
    mixed = agreement([collapsed, collapsed, FIRST])  # the other couples share no block: kappa 0
    assert mixed.undefined_kappas == 1 and mixed.kappa == pytest.approx(0, abs=1e-6)
    assert cohen_kappa(collapsed, choice(*["local"] * 4)) == pytest.approx(0, abs=1e-6)


def test_kappa_of_dealt_out_blocks_is_zero_on_average():
    """Chance is what permuting the blocks over the pairs gives."""
    draw = random.Random(0)
    names = ["local"] * 8 + ["global"] * 5 + ["none"] * 3
    pairs = [(t, s) for t in "abcd" for s in "abcd"]
    first = dict(zip(pairs, names, strict=True))
    kappas, alike = [], []
    for _ in range(400):
        second = dict(zip(pairs, draw.sample(names, len(names)), strict=True))
        kappas.append(cohen_kappa(first, second))
        alike.append(statistics.mean(first[pair] == second[pair] for pair in pairs))
    error = statistics.stdev(kappas) / 400**0.5
    assert abs(statistics.mean(kappas)) < 3 * error < 0.05
    chance = expected_by_chance(first, first)
    assert chance == pytest.approx((64 + 25 + 9) / 256)
    assert statistics.mean(alike) == pytest.approx(chance, abs=3 * statistics.stdev(alike) / 400**0.5)


def test_order_of_the_searches_does_not_matter():
    assert agreement([FIRST, SECOND, THIRD]).kappa == pytest.approx(agreement([THIRD, FIRST, SECOND]).kappa)


def test_command_in_json_and_csv(tmp_path, capsys):
    runs = write_runs(tmp_path, FIRST, SECOND)
    found = json.loads(printed(capsys, *runs, "--format", "json").out)
    assert found["all"]["agreement_percent"] == pytest.approx(75)
    assert found["by_pair"] == {"a": {"a": 100, "b": 0}, "b": {"a": 100, "b": 100}}
    # a<-b and b<-a alone: local, global against global, global
    different = found["different_tasks"]
    assert (different["pairs"], different["agreement_percent"], different["chance_percent"]) == (2, 50, 50)
    assert different["kappa"] == pytest.approx(0, abs=1e-6)
    lines = list(csv.DictReader(io.StringIO(printed(capsys, *runs, "--format", "csv").out)))
    scopes = {line["scope"]: line for line in lines if line["scope"] != "pair"}
    for name, line in scopes.items():
        for column in ("agreement_percent", "chance_percent", "kappa"):
            assert float(line[column]) == found[name][column]
    by_pair = {(line["target"], line["source"]): float(line["agreement_percent"]) for line in lines[len(scopes) :]}
    assert by_pair == {(t, s): found["by_pair"][t][s] for t, s in PAIRS}


def test_table_says_undefined(tmp_path, capsys):
    collapsed = choice("global", "none", "none", "global")
    text = printed(capsys, *write_runs(tmp_path, collapsed, collapsed)).out
    (of_all,) = [line.split() for line in text.splitlines() if line.startswith("all ")]
    (of_different,) = [line.split() for line in text.splitlines() if line.startswith("different tasks")]
    assert of_all[-5:] == ["100.0", "%", "50.0", "%", "1.00"]
    assert of_different[-1] == "undefined"
    assert "undefined for 1 couple" in text


def test_copies_of_one_search_are_remarked(tmp_path, capsys):
    runs = write_runs(tmp_path, FIRST, FIRST, provenance={"config_sha256": "12ab"})
    assert "copies" in printed(capsys, *runs).err
    runs = write_runs(tmp_path, FIRST, FIRST)
    assert printed(capsys, *runs).err == ""


def test_one_search_or_other_tasks_are_refused(tmp_path, capsys):
    (run,) = write_runs(tmp_path, FIRST)
    Architecture(("a",), {("a", "a"): "local"}).save(tmp_path / "other.yaml")
    for argv, named in (
        ([run], "two or more searches: found 1"),
        ([run, str(tmp_path / "other.yaml")], "differ in tasks"),
        ([run, run], "given twice"),
        ([run, "--format", "markdown"], "expected one of table, csv, json"),
    ):
        assert exit_code(lambda argv=argv: main(["agreement", *argv]), (InputError,)) == 2
        captured = capsys.readouterr()
        assert named in captured.err and captured.err.count("\n") == 1 and captured.err.startswith("error: ")
