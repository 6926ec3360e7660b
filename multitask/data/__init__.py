"""The datasets, and what prepares their samples for training.

A dataset is a function from the data settings to `DatasetSplits`: its tasks and its splits, train, val and test. A
split has a length and gives samples (`Sample`): an image, or one for each task, and a label and a mask of valid pixels
for each task. It may have `groups`, a name for each image: neighbouring frames, such as those of one video, are one
group (`splits.groups_of` reads them). `open_dataset` makes the dataset of a configuration.

A dataset of files is a class, `FileDataset` (files.py), whose docstring is its layout: folder.py reads a user's own
folder, published/ the sets of the papers. To add one, write such a class and a line in `FILES`;
`multitask.testing.check_dataset` checks it. A user's own class comes in by its import path.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from experiment.config import DataSettings
from experiment.errors import InputError, unknown
from multitask.data.census import DataReport, take_census
from multitask.data.files import SPLITS, FileDataset
from multitask.data.folder import Folder
from multitask.data.published import PUBLISHED
from multitask.data.samples import Batch, Dataset, Sample
from multitask.data.scenes import CLASSES, PARTS, Scenes
from multitask.data.scenes import TASKS as RENDERED_TASKS
from multitask.data.sensors import Sensors, image_kinds
from multitask.data.split_checks import check_splits, fingerprint, unlabelled
from multitask.data.splits import DatasetSplits
from multitask.plugins import import_class
from multitask.tasks import Task, build_tasks, task_name


def _scenes(data: DataSettings) -> DatasetSplits:
    tasks = build_tasks(data.tasks, data, len(CLASSES))
    counts = {"train": data.train_images, "val": data.validation_images, "test": data.test_images}
    _check_rendered(tasks)
    # the scenes are the same whatever the run's seed, so that runs can be compared
    splits = {key: Scenes(key, count, data.height, data.width, list(tasks), seed=0) for key, count in counts.items()}
    return DatasetSplits("scenes", tasks, splits)


def _sensors(data: DataSettings) -> DatasetSplits:
    tasks = build_tasks(data.tasks, data, len(CLASSES))
    counts = {"train": data.train_images, "val": data.validation_images, "test": data.test_images}
    _check_rendered(tasks)
    names = list(tasks)
    splits = {key: Sensors(key, n, data.height, data.width, names, data.sensors) for key, n in counts.items()}
    return DatasetSplits("sensors", tasks, splits, image_kinds(names, data.sensors))


def _check_rendered(tasks: Mapping[str, Task]) -> None:
    for name in tasks:
        if name not in RENDERED_TASKS:
            raise InputError(
                f"data.tasks names {name}, which the built-in rooms do not have: expected data.name folder, or one of "
                f"{', '.join(RENDERED_TASKS)}"
            )


RENDERED: dict[str, Callable[[DataSettings], DatasetSplits]] = {"scenes": _scenes, "sensors": _sensors}
FILES: dict[str, type[FileDataset]] = {"folder": Folder, **PUBLISHED}
DATASETS = (*RENDERED, *FILES)


def open_dataset(data: DataSettings) -> DatasetSplits:
    """The dataset that the settings name. Raises InputError for an unknown one and for files that do not fit."""
    if data.name in RENDERED:
        return RENDERED[data.name](data)
    kind = _kind(data)
    tasks = _tasks(kind, data)
    splits = {split: kind(data, split, tasks) for split in SPLITS}
    own = splits["train"].image_folder
    # images of their own are measurements, such as a range sensor's, whose values training leaves as they are
    images = {task: "plain" if folder else "photo" for task, folder in own.items()} if any(own.values()) else {}
    name = splits["train"].root.resolve().name if kind is Folder else kind.name
    return DatasetSplits(name, tasks, splits, images)


def check_data(data: DataSettings) -> DataReport:
    """Every problem of the dataset's files and splits, and a summary of each split. Reads all of its labels."""
    if data.name in RENDERED:
        dataset = RENDERED[data.name](data)
        return take_census(dataset.splits, dataset.tasks, class_names(data))
    kind = _kind(data)
    tasks = _tasks(kind, data)
    splits: dict[str, FileDataset] = {}
    problems = []
    for split in SPLITS:
        try:
            splits[split] = kind(data, split, tasks)
        except InputError as error:  # the split's list itself
            problems.append(str(error))
    report = take_census(splits, tasks, class_names(data))
    report.problems = [*problems, *report.problems]
    report.warnings += _other_sizes(kind, splits)
    report.layout = kind.layout().splitlines()
    return report


def class_names(data: DataSettings) -> dict[str, Sequence[str]]:
    """{task: the names of its classes}, as far as the dataset knows them; none where a folder lists none."""
    if data.name in RENDERED:
        return {"semseg": CLASSES, "human_parts": PARTS}
    return {"semseg": _kind(data).class_names(data) if "semseg" in data.tasks else (), "human_parts": PARTS}


def _kind(data: DataSettings) -> type[FileDataset]:
    if ":" in data.name:
        return import_class("data.name", data.name, FileDataset, FileDataset.NEEDS)
    if data.name not in FILES:
        raise unknown("dataset", data.name, DATASETS)
    return FILES[data.name]


def _tasks(kind: type[FileDataset], data: DataSettings) -> dict[str, Task]:
    kind.check_root(data)
    names = [task_name(entry) for entry in data.tasks]
    kind.check_tasks([name for name, entry in zip(names, data.tasks, strict=True) if not kind.reads_own(entry)])
    if data.normal_centroids is None:
        data = replace(data, normal_centroids=kind.centroids)
    return build_tasks(data.tasks, data, kind.class_count(data) if "semseg" in names else 0)


def _other_sizes(kind: type[FileDataset], splits: Mapping[str, FileDataset]) -> list[str]:
    """Where a split, as its files list it, is not as large as the published one."""
    lines = []
    for split, samples in splits.items():
        if split != "test" and not kind.has_test and samples.data.validation_fraction:
            continue  # parts of the published one
        published = kind.published.get(split)
        if published is not None and len(samples) != published:
            lines.append(f"{split} has {len(samples)} images: the published split has {published}")
    return lines


__all__ = [
    "DATASETS",
    "FILES",
    "Batch",
    "Dataset",
    "DatasetSplits",
    "FileDataset",
    "Sample",
    "check_data",
    "check_splits",
    "class_names",
    "fingerprint",
    "open_dataset",
    "unlabelled",
]
