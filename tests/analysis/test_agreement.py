"""Agreement of repeated searches against hand counts, and against chance."""

import csv
import io
import json
import random
import statistics
from pathlib import Path

import pytest

from analysis.measures.agreement import agreement, cohen_kappa, exchange_or_none, expected_by_chance, pair_agreement
from analysis.measures.searches import read_searches
from search_spaces import Architecture
from supernet.records.choices import Choice
from tests.support.results import CHOICES, analyse, refusal, write_choices

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
    return analyse(capsys, "agreement", *argv)


def test_two_searches_by_hand():
    """Alike on 3 of 4 pairs; chance: local 1/2 * 1/4, global 1/2 * 3/4."""
    result = agreement([FIRST, SECOND])
    assert result.agreement_percent == pytest.approx(75)
    assert result.chance_percent == pytest.approx(50)
    assert result.kappa == pytest.approx((0.75 - 0.5) / (1 - 0.5), abs=1e-6)
    assert (result.undefined_kappas, result.pairs) == (0, 4)


def test_three_searches_are_taken_two_by_two():
    searches = [FIRST, SECOND, THIRD]
    shares = pair_agreement(searches)
    assert [shares[pair] for pair in PAIRS] == pytest.approx([100, 0, 100 / 3, 100 / 3])
    result = agreement(searches)
    assert result.agreement_percent == pytest.approx(100 * (3 + 1 + 1) / 12)
    # couples: 1/2, then local only: 1/2 * 1/4 and 1/4 * 1/4
    assert result.chance_percent == pytest.approx(100 * (1 / 2 + 1 / 8 + 1 / 16) / 3)
    kappas = [0.5, (1 / 4 - 1 / 8) / (7 / 8), (1 / 4 - 1 / 16) / (15 / 16)]
    assert result.kappa == pytest.approx(statistics.mean(kappas), abs=1e-6)


def test_kappa_of_equal_and_opposite_choices():
    assert cohen_kappa(FIRST, FIRST) == pytest.approx(1)
    assert cohen_kappa(FIRST, choice("global", "global", "local", "local")) == pytest.approx(-1)


def test_kappa_is_undefined_where_both_collapsed_on_one_block():
    collapsed = choice(*["none"] * 4)
    assert cohen_kappa(collapsed, collapsed) is None
    result = agreement([collapsed, collapsed])
    assert (result.agreement_percent, result.chance_percent, result.kappa) == (100, 100, None)
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
    result = json.loads(printed(capsys, *runs, "--format", "json").out)
    assert result["all"]["agreement_percent"] == pytest.approx(75)
    assert result["by_pair"] == {"a": {"a": 100, "b": 0}, "b": {"a": 100, "b": 100}}
    # a<-b and b<-a alone: local, global against global, global
    different = result["different_tasks"]
    assert (different["pairs"], different["agreement_percent"], different["chance_percent"]) == (2, 50, 50)
    assert different["kappa"] == pytest.approx(0, abs=1e-6)
    lines = list(csv.DictReader(io.StringIO(printed(capsys, *runs, "--format", "csv").out)))
    scopes = {line["scope"]: line for line in lines if line["scope"] not in ("pair", "run")}
    assert list(scopes) == ["all", "different_tasks"]
    for name, line in scopes.items():
        for column in ("agreement_percent", "chance_percent", "kappa"):
            assert float(line[column]) == result[name][column]
    pairs = [line for line in lines if line["scope"] == "pair"]
    by_pair = {(line["target"], line["source"]): float(line["agreement_percent"]) for line in pairs}
    assert by_pair == {(t, s): result["by_pair"][t][s] for t, s in PAIRS}


def test_an_undefined_kappa_is_named(tmp_path, capsys):
    collapsed = choice("global", "none", "none", "global")
    text = printed(capsys, *write_runs(tmp_path, collapsed, collapsed)).out
    (of_all,) = [line.split() for line in text.splitlines() if line.startswith("all ")]
    (of_different,) = [line.split() for line in text.splitlines() if line.startswith("different tasks")]
    assert of_all[1:] == ["4", "100.0", "%", "50.0", "%", "1.00", "100.0", "%", "50.0", "%", "1.00"]
    assert of_different[2:] == ["2", *["100.0", "%", "100.0", "%", "undefined"] * 2]
    assert "undefined for 1 couples of runs that chose one" in text
    assert "undefined for 1 couples of runs that exchange everywhere, or nowhere" in text


def test_copies_of_one_search_are_remarked(tmp_path, capsys):
    runs = write_runs(tmp_path, FIRST, FIRST, provenance={"config_sha256": "12ab"})
    assert "copies" in printed(capsys, *runs).out
    runs = write_runs(tmp_path, FIRST, FIRST)
    assert "copies" not in printed(capsys, *runs).out


def test_one_search_or_other_tasks_are_refused(tmp_path, capsys):
    (run,) = write_runs(tmp_path, FIRST)
    Architecture(("a",), {("a", "a"): "local"}).save(tmp_path / "other.yaml")
    for argv, named in (
        ([run], "two or more searches: found 1"),
        ([run, str(tmp_path / "other.yaml")], "differ in tasks"),
        ([run, run], "given twice"),
        ([run, "--format", "html"], "expected one of table, markdown, csv, json"),
    ):
        assert named in refusal(capsys, "agreement", *argv)


def write_selection(run, steps):
    """steps: {step: {pair: {block: probability}}}."""
    rows = [
        f"{step},{t},{s},{block},{probability:.6f}"
        for step, pairs in steps.items()
        for (t, s), blocks in pairs.items()
        for block, probability in blocks.items()
    ]
    (Path(run) / "selection.csv").write_text("\n".join(["step,target,source,block,probability", *rows, ""]))


def test_each_couple_is_compared_on_the_pairs_that_both_have():
    """Couples: 2, 1 and no pairs in common; agreement 1/2 and 1."""
    first = {("a", "a"): "local", ("a", "b"): "none", ("b", "b"): "xtam"}
    second = {("a", "a"): "local", ("a", "b"): "local"}
    third = {("b", "b"): "xtam"}
    result = agreement([first, second, third])
    assert result.agreement_percent == pytest.approx(75) and result.pairs == 1
    assert result.chance_percent == pytest.approx(100 * (1 / 2 * 2 / 2 + 1) / 2)
    assert result.kappa == pytest.approx(0, abs=1e-6) and result.undefined_kappas == 1
    nothing = agreement([second, third])
    assert nothing == type(nothing)(None, None, None, 0, 0)


def test_pairs_decided_in_both_runs_by_hand(tmp_path, capsys):
    """FIRST and SECOND differ on a <- b alone, which one of them calls undecided."""
    runs = write_runs(tmp_path, FIRST, SECOND, SECOND)
    write_choices(Path(runs[0]), FIRST, [("a", "b")])
    write_choices(Path(runs[1]), SECOND, [("a", "b"), ("b", "a")])
    result = json.loads(printed(capsys, *runs, "--format", "json").out)
    # runs 0 and 1 share a <- a, b <- b; 0 and 2 also b <- a; 1 and 2 a <- a, b <- b
    assert result["decided_in_both"]["pairs"] == pytest.approx(7 / 3)
    assert result["decided_in_both"]["agreement_percent"] == 100 and result["decided_in_both"]["kappa"] == 1
    assert result["decided_in_both"]["chance_percent"] == pytest.approx(100 * (1 / 2 + 5 / 9 + 1 / 2) / 3)
    assert [run["undecided"] for run in result["by_run"]] == [1, 2, None]
    text = printed(capsys, *runs).out
    assert "all pairs count as decided in runs without choices.csv (1 of 3)" in text
    (line,) = [line.split() for line in text.splitlines() if line.startswith("decided in both")]
    assert line[3:9] == ["2.33", "100.0", "%", "51.9", "%", "1.00"]
    assert [line.split()[1:] for line in text.splitlines() if line.startswith(runs[1])] == [["2", "of", "4"]]


def test_runs_without_choices_and_history(tmp_path, capsys):
    runs = write_runs(tmp_path, FIRST, SECOND)
    text = printed(capsys, *runs).out
    assert "decided" not in text and "variance" not in text and "n/a" not in text and runs[0] not in text
    assert "decided_in_both" not in json.loads(printed(capsys, *runs, "--format", "json").out)


def test_exchange_or_none_by_hand(tmp_path, capsys):
    """FIRST exchanges everywhere, THIRD on one pair of four."""
    result = agreement([exchange_or_none(FIRST), exchange_or_none(THIRD)])
    assert (result.agreement_percent, result.chance_percent) == (25, 25) and result.kappa == pytest.approx(0, abs=1e-6)
    printed_ = json.loads(printed(capsys, *write_runs(tmp_path, FIRST, THIRD), "--format", "json").out)
    assert printed_["all"]["exchange_or_none"]["agreement_percent"] == 25
    assert printed_["all"]["agreement_percent"] == 25 and printed_["different_tasks"]["agreement_percent"] == 0


def test_coarser_answers_agree_at_least_as_often():
    draw = random.Random(1)
    for _ in range(50):
        searches = [choice(*(draw.choice(["none", "local", "global"]) for _ in PAIRS)) for _ in range(3)]
        exact, coarse = agreement(searches), agreement([exchange_or_none(search) for search in searches])
        assert coarse.agreement_percent >= exact.agreement_percent
        assert coarse.chance_percent >= exact.chance_percent


def test_noise_nulls_are_compared_among_themselves(tmp_path, capsys):
    runs = write_runs(tmp_path, FIRST, THIRD, FIRST, THIRD, SECOND)
    for run in (runs[1], runs[3]):
        (Path(run) / "config.yaml").write_text("search: {noise_null: true}\n")
    (Path(runs[0]) / "config.yaml").write_text("search: {noise_null: false}\n")
    result = json.loads(printed(capsys, *runs, "--format", "json").out)
    assert result["all"] == {**result["all"], **vars(agreement([FIRST, FIRST, SECOND]))}
    assert result["noise_null"]["all"]["agreement_percent"] == 100
    assert [run["noise_null"] for run in result["by_run"]] == [False, True, False, True, False]
    text = printed(capsys, *runs).out
    rows = [line.partition("  ")[0] for line in text.splitlines()]
    names = ["all", "all (noise null)", "different tasks", "different tasks (noise null)"]
    assert [row for row in rows if row.startswith(("all", "diff"))] == names
    assert "agreement of 2 searches (noise null)" in text
    lines = list(csv.DictReader(io.StringIO(printed(capsys, *runs, "--format", "csv").out)))
    (null,) = [line for line in lines if (line["scope"], line["noise_null"]) == ("all", "true")]
    assert float(null["agreement_percent"]) == 100
    # one null: compared with nothing, but named; one of each kind: no couple
    assert f"{runs[1]} (noise null) is the only one" in printed(capsys, runs[0], runs[1], runs[2]).out
    assert "found 1 and 1 noise null" in refusal(capsys, "agreement", runs[0], runs[1])


def test_changes_in_the_last_third_by_hand(tmp_path, capsys):
    """Steps 0 to 9, the last third from 6 on: a <- a changes twice there, and once before; the others never."""
    winner = {2: "none", 6: "none", 7: "local", 8: "none"}
    still = {"local": 0.5, "none": 0.5}  # a tie is no change
    steps = {}
    for step in range(10):
        won = winner.get(step, "none" if step == 9 else "local")
        steps[step] = dict.fromkeys(PAIRS, still) | {("a", "a"): {b: 0.7 if b == won else 0.3 for b in still}}
    runs = write_runs(tmp_path, FIRST, SECOND)
    write_selection(runs[0], steps)
    write_selection(runs[1], {0: steps[0], 9: steps[9]})  # a start and an end
    result = json.loads(printed(capsys, *runs, "--format", "json").out)
    assert [run["late_changes"] for run in result["by_run"]] == [2 / 4, None]
    text = printed(capsys, *runs).out
    (line,) = [line.split() for line in text.splitlines() if line.startswith(runs[0])]
    assert line[1:] == ["0.50"]


def test_the_variance_is_split_over_pairs_with_all_candidates(tmp_path, capsys):
    """Each pair prefers its own block in both runs, and none is favoured: all is pair x block."""
    tasks = ("a", "b", "c")
    full = {"none": 0.1, "local": 0.1, "xtam": 0.8}
    pairs = [(t, s) for t in tasks for s in tasks]
    ends, names = {}, list(full)
    for i, (target, source) in enumerate(pairs):
        turned = dict(zip(names, [full[names[(k + i) % 3]] for k in range(3)]))
        ends[target, source] = turned if target != source else {"none": 0.9, "local": 0.1}
    files = [tmp_path / f"run_{i}/architecture.yaml" for i in range(2)]
    for file in files:
        Architecture(tasks, dict.fromkeys(pairs, "local")).save(file)
        write_selection(file.parent, {0: ends})
    runs = [str(file.parent) for file in files]
    split = json.loads(printed(capsys, *runs, "--format", "json").out)["variance"]
    assert (split["runs"], split["pairs"]) == (2, 6)
    assert split["seed_share"] == pytest.approx(0, abs=1e-9) and split["pair_block_share"] > 0.9
    (line,) = [line.split() for line in printed(capsys, *runs).out.splitlines() if line.startswith("searches")]
    assert line[1:3] == ["2", "6"] and line[-2:] == ["0", "%"]


@pytest.mark.parametrize(
    "text, named",
    [
        ("target,source,block\n", "expected target,source,block,effect,effect_low,effect_high,probability,decided"),
        ("a,a,local,,,,1.5,true", "line 2: probability is 1.5"),
        ("a,a,local,,,,,yes", "line 2: decided is 'yes'"),
        ("a,a,local,wide,1,2,,true", "wide"),
        ("a,a,local,2,3,4,0.9,true", "outside its interval"),
        ("a,a,local,2,1,,0.9,true", "interval is missing"),
        ("a,a,local,2,1,4,0.9", "7 cells: expected 8"),
        ("a,a,local,2,1,4,0.9,true", "differ"),  # pairs are missing
    ],
)
def test_malformed_choices_are_refused(tmp_path, capsys, text, named):
    runs = write_runs(tmp_path, FIRST, SECOND)
    header = "" if text.startswith("target") else f"{CHOICES}\n"
    (Path(runs[0]) / "choices.csv").write_text(header + text)
    assert named in refusal(capsys, "agreement", *runs)


def test_choices_are_read_as_written(tmp_path):
    (run,) = write_runs(tmp_path, FIRST)
    rows = dict(reversed(FIRST.items()))
    write_choices(Path(run), rows, [("b", "a")], ("2", "1.5", "2.25"), {("b", "a"): "0.25"})
    (search,) = read_searches([run])
    assert search.name == run and list(search.choices) == PAIRS
    assert search.choices["b", "a"] == Choice("global", 0.25, False, 2.0, (1.5, 2.25))
    assert search.undecided == [("b", "a")] and search.decided() == {p: FIRST[p] for p in PAIRS if p != ("b", "a")}
    # the files beside an architecture of another name are not its own
    Architecture(TASKS, SECOND).save(Path(run) / "other.yaml")
    (search,) = read_searches([Path(run) / "other.yaml"])
    assert search.choices == {} and search.history is None and search.decided() == SECOND
