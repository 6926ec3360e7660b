"""All sections of the page, from the folders that were given."""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from analysis.commands.report import model_sections as models
from analysis.commands.report import search_sections as search
from analysis.commands.report.effects_section import worth
from analysis.commands.report.search_files import read_metrics
from analysis.measures.comparison import Comparison, check_finished, compare
from analysis.measures.runs import ModelRun, load_architecture, read_model
from analysis.measures.searches import choices_of, marked
from analysis.measures.verdict import choice_alone, verdict
from analysis.report.page import Section
from experiment.calls import call
from experiment.config import Config
from experiment.errors import InputError
from experiment.version import version
from search_spaces import Architecture
from supernet.records.choices import CHOICES, Choice
from supernet.records.costs import COSTS
from supernet.records.pairs import Pair
from supernet.records.samples import PARETO
from supernet.records.selection_history import SELECTION, read_history

STEPS = 200  # a line does not need more points

Given = TypeVar("Given")


def sections(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The content of the template; None for a section without input. Raises InputError for a malformed file."""
    config = Config.load(folder / "config.yaml")
    metrics = _if_there(folder / "metrics.json", read_metrics)
    architecture = _if_there(folder / "architecture.yaml", load_architecture)
    choices = _if_there(folder / CHOICES, lambda path: architecture and choices_of(path, architecture)) or {}
    history = _if_there(folder / SELECTION, lambda path: read_history(path).thinned(STEPS))
    searches = models.searches(folder, arguments.searches)
    given = [*([arguments.found] if arguments.found else []), *arguments.models]
    comparison = compare(arguments.baseline, given) if arguments.baseline is not None and given else None
    found = _finished(arguments.found)
    baseline = _finished(arguments.baseline)
    others = [model for model in map(_finished, arguments.models) if model]
    # a search that chooses only at its end has no course to draw
    course = history if history is not None and len(history.steps) > 2 else None

    networks = [model for model in (baseline, *others) if model]
    effects = _of(architecture, lambda plan: worth(folder, plan, config.search.worth, searches))
    root = arguments.data_root
    raced = models.race_folder(folder, arguments.race)
    race = _of(raced, models.race)
    note = models.other_architecture(found, architecture)
    tested = found if note is None else None
    shown = _optional(lambda: models.networks(found, baseline, others, root) if arguments.images > 0 else {}) or {}
    return {
        "verdict": _verdict(race, comparison, tested, architecture, choices),
        "title": marked(f"Search on {config.data.name}", config.search.noise_null),
        "facts": search.facts(folder, config, metrics, architecture),
        "written": written(arguments),
        "race": race,
        "effects": effects,
        "predicted": _optional(lambda: models.predicted(raced, found, networks, architecture, choices)),
        "matrix": _of(architecture, lambda plan: search.matrix(plan, choices, config)),
        "shares": _of(architecture, search.shares),
        "reliability": models.reliability(searches) if searches else None,
        "selection": _of(history if effects is None else course, lambda history: search.selection(history, choices)),
        "schedules": _of(course, lambda history: search.schedules(history, config)),
        "loss_weights": search.loss_weights(folder),
        "metrics": _of(metrics, search.validation),
        "comparison": _of(comparison, lambda comparison: models.comparison(comparison, arguments.found, note)),
        "resources": _of(architecture, lambda plan: _optional(lambda: models.network_costs(plan, config, root))),
        "costs": _of(architecture, lambda plan: search.candidate_costs(folder / COSTS, plan, metrics or {})),
        "front": search.front(folder / PARETO),
        "importance": _of(
            found if arguments.importance else None, lambda run: models.importance(run, arguments.baseline, root)
        ),
        "training": models.training(found, baseline),
        "pictures": _optional(lambda: models.predictions(shown, arguments.images)),
        "attention": _optional(lambda: models.attention(shown, choices)),
    }


def _verdict(
    race: Section | None,
    comparison: Comparison | None,
    found: ModelRun | None,
    architecture: Architecture | None,
    choices: Mapping[Pair, Choice],
) -> str | None:
    """One sentence, of the strongest proof that there is: a race, a comparison, the search alone."""
    if race is not None:
        return race["verdict"]
    row = None
    if comparison is not None and found is not None:
        row = next((row for row in comparison.rows if row.run == str(found.folder)), None)
    if comparison is not None and row is not None:
        return verdict(comparison, row, choices)
    return None if architecture is None else choice_alone(architecture)


def written(arguments: argparse.Namespace) -> dict[str, str]:
    """When, by which version and by which command."""
    words = [call("report"), shlex.quote(str(arguments.folder))]
    for name in ("searches", "found", "baseline", "models", "race", "output", "importance", "data_root"):
        value = getattr(arguments, name)
        if value:
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += [f"--{name.replace('_', '-')}", *(shlex.quote(str(one)) for one in values)]
    return {
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "version": version(),
        "command": " ".join(words),
    }


def _if_there(path: Path, read: Callable[[Path], Any]) -> Any:
    return read(path) if path.is_file() else None


def _of(given: Given | None, section: Callable[[Given], Section | None]) -> Section | None:
    return None if given is None else section(given)


def _optional(section: Callable[[], Section | None]) -> Section | None:
    """A section that needs data or checkpoints, which may have gone since the run."""
    try:
        return section()
    except InputError as error:
        print(f"note: left out: {error}", file=sys.stderr)
        return None


def _finished(folder: str | None) -> ModelRun | None:
    if folder is None:
        return None
    model = read_model(folder)
    check_finished(model)
    return model
