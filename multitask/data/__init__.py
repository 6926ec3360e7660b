"""The datasets. `DATASETS` lists them; `open_dataset` makes the one that a configuration names."""

from collections.abc import Callable
from pathlib import Path

from experiment.config import DataSettings
from experiment.errors import InputError, unknown
from multitask.data.folder import SPLITS, Folder, check_root, class_count
from multitask.data.samples import Batch, Dataset, DatasetSplits, Sample
from multitask.data.scenes import CLASSES, Scenes
from multitask.tasks import Task, build_tasks


def _scenes(data: DataSettings) -> DatasetSplits:
    tasks = build_tasks(data.tasks, data, len(CLASSES))
    counts = {"train": data.train_images, "val": data.validation_images, "test": data.test_images}
    for key, count in counts.items():
        if count < 1:
            raise InputError(f"{key} split of scenes has {count} images: expected at least 1")
    # the scenes are the same whatever the run's seed, so that runs can be compared
    splits = {key: Scenes(key, count, data.height, data.width, data.tasks, seed=0) for key, count in counts.items()}
    return DatasetSplits("scenes", tasks, splits)


def _folder_tasks(data: DataSettings) -> tuple[Path, dict[str, Task]]:
    if data.root is None:
        raise InputError("data.name is folder but data.root is not given: expected the folder of your data")
    root = check_root(Path(data.root))
    return root, build_tasks(data.tasks, data, class_count(root, data.classes) if "semseg" in data.tasks else 0)


def _folder(data: DataSettings) -> DatasetSplits:
    root, tasks = _folder_tasks(data)
    splits = {split: Folder(root, split, data.height, data.width, tasks) for split in SPLITS}
    return DatasetSplits(root.resolve().name, tasks, splits)


DATASETS: dict[str, Callable[[DataSettings], DatasetSplits]] = {"scenes": _scenes, "folder": _folder}


def check_settings(data: DataSettings) -> None:
    """Raises InputError for settings that no dataset can follow."""
    if data.name not in DATASETS:
        raise unknown("dataset", data.name, DATASETS)
    if min(data.height, data.width) < 32:
        raise InputError(f"data.height x data.width is {data.height}x{data.width}: expected at least 32x32")
    low, high = data.scale_range
    if not 0 < low <= high:
        raise InputError(f"data.scale_range is [{low}, {high}]: expected 0 < smallest <= largest")
    if data.empty_classes not in ("zero", "skip"):
        raise unknown("data.empty_classes", data.empty_classes, ("zero", "skip"))
    if data.workers < 0:
        raise InputError(f"data.workers is {data.workers}: expected at least 0")
    if not 0 <= data.edge_positive_weight <= 1:
        raise InputError(f"data.edge_positive_weight is {data.edge_positive_weight}: expected 0 to 1")
    if not data.edge_tolerance >= 0:
        raise InputError(f"data.edge_tolerance is {data.edge_tolerance}: expected at least 0")


def open_dataset(data: DataSettings) -> DatasetSplits:
    """The dataset that the settings name. Raises InputError where they do not fit."""
    check_settings(data)
    return DATASETS[data.name](data)


def check_data(data: DataSettings) -> list[str]:
    """Every missing or malformed file of the dataset, a line each; scenes have no files."""
    check_settings(data)
    if data.name != "folder":
        return []
    root, tasks = _folder_tasks(data)
    problems = []
    for split in SPLITS:
        try:
            problems += Folder(root, split, data.height, data.width, tasks).problems()
        except InputError as error:  # the split's list itself
            problems.append(str(error))
    return problems


__all__ = ["DATASETS", "Batch", "Dataset", "DatasetSplits", "Sample", "check_data", "open_dataset"]
