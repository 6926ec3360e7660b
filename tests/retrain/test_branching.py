"""retrain.py with a tree of the encoder: it is kept in the run, and both ends do without it."""

import shutil

import torch

from experiment.config import Config
from multitask.branching import Branching
from retrain.loading import load_trained
from tests.support.commands import assert_one_line
from tests.support.retraining import TASKS, metrics, retrain

TREE = Branching(TASKS, ((TASKS,), (TASKS,), (("semseg",), ("depth",)), (("semseg",), ("depth",))), "resnet18")
SHORT = ["--training.iterations=2", "--training.checkpoint_every=1"]


def test_a_tree_is_retrained_resumed_and_read_without_its_file(tmp_path):
    file = tmp_path / "branching.yaml"
    TREE.save(file)
    given = ["--baseline", "branching", f"--network.branches={file}", *SHORT]
    assert retrain(*given, "--output", tmp_path / "run").returncode == 0
    seed = tmp_path / "run/seed_0"
    found = metrics(seed)
    assert found["model"] == "branching" and Config.load(seed / "config.yaml").network.branches == TREE.to_lists()
    Branching.separate(TASKS, 4, "resnet18").save(file)
    assert_one_line(
        retrain(*given, "--output", tmp_path / "run", "--resume"), ["network.branches was", "it began with"]
    )
    file.unlink()
    trained = load_trained(seed)
    assert sum(p.numel() for p in trained.network.parameters()) == found["parameters"]
    for name in ("metrics.json", "checkpoints/figures.pt", "checkpoints/last.pt"):
        (seed / name).unlink()
    shutil.copy(seed / "checkpoints/last.previous.pt", seed / "checkpoints/last.pt")
    again = retrain("--baseline", "branching", f"--network.branches={TREE.to_lists()}", *SHORT, "--output",
                    tmp_path / "run", "--resume")  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert metrics(seed)["tasks"] == found["tasks"]
    state = load_trained(seed).network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.network.state_dict().items())


def test_multi_task_shares_all_whatever_the_tree_says(tmp_path):
    done = retrain("--baseline", "multi_task", f"--network.branches={TREE.to_lists()}", *SHORT, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert Config.load(tmp_path / "seed_0/config.yaml").network.branches is None


def test_what_does_not_fit_is_one_line(tmp_path):
    file = tmp_path / "branching.yaml"
    TREE.save(file)
    for arguments, parts in (
        ([], ["network.branches is null", "expected the branching.yaml"]),
        ([f"--network.branches={file}", "--network.backbone=resnet34"], ["for network.backbone resnet18"]),
        ([f"--network.branches={file}", "--data.tasks=[depth]"], ["for the tasks ['semseg', 'depth']", "['depth']"]),
        (["--network.branches=[[[semseg, depth]]]"], ["has 1 units: expected 4"]),
        ([f"--network.branches={TREE.to_lists()}", "--network.backbone=test_vit", "--network.backbone_options={}"],
         ["'test_vit' cannot be split"]),
    ):  # fmt: skip
        assert_one_line(retrain("--baseline", "branching", *arguments, "--output", tmp_path / "run"), parts)
        assert not (tmp_path / "run").exists()
