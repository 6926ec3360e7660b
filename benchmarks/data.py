"""What loading costs beside learning: rendering and augmentation against a supernet's training step.

python -m benchmarks.data --output runs/benchmarks
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.output import write_json
from benchmarks.supernets import gumbel_supernet
from experiment.config import DataSettings, LossWeightSettings, NetworkSettings, SpaceSettings, TrainingSettings
from experiment.run import Run
from multitask.data import open_dataset
from multitask.data.loader import training_loader
from multitask.network import MultiTaskNetwork
from multitask.training.hardware import Hardware
from multitask.training.loss_weighting import loss_weights
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from search_spaces import SearchSpace

NARROW = {"channels": [16, 32, 64, 128], "stem_type": "deep", "stem_width": 8}  # the demo's encoder


def measure(data: DataSettings, network: NetworkSettings, batch_size: int, rounds: int) -> dict[str, float]:
    """Median seconds of rendering a batch in this process, augmenting it, and a step on it, taken in turn."""
    source = open_dataset(data)
    space = SearchSpace.from_settings(SpaceSettings(), tuple(source.tasks))
    supernet = gumbel_supernet(space, network.channels or 48)
    model = MultiTaskNetwork(network, source.tasks, supernet, supernet.exchange.region_tasks())
    settings = TrainingSettings(batch_size=batch_size, optimizer="adamw", learning_rate=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run", {}, False)
        weights = loss_weights(source.tasks, LossWeightSettings())
        recipe = Recipe(source, data, settings, weights, False, Hardware("cpu").fabric())
        training = Trainer(model, recipe, run, 0)
        seconds: dict[str, list[float]] = {"render": [], "augment": [], "step": []}
        samples = iter(training_loader(source.splits["train"], batch_size, 0, 0, rounds + 1, 0, False))
        for _ in range(rounds + 1):
            times = [time.perf_counter()]
            sample = next(samples)
            times.append(time.perf_counter())
            batch = training.augment(sample, torch.device("cpu"))
            times.append(time.perf_counter())
            training.train_step(batch)
            times.append(time.perf_counter())
            for name, start, end in zip(seconds, times, times[1:]):
                seconds[name].append(end - start)
    return {name: median(values[1:]) for name, values in seconds.items()}  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for data.json")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch_size", type=int, default=4)
    options = parser.parse_args()
    seconds = measure(
        DataSettings(workers=0),
        NetworkSettings(backbone_options=NARROW, channels=48),
        options.batch_size,
        options.rounds,
    )
    print(f"batch of {options.batch_size}, 96x128, 4 tasks, full space, {torch.get_num_threads()} threads")
    for name, value in seconds.items():
        print(f"  {name:<8} {1000 * value:8.1f} ms   {value / seconds['step']:6.3f} of a step")
    write_json(options.output, "data", seconds)


if __name__ == "__main__":
    main()
