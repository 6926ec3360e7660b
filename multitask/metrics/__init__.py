"""The metrics of the tasks, and Delta_m, which compares models over all of them.

A metric is a `torchmetrics.Metric`: `update(decoded, label, mask)` takes a batch, `compute()` returns {name: value}
over all valid pixels of the dataset, NaN where its labels define none. To add one, write a file with its class and
return it from a task's `metric`; `multitask.testing.check_metric` checks it.
"""

import math
from collections.abc import Mapping

from torchmetrics import Metric

from multitask.sending import read

Values = dict[str, dict[str, float | None]]  # {task: {metric: value}}; None where the labels define none


def values_of(metrics: Mapping[str, Metric]) -> Values:
    """What the tasks' metrics compute; None for NaN. Waits for a GPU once."""
    computed = {(task, name): value for task, metric in metrics.items() for name, value in metric.compute().items()}
    found: Values = {task: {} for task in metrics}
    for (task, name), value in read(computed).items():
        found[task][name] = None if math.isnan(value) else value
    return found
