"""What every search strategy is: something that goes along with the training of weights, and then chooses."""

from experiment.config import TrainingSettings
from multitask.data import DatasetSplits
from multitask.training.callback import Callback
from multitask.training.trainer import Trainer
from search_spaces.blocks import Pair
from supernet.records.choices import Choice


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
