"""The README's code and commands, and the shipped configurations, work as written."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from analysis.__main__ import COMMANDS
from analysis.__main__ import main as analysis_main
from search import main as search_main
from search_spaces import BLOCKS, SPACES, Architecture
from tests.retrain.test_retrain import main as retrain_main
from tests.supernet.test_search import SHORT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
TINY = [*SHORT, "--data.test_images=3"]


def blocks_of(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for marked, text in fenced if marked == language]


def commands():
    """Every command line that the README shows in a plain code block."""
    lines = [line for block in blocks_of("") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("python ")]


def test_the_exchange_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = ("semseg", "depth")
    exchanges = dict.fromkeys([(t, s) for t in tasks for s in tasks], "t_label")
    Architecture(tasks, exchanges).save("architecture.yaml")
    example = next(code for code in blocks_of("python") if "Exchange(architecture" in code)
    names: dict = {}
    exec(example, names)
    assert {t: r.shape for t, r in names["refined"].items()} == {t: torch.Size([2, 64, 24, 32]) for t in tasks}


def test_the_block_example_joins_a_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_blocks.py").write_text(next(c for c in blocks_of("python") if "class Difference" in c))
    line = next(c for c in commands() if "--space.blocks" in c)
    arguments = [a.replace("configs/", f"{ROOT}/configs/") for a in line[2:]]
    assert search_main([*arguments, *TINY]) == 0
    assert "my_blocks:Difference" in (tmp_path / "runs/own/selection.csv").read_text()


def test_the_budget_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = [line for line in commands() if {"--search.budget", "--search.pareto"} & set(line)]
    assert len(shown) == 3
    for line in shown:
        arguments = [a.replace("configs/", f"{ROOT}/configs/") for a in line[2:]]
        few = ["--search.pareto=4"] if "--search.pareto" in line else []
        assert search_main([*arguments, *TINY, "--training.iterations=2", *few]) == 0
    assert len(list((tmp_path / "runs/front/pareto/samples").iterdir())) == 4


def test_every_command_names_what_exists(tmp_path):
    shown = commands()
    assert len(shown) >= 6
    for line in shown:
        if line[1] == "-m":
            assert line[2] == "analysis" and line[3] in COMMANDS, line
        else:
            assert (ROOT / line[1]).is_file(), line
            if "--config" in line:
                assert (ROOT / line[line.index("--config") + 1]).is_file(), line


def test_the_way_to_delta_m(tmp_path, monkeypatch, capsys):
    """The commands from search to comparison, as the README gives them, at a tiny budget."""
    monkeypatch.chdir(tmp_path)
    ran = []
    for line in commands():
        arguments = [a.replace("configs/demo", f"{ROOT}/configs/demo") for a in line[2:]]
        if line[1] == "search.py" and "runs/demo" in line:
            assert search_main([*arguments, *TINY]) == 0
        elif line[1] == "retrain.py":
            assert retrain_main([*arguments, *TINY]) == 0
        elif line[1:3] == ["-m", "analysis"] and len(line) > 4 and line[3] != "strategies":
            analysis_main(line[3:])
        else:
            continue
        ran.append(line[1])
    assert ran == ["search.py", "retrain.py", "retrain.py", "retrain.py", "-m", "-m"]
    printed = capsys.readouterr().out
    assert "found" in printed and "multi_task" in printed
    assert "</html>" in (tmp_path / "runs/demo/report.html").read_text()


def test_the_strategies_are_compared(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in commands():
        arguments = [a.replace("configs/demo", f"{ROOT}/configs/demo") for a in line[2:]]
        if "--search.strategy" in line:
            strategy = line[line.index("--search.strategy") + 1]
            few = [f"--search.{strategy}.samples=2"] if strategy == "tpe" else []
            assert search_main([*arguments, *TINY, "--training.iterations=2", *few]) == 0
        elif line[3] == "strategies" and len(line) > 4:
            capsys.readouterr()
            analysis_main(line[3:])
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert ["tpe", "1"] in rows and ["gdas", "1"] in rows


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configurations_run(path, tmp_path):
    from tests.multitask.test_folder import write_folder

    config = yaml.safe_load(path.read_text())
    root = write_folder(tmp_path / "data") if config["data"]["name"] == "folder" else None
    where = [] if root is None else [f"--data.root={root}"]
    # the tasks and loss weights are the config's own; only size and length are cut
    cut = [a for a in TINY if "data.tasks" not in a and "loss_weights" not in a]
    assert search_main(["--config", str(path), "--output", str(tmp_path / "run"), *cut, *where]) == 0
    assert path.read_text().startswith("#"), "a config opens with its command"


def test_tables_list_all_blocks_and_spaces():
    for name in (*BLOCKS, *SPACES):
        assert f"`{name}`" in README, name


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_nothing_is_left_to_fill_in_and_no_link_is_dead():
    assert not re.findall(r"\b[A-Z]{3,}_[A-Z]{3,}\b", README)
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
