"""The metrics of the tasks, and Delta_m, which compares models over all of them.

A metric is a `torchmetrics.Metric`: `update(decoded, label, mask)` takes a batch, `compute()` returns {name: value}
over all valid pixels of the dataset, NaN where its labels define none. To add one, write a file with its class and
return it from a task's `metric`; `multitask.testing.check_metric` checks it.
"""

import math

from torchmetrics import Metric

Values = dict[str, dict[str, float | None]]  # {task: {metric: value}}; None where the labels define none


def values_of(metric: Metric) -> dict[str, float | None]:
    """What a metric computes; None for NaN."""
    values = {name: float(value) for name, value in metric.compute().items()}
    return {name: None if math.isnan(value) else value for name, value in values.items()}
