"""The cost of a checkpoint: written with its checksum, synced, read back and compared; as a share of a run's time.

python -m benchmarks.checkpoints --config configs/demo.yaml
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from experiment.config import Config
from experiment.run import Run
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.training.checkpoints import checkpoint_path, load_checkpoint, save_checkpoint
from multitask.training.hardware import Hardware
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from search_spaces import SearchSpace
from supernet.samplers.uniform_mixture import UniformMixture
from supernet.supernet import Supernet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    config = Config.load(options.config)
    dataset = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    sampler = UniformMixture(space, torch.Generator().manual_seed(0), 0.0)
    supernet = Supernet(space, feature_channels(config.network), sampler, config.search.recompute, 0)
    network = MultiTaskNetwork(config.network, dataset.tasks, supernet, supernet.exchange.region_tasks(), seed=0)
    recipe = Recipe.from_config(config, dataset, Hardware(config.device, config.precision).fabric())
    Path("runs").mkdir(exist_ok=True)  # on the disk that runs are written to
    with tempfile.TemporaryDirectory(dir="runs") as folder, Run(Path(folder) / "run", {}, False) as run:
        trainer = Trainer(network, recipe, run, 0)
        sample = next(iter(trainer.loader(dataset.splits["train"], 0, 1)))
        batch = trainer.augment(sample, trainer.device)
        step = _seconds(lambda: trainer.train_step(batch), options.repetitions)
        plain = _seconds(lambda: torch.save(trainer.state_dict(), run.path("plain.pt")), options.repetitions)
        sealed = _seconds(lambda: save_checkpoint(run, trainer.state_dict()), options.repetitions)
        load = _seconds(lambda: load_checkpoint(run), options.repetitions)
        size = checkpoint_path(run.folder, "last").stat().st_size
    every = config.training.checkpoint_every
    print(f"{size / 1e6:.1f} MB, a step {step:.3f} s, torch.save alone {plain:.3f} s, read and compared {load:.3f} s")
    share = 100 * sealed / (every * step)
    print(f"sealed, synced and verified {sealed:.3f} s: every {every} steps, {share:.2f} % of the training")


def _seconds(call: object, repetitions: int) -> float:
    """The median of the repetitions, after one that does not count."""
    assert callable(call)
    measured = []
    for _ in range(repetitions + 1):
        began = time.perf_counter()
        call()
        measured.append(time.perf_counter() - began)
    return statistics.median(measured[1:])


if __name__ == "__main__":
    main()
