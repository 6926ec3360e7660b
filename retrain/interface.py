"""interface.json: what a retrained network takes and gives, so that it predicts without the data it was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiment.config import DataSettings
from experiment.errors import InputError
from experiment.run import read_json
from multitask.data import DatasetSplits, class_names
from multitask.data.samples import MEAN, STD
from multitask.tasks import Task, build_tasks

INTERFACE = "interface.json"


@dataclass(frozen=True)
class Interface:
    """mean, std: of each channel of an image in 0..1, by which the network's images are normalised.

    channels, regions: {task: how many its prediction and its auxiliary prediction have}.
    classes: {task: names of its classes}, as far as the data names them.
    images: {task: kind of its image} where tasks have images of their own, else empty (`DatasetSplits.images`).
    """

    channels: Mapping[str, int]
    regions: Mapping[str, int]
    classes: Mapping[str, Sequence[str]]
    images: Mapping[str, str]
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD

    @classmethod
    def of(cls, dataset: DatasetSplits, data: DataSettings) -> "Interface":
        names = class_names(data)
        return cls(
            {name: task.channels for name, task in dataset.tasks.items()},
            {name: task.region_count for name, task in dataset.tasks.items()},
            {name: list(names[name]) for name in dataset.tasks if names.get(name)},
            dict(dataset.images),
        )

    @classmethod
    def read(cls, folder: Path) -> "Interface":
        """Of a seed's folder. Raises InputError for a damaged file."""
        content = read_json(folder / INTERFACE)
        try:
            read = cls(**{key: content[key] for key in cls.__dataclass_fields__})
            fits = all(isinstance(value, int) for value in (*read.channels.values(), *read.regions.values()))
            fits &= set(read.channels) == set(read.regions) and len(read.mean) == len(read.std) == 3
        except (KeyError, TypeError, AttributeError):
            fits = False
        if not fits:
            raise InputError(f"'{folder / INTERFACE}' is damaged: expected what a retraining writes")
        return read

    def to_json(self) -> dict[str, Any]:
        return {"version": 1, **asdict(self)}

    def tasks(self, data: DataSettings) -> dict[str, Task]:
        """The tasks of the network; regions of normals have no directions, which only training needs."""
        tasks = build_tasks(data.tasks, replace(data, normal_centroids=None), self.channels.get("semseg", 0))
        for name, task in tasks.items():
            if name not in self.regions:
                raise InputError(
                    f"{INTERFACE} has no {name}, which data.tasks names: expected what a retraining writes"
                )
            task.region_count = self.regions[name]
        return tasks
