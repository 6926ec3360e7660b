"""What a race reads of a search: its files alone, since search and retraining share nothing else.

Of choices.csv and selection.csv only a few named columns are read, whatever other columns a strategy adds.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from experiment.config import Config
from experiment.errors import InputError
from experiment.run import first_difference
from search_spaces import Architecture, SearchSpace, SpaceError
from search_spaces.blocks import Pair
from search_spaces.scales import place

FILES = ("config.yaml", "architecture.yaml", "choices.csv", "metrics.json")  # of a finished search
FREE = {"data": ("root", "workers")}  # keys in which the race may differ


@dataclass(frozen=True)
class SearchRun:
    """probability: of the choice of each pair, where the strategy has one. likeliest: the likeliest blocks at the last
    step of the selection, None without selection.csv.
    """

    architecture: Architecture
    probability: dict[Pair, float]
    likeliest: Architecture | None


def read_search(folder: str | Path, config: Config, space: SearchSpace) -> SearchRun:
    """Raises InputError for a folder without a finished search, or one of other data, network or space."""
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"--race '{folder}' is no finished search: expected {missing[0]} in it")
    difference = _difference(Config.load(folder / "config.yaml"), config)
    if difference:
        raise InputError(f"--race '{folder}': {difference}; expected the search's data, network and space")
    try:
        architecture = Architecture.load(folder / "architecture.yaml")
    except SpaceError as error:
        raise InputError(f"--race '{folder}': {error}") from error
    if architecture.scales != space.scales:
        raise InputError(f"--race '{folder}' has the scales {list(architecture.scales)}: expected {list(space.scales)}")
    if set(architecture.tasks) != set(space.tasks):
        raise InputError(f"--race '{folder}' has the tasks {list(architecture.tasks)}: expected {list(space.tasks)}")
    return SearchRun(architecture, _probabilities(folder / "choices.csv"), _likeliest(folder / "selection.csv", space))


def _difference(search: Config, config: Config) -> str:
    """Where the two differ first in what an architecture is for; empty if they do not."""
    for group in ("data", "network", "space"):
        free = FREE.get(group, ())
        old, new = (
            {key: value for key, value in content.to_dict()[group].items() if key not in free}
            for content in (search, config)
        )
        found = first_difference(old, new, group)
        if found:
            return found
    return ""


def _probabilities(path: Path) -> dict[Pair, float]:
    rows = _rows(path, ("target", "source", "probability"))
    return {(target, source): _number(path, value) for target, source, value in rows if value}


def _likeliest(path: Path, space: SearchSpace) -> Architecture | None:
    if not path.is_file():
        return None
    rows = _rows(path, ("target", "source", "step", "block", "probability"))
    last = max((int(_number(path, step)) for _, _, step, _, _ in rows), default=0)
    best: dict[Pair, tuple[float, str]] = {}
    for target, source, step, block, value in rows:
        probability = _number(path, value)
        if int(_number(path, step)) == last and probability > best.get((target, source), (-1.0, ""))[0]:
            best[target, source] = probability, block
    exchanges = {pair: block for pair, (_, block) in best.items()}
    try:
        return Architecture.from_space(space, exchanges, {"source": "likeliest blocks of selection.csv"})
    except SpaceError as error:
        raise InputError(f"'{path}': {error}") from error


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """These columns of a CSV file. Raises InputError if it lacks one or has an incomplete row."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [tuple(_placed(row).get(column) for column in columns) for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read: {error}") from error
    whole = [tuple(map(str, row)) for row in rows if None not in row]
    if not rows or len(whole) < len(rows):
        raise InputError(f"'{path}': expected the columns {', '.join(columns)} in every row")
    return whole


def _placed(row: dict[str, str | None]) -> dict[str, str | None]:
    """A row whose target and source are places, where the file has a column of scales."""
    scale = row.get("scale")
    if not scale or not scale.isdecimal():
        return row
    return {**row, **{end: place(str(row.get(end)), int(scale)) for end in ("target", "source")}}


def _number(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"'{path}' holds '{text}': expected a number") from error
