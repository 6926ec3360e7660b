"""The course of trainings: what their TensorBoard events recorded."""

from collections.abc import Sequence
from pathlib import Path

from analysis.measures.runs import Seed

Course = list[tuple[int, float]]  # (step, value)


def courses(seed: Seed, tasks: Sequence[str]) -> dict[str, Course]:
    """{"loss of TASK" or "validation TASK METRIC": its values over the steps}, of one seed; a baseline that trains each
    task by itself has a folder for each.
    """
    found: dict[str, Course] = {}
    for folder in (seed.folder, *(seed.folder / task for task in tasks)):
        if any(folder.glob("events.out.tfevents*")):
            found |= _read(folder, tasks)
    return found


def _read(folder: Path, tasks: Sequence[str]) -> dict[str, Course]:
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(folder), {SCALARS: 0})  # all of them
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        kind, _, name = tag.partition("/")
        if kind == "loss" and name in tasks:
            label = f"loss of {name}"
        elif kind == "validation" and any(name.startswith(f"{task}_") for task in tasks):
            task = next(task for task in tasks if name.startswith(f"{task}_"))
            label = f"validation {task} {name.removeprefix(task + '_')}"
        else:
            continue
        # a resumed training writes some steps again
        found[label] = sorted({event.step: event.value for event in events.Scalars(tag)}.items())
    return found
