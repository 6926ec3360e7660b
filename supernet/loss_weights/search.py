"""A search for the tasks' loss weights, on the multi-task baseline without exchange, so that no model is favoured.

Lopes et al., Cross-task Attention Mechanism for Dense Multi-task Learning (DenseMTL), WACV 2023, supplement: weights
are sought on the plain multi-task network and then used by every model. Here: Delta_m on validation against single-task
networks of the same budget, multivariate TPE, Hyperband; the trials may be shared (see supernet/shared_study.py).
"""

import itertools
import json
import math
import shutil
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch
from lightning_fabric import Fabric
from optuna.exceptions import StorageInternalError, TrialPruned, UpdateFinishedTrialError
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, HyperbandPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from experiment.config import Config
from experiment.errors import InputError
from experiment.interruption import Interrupted
from experiment.processes import working_alone
from experiment.run import Run
from multitask.data import DatasetSplits
from multitask.metrics.delta_m import delta_m
from multitask.network import MultiTaskNetwork
from multitask.processes import from_first
from multitask.training.evaluation import Values, primary_values
from multitask.training.finite import Diverged
from multitask.training.loss_weighting import dump_weights, loss_weights, read_weights
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from supernet.loss_weights import figures
from supernet.loss_weights.shared_study import Point, SharedStudy, open_database, open_storage, reason
from supernet.records.trials import COMPLETE, PRUNED, TRIALS, WEIGHTS, TrialRecord, write_trials

DATABASE, FOLDER = "loss_weights.db", "loss_weights"
GRID = (0.01, 0.02, 0.1, 1.0)  # of a task that loss_weights.grid leaves out
REDUCTION = 3  # Hyperband goes on with one trial in so many
LOCAL = {"data": ("root", "workers"), "training": ("log_every", "checkpoint_every", "validate_every")}


class WeightSearch:
    """Finds one weight per task. Raises InputError, before a run is made, for a storage that cannot be used."""

    def __init__(self, config: Config, source: DatasetSplits, fabric: Fabric, output: str | Path):
        self.config, self.source, self.fabric = config, source, fabric
        self.settings = config.loss_weights
        self.tasks = list(source.tasks)
        self.iterations = self.settings.iterations or config.training.iterations
        self.every = math.ceil(self.iterations / self.settings.validations)
        self.storage: BaseStorage | None = None
        done = (Path(output) / WEIGHTS).is_file()
        if self.settings.storage is not None and not done:
            self.storage = open_storage(self.settings.storage)
            self._studies(self.storage)

    def run(self, run: Run) -> dict[str, float]:
        """Trains references and trials until the study has them all; the best weights, also as loss_weights.yaml.

        Each of several processes trains trials of its own.
        """
        path = run.path(WEIGHTS)
        if from_first(path.is_file):
            return from_first(lambda: read_weights(path, self.tasks))
        storage = self.storage or open_database(run.path(DATABASE))
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices):  # what follows draws as if no weights had been sought
                with working_alone():
                    references, study = self._studies(storage)
                    baseline = self._references(references, run)
                    self._trials(study, baseline, run)
                return from_first(lambda: self._report(study, baseline, run))
        except (StorageInternalError, SQLAlchemyError) as error:
            raise InputError(f"loss_weights.storage cannot be read or written any more ({reason(error)})") from error
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(
                "stopped in the search for loss weights; the same command with --resume goes on"
            ) from None

    def _studies(self, storage: BaseStorage) -> tuple[SharedStudy, SharedStudy]:
        """Of the references, a trial per task, and of the weights."""
        s, seed = self.settings, self.config.seed
        setup = self._setup()
        points = self._points()
        total = min(s.trials, len(points)) if s.sampler == "grid" else s.trials
        study = SharedStudy(
            storage, s.study, setup, total, self.tasks[1:], self._suggest, seed, points, self._sampler, self._pruner()
        )
        names: list[Point] = [{"task": name} for name in self.tasks]
        references = SharedStudy(
            storage, f"{s.study} references", setup, len(names), ["task"],
            lambda trial: trial.suggest_categorical("task", self.tasks), points=names,
        )  # fmt: skip
        return references, study

    def _setup(self) -> dict[str, Any]:
        """What must be the same in all processes that share a study, or their trials could not be compared."""
        content = self.config.to_dict()
        setup: dict[str, Any] = {"tasks": self.tasks, "seed": self.config.seed, "precision": self.config.precision}
        for group in ("data", "network", "training"):
            setup[group] = {key: v for key, v in content[group].items() if key not in LOCAL.get(group, ())}
        setup["training"]["iterations"] = self.iterations
        setup["loss_weights"] = {
            key: content["loss_weights"][key] for key in ("weights", "sampler", "low", "high", "grid", "validations")
        }
        return json.loads(json.dumps(setup, allow_nan=False))

    def _points(self) -> list[Point]:
        """What is tried first: the whole grid, or for TPE the weights that would be used without a search."""
        if self.settings.sampler == "grid":
            values = [self.settings.grid.get(name, GRID) for name in self.tasks[1:]]
            return [dict(zip(self.tasks[1:], map(float, point))) for point in itertools.product(*values)]
        if self.settings.sampler == "random":
            return []
        given = loss_weights(self.source.tasks, self.settings)
        low, high = self.settings.low, self.settings.high
        return [{name: min(high, max(low, given[name] / given[self.tasks[0]])) for name in self.tasks[1:]}]

    def _suggest(self, trial: Trial) -> None:
        for name in self.tasks[1:]:
            low, high = self.settings.low, self.settings.high
            if self.settings.sampler == "grid":
                values = self.settings.grid.get(name, GRID)
                low, high = min(values), max(values)
            trial.suggest_float(name, low, high, log=True)

    def _sampler(self, seed: int) -> BaseSampler:
        if self.settings.sampler == "random":
            return RandomSampler(seed)
        # Hyperband shows the sampler only the trials of one bracket
        return TPESampler(multivariate=True, seed=seed, n_startup_trials=max(2, 10 // self._brackets()))

    def _brackets(self) -> int:
        return int(math.log(self.iterations / self.every, REDUCTION) + 1e-9) + 1

    def _pruner(self) -> BasePruner:
        return HyperbandPruner(self.every, self.iterations, REDUCTION)

    def _network(self, names: list[str], weights: dict[str, float], run: Run, label: str, validate: bool) -> Trainer:
        """The training of a network without exchange for some tasks, from the same seed for all."""
        config = self.config
        settings = replace(
            config.training,
            iterations=self.iterations,
            checkpoint_every=self.iterations,
            validate_every=self.every if validate else 0,
        )
        torch.manual_seed(config.seed)
        tasks = {name: self.source.tasks[name] for name in names}
        recipe = Recipe(self.source, config.data, settings, weights, False, self.fabric)
        network = MultiTaskNetwork(config.network, tasks, seed=config.seed)
        return Trainer(network, recipe, run, config.seed, tasks=tasks, label=label, quiet=True)

    def _run(self, run: Run, name: str, weights: dict[str, float]) -> Run:
        folder = run.path(FOLDER) / name
        shutil.rmtree(folder, ignore_errors=True)  # of a trial that was stopped
        return run.part(f"{FOLDER}/{name}", {"iterations": self.iterations, "loss_weights": {"weights": weights}})

    def _references(self, study: SharedStudy, run: Run) -> dict[str, float]:
        """The primary metric of each task's own network on validation."""
        weights = loss_weights(self.source.tasks, self.settings)
        while (trial := study.claim()) is not None:
            name = trial.params["task"]
            metric = self.source.tasks[name].primary
            with study.working(trial):
                own = self._run(run, f"reference_{name}", {name: weights[name]})
                training = self._network([name], weights, own, f"reference {name}", False)
                training.fit()
                value = primary_values(training.validate("val"), training.tasks)[name]
                if not value > 0:
                    raise InputError(
                        f"the single-task reference of {name} has {metric} {value:g} after {self.iterations} steps, "
                        "and Delta_m divides by it: expected more loss_weights.iterations"
                    )
                study.tell(trial, value)
            shutil.rmtree(own.path("checkpoints"))
            print(f"single-task reference: {name} {metric} {value:.4f} after {self.iterations} steps", flush=True)
        found = {t.params["task"]: t.value or 0.0 for t in study.finished()}
        return {name: found[name] for name in self.tasks}

    def _trials(self, study: SharedStudy, baseline: dict[str, float], run: Run) -> None:
        began, before = time.monotonic(), len(study.finished())
        while (trial := study.claim()) is not None:
            weights = {self.tasks[0]: 1.0, **trial.params}
            own = self._run(run, f"trial_{trial.number:03d}", weights)
            counted = False
            try:
                with study.working(trial):
                    counted = study.tell(trial, self._delta_m(trial, weights, baseline, own))
            except UpdateFinishedTrialError:
                pass
            shutil.rmtree(own.path("checkpoints"), ignore_errors=True)
            if not counted:
                print(
                    f"trial {trial.number}: this process sent no sign of life for too long; another trial replaces it",
                    flush=True,
                )
                continue
            done = len(study.finished())
            left = (time.monotonic() - began) / max(1, done - before) * (study.total - done)
            print(f"{_line(self._record(study, trial.number))}  {self._standing(study, left)}", flush=True)
            self._write_trials(study, run)

    def _delta_m(self, trial: Trial, weights: dict[str, float], baseline: dict[str, float], run: Run) -> float | None:
        """Trains the multi-task baseline with the trial's weights; its Delta_m, or None if it was pruned."""
        tasks = self.source.tasks
        higher = {name: task.metrics[task.primary] for name, task in tasks.items()}
        found = math.nan

        def score(values: Values) -> float:
            nonlocal found
            found = delta_m(primary_values(values, tasks), baseline, higher)
            if not math.isfinite(found):
                raise Diverged(f"Delta_m is {found}")
            trial.report(found, training.step)
            if training.step < self.iterations and trial.should_prune():
                raise TrialPruned
            return found

        training = self._network(self.tasks, weights, run, f"trial {trial.number}", True)
        try:
            training.fit(score)
        except TrialPruned:
            return None
        except Diverged:
            trial.set_user_attr("diverged", True)
            return None
        return found

    def _record(self, study: SharedStudy, number: int) -> TrialRecord:
        return self._as_record(next(t for t in study.finished() if t.number == number))

    def _as_record(self, trial: FrozenTrial) -> TrialRecord:
        state = COMPLETE if trial.state == TrialState.COMPLETE else PRUNED
        weights = {name: trial.params.get(name, 1.0) for name in self.tasks}
        value = None if trial.user_attrs.get("diverged") else trial.value
        return TrialRecord(trial.number, state, trial.last_step or 0, value, weights)

    def _standing(self, study: SharedStudy, seconds_left: float) -> str:
        best = self._best(study)
        leader = f", best {best.delta_m:+.2f} % in trial {best.number}" if best else ""
        return f"({len(study.finished())}/{study.total}{leader}, ETA {tqdm.format_interval(int(seconds_left))})"

    def _best(self, study: SharedStudy) -> TrialRecord | None:
        complete = [t for t in map(self._as_record, study.finished()) if t.state == COMPLETE]
        return max(complete, key=lambda t: (t.delta_m, -t.number), default=None)

    def _write_trials(self, study: SharedStudy, run: Run) -> list[TrialRecord]:
        trials = [self._as_record(trial) for trial in study.finished()]
        write_trials(run.path(TRIALS), trials, list(self.tasks))
        return trials

    def _report(self, study: SharedStudy, baseline: dict[str, float], run: Run) -> dict[str, float]:
        trials = self._write_trials(study, run)
        best = self._best(study)
        if best is None or best.delta_m is None:
            raise InputError(
                f"none of {len(trials)} trials of loss weights ended with a finite loss: expected a lower "
                "training.learning_rate, or a narrower loss_weights.low and high"
            )
        shares = _importances(study.study)
        self._tensorboard(trials, shares, run)
        provenance = {
            "source": "study",
            "sampler": self.settings.sampler,
            "seed": self.config.seed,
            "iterations": self.iterations,
            "trials": len(trials),
            "pruned": sum(trial.state == PRUNED for trial in trials),
            "best_trial": best.number,
            "delta_m": best.delta_m,
            "single_task": baseline,
            "importances": shares,
        }
        run.write_text(WEIGHTS, dump_weights(best.weights, provenance))
        listed = ", ".join(f"{name} {weight:.4g}" for name, weight in best.weights.items())
        print(f"loss weights: {listed}, of trial {best.number}, Delta_m {best.delta_m:+.2f} % on validation\n")
        return best.weights

    def _tensorboard(self, trials: list[TrialRecord], shares: dict[str, float], run: Run) -> None:
        writer = SummaryWriter(str(run.path(FOLDER)))
        writer.add_figure("loss_weights/history", figures.history(trials))
        writer.add_figure("loss_weights/parallel_coordinates", figures.parallel_coordinates(trials))
        if shares:
            writer.add_figure("loss_weights/importances", figures.importances(shares))
        for trial in trials:
            if trial.delta_m is not None:
                writer.add_scalar("loss_weights/delta_m", trial.delta_m, trial.number)
        writer.close()


def _line(trial: TrialRecord) -> str:
    weights = "  ".join(f"{name} {weight:.4g}" for name, weight in trial.weights.items())
    if trial.delta_m is None:
        return f"trial {trial.number}: {weights}  loss not finite"
    value = f"Delta_m {trial.delta_m:+.2f} %"
    pruned = f", pruned at step {trial.steps}" if trial.state == PRUNED else ""
    return f"trial {trial.number}: {weights}  {value}{pruned}"


def _importances(study: optuna.Study) -> dict[str, float]:
    """{task: share of the differences in Delta_m that its weight explains}, by PED-ANOVA; empty with too few trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a warning means too few trials
        try:
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        except (RuntimeError, ValueError, UserWarning):
            return {}
    return {name: float(share) for name, share in found.items()}
