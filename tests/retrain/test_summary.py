"""What a retraining prints at its end."""

import json
import shlex

import pytest

from analysis.__main__ import main as analyse
from experiment.config import DataSettings
from multitask.tasks import build_tasks
from retrain.summary import next_command, over_seeds
from tests.support.results import metrics, write_run

TASKS = build_tasks(("semseg", "depth"), DataSettings(), 3)


def write_model(folder, name, *seeds, config=None):
    """A finished retraining."""
    write_run(folder, *({**content, "model": name} for content in seeds), config=config or {})
    for k in range(len(seeds)):
        (folder / f"seed_{k}/model.json").write_text(json.dumps({"model": name}))
    return folder


def test_mean_and_spread_over_the_seeds(tmp_path):
    run = write_run(tmp_path / "run", metrics(0.4, 0.6), metrics(0.5, 0.6), metrics(0.6, 0.9))
    lines = over_seeds("found", sorted(run.iterdir()), TASKS).splitlines()
    assert lines[0] == "found, test split: mean ± standard deviation over 3 seeds"
    assert [line.split() for line in lines[1:]] == [
        ["semseg", "mean_iou", "0.5000", "±", "0.1000"],
        ["depth", "rmse", "0.7000", "±", "0.1732"],
    ]


def test_a_task_without_a_value_is_left_out(tmp_path):
    content = metrics()
    content["tasks"]["depth"]["rmse"] |= {"value": None, "undefined": "no depth"}
    run = write_run(tmp_path / "run", metrics(), content)
    assert "depth" not in over_seeds("found", sorted(run.iterdir()), TASKS)


@pytest.mark.parametrize("name", ["uniform:none", "multi_task", "single_task"])
def test_the_next_command_compares_with_the_baseline_beside_it(tmp_path, capsys, name):
    baseline = write_model(tmp_path / "a baseline", name, metrics(0.4))
    found = write_model(tmp_path / "found", "found", metrics(0.5))
    write_model(tmp_path / "other", "uniform:xtam", metrics(0.5))
    # of other tasks or of another schedule, though their folders come first
    write_model(tmp_path / "a0", name, metrics(0.4), config={"data": {"tasks": ["depth", "normals"]}})
    write_model(tmp_path / "a1", name, metrics(0.4), config={"training": {"iterations": 5}})
    (write_model(tmp_path / "a2", name, metrics(0.4)) / "seed_0/config.yaml").write_text("- damaged")
    line = next_command("found", found, [0])
    assert line == f"next: python -m analysis compare --baseline '{baseline}' {found}"
    analyse(shlex.split(line)[4:])
    assert "found" in capsys.readouterr().out


def test_without_a_baseline_the_next_command_trains_one(tmp_path):
    found = write_model(tmp_path / "found", "found", metrics(), metrics())
    words = shlex.split(next_command("found", found, [0, 1]))
    assert words[1:3] == ["python", "retrain.py"] and words[-3:] == ["--seeds", "0", "1"]
    assert words[words.index("--baseline") + 1] == "uniform:none"
    assert words[words.index("--config") + 1] == str(found / "seed_0/config.yaml")


def test_a_baseline_is_compared_with_what_is_found(tmp_path):
    none = write_model(tmp_path / "none", "uniform:none", metrics())
    assert next_command("uniform:none", none, [0]) == f"next: python -m analysis compare --baseline {none} FOUND"
