"""`make paper`: the commands of a preset's head with the user's folders, and our scores beside the published ones."""

import os
import shlex
import subprocess

import pytest

import supernet.command
from analysis.__main__ import main as analyse
from tests.support.pages import ROOT, retrain_main
from tests.support.published import WRITERS

EXTRA = " ".join(
    [
        "--training.iterations 2 --training.batch_size 2 --data.height 32 --data.width 48 --data.workers 0",
        "--data.tasks '[semseg, depth]' --network.backbone resnet18 --network.channels 8 --network.pretrained false",
        "--network.backbone_options '{channels: [4, 8, 16, 32], stem_type: deep, stem_width: 2, layers: [1, 1, 1, 1]}'",
    ]
)
RECORDER = """#!/bin/sh
for word in "$@"; do printf "%s\\n" "$word" >> "$LOG"; done
echo END >> "$LOG"
mkdir -p "$MADE"
"""


def paper(folder, *variables):
    """What `make paper` calls python with, and how it ended; python itself is a recorder."""
    (folder / "bin").mkdir(exist_ok=True)
    python = folder / "bin" / "python"
    python.write_text(RECORDER)
    python.chmod(0o755)
    log = folder / "log"
    log.unlink(missing_ok=True)
    done = subprocess.run(
        ["make", "-o", ".venv/ready", "paper", f"BIN={folder}/bin", f"RUNS={folder}/runs", *variables],
        cwd=ROOT,
        env={**os.environ, "LOG": str(log), "MADE": str(folder / "runs" / "nyud_hrnet18" / "single_task")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    text = log.read_text() if log.is_file() else ""
    return [call.splitlines() for call in text.split("END\n") if call], done


def test_a_row_is_searched_trained_and_set_beside_the_published_one(tmp_path, capsys, monkeypatch):
    data = tmp_path / "my data"
    WRITERS["nyud"](data)
    calls, done = paper(tmp_path, "ROW=nyud_hrnet18", f"ROOT={data}", "TABLE=nyud_hrnet18", f"EXTRA={EXTRA}")
    assert done.returncode == 0, done.stderr
    assert [call[0] for call in calls] == ["search.py", "retrain.py", "retrain.py", "retrain.py", "-m"]
    monkeypatch.chdir(ROOT)
    for script, *arguments in calls[:-1]:
        assert {"--resume", str(data)} <= set(arguments)
        assert {"search.py": supernet.command.main, "retrain.py": retrain_main}[script](arguments) == 0
    runs = tmp_path / "runs" / "nyud_hrnet18"
    assert sorted(path.name for path in runs.iterdir()) == ["found", "multi_task", "search", "single_task"]
    # make lists the runs after they were trained, which the recorder did not do
    (module, *arguments), trained = calls[-1][1:], [str(runs / name) for name in ("found", "multi_task")]
    assert module == "analysis"
    capsys.readouterr()
    analyse([*arguments, *trained])
    shown = capsys.readouterr().out
    rows = {line.split("  ")[0].strip(): line for line in shown.splitlines() if "ours" in line or "published" in line}
    assert "38.90" in rows["ATRC"] and "+1.56" in rows["ATRC"]
    assert {"found", "multi_task", "single_task"} <= set(rows) and "ours" in rows["found"]


def test_quoted_options_of_a_preset_reach_the_commands_whole(tmp_path):
    calls, done = paper(tmp_path, "ROW=cityscapes_ladder", f"ROOT={tmp_path}")
    assert done.returncode == 0, done.stderr
    path = ROOT / "configs/papers/cityscapes_ladder.yaml"
    heads = [shlex.split(line)[2:] for line in path.read_text().splitlines() if line.startswith("#   python ")]
    assert len(calls) == len(heads) == 9
    for call, head in zip(calls, heads):
        assert call == [
            *(word.replace("runs/", f"{tmp_path}/runs/").replace("ROOT", str(tmp_path)) for word in head), "--resume",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (["ROW=nyud_hrnet19", "ROOT=."], "ROW=nyud_hrnet19: expected one of cityscapes_densemtl"),
        (["ROW=nyud_hrnet18", "ROOT=/no/such"], "ROOT=/no/such is no folder"),
    ],
)
def test_a_row_and_a_folder_that_do_not_exist(tmp_path, variables, message):
    calls, done = paper(tmp_path, *variables)
    assert done.returncode == 2 and not calls and message in done.stdout
