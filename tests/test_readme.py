"""The README's code and commands, and the shipped configurations, work as written."""

import contextlib
import re
import shlex
import shutil

import pytest
import torch
import yaml

from crosstalk.__main__ import COMMANDS
from search import main as search_main
from search_spaces import BLOCKS, SPACES, Architecture
from tests.support.folders import write_folder
from tests.support.pages import ROOT, TINY, commands, fenced, run

README = (ROOT / "README.md").read_text()
SPLITS = (("train", 8), ("val", 2), ("test", 2))  # as few as the default strategy can do with
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SHOWN = commands(README)


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """All commands, one after the other in one folder: that folder, and {command: what it printed}."""
    folder = tmp_path_factory.mktemp("readme")
    data = write_folder(folder / "data", SPLITS)
    shutil.copy(data / "images/test_0.jpg", folder / "photo.jpg")
    with contextlib.chdir(folder):
        printed = {shlex.join(line): run(line, data) for line in SHOWN}
    return folder, printed


def test_every_command_runs(readme):
    folder, printed = readme
    assert len(printed) == len(SHOWN) >= 15
    for line in SHOWN:
        if line[1] == "search.py" and "--check-data" not in line and "--loss_weights.only" not in line:
            architecture = Architecture.load(folder / line[line.index("--output") + 1] / "architecture.yaml")
            assert len(architecture.exchanges) == len(architecture.tasks) ** 2


def test_the_way_to_delta_m(readme):
    folder, printed = readme
    compared = next(text for line, text in printed.items() if "analysis compare" in line)
    assert "found" in compared and "multi_task" in compared
    assert "</html>" in (folder / "runs/demo/report.html").read_text()
    strategies = next(text for line, text in printed.items() if "analysis strategies" in line)
    assert {"tpe", "gdas"} <= {row.split()[0] for row in strategies.splitlines() if row.strip()}


def test_a_photo_gets_its_predictions(readme):
    folder, _ = readme
    for file in ("semseg/photo.png", "semseg/legend.csv", "depth/photo.npy", "pictures/depth/photo.png"):
        assert (folder / "predictions" / file).is_file()


def test_the_budget_is_kept_and_the_front_written(readme):
    folder, _ = readme
    assert len(list((folder / "runs/front/pareto/samples").iterdir())) == 4
    assert (folder / "runs/weights/loss_weights.yaml").is_file()


def test_good_data_has_no_problems(readme):
    _, printed = readme
    assert next(text for line, text in printed.items() if "--check-data" in line).strip().endswith("0 problems")


def test_the_exchange_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = ("semseg", "depth")
    exchanges = dict.fromkeys([(t, s) for t in tasks for s in tasks], "t_label")
    Architecture(tasks, exchanges).save("architecture.yaml")
    (example,) = fenced(README, "python")
    names: dict = {}
    exec(example, names)
    assert {t: r.shape for t, r in names["refined"].items()} == {t: torch.Size([2, 64, 24, 32]) for t in tasks}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_run(path, tmp_path):
    config = yaml.safe_load(path.read_text())
    folder = config["data"]["name"] == "folder"
    where = [f"--data.root={write_folder(tmp_path / 'data', SPLITS)}"] if folder else []
    assert search_main(["--config", str(path), "--output", str(tmp_path / "run"), *TINY, *where]) == 0
    assert path.read_text().startswith("#"), "a config opens with its command"


def test_named_commands_blocks_and_spaces_exist():
    for name in re.findall(r"`(?:python -m analysis|crosstalk) (\w+)`", README):
        assert name in COMMANDS, name
    for name in (*BLOCKS, *SPACES):
        assert f"`{name}`" in README, name


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_it_is_short_and_has_nothing_left_to_fill_in():
    assert len(README.splitlines()) <= 200
    assert not re.findall(r"\b[A-Z]{3,}_[A-Z]{3,}\b", README)
