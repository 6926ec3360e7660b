"""An Optuna study that any number of processes on any number of machines work on together.

The storage numbers the trials and gives each number once. A trial counts while it runs, once it is complete and when
it was pruned; one that was interrupted or killed fails and counts no more, so that another takes its place. A process
may train a trial only if fewer than `total` counting trials have smaller numbers: no more than `total` ever count,
however many processes request one at once. Everything that is drawn follows from the seed, the trial's number and the
trials before it, so a resumed study needs no sampler state and does not repeat itself.
"""

import contextlib
import math
import os
import re
import socket
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from experiment.errors import InputError
from experiment.files import process_exists
from experiment.run import config_difference

BEAT, TIMEOUT = 15.0, 120.0  # seconds between a running trial's signs of life, and until it is taken for dead
POLL = 1.0  # seconds between two looks at what the other processes do
COUNTING = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
JOURNALS = (".log", ".journal")
EXPECTED = "expected a journal file such as study.log, or a database URL such as sqlite:///study.db"

Point = Mapping[str, Any]  # {parameter: value}

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def open_storage(text: str) -> BaseStorage:
    """loss_weights.storage: a journal file or a database. Raises InputError if it cannot be opened."""
    shown = f"loss_weights.storage '{re.sub('//[^@/]*@', '//...@', text)}'"  # no password in messages
    place = os.path.expandvars(text)
    if "://" in place:
        return _opened(lambda: _database(place), shown)
    if Path(place).suffix not in JOURNALS:
        raise InputError(f"{shown} is neither a .log nor a .journal file nor a URL: {EXPECTED}")
    return _opened(lambda: _journal(Path(place)), shown)


def open_database(path: Path) -> BaseStorage:
    """A database file of one's own, whatever its name. Raises InputError if it cannot be opened."""
    # the file is opened by its path: in a URL, ? and # and % mean other things
    return _opened(lambda: _database("sqlite:///loss_weights.db", path), f"'{path}'")


def _opened(make: Callable[[], BaseStorage], shown: str) -> BaseStorage:
    try:
        return make()
    except Exception as error:  # whatever a driver raises
        raise InputError(f"{shown} cannot be opened ({reason(error)}): {EXPECTED}") from None


def _database(url: str, path: Path | None = None) -> RDBStorage:
    # several processes write to one file: wait for each other rather than give up
    waiting: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    if path is not None:
        waiting = {"creator": lambda: sqlite3.connect(path, timeout=60, check_same_thread=False)}
    for pause in (0.1, 0.2, 0.4, 0.8, 1.6):
        try:
            return RDBStorage(url, engine_kwargs=dict(waiting))
        except Exception as error:
            # processes that start together make the tables together, and one of them comes second
            if not re.search("already exists|unique|duplicate", str(error), re.IGNORECASE):
                raise
            time.sleep(pause * (1 + os.getpid() % 10 / 10))
    return RDBStorage(url, engine_kwargs=waiting)


def _journal(path: Path) -> JournalStorage:
    if path.is_file() and path.stat().st_size:
        with path.open(encoding="utf-8", errors="replace") as file:
            if not file.readline().startswith('{"op_code"'):  # nothing is appended to a file of another kind
                raise ValueError("it is no journal")
    return JournalStorage(JournalFileBackend(str(path)))


class SharedStudy:
    """A study of `total` trials.

    setup: what all its trials must have in common; plain values.
    suggest: draws a trial's parameters by its `suggest_` methods; `names` are theirs.
    points: parameters that are taken first, in this order, before the sampler draws any.
    sampler: gives the sampler of the trial with a seed.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        setup: Mapping[str, Any],
        total: int,
        names: Sequence[str],
        suggest: Callable[[Trial], object],
        seed: int = 0,
        points: Sequence[Point] = (),
        sampler: Callable[[int], BaseSampler] = lambda seed: optuna.samplers.RandomSampler(seed),
        pruner: BasePruner | None = None,
    ):
        self.setup, self.total, self.names, self.suggest, self.points = dict(setup), total, names, suggest, points
        self.draws = _Draws(sampler, seed)
        self.place = _place()
        self.beats: dict[int, tuple[Any, float]] = {}  # {trial: (its last sign of life, when it was first seen)}
        try:
            self.study = optuna.create_study(
                storage=storage, study_name=name, sampler=self.draws, pruner=pruner or optuna.pruners.NopPruner(),
                direction="maximize", load_if_exists=True,
            )  # fmt: skip
            self.check_setup()
        except InputError:
            raise
        except Exception as error:
            found = f"loss_weights.storage cannot be read ({reason(error)})"
            raise InputError(f"{found}: expected a journal or a database that Optuna wrote") from None

    def check_setup(self) -> None:
        """Raises InputError if the study was made for something else."""
        held = self.study.user_attrs.get("setup")
        name = self.study.study_name
        if held is None:
            if self.study.get_trials(deepcopy=False):
                raise InputError(
                    f"the storage's study '{name}' is of another kind: expected another loss_weights.study"
                )
            self.study.set_user_attr("setup", self.setup)
            return
        difference = config_difference(held, self.setup)
        if difference:
            raise InputError(
                f"the storage's study '{name}' was made for something else: {difference}; expected the same, or "
                "another loss_weights.study or loss_weights.storage"
            )

    def claim(self) -> Trial | None:
        """A trial that is this process's to train, or None once all are finished; waits while others train the last."""
        waiting = False
        while True:
            self.check_setup()
            counting = self.counting()
            if len(self.finished()) >= self.total:
                return None
            if len(counting) < self.total:
                trial = self.study.ask()
                trial.set_user_attr("process", f"{self.place} {os.getpid()}")
                if self._settle(trial):
                    return trial
                self._fail(trial.number)
            elif not waiting:
                running = sum(trial.state == TrialState.RUNNING for trial in counting)
                print(f"waiting for other processes, which train {running} of {self.total}", flush=True)
                waiting = True
            time.sleep(POLL if waiting else 0)

    def counting(self) -> list[FrozenTrial]:
        """The trials that run or are finished, by number; those of dead processes fail here."""
        trials = self.study.get_trials(deepcopy=False)
        dead = {t.number for t in trials if t.state == TrialState.RUNNING and self._dead(t)}
        for number in dead:
            print(f"trial {number}: its process is gone, its place is given away", flush=True)
            self._fail(number)
        return [t for t in trials if t.state in COUNTING and t.number not in dead]

    def finished(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]

    @contextlib.contextmanager
    def working(self, trial: Trial) -> Iterator[None]:
        """While open, the trial shows signs of life; an exception that leaves it marks the trial as failed."""
        stop = threading.Event()
        thread = threading.Thread(target=_beat, args=(trial, stop), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            self._fail(trial.number)
            raise
        finally:
            stop.set()
            thread.join()

    def tell(self, trial: Trial, value: float | None) -> bool:
        """Ends the trial, pruned without a value; False if it was taken for dead and its place is given away."""
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        return self.study.tell(trial, value, state, skip_if_finished=True).state == state

    def _settle(self, trial: Trial) -> bool:
        """Draws the trial's parameters in the order of numbers; False if `total` trials with smaller numbers count."""
        while True:
            below = [other for other in self.counting() if other.number < trial.number]
            if len(below) >= self.total:
                return False
            if all(len(other.params) == len(self.names) for other in below):
                break
            time.sleep(POLL / 20)
        held = [other.params for other in below]
        self.draws.point = next(
            (point for point in self.points if not any(_same(point, other) for other in held)), None
        )
        self.suggest(trial)
        return True

    def _fail(self, number: int) -> None:
        # a storage that fails now must not hide why the trial ended; the others notice the missing beats
        with contextlib.suppress(Exception):
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _dead(self, trial: FrozenTrial) -> bool:
        """Whether a running trial's process is gone: seen at once on the same machine, else by missing beats."""
        place, _, process = trial.user_attrs.get("process", "").rpartition(" ")
        if place == self.place and not process_exists(int(process)):
            return True
        beat = trial.user_attrs.get("beat")
        if trial.number not in self.beats or self.beats[trial.number][0] != beat:
            self.beats[trial.number] = (beat, time.monotonic())  # our own clock: those of machines may differ
        return time.monotonic() - self.beats[trial.number][1] > TIMEOUT


class _Draws(BaseSampler):
    """`point`, if there is one, else a fresh sampler for each trial, seeded by the seed and the trial's number."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self.make, self.seed = make, seed
        self.inner = make(seed)
        self.point: Point | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.inner = self.make(int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0]))
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {} if self.point is not None else self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {} if self.point is not None else self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self.point is not None:
            return self.point[param_name]
        return self.inner.sample_independent(study, trial, param_name, param_distribution)


def _beat(trial: Trial, stop: threading.Event) -> None:
    count = 0
    while not stop.wait(BEAT):
        count += 1
        with contextlib.suppress(Exception):  # the next beat may come through
            trial.set_user_attr("beat", count)


def _place() -> str:
    """Where process numbers mean the same processes."""
    try:
        space = os.readlink("/proc/self/ns/pid")  # containers of one machine may share its name
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}"


def _same(one: Point, other: Point) -> bool:
    def alike(a: Any, b: Any) -> bool:
        return a == b or (isinstance(a, float) and isinstance(b, (int, float)) and math.isclose(a, b))

    return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)


def reason(error: BaseException) -> str:
    """In one line, what a storage's driver found at first."""
    while error.__cause__ is not None:
        error = error.__cause__
    if "disk is full" in str(error):  # of SQLite
        return "No space left on device"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
