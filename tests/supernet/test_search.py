"""The search command, end to end: files, determinism, resuming, a user's own block, bad input."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from PIL import Image

from experiment.config import Config
from experiment.config.parsing import known_keys
from search_spaces import Architecture
from tests.support.commands import CONFIG, ROOT, assert_one_line, process, rows, search
from tests.support.folders import write_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "run"
    done = search("--output", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_holds_what_the_contract_names(run):
    folder, _ = run
    for name in ("config.yaml", "architecture.yaml", "selection.csv", "metrics.json", "checkpoints/last.pt"):
        assert (folder / name).is_file(), name
    assert list(folder.glob("events.out.tfevents*"))
    assert not list(folder.rglob("*.tmp"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["version"] == 1 and metrics["split"] == "val" and metrics["dataset"] == "scenes"
    assert [m["primary"] for m in metrics["tasks"]["depth"].values()].count(True) == 1
    assert metrics["parameters"] > 0 and metrics["multiply_adds"] > 0 and metrics["train_seconds"] > 0
    architecture = Architecture.load(folder / "architecture.yaml")
    assert architecture.provenance["space"] == "full" and architecture.provenance["source"] == "search"
    assert len(architecture.provenance["config_sha256"]) == 64
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["training"]["iterations"] == 8 and config["data"]["tasks"] == ["semseg", "depth"]
    torch.load(folder / "checkpoints/last.pt", weights_only=True)


def test_selection_csv_sums_to_one_and_ends_with_the_choice(run):
    folder, _ = run
    table = rows(folder)
    assert {int(row["step"]) for row in table} == set(range(9))
    sums, last = {}, {}
    for row in table:
        key = (row["step"], row["target"], row["source"])
        sums[key] = sums.get(key, 0) + float(row["probability"])
        if row["step"] == "8":
            last.setdefault((row["target"], row["source"]), {})[row["block"]] = float(row["probability"])
    assert all(total == pytest.approx(1, abs=1e-5) for total in sums.values())
    for pair, name in Architecture.load(folder / "architecture.yaml").exchanges.items():
        assert last[pair][name] == max(last[pair].values())
    assert set(last["depth", "depth"]) == {"none", "global", "local", "t_label"}


def test_it_ends_with_the_table_and_the_next_commands(run):
    folder, printed = run
    assert Architecture.load(folder / "architecture.yaml").table() in printed
    following, proof = printed.splitlines()[-2:]
    config = f"python retrain.py --config {folder / 'config.yaml'}"
    assert following.startswith(f"next: {config} --architecture {folder / 'architecture.yaml'} --output")
    assert proof == f"proof: {config} --race {folder} --output {folder}_race"
    for figure in ("loss", "temperature", "entropy_weight", "entropy", "undecided", "images/s", "GB", "ETA"):
        assert figure in printed


def test_same_seed_same_files_under_another_hash_seed(run, tmp_path):
    folder, _ = run
    again = process("--output", tmp_path / "again", PYTHONHASHSEED="77")
    assert again.wait() == 0
    for name in ("architecture.yaml", "selection.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert search("--output", tmp_path / "other", "--seed=1").returncode == 0
    assert (folder / "selection.csv").read_bytes() != (tmp_path / "other" / "selection.csv").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_and_resumed_equals_never_stopped(tmp_path, number):
    """Also between two records, with pairs decided on the way, and with data workers that get the signal too."""
    # SIGKILL leaves the last periodic checkpoint, and rows of selection.csv beyond it
    extra = ["--output", tmp_path / "run", "--training.iterations=30", "--data.workers=1", "--search.record_every=4"]
    extra += [
        "--search.gumbel.learning_rate=0.4",
        f"--training.checkpoint_every={5 if number == signal.SIGKILL else 100}",
    ]
    # the reference must have the same configuration, which is part of the architecture's provenance
    whole = tmp_path / "whole"
    assert search("--output", whole, *extra[2:]).returncode == 0
    running = process(*extra)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and running.poll() is None:
        selection = tmp_path / "run" / "selection.csv"
        if selection.is_file() and any(int(row["step"]) >= 12 for row in rows(tmp_path / "run")):
            break
        time.sleep(0.01)
    os.killpg(running.pid, number)
    _, errors = running.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert running.returncode == 130 and "--resume" in errors and "Traceback" not in errors
    assert not (tmp_path / "run" / "metrics.json").exists()
    done = search(*extra, "--resume")
    assert done.returncode == 0, done.stderr
    final = [row for row in rows(whole) if row["step"] == "30"]
    assert any(float(row["probability"]) == 1 for row in final), "no pair was decided"
    for name in ("architecture.yaml", "selection.csv", "config.yaml"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name
    values = [json.loads((path / "metrics.json").read_text())["tasks"] for path in (tmp_path / "run", whole)]
    assert values[0] == values[1]


def test_recomputing_activations_finds_the_same(run, tmp_path):
    folder, _ = run
    done = search(
        "--output", tmp_path / "lean", "--search.recompute=[global, local, t_label, s_label, xtam, padnet_gate]"
    )
    assert done.returncode == 0, done.stderr
    first, second = (rows(path) for path in (folder, tmp_path / "lean"))
    assert [row["block"] for row in first] == [row["block"] for row in second]
    for one, other in zip(first, second):
        assert float(one["probability"]) == pytest.approx(float(other["probability"]), abs=2e-5)


def test_single_path_stopped_and_resumed_equals_never_stopped(tmp_path):
    path = "--search.gumbel.sampling=single_path"
    stopped = process("--output", tmp_path / "parts", path, "--training.checkpoint_every=3", "--training.iterations=60")
    while stopped.poll() is None and not (tmp_path / "parts/checkpoints/last.pt").is_file():
        time.sleep(0.05)
    stopped.send_signal(signal.SIGKILL)
    stopped.wait()
    again = ["--output", tmp_path / "parts", path, "--training.checkpoint_every=3", "--training.iterations=60"]
    assert search(*again, "--resume").returncode == 0
    assert search("--output", tmp_path / "once", *again[2:]).returncode == 0
    for name in ("architecture.yaml", "selection.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()


def test_the_memory_is_printed_before_the_search(run):
    assert "a step needs less than 0.1 GB of" in run[1]


def test_resuming_a_finished_run_changes_nothing(run):
    folder, _ = run
    before = (folder / "metrics.json").read_bytes()
    done = search("--output", folder, "--resume")
    assert done.returncode == 0 and "finished" in done.stdout
    assert (folder / "metrics.json").read_bytes() == before


OWN_BLOCK = '''
from torch import nn

class Difference(nn.Module):
    """What the source has and the target lacks."""
    legal_on_self = False

    def __init__(self, channels, message_channels):
        super().__init__()
        self.project = nn.Conv2d(channels, message_channels, 1)

    def forward(self, target, source):
        return self.project(source - target)
'''


def test_a_block_of_ones_own_joins_the_space(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_blocks.py").write_text(OWN_BLOCK)
    done = search("--output", "run", "--space.blocks", "[none, global, my_blocks:Difference]")
    assert done.returncode == 0, done.stderr
    found = {(row["target"], row["source"], row["block"]) for row in rows(tmp_path / "run")}
    assert ("semseg", "depth", "my_blocks:Difference") in found
    assert ("semseg", "semseg", "my_blocks:Difference") not in found


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--space.name=fulll"], ["'fulll'", "full, atrc", "nearest: 'full'"]),
        (["--space.blocks=[none, xtamm]"], ["'xtamm'", "nearest: 'xtam'"]),
        (["--space.blocks=[none, nowhere:Block]"], ["nowhere:Block", "package.module:Class"]),
        (["--data.tasks=[semseg, dept]"], ["'dept'", "nearest: 'depth'"]),
        (["--trainin.iterations=3"], ["'trainin.iterations'", "nearest: 'training.iterations'"]),
        (["--training.iterations=many"], ["training.iterations", "many", "int"]),
        (["--data.photometric=3"], ["data.photometric", "bool"]),
        (["--data.name=folder"], ["data.root"]),
        (["--data.name=folder", "--data.root=nowhere"], ["'nowhere'"]),
        (["--device=gpu"], ["'gpu'", "auto, cpu, cuda"]),
        (["--precision=fp61"], ["'fp61'", "fp32, bf16"]),
        (["--search.strategy=gumbl"], ["'gumbl'", "nearest: 'gumbel'"]),
        (["--training.optimizer=adamww"], ["nearest: 'adamw'"]),
        (["--network.backbone=resnet20"], ["nearest: 'resnet"]),
        (["--loss_weights.weights={dept: 1}"], ["nearest: 'depth'"]),
        (["--data.workers=-1"], ["data.workers"]),
        (["--data.edge_positive_weight=2"], ["data.edge_positive_weight"]),
        (["--training.weight_decay=-1"], ["training.weight_decay"]),
        (["--training.clip_norm=0"], ["training.clip_norm"]),
        (["--search.record_every=-1"], ["search.record_every"]),
        (["--seed=-1"], ["seed is -1"]),
        (["--search.gumbel.fix_gap=0"], ["search.gumbel.fix_gap"]),
        (["--space.aggregator=atcr"], ["nearest: 'atrc'"]),
        (["--search.recompute=[xtan]"], ["'xtan'", "nearest: 'xtam'"]),
        (["--network.decoder=concaat"], ["nearest: 'concat'"]),
        (["--network.pretrained=nowhere.pt"], ["nowhere.pt"]),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, arguments, parts):
    done = search("--output", tmp_path / "run", *arguments)
    assert_one_line(done, parts)
    assert not (tmp_path / "run").exists()


def test_bad_config_files(tmp_path):
    for text, parts in (
        ("data: {heigth: 3}", ["'data.heigth'", "nearest: 'data.height'"]),
        ("data: 3", ["'data'", "group"]),
        ("data: [", ["not valid YAML"]),
        ("- 1", ["expected groups"]),
        ("training: {iterations: many}", ["training.iterations", "many"]),
    ):
        (tmp_path / "config.yaml").write_text(text)
        assert_one_line(search("--output", tmp_path / "run", config=tmp_path / "config.yaml"), parts)
    assert_one_line(
        search("--output", tmp_path / "run", config=tmp_path / "absent.yaml"), ["absent.yaml", "no such file"]
    )


def test_output_in_use_and_missing(run):
    folder, _ = run
    assert_one_line(search("--output", folder), ["in use", "--resume"])
    assert_one_line(search(), ["--output is missing"])
    assert_one_line(search("--output", folder, "--resume", "--seed=5"), ["seed was 0 and is now 5"])


def test_a_label_of_another_size_ends_in_one_line(tmp_path):
    root = write_folder(tmp_path / "mine")
    Image.new("L", (10, 10)).save(root / "semseg" / "train_1.png")
    folder = ["--data.name=folder", f"--data.root={root}"]
    # in a data worker, whose errors arrive wrapped in a traceback
    done = search("--output", tmp_path / "run", *folder, "--training.iterations=20", "--data.workers=1")
    assert_one_line(done, ["train_1.png", "10x10 pixels, expected 56x40"])
    checked = search(*folder, "--check-data")
    assert checked.returncode == 2 and "train_1.png" in checked.stdout
    assert "the data has 1 problem, listed above" in checked.stderr


def test_help_explains_every_key():
    done = search("--help")
    assert done.returncode == 0
    assert "CONFIG" not in done.stdout  # whole groups are no options
    keys = known_keys(Config)
    assert "search.gumbel.fix_gap" in keys
    for key in keys:
        # the key's own entry: its text, its type and its default
        entry = done.stdout.split(f"\n  --{key} ")[1].split("\n  --")[0]
        assert "type:" in entry and "default:" in entry and len(entry.split("(type")[0].split()) > 2, entry


@pytest.mark.parametrize("arguments", [["--help"], ["--config", CONFIG, "--output", "x", "--search.strategi", "darts"]])
@pytest.mark.parametrize("script", ["search.py", "retrain.py"])
def test_help_and_wrong_keys_do_not_wait_for_torch(arguments, script):
    code = f"import runpy, sys; sys.argv = {[script, *map(str, arguments)]}\n"
    code += f"try: runpy.run_path({script!r}, run_name='__main__')\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules and 'timm' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("strategy", "override"),
    [
        ("evidence", "search.gumbel.fix_gap=0.5"),
        ("gumbel", "search.confidence=0.9"),
        ("darts", "search.gdas.learning_rate=0.1"),
        ("random", "search.tpe.samples=3"),
        ("evidence", "search.record_every=3"),
    ],
)
def test_an_override_that_the_strategy_does_not_read_is_refused(tmp_path, strategy, override):
    done = search("--output", tmp_path / "run", f"--search.strategy={strategy}", f"--{override}")
    assert_one_line(done, [override.partition("=")[0], strategy, "does not read"])
    assert not (tmp_path / "run").exists()


def test_mixed_precision_runs_and_stays_near_full_precision(run, tmp_path):
    folder, _ = run
    done = search("--output", tmp_path / "run", "--precision=bf16")
    assert done.returncode == 0, done.stderr
    logits = [
        torch.load(path / "checkpoints/last.pt", weights_only=True)["network"] for path in (folder, tmp_path / "run")
    ]
    key = "exchange.sampler.selection.logits"
    assert logits[1][key].dtype == torch.float32
    assert (logits[0][key] - logits[1][key]).abs().max() < 8 * 2 * 0.02  # eight steps of Adam, at most one rate each
    assert torch.isfinite(logits[1][key]).all()


def test_a_search_whose_evaluation_fails_leaves_nothing_that_looks_finished(tmp_path):
    folder = tmp_path / "run"
    done = search("--training.iterations=1", "--training.learning_rate=1e30", "--output", folder)
    assert_one_line(done, ["step 1, split val", "not finite", "training.learning_rate"])
    left = {path.name for path in folder.iterdir()}
    assert not left & {"architecture.yaml", "choices.csv", "metrics.json"}
