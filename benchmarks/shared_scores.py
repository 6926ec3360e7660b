"""What given architectures score with the weights of a finished search, so that several supernets rank the same ones.

python -m benchmarks.shared_scores runs/front --architectures runs/front/pareto/samples/*.yaml --output runs/scores
python -m analysis ranking --search runs/scores --models runs/sample_*
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from experiment.config import Config
from experiment.run import Run
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.training.checkpoints import load_checkpoint
from multitask.training.evaluation import score
from multitask.training.hardware import Hardware
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from search_spaces import Architecture, SearchSpace
from supernet.records.costs import COSTS, CostTable
from supernet.records.samples import PARETO, SAMPLES, Sample, write_samples
from supernet.shared_weights import evaluate_shared
from supernet.strategies import build_strategy
from supernet.supernet import Supernet


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search", type=Path, help="run folder of a finished search, with its checkpoints")
    parser.add_argument("--architectures", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--recalibration", type=int, help="training batches for batch statistics; by default the run's")
    parser.add_argument("--output", type=Path, required=True, help="folder for pareto/samples.csv")
    options = parser.parse_args(argv)
    config = Config.load(options.search / "config.yaml")
    training, supernet = trained(config, options.search)
    batches = config.search.recalibration_batches if options.recalibration is None else options.recalibration
    costs = CostTable.read(options.search / COSTS).costs(config.search.cost)
    samples: list[Sample] = []
    for number, path in enumerate(options.architectures):
        plan = Architecture.load(path)
        value = score(evaluate_shared(training, supernet, plan, batches), training.tasks)
        exchanges = {pair: plan.exchanges[pair] for pair in supernet.selection.space.pairs}
        samples.append(Sample(number, value, exchanges, {"cost": costs.total(exchanges)}))
        write_samples(options.output / PARETO / SAMPLES, samples)
        print(f"{number:03d}  {value:+.4f}  {path}", flush=True)


def trained(config: Config, folder: Path) -> tuple[Trainer, Supernet]:
    """The search as it stood after its last step."""
    source = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(source.tasks))
    supernet = Supernet(
        space,
        feature_channels(config.network),
        torch.Generator(),
        config.search.gumbel.sampling,
        config.search.recompute,
    )
    auxiliary = supernet.exchange.region_tasks()
    network = MultiTaskNetwork(config.network, source.tasks, supernet, auxiliary, seed=config.seed)
    strategy = build_strategy(config, supernet)
    run = Run(folder, config.to_dict(), True)
    fabric = Hardware(config.device, config.precision).fabric()
    recipe = Recipe.from_config(config, strategy.training_images(source), fabric)
    recipe = replace(recipe, training=strategy.training_settings(config.training))
    training = Trainer(network, recipe, run, config.seed, callback=strategy)
    state = load_checkpoint(run)
    if state is None:
        raise SystemExit(f"error: '{folder}' has no checkpoints/last.pt")
    network.load_state_dict(state["network"])
    return training, supernet


if __name__ == "__main__":
    main()
