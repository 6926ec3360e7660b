"""What searches gain once their architectures are trained: each strategy's choice, the uniform blocks and the controls,
retrained from scratch with common random numbers. Resumable; a later call adds strategies, seeds or edits.

The gain is 100 times the difference of the mean logarithm of the primary metrics on the test split to no exchange, in
points of Delta_m. --edits N adds N random architectures with one exchange a target, to compare the effect that `score`
predicts with the retrained one.

python -m benchmarks.gains --config configs/demo.yaml --problem dark --strategies score gumbel --seeds 0 1 \
    --output runs/gains/dark
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.problems import PROBLEMS, problem
from experiment.config import Config
from experiment.config.parsing import config_parser, parse_config
from experiment.documents import read_json
from experiment.files import write_atomic
from multitask.data import open_dataset
from multitask.network import feature_channels, feature_size
from multitask.training.hardware import Hardware
from multitask.training.recipe import Recipe
from retrain.baselines import baseline
from retrain.model import Model
from retrain.race.arms import Arm, Arms, best_rows
from retrain.race.results import Result, mean_validation, read_result
from retrain.race.rules import NONE
from retrain.retraining import retrain_seed
from search_spaces import Architecture, SearchSpace
from supernet.cost.table import block_costs
from supernet.search import search

METRICS = "metrics.json"


class Gains:
    """One problem's searches and trainings, in a folder."""

    def __init__(self, config: Config, folder: Path, seeds: Sequence[int]):
        self.config, self.folder, self.seeds = config, folder, seeds
        self.dataset = open_dataset(config.data)
        self.space = SearchSpace.from_settings(config.space, tuple(self.dataset.tasks))
        self.recipe = Recipe.from_config(config, self.dataset, Hardware(config.device, config.precision).fabric())
        self.arms = Arms()
        self.results: dict[str, list[Result]] = {}

    def search(self, strategy: str) -> Model:
        """The architecture that a strategy finds."""
        output = self.folder / "search" / strategy
        settings = replace(self.config, search=replace(self.config.search, strategy=strategy))
        architecture = search(settings, str(output), resume=output.exists())
        assert architecture is not None
        return Model(strategy, architecture)

    def train(self, named: Iterable[tuple[str, Model]]) -> None:
        """Trains what is not among the arms yet."""
        for name in self.arms.add(named):
            arm = self.arms.by_name[name]
            self.results[name] = []
            for seed in self.seeds:
                folder = self.arm_folder(arm, seed)
                retrain_seed(arm.model, self.config, self.recipe, seed, folder, resume=True)
                result = read_result(folder)
                assert result is not None
                if not read_json(folder / METRICS).get("losses"):
                    raise SystemExit(f"error: {folder} has no losses in its {METRICS}: expected another --output")
                self.results[name].append(result)

    def arm_folder(self, arm: Arm, seed: int) -> Path:
        return self.folder / "arms" / arm.folder / f"seed_{seed}"

    def rows(self) -> Model:
        """Each target's row from the uniform block that was best for it on validation, over all seeds."""
        scores = {name: mean_validation(self.results[name]) for name in self.arms.uniforms().values()}
        return Model("best_rows", best_rows(self.space, self.arms.uniforms(), scores))

    def report(self) -> dict[str, Any]:
        """{arm: gains of each seed over no exchange, multiply-adds of the exchange, other names, exchanges, losses}"""
        size = feature_size(self.config.network, self.config.data.height, self.config.data.width)
        costs = block_costs(self.space, feature_channels(self.config.network), size)
        none = self.results[NONE]
        found: dict[str, Any] = {}
        for name, arm in self.arms.by_name.items():
            exchanges = arm.model.architecture.exchanges if arm.model.architecture is not None else {}
            found[name] = {
                "gains": [100 * (own.test - base.test) for own, base in zip(self.results[name], none, strict=True)],
                "multiply_adds": sum(costs.get(block, 0.0) for block in exchanges.values()),
                "aliases": arm.aliases,
                "untrained": sorted({task for result in self.results[name] for task in result.untrained}),
                "exchanges": {f"{t} <- {s}": block for (t, s), block in exchanges.items() if block != "none"},
                "losses": [read_json(self.arm_folder(arm, seed) / METRICS)["losses"] for seed in self.seeds],
            }
        return found


def edits(space: SearchSpace, count: int, seed: int) -> list[tuple[str, Model]]:
    """Architectures with one exchange from another task for each target, at random."""
    draw = random.Random(seed)
    blocks = [block for block in space.blocks if block != "none"]
    models = []
    for number in range(count):
        exchanges = dict.fromkeys(space.pairs, "none")
        for target in space.tasks:
            source = draw.choice([task for task in space.tasks if task != target])
            exchanges[target, source] = draw.choice(blocks)
        architecture = Architecture.from_space(space, exchanges, {"source": "edit", "space": space.name})
        models.append((f"edit:{number}", Model("edit", architecture)))
    return models


def main(argv: Sequence[str] | None = None) -> None:
    parser = config_parser(Config, "benchmarks.gains", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--output", type=Path, help="folder of searches, trainings and gains.json (required)")
    parser.add_argument("--problem", choices=PROBLEMS, help="other sensors than the configuration's")
    parser.add_argument("--strategies", nargs="*", default=[], help="searches whose choices are trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of each training")
    parser.add_argument("--uniforms", nargs="*", help="blocks of the uniform architectures; by default all")
    parser.add_argument("--random", type=int, default=0, help="random architectures")
    parser.add_argument("--edits", type=int, default=0, help="architectures with one exchange a target")
    parser.add_argument("--own", nargs="*", default=[], help="blocks as controls that read the target's own features")
    config, options = parse_config(parser, Config, sys.argv[1:] if argv is None else argv)
    if options.output is None:
        raise SystemExit("error: --output is missing: expected a folder")
    if options.problem is not None:
        config = problem(config, options.problem)
    gains = Gains(config, options.output, options.seeds)
    space, seed = gains.space, config.seed
    blocks = [block for block in space.blocks if block != "none"] if options.uniforms is None else options.uniforms
    gains.train([(NONE, baseline("uniform:none", space, seed))])
    gains.train((f"uniform:{block}", baseline(f"uniform:{block}", space, seed)) for block in blocks)
    if blocks:
        gains.train([("best_rows", gains.rows())])
    gains.train((f"random:{n}", baseline("random", space, seed + n)) for n in range(options.random))
    gains.train((f"own:{block}", baseline(f"own:{block}", space, seed)) for block in options.own)
    for strategy in options.strategies:
        gains.train([(strategy, gains.search(strategy))])
    gains.train(edits(space, options.edits, seed))
    report = gains.report()
    write_atomic(options.output / "gains.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    for name, row in sorted(report.items(), key=lambda item: -sum(item[1]["gains"])):
        each = "  ".join(f"{gain:+6.2f}" for gain in row["gains"])
        names = ", ".join([name, *row["aliases"]])
        print(f"{sum(row['gains']) / len(row['gains']):+7.2f}   {each}   {row['multiply_adds'] / 1e6:6.2f} M   {names}")


if __name__ == "__main__":
    main()
