"""A metric of one's own, and several metrics of a task as one."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torchmetrics import Metric


class OwnMetric(Metric):
    """What `data.metrics` adds to a task, by its import path; built without arguments.

    metrics: {name: whether higher is better}; primary: whether the first of them is the task's primary metric, which
    Delta_m compares. `update(decoded, label, mask)` takes a batch, and `compute()` returns {name: value}, NaN without a
    valid pixel. States are declared by `add_state` and add up over batches (`dist_reduce_fx="sum"`).
    """

    full_state_update = False
    metrics: ClassVar[Mapping[str, bool]]
    primary: ClassVar[bool] = False


class JoinedMetric(Metric):
    """Several metrics of one task, called as if they were one."""

    full_state_update = False

    def __init__(self, parts: list[Metric]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def _metrics(self) -> list[Metric]:
        return cast(list[Metric], list(self.parts))

    def update(self, decoded: Tensor, label: Tensor, mask: Tensor) -> None:
        for part in self._metrics:
            part.update(decoded, label, mask)

    def compute(self) -> dict[str, Tensor]:
        return {name: value for part in self._metrics for name, value in part.compute().items()}

    def reset(self) -> None:
        super().reset()
        for part in self._metrics:
            part.reset()

    @property
    def metric_state(self) -> dict[str, Any]:
        return {f"{i}.{key}": value for i, part in enumerate(self._metrics) for key, value in part.metric_state.items()}  # type: ignore[misc]

    def merge_state(self, incoming_state: Any) -> None:
        for i, part in enumerate(self._metrics):
            own = {key.partition(".")[2]: v for key, v in incoming_state.items() if key.startswith(f"{i}.")}
            part._update_count += 1
            part.merge_state(own)
