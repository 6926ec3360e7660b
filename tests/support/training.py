"""Small trainings on two tasks of the scenes."""

import torch
from lightning_fabric import Fabric

from experiment.config import DataSettings, LossWeightSettings, TrainingSettings
from experiment.run import Run
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork
from multitask.training.loss_weighting import loss_weights
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from tests.support.networks import small_network

SMALL = small_network()
DATA = DataSettings(height=32, width=48, train_images=6, validation_images=3, workers=0, tasks=["semseg", "depth"])


def training(tmp_path, name="run", resume=False, only=None, build=None, balancing=None, compiled=False, **changes):
    """A trainer of six steps on six images; `build` makes another network than the one without exchange."""
    torch.manual_seed(0)
    source = open_dataset(DATA)
    network = MultiTaskNetwork(SMALL, source.tasks) if build is None else build(source.tasks)
    settings = TrainingSettings(
        **{"iterations": 6, "batch_size": 2, "optimizer": "adamw", "checkpoint_every": 3, **changes}
    )
    run = Run(tmp_path / name, {"seed": 0}, resume)
    weights = loss_weights(source.tasks, LossWeightSettings())
    only = None if only is None else {name: source.tasks[name] for name in only}
    recipe = Recipe(source, DATA, settings, weights, False, Fabric(accelerator="cpu", devices=1), balancing)
    return Trainer(network, recipe, run, 0, tasks=only, compiled=compiled)
