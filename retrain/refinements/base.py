"""What stands in the exchange's place of a published network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from multitask.initialization import seeded


class Refinement(nn.Module, ABC):
    """Refines all tasks' features at once. N tasks, C channels.

    Weights carry their tasks' names, and their initial values follow from these and the seed: the order of the tasks
    changes nothing.
    """

    def __init__(self, tasks: Sequence[str], channels: int, seed: int = 0):
        super().__init__()
        self.tasks, self.channels, self.seed = tuple(tasks), channels, seed
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Creates the weights."""

    @abstractmethod
    def refine(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: (B, C, h, w)} -> the same."""

    def forward(
        self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor] | None = None, valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """As a network calls what is in its exchange slot; regions and validity are not read."""
        return self.refine(features)

    def per_task(self, name: str, make: Callable[[], nn.Module]) -> Any:
        """{task: a module}, an nn.ModuleDict."""
        modules = nn.ModuleDict()
        for task in self.tasks:
            with seeded(self.seed, "exchange", name, task):
                modules[task] = make()
        return modules

    def per_pair(self, name: str, make: Callable[[str, str], nn.Module], *, with_self: bool = True) -> Any:
        """{target: {source: make(target, source)}}, nn.ModuleDicts."""
        modules = nn.ModuleDict()
        for target in self.tasks:
            row = nn.ModuleDict()
            for source in self.tasks:
                if with_self or source != target:
                    with seeded(self.seed, "exchange", name, target, source):
                        row[source] = make(target, source)
            modules[target] = row
        return modules
