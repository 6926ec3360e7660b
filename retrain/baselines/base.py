"""What every baseline is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from retrain.model import Model
from search_spaces import SearchSpace


class Baseline(ABC):
    """Gives a model from a space and a seed. Its name on the command line is `name`, or `name:ARGUMENT`."""

    name: ClassVar[str]

    @classmethod
    def arguments(cls, space: SearchSpace) -> Sequence[str]:
        """The values that ARGUMENT may have; empty where the baseline takes none."""
        return ()

    @abstractmethod
    def model(self, space: SearchSpace, seed: int, argument: str) -> Model:
        """The model of this seed; `argument` is empty where the baseline takes none."""
