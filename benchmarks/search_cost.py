"""What a search costs: seconds of a step of each kind over seconds of a step of one retraining, taken in turn.

The choice that follows the last step of a search by evidence is not part of it: a run's metrics.json has its seconds.

python -m benchmarks.search_cost --config configs/demo.yaml --output runs/benchmarks
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measure import Cost, in_turn
from benchmarks.output import print_table, write
from experiment.config import Config
from experiment.config.parsing import config_parser, parse_config
from experiment.run import Run
from multitask.data import DatasetSplits, open_dataset
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.training.callback import Callback
from multitask.training.hardware import Hardware
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from retrain.baselines import baseline
from search_spaces import SearchSpace
from supernet.samplers.relaxed import GumbelSampler
from supernet.samplers.uniform_mixture import UniformMixture
from supernet.selection import Selection
from supernet.strategies.gumbel import GumbelCallback
from supernet.supernet import Supernet

KINDS = ("evidence", "mixture", "single_path")
PUBLISHED_STEPS = 40_000  # of ATRC's search on NYUD-v2


class Steps:
    """Training steps of one network, each on the next batch."""

    def __init__(self, network: torch.nn.Module, callback: Callback | None, config: Config, source: DatasetSplits):
        fabric = Hardware(config.device, config.precision).fabric()
        folder = Path(tempfile.mkdtemp()) / "run"
        recipe = Recipe.from_config(config, source, fabric)
        self.training = Trainer(network, recipe, Run(folder, {}, False), 0, callback=callback)
        self.samples = iter(self.training.loader(source.splits["train"], 0, 10**6))

    def __call__(self) -> None:
        batch = self.training.augment(next(self.samples), self.training.device)
        self.training.train_step(batch)
        self.training.step += 1
        self.training.callback.after_step(self.training.step)


def searching(config: Config, source: DatasetSplits, space: SearchSpace, kind: str) -> Steps:
    """kind: evidence, or how gumbel samples."""
    generator, channels = torch.Generator().manual_seed(0), feature_channels(config.network)
    callback: Callback | None = None
    if kind == "evidence":
        supernet = Supernet(space, channels, UniformMixture(space, generator), seed=0)
    else:
        sampler = GumbelSampler(Selection(space), generator, kind == "single_path")
        supernet = Supernet(space, channels, sampler, seed=0)
        callback = GumbelCallback(sampler, config.search.gumbel, config.search, config.training.iterations)
    network = MultiTaskNetwork(
        config.network, source.tasks, supernet, supernet.exchange.region_tasks(), seed=config.seed
    )
    return Steps(network, callback, config, source)


def retraining(config: Config, source: DatasetSplits, space: SearchSpace, name: str) -> Steps:
    return Steps(baseline(name, space, 0).build(config.network, source.tasks), None, config, source)


def main() -> None:
    parser = config_parser(Config, "benchmarks.search_cost", __doc__)
    parser.add_argument("--output", type=Path, help="folder for search_cost.json")
    parser.add_argument("--rounds", type=int, default=10)
    config, options = parse_config(parser, Config, sys.argv[1:])
    source = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(source.tasks))
    sides: dict[str, Callable[[], object]] = {}
    for name in ("random", "multi_task", *(f"uniform:{block}" for block in space.blocks[1:])):
        sides[f"retraining {name}"] = retraining(config, source, space, name)
    for kind in KINDS:
        sides[f"searching, {kind}"] = searching(config, source, space, kind)
    device = Hardware(config.device, config.precision).fabric().device
    results: dict[str, dict[str, Cost]] = {"step": in_turn(sides, options.rounds, device)}
    print(f"batch {config.training.batch_size}, {config.data.height}x{config.data.width}, {device}, {config.precision}")
    print_table("a step, data included", results["step"])
    for kind in KINDS:
        seconds = results["step"][f"searching, {kind}"].seconds
        hours = seconds * PUBLISHED_STEPS / 3600
        print(f"{kind}: {seconds:.3f} s a step, {hours:.1f} hours for {PUBLISHED_STEPS} steps")
    write(options.output, "search_cost", argparse.Namespace(config=config.to_dict(), rounds=options.rounds), results)


if __name__ == "__main__":
    main()
