"""Trains a model from scratch over several seeds and reports it on the test split, once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from experiment.config import Config, DataSettings, LossWeightSettings, NetworkSettings, TrainingSettings
from experiment.errors import InputError
from experiment.run import Run
from multitask.cost import multiply_adds, parameter_count, peak_memory, reset_peak_memory
from multitask.data import DatasetSplits, open_dataset
from multitask.training import recipe as learner
from multitask.training.checkpoints import load_checkpoint, save_checkpoint
from multitask.training.evaluation import describe, score, table
from multitask.training.hardware import Hardware
from multitask.training.loss_weighting import loss_weights
from multitask.training.trainer import Trainer
from retrain.models import Model, baseline, build_network, found
from search_spaces import SearchSpace


@dataclass(frozen=True)
class Recipe:
    """What is the same for every model that is to be compared."""

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    loss_weights: LossWeightSettings
    fabric: Fabric
    content: dict[str, Any]  # the resolved configuration, as config.yaml will hold it

    def learning(self, source: DatasetSplits) -> learner.Recipe:
        """The learner's part. Raises InputError for loss weights that cannot be used."""
        weights, learned = loss_weights(source.tasks, self.loss_weights), self.loss_weights.method == "uncertainty"
        return learner.Recipe(source, self.data, self.training, weights, learned, self.fabric)


def retrain(
    config: Config, architecture: str | None, name: str | None, output: str, seeds: Sequence[int], resume: bool
) -> None:
    """Trains an architecture's file, or else the named baseline, for each seed into output/seed_K.

    With `resume`, finished seeds are skipped. Raises InputError or SpaceError, before anything is written, if a seed's
    folder is in use and `resume` was not asked for, if the output holds another model or another kind of run, or if the
    model cannot be built.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds is {list(seeds)}: expected one or more different numbers from 0")
    source = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(source.tasks))
    fabric = Hardware(config.device, config.precision).fabric()
    recipe = Recipe(config.data, config.network, config.training, config.loss_weights, fabric, config.to_dict())

    def model_of(seed: int) -> Model:
        if architecture is not None:
            return found(architecture, tuple(source.tasks))
        return baseline(str(name), space, seed)

    folders = {seed: Path(output) / f"seed_{seed}" for seed in seeds}
    for folder in folders.values():
        if folder.exists() and not resume:
            raise InputError(
                f"--output '{output}' is in use: it holds {folder.name}; expected --resume, or other --seeds"
            )
    _check_output(Path(output), model_of)
    recipe.learning(source)
    if recipe.loss_weights.trials and recipe.loss_weights.file is None:
        raise InputError(
            f"loss_weights.trials is {recipe.loss_weights.trials}, which only search.py trains: expected "
            "--loss_weights.file with the loss_weights.yaml that it wrote"
        )
    build_network(model_of(seeds[0]), recipe.network, source.tasks)
    for seed, folder in folders.items():
        _retrain_seed(model_of(seed), source, recipe, seed, folder, resume)


def _identity(model: Model) -> dict[str, Any]:
    """What model.json holds, so that a resumed or a later seed is of the same model."""
    exchanges = None
    if model.architecture is not None:
        exchanges = {f"{t} <- {s}": name for (t, s), name in sorted(model.architecture.exchanges.items())}
    return {"model": model.name, "exchanges": exchanges}


def _check_output(output: Path, model_of: Callable[[int], Model]) -> None:
    if (output / "config.yaml").is_file():
        raise InputError(f"--output '{output}' holds a search: expected a folder for retraining")
    for path in sorted(output.glob("seed_*/model.json")):
        held = json.loads(path.read_text())
        wanted = _identity(model_of(int(path.parent.name.removeprefix("seed_"))))
        if held["model"] != wanted["model"]:
            raise InputError(
                f"--output '{output}' holds {held['model']}: expected another folder for {wanted['model']}"
            )
        if held != wanted:
            raise InputError(f"--output '{output}' holds another architecture: expected another folder for this one")


def _retrain_seed(model: Model, source: DatasetSplits, recipe: Recipe, seed: int, folder: Path, resume: bool) -> None:
    run = Run(folder, {**recipe.content, "seed": seed}, resume)
    if run.finished:
        print(f"{folder} is finished")
        return
    run.write_json("model.json", _identity(model))
    if model.architecture is not None:
        model.architecture.save(run.path("architecture.yaml"))
    groups = [[name] for name in source.tasks] if model.separate else [list(source.tasks)]
    parts = []
    for names in groups:
        inner = Run(folder / names[0], {**recipe.content, "seed": seed}, resume) if model.separate else run
        parts.append(_train(model, names, source, recipe, seed, inner, f"{folder.parent.name}/{folder.name}"))
    total = _merge(parts)
    tasks = source.tasks
    run.write_json(
        "metrics.json",
        {
            "version": 1,
            "model": model.name,
            "seed": seed,
            "dataset": source.name,
            "split": "test",
            "tasks": describe(total["best"], tasks),
            "last": {"tasks": describe(total["last"], tasks)},
            "validation": {"tasks": describe(total["validation"], tasks)},
            "prior": describe(total["prior"], tasks),
            "best_step": {name: part["best_step"] for part, names in zip(parts, groups) for name in names},
            "parameters": total["parameters"],
            "multiply_adds": total["multiply_adds"],
            "train_seconds": total["train_seconds"],
            "peak_memory_bytes": max(part["peak_memory_bytes"] for part in parts),
            "loss_weights": {name: weight for part in parts for name, weight in part["loss_weights"].items()},
        },
    )
    print(f"{model.name}, seed {seed}: test split, after {total['train_seconds']:.0f} s of training")
    print(table(total["best"], tasks, total["prior"]))


def _train(
    model: Model,
    names: list[str],
    source: DatasetSplits,
    recipe: Recipe,
    seed: int,
    run: Run,
    label: str,
) -> dict[str, Any]:
    """Trains one network for some of the source's tasks; its figures, kept in the run so that resuming skips it."""
    done = load_checkpoint(run, "figures")
    if done is not None:
        return done
    torch.manual_seed(seed)
    reset_peak_memory(recipe.fabric.device)
    tasks = {name: source.tasks[name] for name in names}
    network = build_network(model, recipe.network, tasks, seed)
    training = Trainer(network, recipe.learning(source), run, seed, tasks=tasks, label=label)
    training.fit(lambda values: score(values, tasks))
    last = training.validate("test")
    best_step = training.best[1] if training.best else training.step
    best = last
    if best_step != training.step:
        checkpoint = load_checkpoint(run, "best")
        assert checkpoint is not None  # written when best_step was set
        network.load_state_dict(checkpoint["network"])
        best = training.validate("test")
    figures = {
        "best": best,
        "last": last,
        "validation": training.validate("val"),
        "prior": training.prior("test"),
        "best_step": best_step,
        "parameters": parameter_count(network),
        "multiply_adds": multiply_adds(network, recipe.data.height, recipe.data.width),
        "train_seconds": training.seconds,
        "peak_memory_bytes": peak_memory(recipe.fabric.device),
        "loss_weights": training.task_weights(),
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
