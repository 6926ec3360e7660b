"""A race from its first training to its verdict, alone or beside other processes on the same folder."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from experiment.config import Config, RaceSettings
from experiment.documents import read_json, read_yaml
from experiment.errors import InputError
from experiment.files import write_atomic
from experiment.lock import InUse, check_unlocked
from experiment.processes import leads, working_alone
from experiment.run import check_folder, config_difference, first_difference, in_use
from multitask import processes
from multitask.branching import with_branches
from multitask.data import check_splits, open_dataset, unlabelled
from multitask.network import check_encoders, exchange_channels
from multitask.training.compiling import check_compiling
from multitask.training.finite import Diverged
from multitask.training.hardware import Hardware
from multitask.training.recipe import Recipe
from retrain.race import verdict
from retrain.race.arms import FOUND, Arm, Arms, first_arms, identities, second_arms
from retrain.race.record import RACE, RaceRecord
from retrain.race.results import Result, mark_diverged, mean_validation, read_result
from retrain.race.schedule import Field, Job, Standing, replay
from retrain.race.search_run import read_search
from retrain.retraining import check_weights, retrain_seed
from search_spaces import SearchSpace, build_exchange

CONFIG = "config.yaml"
PLAN = "arms.json"  # what was to be trained when the race began
WAIT = 2.0  # seconds between looks at the trainings of other processes

Train = Callable[[Arm, int, Path], None]


class Race:
    """seeds: those of the choice; `fresh` follow the largest of them. train: trains an arm and a seed into a folder.

    Raises InputError for seeds that cannot be used.
    """

    def __init__(
        self, folder: Path, arms: Arms, space: SearchSpace, config: Config, seeds: Sequence[int] | None, train: Train
    ):
        self.folder, self.arms, self.space, self.config, self.train = folder, arms, space, config, train
        settings = config.race
        self.seeds = list(range(config.seed, config.seed + settings.seeds)) if seeds is None else list(seeds)
        if len(set(self.seeds)) < max(len(self.seeds), settings.first_seeds) or min(self.seeds) < 0:
            raise InputError(
                f"--seeds is {self.seeds}: expected {settings.first_seeds} (race.first_seeds) or more different "
                "numbers from 0"
            )
        self.settings = replace(settings, seeds=len(self.seeds))
        self.fresh = [max(self.seeds) + 1 + i for i in range(settings.confirm_seeds)]
        self.first = list(arms.by_name)
        self.found = next(arm.name for arm in arms.by_name.values() if FOUND in (arm.name, *arm.aliases))
        self._second: list[str] | None = None
        self._results: dict[Job, Result | None] = {}

    def path(self, arm: str, seed: int) -> Path:
        return self.folder / self.arms.by_name[arm].folder / f"seed_{seed}"

    def run(self) -> Standing:
        """Trains until nothing is wanted any more; what other processes train is waited for."""
        shown, waiting = 0, False
        while True:
            standing = self.standing()
            for note in standing.notes[shown:]:
                print(note, flush=True)
            shown = len(standing.notes)
            if not standing.jobs:
                return standing
            if self._train_one(standing.jobs):
                waiting = False
                continue
            if not waiting:
                print(f"waiting for {len(standing.jobs)} trainings of other processes", flush=True)
            waiting = True
            time.sleep(WAIT)

    def standing(self) -> Standing:
        field = Field(
            self.first,
            self.second,
            self.score,
            self.cost,
            lambda arm: self.arms.by_name[arm].uniform is not None,
        )
        return replay(field, self.seeds, self.fresh, self.settings)

    def _train_one(self, jobs: Sequence[Job]) -> bool:
        """Trains the first of these that no other process is training; False if there is none."""
        for arm, seed in jobs:
            path = self.path(arm, seed)
            try:
                check_unlocked(path)
                if self.score(arm, seed) is None:  # another process may have finished it in the meantime
                    print(f"training {arm}, seed {seed}; {len(jobs) - 1} more to be finished", flush=True)
                    self.train(self.arms.by_name[arm], seed, path)
            except InUse:
                continue
            except Diverged as error:
                print(f"{arm}, seed {seed}: {error}", flush=True)
                mark_diverged(path, str(error))
            return True
        return False

    def result(self, arm: str, seed: int) -> Result | None:
        """None where the training is not finished or diverged."""
        if (arm, seed) not in self._results:
            try:
                self._results[arm, seed] = read_result(self.path(arm, seed))
            except FileNotFoundError:
                return None
        return self._results[arm, seed]

    def score(self, arm: str, seed: int) -> float | None:
        """As `Field.score`."""
        result = self.result(arm, seed)
        if result is not None:
            return 100 * result.score
        return math.nan if (arm, seed) in self._results else None

    def cost(self, arm: str) -> float:
        return next(result.multiply_adds for (name, _), result in self._results.items() if name == arm and result)

    def second(self) -> list[str]:
        """The arms that rest on the uniform ones' first seeds; see `Field.second`."""
        if self._second is None:
            seeds = self.seeds[: self.settings.first_seeds]
            scores: dict[str, dict[str, float]] = {}
            for arm in self.arms.uniforms().values():
                results = [self.result(arm, seed) for seed in seeds]
                finished = [result for result in results if result is not None]
                if len(finished) == len(seeds):
                    scores[arm] = mean_validation(finished)
            second = second_arms(self.space, self.arms, scores, self.config.seed, self.settings.arms)
            self._second = self.arms.add(second)
        return self._second

    def record(self, standing: Standing, search: str) -> RaceRecord:
        """At the end."""
        results = {job: result for job, result in self._results.items() if result is not None}
        scores: dict[str, dict[int, float]] = {}
        for arm in self.arms.by_name:
            if arm in standing.diverged:
                continue
            scores[arm] = {seed: 100 * result.test for (name, seed), result in results.items() if name == arm}
        scores = {arm: of_arm for arm, of_arm in scores.items() if of_arm}
        costs = {arm: self.cost(arm) for arm in scores}
        end = verdict.Ended(standing, scores, self.fresh, costs, self.settings.margin)
        seconds = sum(result.seconds for result in results.values())
        own = [result.seconds for (arm, _), result in results.items() if arm == self.found]
        return RaceRecord(
            verdict.sentence(end),
            end.winner,
            search,
            verdict.records(end, {arm.name: arm.aliases for arm in self.arms.by_name.values()}),
            len(results),
            seconds,
            seconds / (sum(own) / len(own)) if own else None,
            *end.noise,
            verdict.remarks(end, _warnings(list(results.values()))),
        )


def _warnings(results: Sequence[Result]) -> list[str]:
    """The tasks that some networks did not learn."""
    counts = Counter(task for result in results for task in result.untrained)
    return [
        f"warning: {task} is no better than the constant prediction in {count} of {len(results)} trainings; "
        "comparisons of untrained networks mean nothing"
        for task, count in counts.items()
    ]


def race(config: Config, search: str, output: str, seeds: Sequence[int] | None, resume: bool) -> RaceRecord:
    """Races the architecture of a search's folder against others in `output`, and prints what came of it.

    With `resume` finished trainings are kept, and other processes may work on the same folder. Of several processes
    that torchrun starts, each trains seeds of arms of its own, and the first reports. Raises InputError or
    SpaceError, before anything is written, for a folder that holds no finished search or one of other data, network or
    space, and for an output that is in use, holds another race, or is no folder.
    """
    dataset = open_dataset(config.data)
    check_splits(dataset)
    check_encoders(config.network, dataset)
    config = replace(config, network=with_branches(config.network, tuple(dataset.tasks)))
    if len(unlabelled(dataset.splits["test"], dataset.tasks)) == len(dataset.tasks):
        raise InputError("test has no labels of any task: expected some, because the verdict rests on them")
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    arms = Arms()
    arms.add(first_arms(space, read_search(search, config, space), config.seed, config.race.random, config.race.arms))
    check_weights(config)
    recipe = Recipe.from_config(config, dataset, Hardware(config.device, config.precision).fabric())
    if config.training.compile:
        check_compiling(recipe.fabric.device, together=False)
    trained = replace(config, race=RaceSettings())  # a training is the same whatever the race

    def train(arm: Arm, seed: int, folder: Path) -> None:
        retrain_seed(arm.model, trained, recipe, seed, folder, True)

    folder = Path(output)
    running = Race(folder, arms, space, config, seeds, train)
    plan = {
        "version": 1,
        "seeds": running.seeds,
        "fresh_seeds": running.fresh,
        "arms": identities(list(arms.by_name.values())),
    }
    processes.from_first(lambda: _check_output(folder, config, plan, resume))
    with torch.random.fork_rng(devices=[]):  # what cannot be built ends before anything is written
        arms.by_name[running.found].model.build(config.network, dataset.tasks)
        build_exchange(space, exchange_channels(config.network, space.scales))
    processes.from_first(lambda: _write_plan(folder, config, plan))
    names = [" = ".join([arm.name, *arm.aliases]) for arm in arms.by_name.values()]
    print(f"race of {len(names)} arms: {', '.join(names)}; at most {len(running.seeds)} seeds each", flush=True)
    with working_alone():
        standing = running.run()
    record = running.record(standing, search)
    if not leads():
        return record
    winner = arms.by_name[record.winner].model
    if winner.architecture is not None and not winner.own_features:
        winner.architecture.save(folder / "architecture.yaml")
    write_atomic(folder / RACE, json.dumps(record.content(), indent=1, allow_nan=False) + "\n")
    print(f"\n{verdict.table(record.arms)}\n")
    for remark in record.remarks:
        print(remark)
    share = "" if record.retrainings is None else f": {record.retrainings:.1f} retrainings of {FOUND}"
    print(f"{record.trainings} trainings, {record.seconds:.0f} s of training{share}")
    print(f"verdict: {record.verdict}")
    return record


def _check_output(folder: Path, config: Config, plan: dict[str, Any], resume: bool) -> None:
    """Raises InputError if the folder is in use and `resume` is false, or holds anything but this race."""
    check_folder(folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not resume:
        raise in_use(folder)
    if not (folder / PLAN).is_file():
        raise InputError(f"--resume in '{folder}': it holds no race, expected {PLAN} in it")
    difference = config_difference(read_yaml(folder / CONFIG), config.to_dict())
    difference = difference or first_difference(read_json(folder / PLAN), plan)
    if difference:
        raise InputError(f"--resume in '{folder}': {difference}; expected the race it began with")


def _write_plan(folder: Path, config: Config, plan: dict[str, Any]) -> None:
    """The configuration first: the plan marks a race that can be resumed."""
    try:
        write_atomic(folder / CONFIG, yaml.safe_dump(config.to_dict(), sort_keys=False))
        write_atomic(folder / PLAN, json.dumps(plan, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(f"--output '{folder}' cannot be written: {error.strerror}") from error
