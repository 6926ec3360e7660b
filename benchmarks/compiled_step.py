"""A retraining's step with training.compile against without, on the configuration's data and device.

python -m benchmarks.compiled_step --config configs/demo.yaml --baseline uniform:padnet_gate --output runs/benchmarks
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from benchmarks.output import write_results
from experiment.config import Config
from experiment.run import Run
from multitask.data import open_dataset
from multitask.training.compiling import check_compiling
from multitask.training.hardware import Hardware
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from retrain.baselines import baseline
from search_spaces import SearchSpace


def measure(config: Config, name: str, rounds: int) -> dict[str, float]:
    """Median seconds of both steps, taken in turn on the same batches; seconds of the first compiled step; and the
    largest relative difference of their losses, over the first steps.
    """
    dataset = open_dataset(config.data)
    recipe = Recipe.from_config(config, dataset, Hardware(config.device, config.precision).fabric())
    device = recipe.fabric.device
    check_compiling(device)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    losses: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        trainers = {}
        for compiled in seconds:
            network = baseline(name, space, config.seed).build(config.network, dataset.tasks, config.seed)
            run = Run(Path(folder) / str(compiled), {}, False)
            trainers[compiled] = Trainer(network, recipe, run, config.seed, compiled=compiled)
            trainers[compiled].model.train()
        for sample in trainers[False].loader(dataset.splits["train"], 0, rounds + 1):
            step = len(losses[False])
            for compiled, trainer in trainers.items():
                trainer.step = step
                with trainer.random.dropout_of(trainer.network, compiled):
                    trainer.random.begin_step(step)
                    batch = trainer.augment(sample, device)
                    began = time.perf_counter()
                    losses[compiled].append(trainer.train_step(batch)["loss"].item())  # waits for a GPU
                    seconds[compiled].append(time.perf_counter() - began)
    off = [abs(a - b) / abs(a) for a, b in zip(losses[False], losses[True], strict=True)]
    return {
        "plain": median(seconds[False][1:]),
        "compiled": median(seconds[True][1:]),
        "compiling": seconds[True][0],
        "first loss differs by": off[0],
        "losses of 5 steps differ by": max(off[:5]),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--baseline", default="uniform:padnet_gate")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, help="folder for compiled_step.json")
    options = parser.parse_args(argv)
    figures = measure(Config.load(options.config), options.baseline, options.rounds)
    print(f"{options.config}, {options.baseline}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("\n".join(f"  {name:<28} {value:.4g}" for name, value in figures.items()))
    print(f"  compiled over plain          {figures['compiled'] / figures['plain']:.3f}")
    write_results(options.output, "compiled_step", options, figures)


if __name__ == "__main__":
    main()
