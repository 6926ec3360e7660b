"""Metrics of a network over a split, beside those of the constant prediction, which any network must beat."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from multitask.data.loader import evaluation_loader
from multitask.data.samples import Dataset, plain_batch
from multitask.metrics.delta_m import log_score
from multitask.tasks import Task

Values = dict[str, dict[str, float]]  # {task: {metric: value}}


def evaluate(
    network: nn.Module, dataset: Dataset, tasks: Mapping[str, Task], batch_size: int, workers: int, device: torch.device
) -> Values:
    """Every metric of every task in eval mode; leaves the network's mode as it was."""
    metrics = {name: task.metric().to(device) for name, task in tasks.items()}
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for sample in evaluation_loader(dataset, batch_size, workers, device.type == "cuda"):
            batch = plain_batch(sample, device)
            predictions = network(batch.image, batch.valid).predictions
            for name, task in tasks.items():
                metrics[name].update(task.decode(predictions[name]), batch.labels[name], batch.masks[name])
    network.train(was_training)
    return {name: _values(metric.compute()) for name, metric in metrics.items()}


def _values(computed: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in computed.items()}


def describe(values: Values, tasks: Mapping[str, Task]) -> dict[str, dict[str, dict[str, float | bool]]]:
    """The `tasks` part of metrics.json: each value with its direction and whether Delta_m compares it."""
    return {
        name: {
            metric: {
                "value": value,
                "higher_is_better": tasks[name].metrics[metric],
                "primary": metric == tasks[name].primary,
            }
            for metric, value in of_task.items()
        }
        for name, of_task in values.items()
    }


def score(values: Values, tasks: Mapping[str, Task]) -> float:
    """The network's score over all tasks, higher is better; see `log_score`."""
    primary = {name: values[name][task.primary] for name, task in tasks.items()}
    return log_score(primary, {name: task.metrics[task.primary] for name, task in tasks.items()})


def table(values: Values, tasks: Mapping[str, Task], prior: Values) -> str:
    """The primary metrics beside those of the constant prediction, and a warning where they are not better."""
    lines = []
    for name, task in tasks.items():
        arrow = "higher is better" if task.metrics[task.primary] else "lower is better"
        value, constant = values[name][task.primary], prior[name][task.primary]
        lines.append(f"  {name:<12} {task.primary:<11} {value:8.4f}   constant prediction {constant:8.4f}   ({arrow})")
    names = untrained(values, tasks, prior)
    if names:
        lines.append(
            f"warning: no better than the constant prediction: {', '.join(names)}; comparisons of untrained networks "
            "mean nothing. Try more training.iterations."
        )
    return "\n".join(lines)


def untrained(values: Values, tasks: Mapping[str, Task], prior: Values) -> list[str]:
    """The tasks whose primary metric is not better than that of the constant prediction."""
    names = []
    for name, task in tasks.items():
        gain = values[name][task.primary] - prior[name][task.primary]
        if not (gain > 0 if task.metrics[task.primary] else gain < 0):
            names.append(name)
    return names
