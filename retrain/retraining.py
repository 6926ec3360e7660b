"""Trains a model from scratch over several seeds and evaluates it on the test split, once."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from experiment.config import Config
from experiment.errors import InputError
from experiment.processes import leads, working_alone
from experiment.run import RETRAINING, Run, read_json
from multitask import processes
from multitask.branching import with_branches
from multitask.cost import multiply_adds, parameter_count, peak_memory, reset_peak_memory
from multitask.data import check_splits, open_dataset
from multitask.network import check_encoders, check_network
from multitask.training.checkpoints import DamagedCheckpoint, load_checkpoint, save_checkpoint
from multitask.training.compiling import check_compiling
from multitask.training.evaluation import describe, primary_results, results, score, table
from multitask.training.hardware import Hardware
from multitask.training.loggers import Loggers
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from retrain.baselines import baseline
from retrain.interface import INTERFACE, Interface
from retrain.model import Model, from_file
from retrain.summary import next_command, over_seeds
from search_spaces import SearchSpace


def retrain(
    config: Config,
    architecture: str | None,
    name: str | None,
    output: str,
    seeds: Sequence[int],
    resume: bool,
    hints: bool = True,
) -> None:
    """Trains an architecture's file, or else the named baseline, for each seed into output/seed_K.

    Several processes train a single seed together; of several seeds, each process trains its own.

    With `resume`, finished seeds are skipped; with `hints`, the next command is printed.

    Raises InputError or SpaceError, before anything is written, if a seed's folder is in use and `resume` is false, if
    the output holds another model or another kind of run, or if the model cannot be built.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds is {list(seeds)}: expected one or more different numbers from 0")
    dataset = open_dataset(config.data)
    check_splits(dataset)
    check_encoders(config.network, dataset)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))

    def model_of(seed: int) -> Model:
        if architecture is not None:
            return from_file(architecture, tuple(dataset.tasks))
        return baseline(str(name), space, seed)

    folders = {seed: Path(output) / f"seed_{seed}" for seed in seeds}
    for folder in folders.values():
        if folder.exists() and not resume:
            raise InputError(
                f"--output '{output}' is in use: it holds {folder.name}; expected --resume, or other --seeds"
            )
    _check_output(Path(output), model_of, resume)
    model = model_of(seeds[0])
    config = replace(config, network=with_branches(model.host(config.network), tuple(dataset.tasks)))
    check_weights(config)
    recipe = Recipe.from_config(config, dataset, Hardware(config.device, config.precision).fabric())
    check_network(model.settings(config.network), dataset.tasks, config.data.height, config.data.width)
    model.build(config.network, dataset.tasks)
    spread = len(seeds) > 1
    if config.training.compile:
        check_compiling(recipe.fabric.device, together=not spread)
    if not spread:
        processes.share(config.training.batch_size)  # too few images are noticed before anything is written
    own = processes.in_turn(list(folders)) if spread else list(folders)
    processes.wait_for_all()  # each has looked for folders that are in use
    with working_alone() if spread else nullcontext():
        for seed in own:
            retrain_seed(model_of(seed), config, recipe, seed, folders[seed], resume)
    if leads():
        done = [folder for folder in folders.values() if (folder / "metrics.json").is_file()]
        if len(done) > 1:
            print(over_seeds(model.name, done, dataset.tasks))
        if hints:
            print(next_command(model.name, Path(output), seeds))


def check_weights(config: Config) -> None:
    """Raises InputError where loss weights are to be tuned first, which only a search does."""
    weights = config.loss_weights
    if weights.trials and weights.file is None:
        raise InputError(
            f"loss_weights.trials is {weights.trials}, which only a search trains: expected "
            "--loss_weights.file with the loss_weights.yaml that it wrote"
        )


def _check_output(output: Path, model_of: Callable[[int], Model], resume: bool) -> None:
    if (output / "config.yaml").is_file():
        raise InputError(f"--output '{output}' holds a search or one seed: expected a folder for retraining")
    if resume and output.is_dir() and any(output.iterdir()) and not any(output.glob("seed_*")):
        raise InputError(f"--resume in '{output}': it holds no retraining, expected seed_K folders or an empty folder")
    for path in sorted(output.glob("seed_*/model.json")):
        held = read_json(path)
        wanted = model_of(int(path.parent.name.removeprefix("seed_"))).identity()
        if held.get("model") != wanted["model"]:
            raise InputError(
                f"--output '{output}' holds {held.get('model')}: expected another folder for {wanted['model']}"
            )
        if held != wanted:
            raise InputError(f"--output '{output}' holds another architecture: expected another folder for this one")


def retrain_seed(model: Model, config: Config, recipe: Recipe, seed: int, folder: Path, resume: bool) -> None:
    """Trains and evaluates one seed into its folder; a finished one is left as it is."""
    content = {**config.to_dict(), "seed": seed}
    with Run(folder, content, resume, RETRAINING, model.identity()) as run:
        if processes.from_first(lambda: run.finished):
            print(f"{folder} is finished")
        else:
            _train_seed(model, config, content, recipe, seed, run)


def _train_seed(model: Model, config: Config, content: dict[str, Any], recipe: Recipe, seed: int, run: Run) -> None:
    run.write_json("model.json", model.identity())
    run.write_json(INTERFACE, Interface.of(recipe.dataset, config.data).to_json())
    # of a block's own features, the file would stand for uniform:BLOCK
    if model.architecture is not None and not model.own_features and leads():
        model.architecture.save(run.path("architecture.yaml"))
    dataset = recipe.dataset
    groups = [[name] for name in dataset.tasks] if model.separate else [list(dataset.tasks)]
    parts = []
    for names in groups:
        own = run.part(names[0], content) if model.separate else run
        label = " ".join([f"{run.folder.parent.name}/{run.folder.name}", *(names if model.separate else [])])
        parts.append(_train(model, names, config, recipe, seed, own, label))
    total = _merge(parts)
    metrics = {
        **results(model.name, seed, dataset, "test", total["best"]),
        "last": {"tasks": describe(total["last"], dataset.tasks)},
        "validation": {"tasks": describe(total["validation"], dataset.tasks)},
        "prior": describe(total["prior"], dataset.tasks),
        "losses": {name: loss for part in parts for name, loss in part.get("losses", {}).items()},
        "best_step": {name: part["best_step"] for part, names in zip(parts, groups) for name in names},
        "parameters": total["parameters"],
        "multiply_adds": total["multiply_adds"],
        "train_seconds": total["train_seconds"],
        "peak_memory_bytes": max(part["peak_memory_bytes"] for part in parts),
        "loss_weights": {name: weight for part in parts for name, weight in part["loss_weights"].items()},
    }
    run.write_json("metrics.json", metrics)
    with Loggers(config.training.loggers, run, config.training.iterations + 1) as loggers:  # behind the training's
        if model.architecture is not None:
            loggers.text("architecture", model.architecture.table(), config.training.iterations)
        loggers.settings({**content, "model": model.name}, primary_results(metrics["tasks"]))
    print(f"{model.name}, seed {seed}: test split, after {total['train_seconds']:.0f} s of training")
    print(table(total["best"], dataset.tasks, total["prior"]))


def _train(
    model: Model, names: list[str], config: Config, recipe: Recipe, seed: int, run: Run, label: str
) -> dict[str, Any]:
    """Trains one network for some of the dataset's tasks; its figures, kept in the run so that resuming skips it."""
    try:
        done = load_checkpoint(run, "figures")
    except DamagedCheckpoint as error:
        print(f"{error}; the network is evaluated again", flush=True)
        done = None
    if done is not None:
        return done
    torch.manual_seed(seed)
    device = recipe.fabric.device
    reset_peak_memory(device)
    tasks = {name: recipe.dataset.tasks[name] for name in names}
    network = model.build(config.network, tasks, seed)
    if network.restored:
        print(network.restored, flush=True)
    trainer = Trainer(network, recipe, run, seed, tasks=tasks, label=label, compiled=config.training.compile)
    trainer.fit(lambda values: score(values, tasks))
    last = trainer.validate("test")
    best_step = trainer.best[1] if trainer.best else trainer.step
    best = last
    if best_step != trainer.step:
        checkpoint = load_checkpoint(run, "best", best_step)
        assert checkpoint is not None  # it would have been missed with an error
        network.load_state_dict(checkpoint["network"])
        best = trainer.validate("test")
    figures = {
        "best": best,
        "last": last,
        "losses": trainer.mean_losses("test"),
        "validation": trainer.validate("val"),
        "prior": trainer.prior("test"),
        "best_step": best_step,
        "parameters": parameter_count(network),
        "multiply_adds": multiply_adds(network, config.data.height, config.data.width),
        "train_seconds": trainer.seconds,
        "peak_memory_bytes": peak_memory(device),
        "loss_weights": trainer.task_weights(),
    }
    save_checkpoint(run, figures, "figures")
    return figures


def _merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One network's figures, or the sum over a network per task."""
    merged: dict[str, Any] = {
        key: sum(part[key] for part in parts) for key in ("parameters", "multiply_adds", "train_seconds")
    }
    for key in ("best", "last", "validation", "prior"):
        merged[key] = {name: values for part in parts for name, values in part[key].items()}
    return merged
