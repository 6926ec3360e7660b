"""What each exchange is worth, in the report: the measured effects, drawn, and the chosen ones in a table."""

import json
import shutil

import pytest

from analysis.__main__ import main
from analysis.commands.report.effects_section import BEST, panels
from analysis.report.figures import COLOURS
from analysis.report.intervals import intervals
from analysis.report.numbers import probability
from search_spaces import SPACES, Architecture, SearchSpace
from supernet.records.costs import Cost, CostTable
from supernet.records.effects import MeasuredEffect, read_effects, write_effects
from tests.support.html_page import Page
from tests.support.races import write_search
from tests.support.results import refusal
from tests.support.retraining import EXCHANGES, TASKS

SPACE = SearchSpace(TASKS, SPACES["full"])
CHOSEN = [(pair, block) for pair, block in EXCHANGES.items() if block != "none"]


def candidates():
    return [(pair, block) for pair in SPACE.pairs for block in SPACE.legal(pair) if block != "none"]


def measured(shift=0.0):
    """An effect for each candidate, the later the smaller: two of the chosen ones are not among the best of a pair."""
    values = {one: shift + 2 - k / 8 for k, one in enumerate(candidates())}
    return {one: MeasuredEffect(v, 0.2, v, v - 0.5, v + 0.25, min(0.997, abs(v) / 4)) for one, v in values.items()}


def write_costs(folder):
    rows = {pair: {} for pair in SPACE.pairs}
    for k, (pair, block) in enumerate(candidates()):
        rows[pair][block] = Cost(1000 * (k + 1))
    overheads = dict.fromkeys(SPACE.tasks, Cost(5))
    table = CostTable(Cost(10), overheads, {pair: {"none": Cost(), **row} for pair, row in rows.items()})
    table.write(folder / "costs.csv")


@pytest.fixture
def run(tmp_path):
    folder = write_search(tmp_path / "run", "--search.strategy=score", "--search.worth=0.375")
    write_effects(folder / "effects.csv", measured())
    write_costs(folder)
    return folder


def page(run, *arguments):
    main(["report", *map(str, (run, *arguments))])
    return Page((run / "report.html").read_text())


def rows_of(page):
    """The cells of the section's table, without its header."""
    words = [text.strip() for text in page.texts]
    begin, end = words.index("What each exchange is worth"), words.index("The architecture")
    cells = [word for word in words[begin:end] if word]
    header = ["pair", "block", "effect, %", "95 % interval", "probability", "multiply-adds"]
    begin = cells.index("pair")
    assert cells[begin : begin + 6] == header
    width = 7 if cells[begin + 6].startswith("mean of") else 6
    return [cells[i : i + width] for i in range(begin + width, len(cells), width)]


def test_the_table_has_the_chosen_blocks_with_the_numbers_of_the_files(run):
    shown = page(run)
    assert shown.sections[:2] == ["effects", "architecture"]
    effects, costs = read_effects(run / "effects.csv"), CostTable.read(run / "costs.csv").rows
    expected = [
        [
            f"{pair[0]} <- {pair[1]}",
            block,
            f"{effects[pair, block].effect:+.2f}",
            f"[{effects[pair, block].low:+.2f}, {effects[pair, block].high:+.2f}]",
            probability(effects[pair, block].probability),
            f"{costs[pair][block].multiply_adds:,}",
        ]
        for pair, block in CHOSEN
    ]
    assert sorted(rows_of(shown)) == sorted(expected)
    values = [float(row[2]) for row in rows_of(shown)]
    assert values == sorted(values, reverse=True)
    words = " ".join(shown.texts)
    assert "search.worth,\n0.375 %" in words and f"the {BEST} blocks of the largest effects" in words


def test_the_best_blocks_of_each_pair_and_the_chosen_one_are_drawn(run):
    effects = read_effects(run / "effects.csv")
    drawn = panels(effects, Architecture.load(run / "architecture.yaml"))
    assert list(drawn) == [f"into {task}" for task in TASKS]
    for target, source in SPACE.pairs:
        rows = drawn[f"into {target}"][f"from {source}"]
        of_pair = [effects[one].effect for one in effects if one[0] == (target, source)]
        assert [row.value for row in rows[:BEST]] == sorted(of_pair, reverse=True)[:BEST]
        chosen = EXCHANGES[target, source]
        assert [row.block for row in rows if row.chosen] == [chosen] * (chosen != "none")
        assert len(rows) == min(len(of_pair), BEST + (chosen in ("xtam", "s_label")))
        for row in rows:
            one = effects[(target, source), row.block]
            assert (row.value, row.low, row.high) == (one.effect, one.low, one.high)


def test_the_figure_shows_what_is_chosen_and_what_is_worth_it(run):
    drawn = panels(read_effects(run / "effects.csv"), Architecture.load(run / "architecture.yaml"))
    figure = intervals(drawn, "effect, %", 0.375)
    assert [axes.get_title() for axes in figure.axes] == list(drawn)
    for axes, groups in zip(figure.axes, drawn.values()):
        labels = [text for group, rows in groups.items() for text in (group, *(row.block for row in rows))]
        assert [tick.get_text() for tick in axes.get_yticklabels()] == labels
        bold = [tick.get_text() for tick in axes.get_yticklabels() if tick.get_fontweight() == "bold"]
        chosen = [row.block for rows in groups.values() for row in rows if row.chosen]
        assert bold == chosen
        coloured = [line.get_color() for line in axes.lines if line.get_color() in COLOURS.values()]
        assert coloured == [COLOURS[block] for block in chosen for _ in range(2)]  # the interval and the mean
        dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert dashed == [0.375]


@pytest.mark.parametrize("count", range(1, 8))
def test_panels_stand_in_rows_of_at_most_three(count):
    tasks = tuple(f"task{k}" for k in range(count))
    architecture = Architecture(tasks, {(target, source): "global" for target in tasks for source in tasks})
    effects = {(pair, "global"): MeasuredEffect(1, 0.1, 1, 0.5, 1.5, 0.9) for pair in architecture.pairs}
    figure = intervals(panels(effects, architecture), "effect, %", 0.5)
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == count and len(figure.axes) - count < 3
    assert figure.get_figwidth() < 12


def test_repeated_searches_spread_the_chosen_effects(run, tmp_path):
    for name, shift in (("again", 0.5), ("once more", -0.5)):
        shutil.copytree(run, tmp_path / name)
        write_effects(tmp_path / name / "effects.csv", measured(shift))
    shutil.copytree(run, tmp_path / "unmeasured")
    (tmp_path / "unmeasured/effects.csv").unlink()
    others = [tmp_path / name for name in ("again", "once more", "unmeasured")]
    effects = measured()
    rows = {row[0]: row for row in rows_of(page(run, "--searches", *others))}
    assert len(rows) == len(CHOSEN)
    for pair, block in CHOSEN:
        value = effects[pair, block].effect
        assert rows[f"{pair[0]} <- {pair[1]}"][6] == f"{value:+.2f} ± 0.50"
    drawn = panels(effects, Architecture.load(run / "architecture.yaml"), [measured(0.5), measured(-0.5)])
    for groups in drawn.values():
        for row in (row for rows in groups.values() for row in rows):
            assert row.others == ([row.value + 0.5, row.value - 0.5] if row.chosen else [])


def test_noise_nulls_are_no_repetitions(run, tmp_path):
    folder = write_search(tmp_path / "null", "--search.strategy=score", "--search.noise_null=true")
    write_effects(folder / "effects.csv", measured(3.0))
    shutil.copytree(run, tmp_path / "again")
    assert all(row[6].endswith("± 0.00") for row in rows_of(page(run, "--searches", tmp_path / "again", folder)))


def test_without_effects_there_is_no_such_section(run):
    (run / "effects.csv").unlink()
    assert page(run).sections[0] == "architecture"


def test_without_costs(run):
    (run / "costs.csv").unlink()
    assert {row[5] for row in rows_of(page(run))} == {"n/a"}


def test_without_a_choice_or_a_candidate(tmp_path):
    nothing = dict.fromkeys(EXCHANGES, "none")
    folder = write_search(tmp_path / "none", "--search.strategy=score", exchanges=nothing)
    write_effects(folder / "effects.csv", measured())
    assert "No exchange was chosen." in page(folder).texts
    write_effects(folder / "effects.csv", {})
    assert page(folder).sections[0] == "architecture"


def test_damaged_effects_are_refused(run, capsys):
    text = (run / "effects.csv").read_text()
    header, first, *lines = text.splitlines()
    target, source, block, *numbers = first.split(",")
    faults = {
        "expected target,source": text.replace("measured", "found"),
        "cells: expected 9": text.replace(first, first.rpartition(",")[0]),
        "line 2": "\n".join([header, ",".join([target, source, block, "x", *numbers[1:]]), *lines, ""]),
        "expected its lower end": "\n".join(
            [header, ",".join([target, source, block, *numbers[:3], "2", "1", "0.5"]), *lines, ""]
        ),
        "expected percents": text.replace(numbers[0], "1e99"),
        "twice": f"{text}{first}\n",
        "differ: expected its pairs": text.replace(f"{target},{source}", "edge,depth"),
        "differ: expected its pairs and its blocks": "\n".join([header, ""]) + "\n".join([*lines[:1], ""]),
    }
    for named, content in faults.items():
        (run / "effects.csv").write_text(content)
        error = refusal(capsys, "report", run)
        assert named in error and "effects.csv" in error
    assert not (run / "report.html").exists()


def test_damaged_effects_of_a_repetition_are_refused(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "again")
    (tmp_path / "again/effects.csv").write_text("target\n")
    assert str(tmp_path / "again/effects.csv") in refusal(capsys, "report", run, "--searches", tmp_path / "again")


def test_what_was_trained_is_named_and_timed_and_two_steps_are_no_history(run):
    metrics = {"version": 1, "model": "uniform:none", "train_seconds": 30.0, "choice_seconds": 12.4}
    metrics["tasks"] = {"depth": {"rmse": {"value": 0.5, "higher_is_better": False, "primary": True}}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    lines = [f"{step},{t},{s},none,1" for step in (0, 300) for t, s in SPACE.pairs]
    (run / "selection.csv").write_text("\n".join(["step,target,source,block,probability", *lines, ""]))
    shown = page(run)
    words = [text.strip() for text in shown.texts]
    assert "42 s" in words and "The network without exchange" in words
    assert "selection" not in shown.sections and "metrics" in shown.sections
