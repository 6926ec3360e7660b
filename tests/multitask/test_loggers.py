"""What runs write for TensorBoard, as CSV tables and for Weights & Biases."""

import csv
import sys
import types

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from experiment.config.training import LOGGERS as NAMES
from experiment.run import Run
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork
from multitask.tasks.pictures import value_range
from multitask.training.examples import examples
from multitask.training.loggers import LOGGERS, Loggers
from multitask.training.schedule import learning_rate
from tests.support.commands import search
from tests.support.races import parsed
from tests.support.refusals import one_line
from tests.support.training import DATA, SMALL


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    found.Reload()
    return found


def test_every_name_of_the_configuration_is_a_logger():
    assert tuple(LOGGERS) == NAMES


def test_a_search_writes_its_architecture_settings_probabilities_and_predictions(tmp_path):
    assert search("--output", tmp_path / "run", "--training.loggers=[tensorboard, csv]").returncode == 0
    found = events(tmp_path / "run")
    tags = found.Tags()
    assert {"validation/semseg", "validation/depth"} <= set(tags["images"])
    (text,) = found.Tensors("architecture/text_summary")
    table = text.tensor_proto.string_val[0].decode()
    assert "target \\ source" in table
    rates = {event.step: event.value for event in found.Scalars("training/learning_rate")}
    settings = parsed("--training.log_every=10").training
    assert rates[8] == pytest.approx(learning_rate(settings, 7))
    blocks = [tag for tag in tags["scalars"] if tag.startswith("probability/depth_from_semseg/")]
    assert len(blocks) > 1
    last = [found.Scalars(tag)[-1].value for tag in blocks]
    assert sum(last) == pytest.approx(1, abs=1e-5)
    plugin = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    written = HParamsPluginData.FromString(plugin).session_start_info.hparams
    assert written["training.batch_size"].number_value == 2 and written["data.name"].string_value == "scenes"
    with (tmp_path / "run/csv/step_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["training/learning_rate"]) == pytest.approx(rates[8])
    assert [float(row["step"]) for row in rows if row["loss/loss"]] == sorted(rates)


def test_predictions_stand_beside_images_and_labels():
    dataset = open_dataset(DATA)
    network, val = MultiTaskNetwork(SMALL, dataset.tasks).train(), dataset.splits["val"]
    shown = examples(network, val, dataset.tasks, torch.device("cpu"), count=2)
    assert network.training and list(shown) == ["semseg", "depth"]
    for name, task in dataset.tasks.items():
        assert shown[name].shape == (2 * DATA.height, 3 * DATA.width, 3) and shown[name].dtype == np.uint8
        image, label, prediction = np.split(shown[name][DATA.height :], 3, 1)  # of the second of two, of three images
        sample = val[1]
        assert (image == sample["image"].permute(1, 2, 0).numpy()).all()
        values, mask = sample["labels"][name].numpy(), sample["masks"][name].numpy()
        assert (label == task.picture(values, value_range(values, mask)) * mask.transpose(1, 2, 0)).all()
        assert (prediction != label).any()


class FakeWandb:
    """Lightning's logger, as far as it is used: keeps what it is given."""

    def __init__(self, name, **settings):
        self.given = [("made", name, settings)]
        self.experiment = types.SimpleNamespace(summary={}, finish=lambda: self.given.append(("finished",)))
        type(self).last = self

    def __getattr__(self, method):
        return lambda *values, **named: self.given.append((method, values, named))


def test_weights_and_biases_gets_the_same_and_a_resumed_run_its_former_id(tmp_path, monkeypatch):
    package = types.ModuleType("pytorch_lightning.loggers")
    package.WandbLogger = FakeWandb
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, "pytorch_lightning.loggers", package)
    with Run(tmp_path / "one", {"seed": 0}, False) as run:
        with Loggers(["wandb"], run) as loggers:
            loggers.scalars({"loss/loss": 2.0}, 3)
            loggers.settings({"data": {"name": "scenes", "root": None}}, {"semseg_mean_iou": 0.4})
        first = FakeWandb.last
        Loggers(["wandb"], run, 3)
        resumed = FakeWandb.last.given[0]
    with Run(tmp_path / "two", {"seed": 0}, False) as run:
        Loggers(["wandb"], run)
        other = FakeWandb.last.given[0]
    made, scalars, settings, finished = first.given
    assert scalars == ("log_metrics", ({"loss/loss": 2.0}, 3), {}) and finished == ("finished",)
    assert settings == ("log_hyperparams", ({"data.name": "scenes", "data.root": "None"},), {})
    assert first.experiment.summary == {"semseg_mean_iou": 0.4}
    assert made == resumed and made[2]["resume"] == "allow" and made[2]["id"] != other[2]["id"]


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = search("--output", tmp_path / "run", "--training.loggers=[wandb]")
    assert done.returncode == 2 and "wandb, which is not installed" in one_line(done.stderr)
    assert not (tmp_path / "run").exists()
