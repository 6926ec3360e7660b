"""Metrics of a network over a split, and of the best constant prediction, which any network must beat."""

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


def evaluate_prior(train: Dataset, other: Dataset, tasks: Mapping[str, Task], limit: int = 256) -> Values:
    """Metrics of predicting each pixel's best constant, learned from at most `limit` training images."""
    labels: dict[str, list[Tensor]] = {name: [] for name in tasks}
    masks: dict[str, list[Tensor]] = {name: [] for name in tasks}
    step = -(-len(train) // limit)
    for i in range(0, len(train), step):
        sample = train[i]
        for name in tasks:
            labels[name].append(sample["labels"][name])
            masks[name].append(sample["masks"][name])
    priors = {n: task.prior(torch.stack(labels[n]), torch.stack(masks[n])) for n, task in tasks.items()}
    metrics = {name: task.metric() for name, task in tasks.items()}
    for i in range(len(other)):
        sample = other[i]
        for name in tasks:
            metrics[name].update(priors[name], sample["labels"][name][None], sample["masks"][name][None])
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
            for metric, value in found.items()
        }
        for name, found in values.items()
    }


def score(values: Values, tasks: Mapping[str, Task]) -> float:
    """How good a network is, in one number; see `log_score`."""
    primary = {name: values[name][task.primary] for name, task in tasks.items()}
    return log_score(primary, {name: task.metrics[task.primary] for name, task in tasks.items()})


def table(values: Values, tasks: Mapping[str, Task], prior: Values | None = None) -> str:
    """The primary metrics, for people."""
    lines = []
    for name, task in tasks.items():
        arrow = "higher is better" if task.metrics[task.primary] else "lower is better"
        line = f"  {name:<12} {task.primary:<11} {values[name][task.primary]:8.4f}"
        if prior is not None:
            line += f"   training prior {prior[name][task.primary]:8.4f}"
        lines.append(f"{line}   ({arrow})")
    return "\n".join(lines)
