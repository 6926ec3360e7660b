"""Reads run folders: the metrics of trained models, and the architectures of searches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.measures.facts import is_number, read_facts
from experiment.errors import InputError

if TYPE_CHECKING:
    from retrain.loading import Trained
    from search_spaces import Architecture

VERSION = 1  # of metrics.json


@dataclass(frozen=True)
class Primary:
    """The metric of a task that Delta_m compares."""

    metric: str
    value: float
    higher_is_better: bool


@dataclass(frozen=True)
class Seed:
    """One finished training or search; what its files lack is None, or empty.

    tasks: those whose primary metric has a value; undefined: {task: why its metric has none}; seed: the random seed;
    fingerprint: of the images and labels of the split; loss_weights: at the end of training;
    losses: of each task, unweighted, on the split;
    prior: of the training prior, the best constant prediction; seconds: of training and, in a search, of choosing;
    memory: peak bytes of the GPU's allocations where there is one, else of the process.
    """

    folder: Path
    tasks: dict[str, Primary]
    model: str | None = None
    dataset: str | None = None
    split: str | None = None
    parameters: float | None = None
    multiply_adds: float | None = None
    config: dict[str, Any] = field(default_factory=dict)
    prior: dict[str, Primary] = field(default_factory=dict)
    seconds: float | None = None
    memory: float | None = None
    undefined: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    fingerprint: str | None = None
    loss_weights: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRun:
    """A model trained from one or several seeds. `unfinished`: the seeds' folders without metrics.json."""

    folder: Path
    name: str
    seeds: tuple[Seed, ...]
    unfinished: tuple[Path, ...] = ()


def read_model(folder: str | Path) -> ModelRun:
    """A retrain run (`seed_K/metrics.json`), or a folder that itself holds metrics.json.

    Without a finished seed, or without a folder, `seeds` is empty. Raises InputError for a malformed file.
    """
    folder = Path(folder)
    folders = seed_folders(folder) or [folder]
    finished = [path for path in folders if (path / "metrics.json").is_file()]
    seeds = tuple(read_seed(path) for path in finished)
    name = next((seed.model for seed in seeds if seed.model), folder.resolve().name)
    unfinished = tuple(path for path in folders if path not in finished and path != folder)
    return ModelRun(folder, name, seeds, unfinished)


def seed_folders(folder: Path) -> list[Path]:
    """The `seed_K` folders of a run, by K."""
    paths = folder.iterdir() if folder.is_dir() else ()
    numbered = [(int(path.name[5:]), path) for path in paths if re.fullmatch(r"seed_\d+", path.name) and path.is_dir()]
    return [path for _, path in sorted(numbered)]


def read_seed(folder: Path, part: str | None = None) -> Seed:
    """The metrics.json of one training, with the config.yaml beside it where there is one.

    part: whose values to take instead of the reported ones, such as validation.
    """
    path = folder / "metrics.json"
    facts = read_facts(path)
    content = facts.content
    version = content.get("version", VERSION)
    if version != VERSION or isinstance(version, bool):
        raise InputError(f"'{path}' has version {version}: expected {VERSION}")
    values = content if part is None else content.get(part)
    if not isinstance(values, dict):
        raise InputError(f"'{path}' has no {part}: expected what a retraining writes")
    tasks = values.get("tasks")
    if not isinstance(tasks, dict) or not tasks:
        raise InputError(f"'{path}' has no tasks: expected tasks: {{task: {{metric: {{value, higher_is_better}}}}}}")
    primaries, undefined = _primaries(tasks, path)
    if not primaries:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in undefined.items())
        raise InputError(f"'{path}': no metric has a value: {reasons}; expected a split with labels")
    stored, seconds = folder / "config.yaml", facts.amount("train_seconds")
    weights, losses = facts.inside("loss_weights"), facts.inside("losses")
    return Seed(
        folder,
        primaries,
        facts.text("model"),
        facts.text("dataset"),
        facts.text("split"),
        facts.amount("parameters"),
        facts.amount("multiply_adds"),
        read_facts(stored).content if stored.is_file() else {},
        _primaries(facts.inside("prior").content, path)[0],
        None if seconds is None else seconds + (facts.amount("choice_seconds") or 0.0),
        facts.amount("peak_memory_bytes"),
        undefined,
        facts.integer("seed"),
        facts.text("fingerprint"),
        {name: weight for name in weights.content if (weight := weights.amount(name))},
        {name: loss for name in losses.content if (loss := losses.number(name)) is not None},
    )


def _primaries(tasks: dict[str, Any], path: Path) -> tuple[dict[str, Primary], dict[str, str]]:
    """The primary metrics that have a value, and why the others have none."""
    primaries: dict[str, Primary] = {}
    undefined: dict[str, str] = {}
    for task, metrics in tasks.items():
        found = _primary(metrics, task, path)
        if isinstance(found, Primary):
            primaries[task] = found
        else:
            undefined[task] = found
    return primaries, undefined


def _primary(metrics: Any, task: str, path: Path) -> Primary | str:
    """A task's primary metric, or why it has no value."""
    entries = metrics.items() if isinstance(metrics, dict) else ()
    primary = [(name, entry) for name, entry in entries if isinstance(entry, dict) and entry.get("primary") is True]
    if len(primary) != 1:
        raise InputError(f"'{path}' marks {len(primary)} metrics of {task} as primary: expected 1, for Delta_m")
    name, entry = primary[0]
    value, higher = entry.get("value"), entry.get("higher_is_better")
    if value is None and isinstance(entry.get("undefined"), str):
        return entry["undefined"]
    if value is None or not is_number(value):
        raise InputError(f"'{path}': {task} {name} is {value}: expected a finite number")
    if not isinstance(higher, bool):
        raise InputError(f"'{path}': higher_is_better of {task} {name} is {higher}: expected true or false")
    return Primary(name, float(value), higher)


def read_architectures(runs: Sequence[str | Path]) -> "dict[str, Architecture]":
    """{file: architecture} of search runs, architecture files, and retrain runs.

    Of a retrain run each different architecture counts once: its seeds usually share one. Raises InputError for a
    run that is given twice, that holds no architecture, or whose tasks or scales are not those of the first.
    """
    architectures: dict[str, Architecture] = {}
    places: set[Path] = set()
    for run in map(Path, runs):
        mine: dict[str, Architecture] = {}
        for path in _architecture_files(run):
            if path.resolve() in places:
                raise InputError(f"'{path}' is given twice: expected different runs")
            places.add(path.resolve())
            architecture = load_architecture(path)
            if architecture not in mine.values():
                mine[str(path)] = architecture
        architectures |= mine
    first, *others = architectures
    for other in others:
        ours, theirs = architectures[first].tasks, architectures[other].tasks
        if set(ours) != set(theirs):
            raise InputError(
                f"'{first}' and '{other}' differ in tasks: {', '.join(ours)} against {', '.join(theirs)}; "
                "expected the same"
            )
        if architectures[first].scales != architectures[other].scales:
            found = " against ".join(str(list(architectures[path].scales or (0,))) for path in (first, other))
            raise InputError(f"'{first}' and '{other}' differ in scales: {found}; expected the same")
    return architectures


def _architecture_files(run: Path) -> list[Path]:
    if run.is_file():
        return [run]
    folders = (run, *seed_folders(run))
    files = [folder / "architecture.yaml" for folder in folders if (folder / "architecture.yaml").is_file()]
    if not files:
        kind = "holds no architecture.yaml" if run.is_dir() else "does not exist"
        raise InputError(f"'{run}' {kind}: expected a finished search run or an architecture file")
    return files


def load_architecture(path: Path) -> "Architecture":
    """Raises InputError if it cannot be used."""
    from search_spaces import Architecture, SpaceError  # loads torch, which reading metrics can do without

    try:
        return Architecture.load(path)
    except (SpaceError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}': {error}") from error


def load_network(folder: Path, data_root: str | None = None) -> "Trained":
    """The trained network of one seed with its dataset; `data_root` stands in for a data folder that has moved.

    Raises InputError if the folder is no finished seed or its data is not there.
    """
    from retrain.loading import load_trained  # loads torch
    from search_spaces import SpaceError

    try:
        return load_trained(folder, data_root)
    except SpaceError as error:
        raise InputError(f"'{folder}': {error}") from error
