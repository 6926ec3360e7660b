"""A search: from a configuration to the run folder with the architecture that was found."""

import hashlib
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml
from lightning_fabric import Fabric

from experiment.config import Config
from experiment.errors import InputError
from experiment.run import Run
from multitask.cost import multiply_adds, parameter_count, peak_memory
from multitask.data import DatasetSplits, open_dataset
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.training.evaluation import describe, score, table
from multitask.training.hardware import Hardware
from multitask.training.loss_weighting import loss_weights
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from search_spaces import Architecture, SearchSpace
from search_spaces.blocks import Pair
from supernet.cost.budget import Budget
from supernet.cost.memory import describe as describe_memory
from supernet.cost.memory import search_memory
from supernet.cost.table import cost_table
from supernet.records.choices import CHOICES, Choice, write_choices
from supernet.records.costs import COSTS, Costs, CostTable
from supernet.records.samples import PARETO
from supernet.shared_weights import evaluate_shared
from supernet.strategies import build_strategy, check_strategy
from supernet.supernet import Supernet

if TYPE_CHECKING:
    from supernet.loss_weights.search import WeightSearch


def search(config: Config, output: str, resume: bool) -> Architecture | None:
    """Runs or resumes a search and writes its folder; prints what was found. Raises InputError or SpaceError.

    None if only loss weights were wanted.
    """
    _check_settings(config)
    source = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(source.tasks))
    weights = loss_weights(source.tasks, config.loss_weights)
    fabric = Hardware(config.device, config.precision).fabric()
    content = config.to_dict()
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed + 1)
    channels = feature_channels(config.network)
    supernet = Supernet(
        space,
        channels,
        generator,
        config.search.gumbel.sampling if config.search.strategy == "gumbel" else "mixture",
        config.search.recompute,
    )
    # in search every task has label regions, whichever block will be chosen
    network = MultiTaskNetwork(
        config.network, source.tasks, supernet, supernet.exchange.region_tasks(), seed=config.seed
    )
    weight_search = _weight_search(config, source, fabric, output)
    costs, budget = _budget(config, network, supernet, fabric.device, Path(output) / COSTS if resume else None)
    run = Run(output, content, resume)
    if run.finished:
        architecture = Architecture.load(run.path("architecture.yaml"))
        print(f"{output} holds a finished search\n\n{architecture.table()}")
        return architecture
    costs.write(run.path(COSTS))
    if weight_search is not None:
        weights = weight_search.run(run)
        if config.loss_weights.only:
            print(f"next: python search.py ... --loss_weights.file {shlex.quote(str(run.path('loss_weights.yaml')))}")
            return None
    strategy = build_strategy(config, supernet, budget)
    recipe = Recipe.from_config(config, strategy.training_images(source), fabric, weights)
    recipe = replace(recipe, training=strategy.training_settings(config.training))
    training = Trainer(network, recipe, run, config.seed, callback=strategy)
    pairs, size = len(space.pairs), space.size()
    print(f"searching {pairs} pairs of {len(space.tasks)} tasks, {size:.3g} architectures, on {fabric.device}")
    need = search_memory(network, supernet, config.training.batch_size, config.data.height, config.data.width)
    print(describe_memory(need, fabric.device, supernet.sampling))
    strategy.attach(training)
    training.fit()

    began = time.monotonic()
    choices = strategy.choose(training)
    choosing = strategy.choice_seconds + time.monotonic() - began
    seconds = strategy.training_seconds + training.seconds
    write_choices(run.path(CHOICES), choices)
    digest = hashlib.sha256(yaml.safe_dump(content).encode()).hexdigest()
    architecture = Architecture.from_space(
        space,
        {pair: choice.block for pair, choice in choices.items()},
        {"space": space.name, "seed": config.seed, "config_sha256": digest, "source": "search"},
    )
    architecture.save(run.path("architecture.yaml"))
    unit = costs.costs(config.search.cost)
    if config.search.pareto:
        _explore(config, training, supernet, unit, architecture, run)
    # from here on only the chosen blocks are left, with the supernet's weights
    network.exchange = supernet.exchange.extract(architecture)
    training.recalibrate(config.search.recalibration_batches)
    values = training.validate("val")
    prior = training.prior("val")
    run.write_json(
        "metrics.json",
        {
            "version": 1,
            "model": "supernet",
            "seed": config.seed,
            "dataset": source.name,
            "split": "val",
            "tasks": describe(values, source.tasks),
            "prior": describe(prior, source.tasks),
            "parameters": parameter_count(network),
            "multiply_adds": multiply_adds(network, config.data.height, config.data.width),
            "exchange_cost": {
                "measure": config.search.cost,
                "value": unit.total(architecture.exchanges),
                "budget": config.search.budget,
            },
            "train_seconds": seconds,
            "choice_seconds": choosing,
            "peak_memory_bytes": peak_memory(fabric.device),
            "loss_weights": training.task_weights(),
            "selection": strategy.figures(),
        },
    )
    print(f"\nvalidation of the choice inside the supernet, after {seconds:.0f} s of training")
    print(table(values, source.tasks, prior))
    _print_cost(config, unit.total(architecture.exchanges))
    _print_choice(architecture, choices, output, weight_search is not None)
    return architecture


def _weight_search(config: Config, source: DatasetSplits, fabric: Fabric, output: str) -> "WeightSearch | None":
    """The search for loss weights that comes before, if one is wanted."""
    if not config.loss_weights.trials:
        return None
    from supernet.loss_weights.search import WeightSearch  # needs optuna

    return WeightSearch(config, source, fabric, output)


def _budget(
    config: Config, network: MultiTaskNetwork, supernet: Supernet, device: torch.device, former: Path | None
) -> tuple[CostTable, Budget | None]:
    """What blocks cost, as they did in the run that is resumed, and what an exchange may cost. Raises InputError for a
    budget that no architecture keeps.
    """
    space, search = supernet.selection.space, config.search
    table = CostTable.read(former) if former is not None and former.is_file() else None
    if table is None or not table.covers(space):
        size = (-(-config.data.height // 4), -(-config.data.width // 4))
        regions = {name: task.region_count for name, task in network.tasks.items()}
        with torch.random.fork_rng(devices=[]):  # building what is measured must not change the search
            table = cost_table(space, supernet.exchange.channels, size, regions, device)
    if search.budget is None:
        return table, None
    costs = table.costs(search.cost)
    if search.budget < costs.base:
        raise InputError(
            f"search.budget is {search.budget:g}: the cheapest architecture's exchange costs {costs.base:g} "
            f"({search.cost}), expected at least that"
        )
    return table, Budget(space, costs, search.budget)


def _explore(
    config: Config, training: Trainer, supernet: Supernet, costs: Costs, chosen: Architecture, run: Run
) -> None:
    """The front of accuracy against cost; training and network are left as they were."""
    from supernet.cost.pareto import Exploration  # needs optuna

    search, space = config.search, supernet.selection.space

    def evaluate(architecture: Architecture) -> float:
        values = evaluate_shared(training, supernet, architecture, search.recalibration_batches)
        return score(values, training.tasks)

    print(f"exploring {search.pareto} architectures with the shared weights")
    exploration = Exploration(
        space, costs, search.cost, evaluate, search.pareto, config.seed, run.path(PARETO), chosen.provenance
    )
    exploration.run(chosen, search.budget)


def _print_choice(architecture: Architecture, choices: Mapping[Pair, Choice], output: str, weighed: bool) -> None:
    print(f"\n{architecture.table()}\n")
    if any(choice.probability is not None for choice in choices.values()):
        print(
            "posterior probability in %; ? marks pairs below search.confidence, which get the cheapest near-best block"
        )
        for target in architecture.tasks:
            cells = [choices[target, source] for source in architecture.tasks]
            marks = [f"{100 * (c.probability or 0):.0f}{'' if c.decided else '?'}" for c in cells]
            print(f"  {target:<12} " + " ".join(f"{mark:>12}" for mark in marks))
    warning = collapse_warning(architecture)
    if warning:
        print(warning)
    undecided = sum(not choice.decided for choice in choices.values())
    if undecided:
        print(f"{undecided} of {len(choices)} pairs are undecided")
    folder = Path(output)
    found = shlex.quote(str(folder / "architecture.yaml"))
    config, retrained = shlex.quote(str(folder / "config.yaml")), shlex.quote(f"{folder}_found")
    weights = f" --loss_weights.file {shlex.quote(str(folder / 'loss_weights.yaml'))}" if weighed else ""
    print(f"next: python retrain.py --config {config}{weights} --architecture {found} --output {retrained} --seeds 0 1")


def _print_cost(config: Config, cost: float) -> None:
    budget = "" if config.search.budget is None else f", of a budget of {config.search.budget:,g}"
    print(f"{config.search.cost} of the exchange: {cost:,g}{budget}")


def collapse_warning(architecture: Architecture) -> str:
    """One line if all pairs chose alike, which more often tells of the search than of the tasks; else empty."""
    off_diagonal = {name for (target, source), name in architecture.exchanges.items() if target != source}
    everywhere = set(architecture.exchanges.values())
    alike = everywhere if len(everywhere) == 1 else off_diagonal
    if len(alike) != 1 or len(architecture.tasks) < 2:
        return ""
    where = "every pair" if len(everywhere) == 1 else "every pair of different tasks"
    return (
        f"warning: collapsed: {where} chose {next(iter(alike))}; the search told no pairs apart. Try more "
        "training.iterations or another seed."
    )


def _check_settings(config: Config) -> None:
    check_strategy(config)
    weights = config.loss_weights
    if weights.trials and weights.file is not None:
        raise InputError(
            "loss_weights.trials searches the weights that loss_weights.file gives: expected one of the two"
        )
