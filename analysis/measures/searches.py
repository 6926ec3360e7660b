"""Finished searches: what each chose, how sure it was of every pair, and how its choice moved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from analysis.measures.history import History, read_history
from analysis.measures.runs import read_architectures, read_mapping, read_rows
from experiment.errors import InputError

if TYPE_CHECKING:
    from search_spaces import Architecture

Pair = tuple[str, str]  # target, source
COLUMNS = ("target", "source", "block", "margin", "sureness", "decided")
NULL = "(noise null)"


@dataclass(frozen=True)
class Chosen:
    """A line of choices.csv.

    margin: distance to the next best candidate, in the strategy's own measure; sureness: probability that the choice
    is right, None where the strategy states none; decided: False where the evidence did not suffice.
    """

    block: str
    margin: float | None
    sureness: float | None
    decided: bool


@dataclass(frozen=True)
class Search:
    """`choices` is empty for a run without choices.csv: all its pairs count as decided. `noise_null`: the logits heard
    noise instead of the tasks, so that what such searches have in common is chance and bias.
    """

    path: str
    architecture: "Architecture"
    choices: Mapping[Pair, Chosen]
    noise_null: bool

    @property
    def name(self) -> str:
        path = Path(self.path)
        return marked(str(path.parent if _is_run(path) else path), self.noise_null)

    @cached_property
    def history(self) -> History | None:
        """How the choice moved, where the run tells."""
        path = Path(self.path).with_name("selection.csv")
        return read_history(path) if _is_run(Path(self.path)) and path.is_file() else None

    @property
    def undecided(self) -> list[Pair]:
        return [pair for pair, chosen in self.choices.items() if not chosen.decided]

    def decided(self) -> dict[Pair, str]:
        """{pair: block} of the pairs for which the evidence sufficed."""
        blocks = self.architecture.exchanges
        return {pair: block for pair, block in blocks.items() if pair not in self.undecided}


def marked(name: str, noise_null: bool) -> str:
    return f"{name} {NULL}" if noise_null else name


def read_searches(runs: Sequence[str | Path]) -> list[Search]:
    """Search runs, or architecture files, of which only the choice is known; as `read_architectures`."""
    return [_search(Path(path), architecture) for path, architecture in read_architectures(runs).items()]


def _search(path: Path, architecture: "Architecture") -> Search:
    if not _is_run(path):
        return Search(str(path), architecture, {}, False)
    told = path.with_name("choices.csv")
    choices = read_choices(told, architecture) if told.is_file() else {}
    return Search(str(path), architecture, choices, is_noise_null(path.parent))


def _is_run(path: Path) -> bool:
    """Whether what lies beside an architecture's file tells of it; a file of another name may lie anywhere."""
    return path.name == "architecture.yaml"


def is_noise_null(folder: Path) -> bool:
    """Whether the run's config.yaml says search.noise_null: true."""
    path = folder / "config.yaml"
    group = read_mapping(path, yaml.safe_load).get("search") if path.is_file() else None
    return isinstance(group, dict) and group.get("noise_null") is True


def read_choices(path: Path, architecture: "Architecture") -> dict[Pair, Chosen]:
    """Reads choices.csv. Raises InputError for a malformed file, or one that tells of another architecture."""
    found = dict(read_rows(path, COLUMNS, _chosen))
    if {pair: chosen.block for pair, chosen in found.items()} != dict(architecture.exchanges):
        raise InputError(f"'{path}' and the architecture.yaml beside it differ: expected the same pairs and blocks")
    return {pair: found[pair] for pair in architecture.pairs}


def _chosen(target: str, source: str, block: str, margin: str, sureness: str, decided: str) -> tuple[Pair, Chosen]:
    sure = float(sureness) if sureness else None
    if sure is not None and not 0 <= sure <= 1:
        raise ValueError(f"sureness {sureness} of {target} <- {source}, expected a probability or nothing")
    if decided not in ("true", "false"):
        raise ValueError(f"decided is {decided} for {target} <- {source}, expected true or false")
    distance = float(margin) if margin else math.nan
    return (target, source), Chosen(block, None if math.isnan(distance) else distance, sure, decided == "true")
