"""What was predicted beside what retraining saved: how effects add up, which runs are compared, the report's table."""

import shutil

import pytest

from analysis.__main__ import main
from analysis.measures.runs import read_model
from analysis.measures.saved import saved, together, without_exchange
from supernet.records.choices import Choice, read_choices
from tests.support.html_page import Page
from tests.support.races import write_search
from tests.support.results import metrics, write_choices, write_run
from tests.support.retraining import EXCHANGES

PAIRS = list(EXCHANGES)  # semseg and depth read something of depth or semseg


def effect(value, low, high):
    return Choice("local", 0.9, True, value, (low, high))


def losses(model, *of_seeds):
    return [metrics(model=model, seed=seed, losses=values) for seed, values in of_seeds]


@pytest.fixture
def runs(tmp_path):
    none = losses("uniform:none", (0, {"semseg": 2.0, "depth": 0.5}), (1, {"semseg": 2.5, "depth": 0.5}))
    found = losses("found", (1, {"semseg": 2.0, "depth": 0.6}), (0, {"semseg": 1.8, "depth": 0.5}))
    return write_run(tmp_path / "found", *found), write_run(tmp_path / "none", *none)


def test_each_exchange_saves_its_share_of_what_the_others_leave():
    assert together([effect(50, 40, 60), effect(20, 17, 24), Choice("none")]) == (
        pytest.approx(60),
        (pytest.approx(60 - (10**2 + 3**2) ** 0.5), pytest.approx(60 + (10**2 + 4**2) ** 0.5)),
    )
    assert together([effect(3.0, 1.0, 4.0)]) == (pytest.approx(3.0), (pytest.approx(1.0), pytest.approx(4.0)))
    assert together([Choice("none")]) == (None, None)


def test_seeds_are_compared_with_themselves(runs):
    found, none = map(read_model, runs)
    choices = {("semseg", "depth"): effect(5.0, 2.0, 9.0), ("depth", "semseg"): Choice("none")}
    semseg, depth = saved(found, none, choices)
    assert semseg.predicted == pytest.approx(5.0) and depth.predicted is None
    assert semseg.retrained == {0: pytest.approx(10.0), 1: pytest.approx(20.0)}
    assert depth.retrained == {0: 0.0, 1: pytest.approx(-20.0)}


def test_runs_without_losses_predictions_or_common_seeds_say_nothing(runs, tmp_path):
    found, none = map(read_model, runs)
    choices = {("semseg", "depth"): effect(5.0, 2.0, 9.0)}
    assert saved(found, none, {("semseg", "depth"): Choice("local")}) == []
    assert saved(read_model(write_run(tmp_path / "old", metrics(seed=0))), none, choices) == []
    other = read_model(write_run(tmp_path / "other", *losses("found", (7, {"semseg": 1.0}))))
    assert saved(other, none, choices) == []
    assert without_exchange([found, none]) is none and without_exchange([found]) is None


def test_the_report_shows_both(runs, tmp_path):
    search = write_search(tmp_path / "run", "--search.strategy=score")
    write_choices(search, EXCHANGES, effect=("5.0", "2.0", "9.0"))
    shutil.copy(search / "architecture.yaml", runs[0] / "seed_0")
    assert read_choices(search / "choices.csv")
    main(["report", *map(str, (search, "--found", runs[0], "--baseline", runs[1], "--images", 0))])
    words = [text.strip() for text in Page((search / "report.html").read_text()).texts if text.strip()]
    begin = words.index("Predicted and retrained")
    shown = words[begin : begin + 30]
    assert {"+15.0", "+20.0, +10.0"} <= set(shown) or {"+15.0", "+10.0, +20.0"} <= set(shown)
    main(["report", *map(str, (search, "--found", runs[0], "--images", 0))])
    assert "Predicted and retrained" not in (search / "report.html").read_text()
