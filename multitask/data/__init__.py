"""The datasets, and what prepares their samples for training.

A dataset is a function from the data settings to `DatasetSplits`: its tasks and its splits train, val and test. A split
has a length and gives samples (`Sample`): an image, or one for each task, and a label and a mask of valid pixels for
each task. It may have `groups`, a name for each image: neighbouring frames, such as those of one video, are one group
(`splits.groups_of` reads them). To add one, write a file such as folder.py, with readers of its label files
(label_files.py reads those of a data folder), and add a line to `DATASETS`; `multitask.testing.check_dataset` checks
it. `open_dataset` makes the dataset of a configuration.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiment.config import DataSettings
from experiment.errors import InputError, unknown
from multitask.data.census import DataReport, take_census
from multitask.data.folder import SPLITS, Folder, check_root, class_count, class_names
from multitask.data.samples import Batch, Dataset, Sample
from multitask.data.scenes import CLASSES, PARTS, Scenes
from multitask.data.sensors import Sensors, image_kinds
from multitask.data.split_checks import check_splits, fingerprint, unlabelled
from multitask.data.splits import DatasetSplits
from multitask.tasks import Task, build_tasks


def _scenes(data: DataSettings) -> DatasetSplits:
    tasks = build_tasks(data.tasks, data, len(CLASSES))
    counts = {"train": data.train_images, "val": data.validation_images, "test": data.test_images}
    # the scenes are the same whatever the run's seed, so that runs can be compared
    splits = {key: Scenes(key, count, data.height, data.width, data.tasks, seed=0) for key, count in counts.items()}
    return DatasetSplits("scenes", tasks, splits)


def _sensors(data: DataSettings) -> DatasetSplits:
    tasks = build_tasks(data.tasks, data, len(CLASSES))
    counts = {"train": data.train_images, "val": data.validation_images, "test": data.test_images}
    splits = {key: Sensors(key, n, data.height, data.width, data.tasks, data.sensors) for key, n in counts.items()}
    return DatasetSplits("sensors", tasks, splits, image_kinds(data.tasks, data.sensors))


def _folder_tasks(data: DataSettings) -> tuple[Path, dict[str, Task]]:
    if data.root is None:
        raise InputError("data.name is folder but data.root is not given: expected the folder of your data")
    root = check_root(Path(data.root))
    return root, build_tasks(data.tasks, data, class_count(root, data.classes) if "semseg" in data.tasks else 0)


def _folder(data: DataSettings) -> DatasetSplits:
    root, tasks = _folder_tasks(data)
    splits = {split: Folder(root, split, data.height, data.width, tasks) for split in SPLITS}
    own = splits["train"].image_folder
    # images of their own are measurements, such as a range sensor's, whose values training leaves as they are
    images = {task: "plain" if folder else "photo" for task, folder in own.items()} if any(own.values()) else {}
    return DatasetSplits(root.resolve().name, tasks, splits, images)


DATASETS: dict[str, Callable[[DataSettings], DatasetSplits]] = {
    "scenes": _scenes,
    "sensors": _sensors,
    "folder": _folder,
}


def open_dataset(data: DataSettings) -> DatasetSplits:
    """The dataset that the settings name. Raises InputError for an unknown one and for files that do not fit."""
    if data.name not in DATASETS:
        raise unknown("dataset", data.name, DATASETS)
    return DATASETS[data.name](data)


def check_data(data: DataSettings) -> DataReport:
    """Every problem of the dataset's files and splits, and a summary of each split. Reads all of its labels."""
    if data.name not in DATASETS:
        raise unknown("dataset", data.name, DATASETS)
    names: Mapping[str, Sequence[str]] = {"semseg": CLASSES, "human_parts": PARTS}
    if data.name != "folder":
        dataset = DATASETS[data.name](data)
        return take_census(dataset.splits, dataset.tasks, names)
    root, tasks = _folder_tasks(data)
    splits, problems = {}, []
    for split in SPLITS:
        try:
            splits[split] = Folder(root, split, data.height, data.width, tasks)
        except InputError as error:  # the split's list itself
            problems.append(str(error))
    report = take_census(splits, tasks, {**names, "semseg": class_names(root)})
    report.problems = [*problems, *report.problems]
    return report


__all__ = [
    "DATASETS",
    "Batch",
    "Dataset",
    "DatasetSplits",
    "Sample",
    "check_data",
    "check_splits",
    "fingerprint",
    "open_dataset",
    "unlabelled",
]
