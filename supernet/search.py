"""A search: from a configuration to the run folder with the chosen architecture."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric

from experiment.calls import call
from experiment.config import Config
from experiment.config.search import READERS
from experiment.errors import InputError
from experiment.processes import leads
from experiment.run import Run
from multitask import processes
from multitask.branching import with_branches
from multitask.cost import multiply_adds, parameter_count, peak_memory
from multitask.data import DatasetSplits, check_splits, open_dataset
from multitask.network import MultiTaskNetwork, check_encoders, check_network, exchange_channels, exchange_size
from multitask.training.balancing import AGGREGATORS, check_balancing
from multitask.training.evaluation import describe, primary_results, results, score, table
from multitask.training.finite import Diverged
from multitask.training.hardware import Hardware
from multitask.training.loggers import Loggers, check_loggers
from multitask.training.loss_weighting import loss_weights
from search_spaces import Architecture, SearchSpace, build_exchange
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.cost.budget import Budget
from supernet.cost.table import cost_table
from supernet.records.choices import CHOICES, Choice, write_choices
from supernet.records.costs import COSTS, Costs, CostTable
from supernet.records.samples import PARETO
from supernet.shared_weights import evaluate_shared
from supernet.strategies import STRATEGIES, build_strategy, strategy_class
from supernet.summary import print_choice, print_cost, print_next
from supernet.supernet import Supernet
from supernet.trained_network import load_network, network_without_exchange, read_network

if TYPE_CHECKING:
    from supernet.loss_weights.search import WeightSearch


def search(config: Config, output: str, resume: bool, hints: bool = True) -> Architecture | None:
    """Runs or resumes a search, writes its folder and prints the choice; with `hints`, also the next commands. Raises
    InputError or SpaceError.

    None if only loss weights were wanted.
    """
    dataset = open_dataset(config.data)
    check_splits(dataset)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    _check_scales(config, space)
    build_strategy(config.search).check(config, dataset)
    check_encoders(config.network, dataset)
    check_loggers(config.training.loggers)
    _check_balancing(config)
    config = replace(config, network=with_branches(config.network, tuple(dataset.tasks)))
    weights = loss_weights(dataset.tasks, config.loss_weights)
    fabric = Hardware(config.device, config.precision).fabric()
    processes.share(config.training.batch_size)  # too few images are noticed before anything is written
    weight_search = _weight_search(config, dataset, fabric, output)
    _check_network(config, dataset, space)
    if config.search.from_ is not None and not resume:  # a run keeps the network that it began with
        state = read_network(config.search.from_, config.seed)
        load_network(network_without_exchange(config, dataset, space), state, config.search.from_)
    former = Path(output) / COSTS if resume else None
    costs = processes.from_first(lambda: _costs(config, dataset, space, fabric.device, former))
    budget = _budget(config, space, costs)
    with Run(output, config.to_dict(), resume) as run:
        if processes.from_first(lambda: run.finished):
            architecture = processes.from_first(lambda: Architecture.load(run.path("architecture.yaml")))
            print(f"{output} holds a finished search\n\n{architecture.table()}")
            return architecture
        context = SearchContext(config, dataset, space, weights, fabric, run, budget)
        return _search(context, costs, weight_search, hints)


def _search(
    context: SearchContext, costs: CostTable, weight_search: "WeightSearch | None", hints: bool
) -> Architecture | None:
    config, space, run = context.config, context.space, context.run
    costs.write(run.path(COSTS))
    if weight_search is not None:
        context.weights = weight_search.run(run)
        if config.loss_weights.only:
            print(f"next: {call('search')} ... --loss_weights.file {shlex.quote(str(run.path('loss_weights.yaml')))}")
            return None
    pairs, size = len(space.pairs), space.size()
    print(f"searching {pairs} pairs of {len(space.tasks)} tasks, {size:.3g} architectures, on {context.fabric.device}")
    torch.manual_seed(config.seed)
    choices = build_strategy(config.search).search(context)
    provenance = {"space": space.name, "seed": config.seed, "config_sha256": config.sha256(), "source": "search"}
    architecture = Architecture.from_space(space, {pair: choice.block for pair, choice in choices.items()}, provenance)
    unit = costs.costs(config.search.cost)
    if config.search.pareto:
        _explore(context, unit, architecture)
    metrics = _evaluate(context, unit, architecture)
    # only now, so that what a failed evaluation leaves is no finished search
    write_choices(run.path(CHOICES), choices)
    if leads():
        architecture.save(run.path("architecture.yaml"))
    run.write_json("metrics.json", metrics)
    _log_result(context, architecture, choices, metrics)
    print_cost(config, unit.total(architecture.exchanges))
    print_choice(config, architecture, choices)
    if hints:
        print_next(run.folder, weight_search is not None)
    return architecture


def _log_result(
    context: SearchContext, architecture: Architecture, choices: Mapping[Pair, Choice], metrics: Mapping[str, Any]
) -> None:
    """The architecture and the probability of each choice, the settings with the metrics, and predictions."""
    config, trainer = context.config, context.trained
    assert trainer is not None  # the strategy has trained a supernet
    steps = config.training.iterations
    with Loggers(config.training.loggers, context.run, steps + 1) as loggers:  # behind the training's
        loggers.text("architecture", architecture.table(), steps)
        chosen = {f"chosen/{t}_from_{s}/{c.block}": c.probability for (t, s), c in choices.items()}
        loggers.scalars({name: value for name, value in chosen.items() if value is not None}, steps)
        loggers.settings(config.to_dict(), primary_results(metrics["tasks"]))
        trainer.show_examples(loggers)


def _check_balancing(config: Config) -> None:
    """Raises InputError for gradients that cannot be balanced."""
    method, strategy = config.loss_weights.method, config.search.strategy
    if method in AGGREGATORS and strategy in READERS["record_every"]:
        raise InputError(
            f"loss_weights.method is {method}, but the strategy {strategy} learns logits by the sum of the losses: "
            "expected fixed or uncertainty, or another search.strategy"
        )
    check_balancing(method)


def _check_scales(config: Config, space: SearchSpace) -> None:
    """Raises InputError for a strategy that knows one scale only."""
    strategy = config.search.strategy
    if space.scales and not strategy_class(strategy).knows_scales:
        names = ", ".join(name for name, kind in STRATEGIES.items() if kind.knows_scales)
        raise InputError(
            f"space.scales is {list(space.scales)}, and search.strategy {strategy} knows one scale: expected {names}"
        )


def _check_network(config: Config, dataset: DatasetSplits, space: SearchSpace) -> None:
    """Builds once what the strategy will build, so that what cannot be built ends before anything is written."""
    check_network(config.network, dataset.tasks, config.data.height, config.data.width)
    with torch.random.fork_rng(devices=[]):
        channels = exchange_channels(config.network, space.scales)
        exchange = build_exchange(space, channels, recompute=config.search.recompute)
        MultiTaskNetwork(config.network, dataset.tasks, exchange, exchange.region_tasks())


def _weight_search(config: Config, dataset: DatasetSplits, fabric: Fabric, output: str) -> "WeightSearch | None":
    """The search for loss weights that comes before, if one is wanted."""
    weights = config.loss_weights
    if not weights.trials:
        return None
    if weights.file is not None:
        raise InputError("loss_weights.trials tunes the weights that loss_weights.file gives: expected one of the two")
    from supernet.loss_weights.search import WeightSearch  # needs optuna

    return WeightSearch(config, dataset, fabric, output)


def _costs(
    config: Config, dataset: DatasetSplits, space: SearchSpace, device: torch.device, former: Path | None
) -> CostTable:
    """What blocks cost, as in the run that is resumed where there is one."""
    costs = CostTable.read(former) if former is not None and former.is_file() else None
    if costs is not None and costs.covers(space):
        return costs
    print("counting what blocks cost")
    size = exchange_size(config.network, config.data.height, config.data.width, space.scales)
    regions = {name: task.region_count for name, task in dataset.tasks.items()}
    with torch.random.fork_rng(devices=[]):  # building what is measured must not change the search
        return cost_table(space, exchange_channels(config.network, space.scales), size, regions, device)


def _budget(config: Config, space: SearchSpace, table: CostTable) -> Budget | None:
    """Raises InputError for a budget that no architecture keeps."""
    search = config.search
    if search.budget is None:
        return None
    costs = table.costs(search.cost)
    if search.budget < costs.base:
        raise InputError(
            f"search.budget is {search.budget:g}: the cheapest architecture's exchange costs {costs.base:g} "
            f"({search.cost}), expected at least that"
        )
    return Budget(space, costs, search.budget)


def _explore(context: SearchContext, costs: Costs, chosen: Architecture) -> None:
    """The front of accuracy against cost. Trainer and network are left as they were."""
    from supernet.cost.pareto import Exploration  # needs optuna

    search, trainer = context.config.search, context.trained
    assert trainer is not None  # the strategy has trained a supernet

    def evaluate(architecture: Architecture) -> float:
        return score(evaluate_shared(trainer, architecture, search.recalibration_batches), trainer.tasks)

    def drive(evaluate: Callable[[Architecture], float]) -> None:
        folder = context.run.path(PARETO)
        exploration = Exploration(
            context.space, costs, search.cost, evaluate, search.pareto, context.seed, folder, chosen.provenance
        )
        exploration.run(chosen, search.budget)

    print(f"exploring {search.pareto} architectures with the shared weights")
    processes.led_by_first(drive, evaluate, Diverged)


def _evaluate(context: SearchContext, costs: Costs, architecture: Architecture) -> dict[str, Any]:
    """Validates what was trained: a supernet with only the chosen blocks, or the network without exchange. The content
    of metrics.json.
    """
    config, dataset, trainer = context.config, context.dataset, context.trained
    assert trainer is not None  # the strategy has trained a supernet
    network = trainer.network
    assert isinstance(network, MultiTaskNetwork)
    supernet = isinstance(network.exchange, Supernet)
    if isinstance(network.exchange, Supernet):
        network.exchange = network.exchange.exchange.extract(architecture)
        trainer.recalibrate(config.search.recalibration_batches)
    values = trainer.validate("val")
    prior = trainer.prior("val")
    what = "the choice inside the supernet" if supernet else "the network without exchange"
    print(f"\nvalidation of {what}, after {context.training_seconds:.0f} s of training")
    print(table(values, dataset.tasks, prior))
    return {
        **results("supernet" if supernet else "uniform:none", config.seed, dataset, "val", values),
        "prior": describe(prior, dataset.tasks),
        "parameters": parameter_count(network),
        "multiply_adds": multiply_adds(network, config.data.height, config.data.width),
        "exchange_cost": {
            "measure": config.search.cost,
            "value": costs.total(architecture.exchanges),
            "budget": config.search.budget,
        },
        "train_seconds": context.training_seconds,
        "choice_seconds": context.choice_seconds,
        "peak_memory_bytes": peak_memory(context.fabric.device),
        "loss_weights": trainer.task_weights(),
        "selection": context.figures,
    }
