"""What must hold of a dataset's splits before a network is trained on them, and which images a split holds."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from experiment.errors import InputError
from multitask.data.samples import Dataset
from multitask.data.splits import DatasetSplits
from multitask.tasks import Task

SHOWN = 3  # ids in a message
LEARNED_FROM = {"train": "the task is learned from them", "val": "the best step is chosen by them"}


def check_splits(dataset: DatasetSplits) -> None:
    """Raises InputError for repeated images and for labels without which a run is worth nothing.

    Refused: an id twice in a split; val or test images among the training images; a task without labels in train or
    val. Warned about: images in val and test, a task without labels in test. A split is read until each task has
    labels, of most data one image.
    """
    errors, warnings = repeated_images(dataset.splits)
    if errors:
        raise InputError(errors[0])
    for split, samples in dataset.splits.items():
        for task in unlabelled(samples, dataset.tasks):
            found = f"{split} has no labels of {task.name}: {task.undefined} in its {len(samples)} images"
            if split in LEARNED_FROM:
                raise InputError(f"{found}; expected some, because {LEARNED_FROM[split]}")
            warnings.append(f"{found}, so that its metrics will have no value")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def repeated_images(splits: Mapping[str, Dataset]) -> tuple[list[str], list[str]]:
    """Ids twice in a split or in two splits: errors, and as a warning those in val and test.

    Splits without `ids`, such as rendered ones, share no image.
    """
    ids: dict[str, Sequence[str]] = {name: getattr(split, "ids", ()) for name, split in splits.items()}
    errors, warnings = [], []
    for name, own in ids.items():
        twice = [one for one, count in Counter(own).items() if count > 1]
        if twice:
            errors.append(f"{name} holds {_listed(twice)} twice: expected each image once")
    for one, other in combinations(ids, 2):
        shared = list(dict.fromkeys(i for i in ids[other] if i in set(ids[one])))
        if shared and "train" in (one, other):
            errors.append(f"{one} and {other} share {_listed(shared)}: expected {other} images that are not trained on")
        elif shared:
            warnings.append(f"{one} and {other} share {_listed(shared)}: the best step is chosen on {other} images")
    return errors, warnings


def _listed(ids: Sequence[str]) -> str:
    """As many and the first of them."""
    shown = ", ".join(one if len(one) <= 40 else f"{one[:37]}..." for one in ids[:SHOWN])
    more = ", ..." if len(ids) > SHOWN else ""
    return f"{len(ids)} image{'s' if len(ids) > 1 else ''} ({shown}{more})"


def unlabelled(samples: Dataset, tasks: Mapping[str, Task]) -> list[Task]:
    """The tasks whose metrics no image of the split gives a value."""
    missing = dict(tasks)
    for index in range(len(samples)):
        sample = samples[index]
        for name, task in tasks.items():
            if name in missing and task.defines(sample["labels"][name], sample["masks"][name]):
                del missing[name]
        if not missing:
            break
    return list(missing.values())


def fingerprint(dataset: DatasetSplits, split: str) -> str:
    """A digest of the split's images and labels, which leaves out where they lie.

    Of what the split's `identity` says: ids and the sizes of files, or how samples are made; without it, of its length.
    """
    samples = dataset.splits[split]
    identity = getattr(samples, "identity", None)
    content = [dataset.name, len(samples)] if identity is None else identity()
    return hashlib.sha256(json.dumps(content, allow_nan=False).encode()).hexdigest()
