"""Each of the seven kinds of parts that come in by import path: a wrong path, and a class that lacks something."""

import sys

import pytest

from tests.support.commands import search

PARTS = """
from torch import nn

from multitask.data.files import FileDataset
from multitask.decoders.base import Decoder
from multitask.metrics.base import OwnMetric
from multitask.tasks import Regression
from supernet.strategies import Strategy


class Block(nn.Module):
    def __init__(self, channels, message_channels):
        super().__init__()


class Backbone(nn.Module):
    channels = reductions = (4,)


class OwnDecoder(Decoder):
    def build(self):
        self.shared_channels = 4


class Dataset(FileDataset):
    name = "mine"
    tasks_read = ("semseg", "depth", "edge")

    def list_images(self, split):
        return ["0"], None

    def photo_path(self, name, folder=""):
        return self.root / name


class Unread(Dataset):
    def label_paths(self, task, name):
        return [self.root / name]


class Task(Regression):
    name = "albedo"
    label_channels = 3


class Unnamed(Regression):
    label_channels = 3


class Error(OwnMetric):
    metrics = {"error": False}

    def update(self, decoded, label, mask):
        pass


class Choosing(Strategy):
    name = "choosing"
"""
# what names it on the command line, {} its path; a class; what it lacks
KINDS = {
    "block": (["--space.blocks=[none, '{}']"], "Block", "forward"),
    "backbone": (["--network.backbone={}"], "Backbone", "forward"),
    "decoder": (["--network.decoder={}"], "OwnDecoder", "forward, task_part"),
    "dataset": (["--data.name={}", "--data.root=."], "Dataset", "label_paths"),
    "readers": (["--data.name={}", "--data.root=."], "Unread", "read_semseg, read_depth, class_map"),
    "task": (["--data.name=folder", "--data.root=.", "--data.tasks=['{}']"], "Task", "read"),
    "unnamed task": (["--data.name=folder", "--data.root=.", "--data.tasks=['{}']"], "Unnamed", "name"),
    "metric": (["--data.metrics={{depth: ['{}']}}"], "Error", "compute"),
    "strategy": (["--search.strategy={}"], "Choosing", "search"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_says_what_is_missing(kind, tmp_path, monkeypatch):
    options, name, lacks = KINDS[kind]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts_for_test", raising=False)
    (tmp_path / "own_parts_for_test.py").write_text(PARTS)
    for path, expected in (
        (f"own_parts_for_test:{name}", f"lacks {lacks}: expected"),
        (f"own_parts_for_test:{name}s", f"nearest: '{name}'"),
        (f"own_part_for_test:{name}", "No module named 'own_part_for_test'"),
    ):
        line = [option.format(path) for option in options]
        code, _, errors = search("--output", tmp_path / "run", *line)
        assert code == 2 and expected in errors, (path, errors)
        assert errors.startswith("error: ") and errors.count("\n") == 1
        assert not (tmp_path / "run").exists()
