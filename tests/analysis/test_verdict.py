"""The sentence that says what a search found and what retraining says of it."""

import pytest

from analysis.measures.comparison import compare
from analysis.measures.verdict import choice_alone, verdict
from search_spaces import Architecture
from supernet.records.choices import Choice
from tests.support.results import metrics, write_run

GAIN = {("depth", "semseg"): Choice("xtam", 0.99, True, 5.0, (4.0, 6.0))}
BOTH = {**GAIN, ("semseg", "depth"): Choice("local", 0.98, True, 2.0, (1.0, 3.0))}


def said(folder, baseline, found, choices=GAIN):
    runs = []
    for name, model, seeds in (("none", "uniform:none", baseline), ("found", "found", found)):
        contents = [metrics(*seed, model=model, seed=k) for k, seed in enumerate(seeds)]
        runs.append(write_run(folder / name, *contents))
    comparison = compare(runs[0], runs[1:])
    return verdict(comparison, comparison.rows[0], choices)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([(0.4, 0.3)], "found gains +25.0 points of Delta_m (1 seed: the spread is unknown) over no exchange"),
        ([(0.4, 0.9)], "found loses -25.0 points of Delta_m (1 seed: the spread is unknown) over no exchange"),
    ],
)
def test_one_seed_has_no_interval(tmp_path, found, words):
    assert said(tmp_path, [(0.4, 0.6)], found).startswith(words)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ([(0.4, 0.3), (0.4, 0.36)], "found gains +22.5 points"),
        ([(0.4, 0.84), (0.4, 0.9)], "found loses -22.5 points"),
        ([(0.4, 0.3), (0.4, 0.9)], "found does not clearly differ: +0.0 points"),
    ],
)
def test_the_interval_decides_the_word(tmp_path, found, word):
    sentence = said(tmp_path, [(0.4, 0.6), (0.4, 0.6)], found)
    assert sentence.startswith(word) and "95 % interval" in sentence and "2 seeds" in sentence


def test_the_tasks_that_were_predicted_to_gain_are_counted(tmp_path):
    sentence = said(tmp_path, [(0.4, 0.6)], [(0.3, 0.3)], BOTH)
    assert sentence.endswith("; of 2 tasks predicted to gain (depth, semseg), 1 did")
    assert "predicted" not in said(tmp_path / "without", [(0.4, 0.6)], [(0.3, 0.3)], {})


def test_a_choice_that_nothing_tested():
    tasks = ("semseg", "depth")
    none = Architecture.uniform(tasks, "none")
    assert choice_alone(none) == "the search chose no exchange on any of 4 pairs"
    assert choice_alone(Architecture.uniform(tasks, "xtam")).startswith("the search chose an exchange on 2 of 4 pairs")
