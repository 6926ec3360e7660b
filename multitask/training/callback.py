"""What a procedure, such as a search strategy, adds to the training loop."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from experiment.run import Run


class Callback:
    """Hooks of the training loop; this base adds nothing."""

    def begin(self, run: Run, step: int) -> None:
        """Called once before the first step; `step` steps are done."""

    def before_step(self, step: int) -> None:
        """Called before step `step`, counted from 0."""

    def loss(self) -> Tensor | float:
        """A term added to the tasks' losses."""
        return 0.0

    def parameters(self) -> list[nn.Parameter]:
        """Parameters that the callback updates itself; their gradients are clipped with the weights'."""
        return []

    def after_step(self, done: int) -> None:
        """Called after the weights' update; `done` steps are done."""

    def end(self) -> None:
        """Called after the last step and after an interruption, to close what `begin` opened."""

    def figures(self) -> dict[str, Tensor | float]:
        """Scalars for the log line and TensorBoard; those on a GPU are read together."""
        return {}

    def details(self) -> dict[str, float]:
        """Scalars that are too many for the log line, by the names that loggers give them."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What the checkpoint keeps of the callback."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
