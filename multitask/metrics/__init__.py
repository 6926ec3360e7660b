"""The metrics of the tasks, and Delta_m, which compares models over all of them.

A metric is a `torchmetrics.Metric`: `update(decoded, label, mask)` takes a batch, `compute()` returns {name: value}
over all valid pixels of the dataset, NaN where its labels define none. Its states of several batches are merged, so it
sets `full_state_update = False`. To add one, write a file with its class and
return it from a task's `metric`; `multitask.testing.check_metric` checks it. A user's own, which `data.metrics` names
by its import path, is an `OwnMetric` (base.py).
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor
from torchmetrics import Metric

from multitask.sending import read

Values = dict[str, dict[str, float | None]]  # {task: {metric: value}}; None where the labels define none


def values_of(metrics: Mapping[str, Metric]) -> Values:
    """What the tasks' metrics compute, from what they have seen in this process; None for NaN. Waits for a GPU once."""
    for metric in [part for whole in metrics.values() for part in whole.modules() if isinstance(part, Metric)]:
        metric._to_sync = False  # torchmetrics would add up all processes', also where each has seen everything
    computed = {(task, name): value for task, metric in metrics.items() for name, value in metric.compute().items()}
    found: Values = {task: {} for task in metrics}
    for (task, name), value in read(computed).items():
        found[task][name] = None if math.isnan(value) else value
    return found


def merged(metric: Metric, states: Sequence[dict[str, Tensor]]) -> Metric:
    """A fresh metric that has seen what gave these states, in their order: the same bits as from one after another."""
    for state in states:
        metric._update_count += 1  # what `update` would do
        metric.merge_state({name: tensor.to(metric.device) for name, tensor in state.items()})
    return metric
