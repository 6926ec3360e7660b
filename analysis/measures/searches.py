"""Finished searches: the chosen blocks, their posterior probabilities and effects, the history of the selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.measures.facts import read_facts
from analysis.measures.runs import read_architectures
from experiment.errors import InputError
from supernet.records.choices import CHOICES, Choice, read_choices
from supernet.records.effects import EFFECTS, Effects, read_effects
from supernet.records.pairs import Pair
from supernet.records.selection_history import SELECTION, History, read_history

if TYPE_CHECKING:
    from search_spaces import Architecture

NULL = "(noise null)"


@dataclass(frozen=True)
class Search:
    """`choices` is empty for a run without choices.csv: all its pairs count as decided.

    noise_null: the search saw noise instead of a signal from the tasks (`gumbel` trains its logits on noise; `evidence`
    flips the signs of the losses at random), so that what such searches have in common is chance and bias.
    """

    path: str
    architecture: "Architecture"
    choices: Mapping[Pair, Choice]
    noise_null: bool

    @property
    def name(self) -> str:
        path = Path(self.path)
        return marked(str(path.parent if _is_run(path) else path), self.noise_null)

    @cached_property
    def history(self) -> History | None:
        """None for a run without selection.csv."""
        path = Path(self.path).with_name(SELECTION)
        return read_history(path) if _is_run(Path(self.path)) and path.is_file() else None

    @cached_property
    def effects(self) -> Effects:
        """Of all candidates; empty for a run without effects.csv."""
        path = Path(self.path).with_name(EFFECTS)
        return effects_of(path, self.architecture) if _is_run(Path(self.path)) and path.is_file() else {}

    @property
    def undecided(self) -> list[Pair]:
        return [pair for pair, choice in self.choices.items() if not choice.decided]

    def decided(self) -> dict[Pair, str]:
        """{pair: block} of the decided pairs."""
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
    file = path.with_name(CHOICES)
    choices = choices_of(file, architecture) if file.is_file() else {}
    return Search(str(path), architecture, choices, is_noise_null(path.parent))


def _is_run(path: Path) -> bool:
    """Whether the files beside the architecture belong to it; a file of another name may lie anywhere."""
    return path.name == "architecture.yaml"


def is_noise_null(folder: Path) -> bool:
    """Whether search.noise_null is true in the run's config.yaml."""
    path = folder / "config.yaml"
    return path.is_file() and read_facts(path).inside("search").content.get("noise_null") is True


def choices_of(path: Path, architecture: "Architecture") -> dict[Pair, Choice]:
    """Of the choices.csv at this path, in the order of the architecture's pairs.

    Raises InputError for a malformed file, or one of another architecture.
    """
    choices = read_choices(path)
    if {pair: choice.block for pair, choice in choices.items()} != dict(architecture.exchanges):
        raise InputError(f"'{path}' and the architecture.yaml beside it differ: expected the same pairs and blocks")
    return {pair: choices[pair] for pair in architecture.pairs}


def effects_of(path: Path, architecture: "Architecture") -> Effects:
    """Of the effects.csv at this path, the chosen blocks' among them.

    Raises InputError for a malformed file, or one of another architecture.
    """
    effects = read_effects(path)
    chosen = [(pair, block) for pair, block in architecture.exchanges.items() if block != "none"]
    if any(pair not in architecture.exchanges for pair, _ in effects) or any(one not in effects for one in chosen):
        raise InputError(f"'{path}' and the architecture.yaml beside it differ: expected its pairs and its blocks")
    return effects
