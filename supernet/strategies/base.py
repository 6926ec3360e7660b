"""What every search strategy is: something that goes along with the training of weights, and then chooses."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiment.config import TrainingSettings
from experiment.files import write_atomic
from multitask.data import DatasetSplits
from multitask.training.trainer import Callback, Trainer
from search_spaces.blocks import Pair


@dataclass(frozen=True)
class Choice:
    """block; margin: its distance to the next best, in the strategy's own measure; sureness: the probability that it is
    right, None where the strategy states none; decided: whether the evidence sufficed.
    """

    block: str
    margin: float
    sureness: float | None
    decided: bool


class Strategy(Callback):
    training_seconds = 0.0  # of training beside the one that it goes along with
    choice_seconds = 0.0  # of what prepares the choice beside `choose`

    def training_settings(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings of the training that this strategy goes along with; it may need steps for another."""
        return settings

    def training_images(self, source: DatasetSplits) -> DatasetSplits:
        """The source on which weights are trained; a strategy may hold images out."""
        return source

    def attach(self, training: Trainer) -> None:
        """Called once, before the training begins that this strategy goes along with."""

    def choose(self, training: Trainer) -> dict[Pair, Choice]:
        """A choice per pair, after the last step."""
        raise NotImplementedError(f"{type(self).__name__} does not choose")


COLUMNS = ("target", "source", "block", "margin", "sureness", "decided")


def write_choices(path: Path, choices: Mapping[Pair, Choice]) -> None:
    """choices.csv: one row a pair."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for pair, choice in choices.items():
        sureness = "" if choice.sureness is None else f"{choice.sureness:.4f}"
        writer.writerow([*pair, choice.block, f"{choice.margin:.6f}", sureness, str(choice.decided).lower()])
    write_atomic(path, text.getvalue())
