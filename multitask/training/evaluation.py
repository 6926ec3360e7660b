"""Metrics of a network over a split, beside those of the constant prediction, which any network must beat."""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from experiment.errors import InputError
from experiment.progress import track
from multitask import processes
from multitask.data.loader import evaluation_loader
from multitask.data.samples import Dataset, Sample, plain_batch
from multitask.data.split_checks import fingerprint
from multitask.data.splits import DatasetSplits
from multitask.metrics import Values, merged, values_of
from multitask.metrics.delta_m import log_score
from multitask.tasks import Task
from multitask.training.finite import Diverged, FirstFaults, trace


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    tasks: Mapping[str, Task],
    batch_size: int,
    workers: int,
    device: torch.device,
    label: str = "evaluating",
) -> Values:
    """Every metric of every task in eval mode; leaves the network's mode as it was.

    Several processes take batches in turn; what they count is added up in the order of the batches. label: of the bar.

    Raises Diverged for predictions that are not finite, which some metrics would hide.
    """
    metrics = {name: task.meter().to(device) for name, task in tasks.items()}
    several = processes.count() > 1
    states: list[dict[str, dict[str, Tensor]]] = []  # of each batch, {task: its metric's}
    faults, problem = FirstFaults(), None
    was_training = network.training
    network.eval()
    batches = partial(evaluation_loader, dataset, batch_size, workers, device.type == "cuda")
    try:
        with torch.no_grad():
            for number, sample in enumerate(track(batches(), label, unit="batch")):
                batch = plain_batch(sample, device)
                predictions = network(batch.image, batch.valid).predictions
                faults.note(number, {name: predictions[name].abs().amax() for name in tasks})
                if device.type == "cpu":
                    _check_finite(network, faults, batches, device)
                for name, task in tasks.items():
                    metrics[name].update(task.decode(predictions[name]), batch.labels[name], batch.masks[name])
                if several:
                    states.append({name: metric.metric_state for name, metric in metrics.items()})  # type: ignore[misc]
                    for metric in metrics.values():
                        metric.reset()
            _check_finite(network, faults, batches, device)
    except Diverged as error:
        problem = error.problem
    network.train(was_training)
    problem = next(filter(None, processes.gathered(problem)), None)
    if problem is not None:
        raise Diverged(problem)
    if several:
        states = processes.in_order([_on_host(of_batch) for of_batch in states])
        metrics = {
            name: merged(task.meter().to(device), [of_batch[name] for of_batch in states])
            for name, task in tasks.items()
        }
    values = values_of(metrics)
    for name, of_task in values.items():
        if set(of_task) != set(tasks[name].metrics):  # of a user's own
            raise InputError(f"the metrics of {name} are {list(of_task)}: expected {list(tasks[name].metrics)}")
        for quantity, value in of_task.items():
            if value is not None and math.isinf(value):
                raise Diverged(f"the {quantity} of {name} is infinite")
    return values


@torch.no_grad()
def mean_losses(
    network: nn.Module,
    dataset: Dataset,
    tasks: Mapping[str, Task],
    batch_size: int,
    workers: int,
    device: torch.device,
    label: str = "evaluating",
) -> dict[str, float | None]:
    """Each task's unweighted loss in eval mode, its mean over the images with labels of it. None without any, and where
    a task's own loss is not finite, as a mean over what an image lacks. Leaves the network's mode as it was; several
    processes take batches in turn.
    """
    sums: list[Tensor] = []  # of each batch: losses, and images with labels, (2, tasks)
    was_training = network.training
    network.eval()
    for sample in track(evaluation_loader(dataset, batch_size, workers, device.type == "cuda"), label, unit="batch"):
        batch = plain_batch(sample, device)
        predictions = network(batch.image, batch.valid).predictions
        of_batch = []
        for name, task in tasks.items():
            mask = batch.masks[name]
            labelled = mask.flatten(1).any(1)
            losses = task.image_losses(predictions[name], batch.labels[name], mask).double()
            of_batch.append(torch.stack([losses.where(labelled, 0.0).sum(), labelled.sum().double()]))
        sums.append(torch.stack(of_batch, 1))  # stays on the device, which so need not be waited for
    network.train(was_training)
    sums = [one.cpu() for one in sums]
    if processes.count() > 1:
        sums = processes.in_order(sums)
    total, count = torch.stack(sums).sum(0).tolist()
    return {name: total[i] / count[i] if count[i] and math.isfinite(total[i]) else None for i, name in enumerate(tasks)}


def _on_host(states: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return {task: {name: tensor.cpu() for name, tensor in state.items()} for task, state in states.items()}


def _check_finite(
    network: nn.Module, faults: FirstFaults, batches: Callable[[], Iterable[Sample]], device: torch.device
) -> None:
    """faults: of the predictions of each batch. Waits for the device."""
    first = faults.first()
    if first is None:
        return
    number, names = first
    batch = plain_batch(next(islice(batches(), number, None)), device)
    tensor = trace(network, lambda: network(batch.image, batch.valid))
    raise Diverged(f"predictions of {', '.join(names)} are not finite, first tensor: {tensor}")


def describe(values: Values, tasks: Mapping[str, Task]) -> dict[str, dict[str, dict[str, float | bool | str | None]]]:
    """The `tasks` part of metrics.json: each value with its direction and whether Delta_m compares it.

    A metric without a value has null, and the reason as `undefined`.
    """
    return {
        name: {
            metric: {
                "value": value,
                "higher_is_better": tasks[name].metrics[metric],
                "primary": metric == tasks[name].primary,
                **({"undefined": tasks[name].undefined} if value is None else {}),
            }
            for metric, value in of_task.items()
        }
        for name, of_task in values.items()
    }


def results(model: str, seed: int, dataset: DatasetSplits, split: str, values: Values) -> dict[str, Any]:
    """The first entries of metrics.json: whose results, on what, and `tasks`."""
    return {
        "version": 1,
        "model": model,
        "seed": seed,
        "dataset": dataset.name,
        "split": split,
        "images": len(dataset.splits[split]),
        "fingerprint": fingerprint(dataset, split),
        "tasks": describe(values, dataset.tasks),
    }


def primary_results(described: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """{"TASK_METRIC": value} of the primary metrics in what `describe` gives, as far as they have one."""
    return {
        f"{task}_{metric}": entry["value"]
        for task, entries in described.items()
        for metric, entry in entries.items()
        if entry["primary"] and entry["value"] is not None
    }


def primary_values(values: Values, tasks: Mapping[str, Task]) -> dict[str, float]:
    """{task: its primary metric}. Raises InputError where it has no value."""
    found = {}
    for name, task in tasks.items():
        value = values[name][task.primary]
        if value is None:
            raise InputError(f"{name} has no {task.primary}: {task.undefined} in the split; expected labels there")
        found[name] = value
    return found


def score(values: Values, tasks: Mapping[str, Task]) -> float:
    """The network's score over all tasks, higher is better; see `log_score`. Raises InputError as `primary_values`."""
    return log_score(primary_values(values, tasks), {name: task.metrics[task.primary] for name, task in tasks.items()})


def table(values: Values, tasks: Mapping[str, Task], prior: Values) -> str:
    """The primary metrics beside those of the constant prediction, and a warning where they are not better."""
    lines = []
    for name, task in tasks.items():
        arrow = "higher is better" if task.metrics[task.primary] else "lower is better"
        value, constant = (decimal(found[name][task.primary]) for found in (values, prior))
        note = arrow if values[name][task.primary] is not None else task.undefined
        lines.append(f"  {name:<12} {task.primary:<11} {value}   constant prediction {constant}   ({note})")
    names = untrained(values, tasks, prior)
    if names:
        lines.append(
            f"warning: no better than the constant prediction: {', '.join(names)}; comparisons of untrained networks "
            "mean nothing. Try more training.iterations."
        )
    return "\n".join(lines)


def untrained(values: Values, tasks: Mapping[str, Task], prior: Values) -> list[str]:
    """The tasks whose primary metric has a value and is not better than that of the constant prediction."""
    names = []
    for name, task in tasks.items():
        value, constant = values[name][task.primary], prior[name][task.primary]
        if value is None or constant is None:
            continue
        if not (value > constant if task.metrics[task.primary] else value < constant):
            names.append(name)
    return names


def decimal(value: float | None) -> str:
    """In a column of 8 characters; - for a metric without a value."""
    return f"{'-':>8}" if value is None else f"{value:8.4f}"
