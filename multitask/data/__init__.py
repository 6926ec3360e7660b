"""The datasets. `DATASETS` lists them; `open_source` makes the one that a configuration names."""

from collections.abc import Callable
from pathlib import Path

from multitask.data.folder import SPLITS, Folder, class_count
from multitask.data.samples import Batch, Dataset, Sample, Source
from multitask.data.scenes import CLASSES, Scenes
from multitask.errors import InputError, unknown
from multitask.settings import DataSettings
from multitask.tasks import build_tasks


def _scenes(data: DataSettings) -> Source:
    tasks = build_tasks(data.tasks, data, len(CLASSES))
    counts = {"train": data.train_images, "val": data.validation_images, "test": data.test_images}
    for key, count in counts.items():
        if count < 1:
            raise InputError(f"{key} split of scenes has {count} images: expected at least 1")
    # the scenes are the same whatever the run's seed, so that runs can be compared
    splits = {key: Scenes(key, count, data.height, data.width, data.tasks, seed=0) for key, count in counts.items()}
    return Source("scenes", tasks, splits)


def _folder(data: DataSettings) -> Source:
    if data.root is None:
        raise InputError("data.name is folder but data.root is not given: expected the folder of your data")
    root = Path(data.root)
    tasks = build_tasks(data.tasks, data, class_count(root, data.classes) if "semseg" in data.tasks else 0)
    splits = {split: Folder(root, split, data.height, data.width, tasks) for split in SPLITS}
    return Source(root.resolve().name, tasks, splits)


DATASETS: dict[str, Callable[[DataSettings], Source]] = {"scenes": _scenes, "folder": _folder}


def open_source(data: DataSettings) -> Source:
    """The dataset that the settings name. Raises InputError where they do not fit."""
    if data.name not in DATASETS:
        raise unknown("dataset", data.name, DATASETS)
    if min(data.height, data.width) < 32:
        raise InputError(f"data.height x data.width is {data.height}x{data.width}: expected at least 32x32")
    low, high = data.scale_range
    if not 0 < low <= high:
        raise InputError(f"data.scale_range is [{low}, {high}]: expected 0 < smallest <= largest")
    if data.empty_classes not in ("zero", "skip"):
        raise unknown("data.empty_classes", data.empty_classes, ("zero", "skip"))
    return DATASETS[data.name](data)


def check_data(data: DataSettings) -> list[str]:
    """Every missing or malformed file of the dataset, a line each; scenes have no files."""
    source = open_source(data)
    return [line for dataset in source.splits.values() if isinstance(dataset, Folder) for line in dataset.problems()]


__all__ = ["DATASETS", "Batch", "Dataset", "Sample", "Source", "check_data", "open_source"]
