"""What was predicted beside what retraining saved: how effects add up, which runs are compared, the report's table."""

import shutil

import pytest

from analysis.__main__ import main
from analysis.measures.runs import read_model
from analysis.measures.saved import saved, together, without_exchange
from search_spaces import Architecture
from supernet.records.choices import Choice
from tests.support.html_page import Page
from tests.support.races import write_race, write_search
from tests.support.results import metrics, write_choices, write_run
from tests.support.retraining import EXCHANGES, TASKS


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
    others = {
        "another seed": {"seed": 7, "losses": {"semseg": 1.0}},
        "no labels": {"seed": 0, "losses": {"semseg": None}},
        "a log-likelihood": {"seed": 0, "losses": {"semseg": -1.0}},
        "other images": {"seed": 0, "losses": {"semseg": 1.0}, "fingerprint": "ffff"},
    }
    for name, content in others.items():
        other = read_model(write_run(tmp_path / name, metrics(model="found", **content)))
        assert saved(other, none, choices) == [], name
    assert without_exchange([found]) is None and without_exchange([found, none]) is none


def test_a_task_at_several_scales_is_one_row(runs):
    choices = {("semseg@0", "depth@0"): effect(50, 40, 60), ("semseg@1", "depth@1"): effect(20, 17, 24)}
    (semseg,) = saved(*map(read_model, runs), choices)
    assert semseg.task == "semseg" and semseg.predicted == pytest.approx(60)


def rows_of(search):
    """The table's cells, by task."""
    words = [text.strip() for text in Page((search / "report.html").read_text()).texts if text.strip()]
    if "Predicted and retrained" not in words:
        return None
    begin = words.index("each seed") + 1
    return {words[i]: words[i + 1 : i + 5] for i in (begin, begin + 5)}


@pytest.fixture
def search(tmp_path):
    folder = write_search(tmp_path / "run", "--search.strategy=score")
    exchanges = EXCHANGES | {("depth", "semseg"): "none", ("depth", "depth"): "none"}
    Architecture(TASKS, exchanges, normalize_messages=True).save(folder / "architecture.yaml")
    write_choices(folder, exchanges)
    text = (folder / "choices.csv").read_text()
    chosen = next(line for line in text.splitlines() if line.startswith("semseg,depth,"))
    block = exchanges["semseg", "depth"]
    (folder / "choices.csv").write_text(text.replace(chosen, f"semseg,depth,{block},5.04,2.0,9.0,0.9,true"))
    return folder


def test_the_report_shows_both(runs, search):
    shutil.copy(search / "architecture.yaml", runs[0] / "seed_0")
    main(["report", *map(str, (search, "--found", runs[0], "--baseline", runs[1], "--images", 0))])
    rows = rows_of(search)
    assert rows["semseg"] == ["+5.0", "+2.0 to +9.0", "+15.0", "+10.0, +20.0"]
    assert rows["depth"][:1] == ["no exchange"] and rows["depth"][1:3] == ["-10.0", "+0.0, -20.0"]
    main(["report", *map(str, (search, "--found", runs[0], "--images", 0))])
    assert rows_of(search) is None


def test_the_networks_of_a_race_of_this_architecture(runs, search, tmp_path, capsys):
    race = tmp_path / "race"
    write_race(race, search)
    for name, run in zip(("found", "none"), runs, strict=True):
        shutil.copytree(run, race / name)
    arguments = ["report", *map(str, (search, "--race", race, "--images", 0))]
    main(arguments)
    assert rows_of(search) is None  # of an unknown architecture
    shutil.copy(search / "architecture.yaml", race / "found/seed_0")
    main(arguments)
    assert rows_of(search)["semseg"][2] == "+15.0"
    (race / "none/seed_1/metrics.json").write_text("{")
    main(arguments)
    assert rows_of(search) is None and "left out" in capsys.readouterr().err
