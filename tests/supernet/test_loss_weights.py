"""Loss weights: searched by several processes, stopped and resumed; read from a file; learned. And bad input."""

import csv
import io
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import optuna
import pytest
import torch
import yaml
from lightning_fabric import Fabric
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import supernet.loss_weights.search
from analysis.__main__ import main as report_main
from experiment.config import TrainingSettings
from experiment.run import Run
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork
from multitask.training.loss_weighting import UncertaintyWeighting, dump_weights
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from supernet.loss_weights import shared_study
from supernet.loss_weights.figures import history, importances, parallel_coordinates
from supernet.loss_weights.shared_study import SharedStudy, open_storage
from supernet.records.trials import TrialRecord
from tests.support.commands import CONFIG, ROOT, SHORT, assert_one_line, search, short
from tests.support.networks import small_network
from tests.support.retraining import main as retrain_main
from tests.support.training import DATA

TINY = ["--training.iterations=3"]
ONLY = [*TINY, "--loss_weights.only=true", "--loss_weights.trials=4"]


def process(*arguments):
    line = [sys.executable, str(ROOT / "search.py"), "--config", str(CONFIG), *short(*arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def trials(folder):
    with (folder / "loss_weights_trials.csv").open() as file:
        return list(csv.DictReader(file))


def found(folder):
    return yaml.safe_load((folder / "loss_weights.yaml").read_text())


def studied(storage):
    """The trials of weights, as Optuna itself reads them."""
    return optuna.load_study(study_name="loss_weights", storage=open_storage(str(storage))).trials


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A study and the search that follows it."""
    folder = tmp_path_factory.mktemp("weights") / "run"
    done = search(*TINY, "--loss_weights.trials=4", "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_holds_the_weights_and_their_provenance(run):
    folder, printed = run
    content, rows = found(folder), trials(folder)
    assert content["version"] == 1 and content["tasks"] == ["semseg", "depth"]
    assert content["weights"]["semseg"] == 1 and 0.01 <= content["weights"]["depth"] <= 100
    assert [int(row["trial"]) for row in rows] == [0, 1, 2, 3] and {row["semseg"] for row in rows} == {"1"}
    assert float(rows[0]["depth"]) == 1  # the published weights come first
    assert len({row["depth"] for row in rows}) == 4
    best = max((row for row in rows if row["state"] == "complete"), key=lambda row: float(row["delta_m"]))
    assert content["provenance"]["best_trial"] == int(best["trial"])
    assert content["provenance"]["delta_m"] == pytest.approx(float(best["delta_m"]), rel=1e-5)
    for row in rows:
        line = next(line for line in printed.splitlines() if line.startswith(f"trial {row['trial']}: "))
        assert f"Delta_m {float(row['delta_m']):+.2f} %" in line and "ETA" in line
        assert (int(row["steps"]) < 3) == (row["state"] == "pruned") == ("pruned" in line)
    # used by the search that followed, which also prints how to retrain with them
    assert json.loads((folder / "metrics.json").read_text())["loss_weights"] == content["weights"]
    assert all(f"--loss_weights.file {folder / 'loss_weights.yaml'}" in line for line in printed.splitlines()[-2:])
    assert not list(folder.glob("loss_weights/*/checkpoints"))


def test_the_search_goes_on_as_if_the_weights_had_been_given(run, tmp_path):
    folder, _ = run
    done = search(*TINY, f"--loss_weights.file={folder / 'loss_weights.yaml'}", "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/selection.csv").read_bytes() == (folder / "selection.csv").read_bytes()


def test_delta_m_is_that_of_the_multi_task_baseline_against_single_task(run, tmp_path):
    """Retrains both from the command line and compares by hand."""
    folder, _ = run
    options = short(*TINY, "--data.test_images=2", "--training.validate_every=0", defaults=SHORT)
    small = ["--config", str(CONFIG), *options]
    weights = f"--loss_weights.file={folder / 'loss_weights.yaml'}"
    single = ["--baseline", "single_task", "--output", str(tmp_path / "single")]
    multi = ["--baseline", "multi_task", "--output", str(tmp_path / "multi"), weights]
    assert retrain_main([*small, *single]) == 0 and retrain_main([*small, *multi]) == 0
    files = [json.loads((tmp_path / name / "seed_0/metrics.json").read_text()) for name in ("single", "multi")]
    assert files[1]["loss_weights"] == found(folder)["weights"]
    b, m = ({task: metrics["validation"]["tasks"][task] for task in metrics["tasks"]} for metrics in files)
    gains = [
        (m["semseg"]["mean_iou"]["value"] - b["semseg"]["mean_iou"]["value"]) / b["semseg"]["mean_iou"]["value"],
        (b["depth"]["rmse"]["value"] - m["depth"]["rmse"]["value"]) / b["depth"]["rmse"]["value"],
    ]
    assert found(folder)["provenance"]["delta_m"] == pytest.approx(100 * sum(gains) / 2, rel=1e-4)


def test_the_same_seed_gives_the_same_study_and_another_seed_another(run, tmp_path):
    folder, _ = run
    assert search(*ONLY, "--output", tmp_path / "again").returncode == 0
    assert not (tmp_path / "again/metrics.json").exists()
    for name in ("loss_weights.yaml", "loss_weights_trials.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert search(*ONLY, "--output", tmp_path / "other", "--seed=1").returncode == 0
    assert [row["depth"] for row in trials(tmp_path / "other")][1:] != [row["depth"] for row in trials(folder)][1:]


def test_interrupted_the_study_loses_one_trial_and_goes_on(tmp_path, monkeypatch):
    delta_m, calls = supernet.loss_weights.search.delta_m, []

    def interrupting(*values):
        calls.append(values)
        if len(calls) == 5:  # in the second trial
            signal.raise_signal(signal.SIGTERM)
        return delta_m(*values)

    monkeypatch.setattr(supernet.loss_weights.search, "delta_m", interrupting)
    done = search(*ONLY, "--output", tmp_path / "run")
    assert done.returncode == 130 and "--resume" in done.stderr and "Traceback" not in done.stderr
    kept = trials(tmp_path / "run")
    assert [row["trial"] for row in kept] == ["0"]
    done = search(*ONLY, "--output", tmp_path / "run", "--resume")
    assert done.returncode == 0 and "single-task reference" not in done.stdout
    rows = trials(tmp_path / "run")
    assert [row["trial"] for row in rows] == ["0", "2", "3", "4"] and rows[0] == kept[0]
    assert len({row["depth"] for row in rows}) == 4
    again = search(*ONLY, "--output", tmp_path / "run", "--resume")
    assert again.returncode == 0 and "trial" not in again.stdout


def test_two_processes_share_a_journal_and_one_is_killed(tmp_path):
    """Together they finish as many trials as configured, none twice; the killed one's trial is trained anew."""
    shared = [*ONLY, "--loss_weights.trials=8", f"--loss_weights.storage={tmp_path / 'study.log'}", "--output"]
    long = [*shared, tmp_path / "a", "--training.iterations=20", "--loss_weights.validations=20"]
    other = process(*shared, tmp_path / "b", *long[-2:])
    killed = process(*long)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("a/loss_weights/trial_*")):
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    resumed = search(*long, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 0, errors
    kept = studied(tmp_path / "study.log")
    states = [trial.state.name for trial in kept]
    assert states.count("FAIL") == 1 and states.count("COMPLETE") + states.count("PRUNED") == 8
    assert len({trial.params["depth"] for trial in kept if trial.state.name != "FAIL"}) == 8
    made = {name: {path.name for path in tmp_path.glob(f"{name}/loss_weights/trial_*")} for name in "ab"}
    assert not made["a"] & made["b"] and len(made["a"] | made["b"]) == 9
    for name in ("loss_weights.yaml", "loss_weights_trials.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_runs_one_after_the_other_share_a_storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        shared = ["--loss_weights.trials=2", "--loss_weights.storage=study.log"]
        assert search("--output", name, *TINY, *shared).returncode == 0
    assert len({trial.number for trial in studied("study.log")}) == 2


def test_the_report_and_tensorboard_show_the_study(run):
    folder, _ = run
    report_main(["report", str(folder)])
    section = (folder / "report.html").read_text().split('<section id="loss-weights">')[1].split("</section>")[0]
    assert section.count('src="data:image/png;base64,') >= 2
    assert f"{found(folder)['weights']['depth']:.4g}" in section and "4 trials" in section
    events = EventAccumulator(str(folder / "loss_weights"))
    events.Reload()
    assert {"loss_weights/history", "loss_weights/parallel_coordinates"} <= set(events.Tags()["images"])
    assert [event.step for event in events.Scalars("loss_weights/delta_m")] == [0, 1, 2, 3]


def test_figures_stand_what_a_study_may_hold():
    weights = {"semseg": 1.0, "depth": 2.0, "edge": 3.0}
    complete = TrialRecord(0, "complete", 9, 1.5, weights)
    pruned = TrialRecord(2, "pruned", 3, -1.5, {**weights, "depth": 4.0})
    diverged = TrialRecord(3, "pruned", 0, None, weights)
    for trials in ([], [diverged], [pruned], [complete], [complete, pruned, diverged]):
        for figure in (history(trials), parallel_coordinates(trials)):
            figure.savefig(io.BytesIO())
    drawn = parallel_coordinates([complete, pruned, diverged]).axes[0]
    names = [label.get_text().split("\n")[-1] for label in drawn.get_xticklabels()]
    assert names == ["depth", "edge", "Delta_m, %"]
    assert [bar.get_width() for bar in importances({"depth": 0.75, "edge": 0.25}).axes[0].patches] == [25, 75]


def open_study(storage, total=9, points=(), **setup):
    return SharedStudy(
        open_storage(str(storage)), "claims", setup, total, ["x", "y"],
        lambda trial: [trial.suggest_float(name, 1, 3) for name in "xy"], points=points,
    )  # fmt: skip


@pytest.mark.parametrize("storage", ["study.journal", "sqlite:///study.db"])
def test_many_who_begin_and_claim_at_once_never_get_the_same_point(tmp_path, monkeypatch, storage):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shared_study, "POLL", 0.01)
    grid = [{"x": float(x), "y": float(y)} for x, y in itertools.product((1, 2, 3), repeat=2)]
    claimed, errors, start = [], [], threading.Barrier(4)

    def work():
        try:
            start.wait()
            study = open_study(storage, points=grid)  # none is there yet, and all make it
            while (trial := study.claim()) is not None:
                claimed.append(trial.params)
                if len(claimed) == 4:
                    study._fail(trial.number)
                else:
                    assert study.tell(trial, trial.params["x"])
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert not errors
    done = [trial.params for trial in open_study(storage).finished()]
    assert sorted(done, key=str) == sorted(grid, key=str)
    assert len(claimed) in (10, 9)  # one failed and was claimed again, unless two came fourth at once


def test_a_trial_of_a_dead_process_is_given_to_another(tmp_path, monkeypatch):
    points = [{"x": 1.0, "y": 1.0}]
    study = open_study(tmp_path / "study.log", 1, points)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    first = study.claim()
    first.set_user_attr("process", f"{study.place} {gone.pid}")
    second = study.claim()
    assert (second.number, second.params) == (1, points[0])
    assert not study.tell(first, 1.0)  # had it lived, its result would not count
    # of a process on another machine, only missing beats show its end
    second.set_user_attr("process", "elsewhere 1")
    other = open_study(tmp_path / "study.log", 1, points)
    assert [trial.number for trial in other.counting()] == [1]
    monkeypatch.setattr(shared_study, "TIMEOUT", 0.5)
    time.sleep(0.6)
    assert other.claim().number == 2


def test_a_trial_whose_loss_is_not_finite_does_not_end_the_study(tmp_path):
    rate = [
        "--training.optimizer=sgd", "--training.learning_rate=0.003", "--training.log_every=1",
        "--training.clip_norm=null",
    ]  # fmt: skip
    grid = ["--loss_weights.sampler=grid", "--loss_weights.grid={depth: [1.e+30, 1]}"]
    done = search(*ONLY, *rate, *grid, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    rows = trials(tmp_path / "run")
    assert [(row["state"], row["delta_m"] != "") for row in rows] == [("pruned", False), ("complete", True)]
    assert "loss not finite" in done.stdout and found(tmp_path / "run")["weights"]["depth"] == 1


def test_the_grid_is_tried_in_whole(tmp_path):
    grid = ["--loss_weights.sampler=grid", "--loss_weights.grid={depth: [0.02, 2], normals: [1, 10]}"]
    tasks = "--data.tasks=[semseg, depth, normals]"
    done = search(*ONLY, "--loss_weights.trials=9", *grid, tasks, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    tried = [(float(row["depth"]), float(row["normals"])) for row in trials(tmp_path / "run")]
    assert tried == [(0.02, 1), (0.02, 10), (2, 1), (2, 10)]


def test_uncertainty_weighting_in_closed_form():
    weighting = UncertaintyWeighting(["semseg", "depth"])
    assert weighting.weights() == {"semseg": 1, "depth": 1}
    with torch.no_grad():
        weighting.log_variances["depth"].fill_(0.7)
    loss = torch.tensor(3.0, requires_grad=True)
    total = weighting("depth", loss)
    assert total.item() == pytest.approx(3 * math.exp(-0.7) + 0.7)
    total.backward()
    assert loss.grad.item() == pytest.approx(math.exp(-0.7))
    assert weighting.log_variances["depth"].grad.item() == pytest.approx(1 - 3 * math.exp(-0.7))
    assert weighting.weights()["depth"] == pytest.approx(math.exp(-0.7))
    # at its minimum the weight is 1 / L
    with torch.no_grad():
        weighting.log_variances["depth"].fill_(math.log(3))
    weighting.zero_grad()
    weighting("depth", loss.detach()).backward()
    assert weighting.log_variances["depth"].grad.item() == pytest.approx(0, abs=1e-6)


def test_learned_weights_move_without_decay_and_resume_as_if_never_stopped(tmp_path):
    def training(name, resume=False, iterations=6, tasks=None):
        torch.manual_seed(0)
        source = open_dataset(DATA)
        settings = TrainingSettings(iterations, 2, "sgd", 0.1, checkpoint_every=3, weight_decay=0.1, clip_norm=1.0)
        only = {task: source.tasks[task] for task in tasks or source.tasks}
        weights, fabric = dict.fromkeys(source.tasks, 1.0), Fabric(accelerator="cpu", devices=1)
        run = Run(tmp_path / name, {}, resume)
        network = MultiTaskNetwork(small_network(), only)
        return Trainer(network, Recipe(source, DATA, settings, weights, True, fabric), run, 0, tasks=only)

    one = training("one", iterations=1)
    before = one.task_weights()
    losses = {}
    original = one.losses
    one.losses = lambda *given: losses.update(found := original(*given)) or found
    one.fit()
    assert before == {"semseg": 1, "depth": 1}
    for name, weight in one.task_weights().items():  # one step of SGD: s = -rate (1 - L), whatever the clipping
        assert -math.log(weight) == pytest.approx(-0.1 * (1 - losses[name].item()), rel=1e-4)
    whole = training("whole")
    whole.fit()
    stopped = training("stopped")
    losses, calls = stopped.losses, []

    def breaking(*given):
        calls.append(given)
        if len(calls) == 5:
            raise RuntimeError
        return losses(*given)

    stopped.losses = breaking
    with pytest.raises(RuntimeError):
        stopped.fit()
    resumed = training("stopped", resume=True)
    resumed.fit()
    assert resumed.task_weights() == whole.task_weights() != before
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    alone = training("alone", tasks=["depth"], iterations=1)  # one task has nothing to be weighed against
    alone.fit()
    assert alone.task_weights() == {"depth": 1}


def test_search_and_retrain_learn_weights(tmp_path, capsys):
    learned = [*TINY, "--loss_weights.method=uncertainty"]
    done = search(*learned, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "weight_depth" in done.stdout
    weights = json.loads((tmp_path / "run/metrics.json").read_text())["loss_weights"]
    assert set(weights) == {"semseg", "depth"} and all(0 < w != 1 for w in weights.values())
    options = short(*learned, "--data.test_images=2", defaults=SHORT)
    line = ["--config", str(CONFIG), *options, "--baseline", "multi_task"]
    assert retrain_main([*line, "--output", str(tmp_path / "multi")]) == 0
    weights = json.loads((tmp_path / "multi/seed_0/metrics.json").read_text())["loss_weights"]
    assert all(0 < w != 1 for w in weights.values())


BAD = [
    (["--loss_weights.sampler=tpee"], ["'tpee'", "tpe, random, grid", "nearest: 'tpe'"]),
    (["--loss_weights.method=uncertain"], ["'uncertain'", "nearest: 'uncertainty'"]),
    (["--loss_weights.grid={dept: [1]}"], ["'dept'", "nearest: 'depth'"]),
    (["--loss_weights.grid={semseg: [1]}"], ["first task", "other tasks"]),
    (["--loss_weights.grid={depth: [0, 1]}"], ["loss_weights.grid.depth", "positive"]),
    (["--loss_weights.trials=-1"], ["loss_weights.trials is -1", "at least 0"]),
    (["--loss_weights.trials=3", "--data.tasks=[depth]"], ["depth is the only task", "two or more"]),
    (["--loss_weights.only=true"], ["loss_weights.only", "trials"]),
    (["--loss_weights.iterations=0"], ["loss_weights.iterations is 0"]),
    (["--loss_weights.validations=0"], ["loss_weights.validations is 0"]),
    (["--loss_weights.low=3", "--loss_weights.high=2"], ["3.0 and 2.0", "0 < low < high"]),
    (["--loss_weights.method=uncertainty", "--loss_weights.trials=3"], ["uncertainty", "no loss_weights.trials"]),
    (["--loss_weights.file=nowhere.yaml"], ["'nowhere.yaml'", "no such file"]),
    (["--loss_weights.trials=3", "--loss_weights.file=FILE"], ["loss_weights.file", "one of the two"]),
    (["--loss_weights.trials=3", "--loss_weights.storage=study.db"], ["'study.db'", ".log", "sqlite:///study.db"]),
    (["--loss_weights.trials=3", "--loss_weights.storage=nowhere/study.log"], ["nowhere/study.log", "No such file"]),
    (["--loss_weights.trials=3", "--loss_weights.storage=sqlite:////nowhere/x.db"], ["unable to open", "journal file"]),
    (["--loss_weights.trials=3", "--loss_weights.storage=foo://me:secret@host/x"], ["foo://...@host/x", "URL"]),
    (["--loss_weights.trials=3", "--loss_weights.storage=notes.log"], ["notes.log", "no journal"]),
]


@pytest.mark.parametrize(("arguments", "parts"), BAD)
def test_bad_input_is_one_line_and_leaves_no_run(tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text(dump_weights({"semseg": 1, "depth": 2}, {}))
    (tmp_path / "notes.log").write_text("mine\n")
    done = search(*TINY, "--output", tmp_path / "run", *arguments)
    assert_one_line(done, parts)
    assert not (tmp_path / "run").exists() and (tmp_path / "notes.log").read_text() == "mine\n"
    assert "secret" not in done.stderr


def test_a_study_made_for_something_else_is_refused(run, tmp_path):
    folder, _ = run
    shared = [*ONLY, f"--loss_weights.storage=sqlite:///{folder / 'loss_weights.db'}", "--output", tmp_path / "run"]
    assert_one_line(
        search(*shared, "--data.tasks=[semseg, normals]"),
        ["study 'loss_weights' was made for something else", "tasks was ['semseg', 'depth'] and is now"],
    )
    assert_one_line(search(*shared, "--loss_weights.iterations=2"), ["training.iterations was 3 and is now 2"])
    assert not (tmp_path / "run").exists()
    # under another name both fit into one storage
    done = search(*shared, "--loss_weights.study=mine", "--loss_weights.iterations=2", "--loss_weights.trials=1")
    assert done.returncode == 0, done.stderr


def test_files_of_weights_are_checked(tmp_path):
    weights = tmp_path / "loss_weights.yaml"
    for text, parts in (
        (dump_weights({"semseg": 1, "edge": 2}, {}), ["for the tasks ['semseg', 'edge']", "['semseg', 'depth']"]),
        (dump_weights({"semseg": 1, "depth": -2}, {}), ["weight of depth", "-2", "positive"]),
        ("weights: [", ["not valid YAML"]),
        ("weights: 3", ["holds no loss weights"]),
        ("{version: 2, weights: {}}", ["version 2", "expected 1"]),
    ):
        weights.write_text(text)
        assert_one_line(search(*TINY, f"--loss_weights.file={weights}", "--output", tmp_path / "run"), parts)


def test_retraining_wants_the_weights_that_were_found(run, tmp_path, capsys):
    folder, _ = run
    line = ["--config", str(folder / "config.yaml"), "--baseline", "multi_task", "--output", str(tmp_path / "multi")]
    assert retrain_main(line) == 2
    assert "--loss_weights.file" in capsys.readouterr().err


def test_weights_may_not_change_under_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "loss_weights.yaml"
    weights.write_text(dump_weights({"semseg": 1, "depth": 2}, {}))
    line = [*TINY, f"--loss_weights.file={weights}", "--output", tmp_path / "run"]
    assert search(*line).returncode == 0
    (tmp_path / "run/metrics.json").unlink()
    weights.write_text(dump_weights({"semseg": 1, "depth": 3}, {}))
    assert_one_line(search(*line, "--resume"), ["'depth': 2.0", "'depth': 3.0"])
