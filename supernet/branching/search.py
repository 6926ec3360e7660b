"""search.strategy branching: from a configuration to the run folder with the tree of the encoder."""

import shlex
from dataclasses import replace
from typing import Any, cast

import torch

from experiment.calls import call
from experiment.config import Config, NetworkSettings
from experiment.errors import InputError
from experiment.processes import leads
from experiment.run import Run
from experiment.seeds import derive_seed
from multitask import processes
from multitask.backbones import build_encoder
from multitask.backbones.branched import BranchedEncoder
from multitask.backbones.units import split
from multitask.branching import Branching
from multitask.cost import multiply_adds, operations, parameter_count, peak_memory
from multitask.data import DatasetSplits, check_splits, open_dataset
from multitask.network import MultiTaskNetwork, check_encoders, check_network
from multitask.training.evaluation import describe, results, table
from multitask.training.hardware import Hardware
from multitask.training.loss_weighting import loss_weights
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from supernet.branching.callback import BranchingCallback
from supernet.branching.encoder import BranchingSupernet
from supernet.branching.expectation import expected_branches
from supernet.records.costs import Cost
from supernet.search_split import split_training, trained_on

FILE = "branching.yaml"


def search_branches(config: Config, output: str, resume: bool) -> Branching:
    """Runs or resumes the search, writes its folder, prints the tree and the next commands.

    Raises InputError, before anything is written, for what cannot be searched.
    """
    dataset = open_dataset(config.data)
    check_splits(dataset)
    check_encoders(config.network, dataset)
    _check(config, dataset)
    weights = loss_weights(dataset.tasks, config.loss_weights)
    fabric = Hardware(config.device, config.precision).fabric()
    processes.share(config.training.batch_size)  # too few images are noticed before anything is written
    kept, held_out = split_training(dataset, config.search.branching.validation_fraction)
    costs = unit_costs(config.network, config.data.height, config.data.width)
    separate = Branching.separate(tuple(dataset.tasks), len(costs))
    settings = replace(config.network, branches=separate.to_lists())
    check_network(settings, dataset.tasks, config.data.height, config.data.width)
    with Run(output, config.to_dict(), resume) as run:
        if processes.from_first(lambda: run.finished):
            tree = processes.from_first(lambda: Branching.load(run.path(FILE)))
            print(f"{output} holds a finished search\n\n{tree.table()}")
            return tree
        torch.manual_seed(config.seed)
        network = MultiTaskNetwork(settings, dataset.tasks, seed=config.seed)
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "branching"))
        network.encoder = supernet = BranchingSupernet(cast(BranchedEncoder, network.encoder), generator)
        of_units = [getattr(cost, config.search.cost) for cost in costs]
        steps, every = config.training.iterations, config.search.record_every
        callback = BranchingCallback(supernet, config.search.branching, of_units, held_out, steps, every)
        recipe = Recipe.from_config(config, trained_on(dataset, kept), fabric, weights)
        callback.trainer = trainer = Trainer(network, recipe, run, config.seed, callback=callback)
        print(f"searching {len(costs)} units for {len(dataset.tasks)} tasks, on {fabric.device}")
        trainer.fit()
        return _finish(config, dataset, trainer, callback, costs)


def unit_costs(settings: NetworkSettings, height: int, width: int) -> list[Cost]:
    """Of each unit of the encoder once, for one image. Raises InputError for an encoder that cannot be split."""
    with torch.device("meta"), torch.no_grad():
        encoder = build_encoder(replace(settings, pretrained=False, init_from=None)).eval()
        stem, units, _ = split(encoder, settings.backbone)
        features = stem(torch.empty(1, 3, height, width))[-1]
        costs = []
        for unit in units:
            costs.append(Cost(operations(unit, features), parameter_count(unit)))
            features = unit(features)
    return costs


def _check(config: Config, dataset: DatasetSplits) -> None:
    network, weights = config.network, config.loss_weights
    if len(dataset.tasks) < 2:
        raise InputError(f"data.tasks is {list(dataset.tasks)}: expected two or more, which could share an encoder")
    if network.branches is not None:
        raise InputError("network.branches is set: expected null where search.strategy is branching, which finds them")
    if network.encoders != "shared":
        raise InputError(f"network.encoders is {network.encoders}: expected shared where search.strategy is branching")
    if network.backbone_rate == 0:
        raise InputError("network.backbone_rate is 0: expected more, for copies of a frozen encoder never differ")
    if weights.trials:
        raise InputError(
            f"loss_weights.trials is {weights.trials}: expected 0 where search.strategy is branching; another strategy "
            "tunes them, and loss_weights.file takes them"
        )


def _finish(
    config: Config, dataset: DatasetSplits, trainer: Trainer, callback: BranchingCallback, costs: list[Cost]
) -> Branching:
    """Validates the chosen tree inside the supernet, writes the files and prints."""
    network, supernet, run = cast(MultiTaskNetwork, trainer.network), callback.supernet, trainer.run
    provenance = {"seed": config.seed, "config_sha256": config.sha256(), "source": "search"}
    tree = supernet.branching(config.network.backbone, provenance)
    with torch.no_grad():
        branches = expected_branches(supernet.logits, generator=supernet.generator).tolist()
    network.encoder = supernet.extract()
    trainer.recalibrate(config.search.recalibration_batches)
    values, prior = trainer.validate("val"), trainer.prior("val")
    settings = replace(config.network, branches=tree.to_lists(), pretrained=False, init_from=None)
    with torch.device("meta"):
        branched = MultiTaskNetwork(settings, dataset.tasks)
    metrics: dict[str, Any] = {
        **results("supernet", config.seed, dataset, "val", values),
        "prior": describe(prior, dataset.tasks),
        "parameters": parameter_count(branched),
        "multiply_adds": multiply_adds(branched, config.data.height, config.data.width),
        "units": [
            {
                "multiply_adds": cost.multiply_adds,
                "parameters": cost.parameters,
                "branches": count,
                "expected_branches": expected,
            }
            for cost, count, expected in zip(costs, tree.branches(), branches)
        ],
        "train_seconds": trainer.seconds,
        "peak_memory_bytes": peak_memory(trainer.device),
        "loss_weights": trainer.task_weights(),
    }
    # only now, so that what a failed evaluation leaves is no finished search
    if leads():
        tree.save(run.path(FILE))
    run.write_json("metrics.json", metrics)
    print(f"\nvalidation of the choice inside the supernet, after {trainer.seconds:.0f} s of training")
    print(table(values, dataset.tasks, prior))
    print(f"\n{tree.table()}\n")
    once = sum(cost.multiply_adds for cost in costs)
    found = sum(cost.multiply_adds * count for cost, count in zip(costs, tree.branches()))
    apart = once * len(dataset.tasks)
    print(f"multiply-adds of all units: {found:,}; shared by all tasks {once:,}, separate {apart:,}")
    _print_next(run)
    return tree


def _print_next(run: Run) -> None:
    folder = run.folder
    config, file = (shlex.quote(str(folder / name)) for name in ("config.yaml", FILE))
    given = f"--config {config} --network.branches {file}"
    retrained, searched = shlex.quote(f"{folder}_branching"), shlex.quote(f"{folder}_exchange")
    print(f"next: {call('retrain')} {given} --baseline branching --output {retrained} --seeds 0 1")
    print(f"exchange: {call('search')} {given} --search.strategy score --output {searched}")
