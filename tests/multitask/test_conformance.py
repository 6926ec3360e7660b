"""All tasks, metrics and datasets pass the checks that a plug-in's author runs, and the checks find what is wrong."""

import pytest
import torch
from torch.utils.data import default_collate

from experiment.config import DataSettings
from multitask import losses
from multitask.data import RENDERED, open_dataset
from multitask.data.scenes import CLASSES
from multitask.metrics.depth import DepthErrors
from multitask.tasks import TASKS, build_tasks
from multitask.tasks.depth import Depth
from multitask.testing import check_dataset, check_metric, check_task
from tests.support.folders import write_folder

SETTINGS = {"height": 32, "width": 48, "train_images": 4, "validation_images": 2, "test_images": 1, "workers": 0}


@pytest.fixture(scope="module")
def batch():
    train = open_dataset(DataSettings(**SETTINGS, tasks=list(TASKS))).splits["train"]
    return default_collate([train[i] for i in range(4)])


@pytest.mark.parametrize("name", [*RENDERED, "folder"])  # test_published.py has the papers' sets
def test_datasets(name, tmp_path):
    root = str(write_folder(tmp_path)) if name == "folder" else None
    check_dataset(open_dataset(DataSettings(name=name, root=root, **SETTINGS, tasks=list(TASKS))))


@pytest.mark.parametrize("name", TASKS)
def test_tasks_and_their_metrics(name, batch):
    task = build_tasks([name], DataSettings(), len(CLASSES))[name]
    check_task(task, batch["labels"][name], batch["masks"][name])


class Leaky(Depth):
    """Its loss ignores the mask."""

    def loss(self, prediction, label, mask):
        return (prediction - label).abs().mean() * mask.any()


class Summed(Depth):
    """Its losses of images are not those of single images."""

    def image_losses(self, prediction, label, mask):
        return 2 * losses.absolute_error(prediction, label, mask, per_image=True)


class Mirrored(Depth):
    def flip(self, label):
        return label + 1


@pytest.mark.parametrize(
    ("task", "message"), [(Leaky, "outside the mask"), (Summed, "single images"), (Mirrored, "flip twice")]
)
def test_the_check_of_tasks_finds_faults(task, message, batch):
    with pytest.raises(AssertionError, match=message):
        check_task(task(), batch["labels"]["depth"], batch["masks"]["depth"])


class LastBatch(DepthErrors):
    """Forgets all batches but the last."""

    def update(self, predicted, label, mask):
        self.sums.zero_()
        super().update(predicted, label, mask)


def test_the_check_of_metrics_finds_faults(batch):
    label, mask = batch["labels"]["depth"], batch["masks"]["depth"]
    decoded = label + torch.rand(label.shape, generator=torch.Generator().manual_seed(0))
    check_metric(DepthErrors(), decoded, label, mask, tuple(Depth.metrics))
    with pytest.raises(AssertionError, match="in two batches"):
        check_metric(LastBatch(), decoded, label, mask, tuple(Depth.metrics))
    with pytest.raises(AssertionError, match="expected \\['rms'\\]"):
        check_metric(DepthErrors(), decoded, label, mask, ("rms",))
