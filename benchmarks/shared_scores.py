"""What given architectures score with the weights of a finished search, so that several supernets rank the same ones.

python -m benchmarks.shared_scores runs/front --architectures runs/front/pareto/samples/*.yaml --output runs/scores
python -m analysis ranking --search runs/scores --models runs/sample_*
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiment.config import Config
from experiment.run import Run
from multitask.data import open_dataset
from multitask.training.checkpoints import load_checkpoint
from multitask.training.evaluation import score
from multitask.training.hardware import Hardware
from multitask.training.loss_weighting import loss_weights
from multitask.training.trainer import Trainer
from search_spaces import Architecture, SearchSpace
from supernet.context import SearchContext
from supernet.records.costs import COSTS, CostTable
from supernet.records.samples import PARETO, SAMPLES, Sample, write_samples
from supernet.shared_weights import evaluate_shared
from supernet.strategies import STRATEGIES


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search", type=Path, help="run folder of a finished search, with its checkpoints")
    parser.add_argument("--architectures", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--recalibration", type=int, help="training batches for batch statistics; by default the run's")
    parser.add_argument("--output", type=Path, required=True, help="folder for pareto/samples.csv")
    options = parser.parse_args(argv)
    config = Config.load(options.search / "config.yaml")
    trainer = trained(config, options.search)
    batches = config.search.recalibration_batches if options.recalibration is None else options.recalibration
    costs = CostTable.read(options.search / COSTS).costs(config.search.cost)
    samples: list[Sample] = []
    for number, path in enumerate(options.architectures):
        plan = Architecture.load(path)
        value = score(evaluate_shared(trainer, plan, batches), trainer.tasks)
        exchanges = {pair: plan.exchanges[pair] for pair in plan.pairs}
        samples.append(Sample(number, value, exchanges, {"cost": costs.total(exchanges)}))
        write_samples(options.output / PARETO / SAMPLES, samples)
        print(f"{number:03d}  {value:+.4f}  {path}", flush=True)


def trained(config: Config, folder: Path) -> Trainer:
    """The trainer of the finished search's supernet: its strategy, resumed from the run's checkpoints."""
    run = Run(folder, config.to_dict(), True)
    if load_checkpoint(run) is None:
        raise SystemExit(f"error: '{folder}' has no checkpoints/last.pt")
    dataset = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    fabric = Hardware(config.device, config.precision).fabric()
    context = SearchContext(config, dataset, space, loss_weights(dataset.tasks, config.loss_weights), fabric, run)
    STRATEGIES[config.search.strategy]().search(context)
    assert context.trained is not None
    return context.trained


if __name__ == "__main__":
    main()
