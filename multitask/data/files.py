"""Datasets of files on disk: what their splits have in common."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiment.config import DataSettings
from experiment.errors import InputError, unknown
from multitask.data.cache import SampleCache
from multitask.data.census import Examined
from multitask.data.class_maps import ClassMap
from multitask.data.derived import Camera, Label, edges_from_classes, normals_from_depth
from multitask.data.image_files import read_photo
from multitask.data.label_resizing import resize_lines, resize_nearest
from multitask.data.samples import Sample
from multitask.plugins import lacking, require
from multitask.tasks import Task

SPLITS = ("train", "val", "test")
DERIVED = {"edge": "semseg", "normals": "depth"}  # labels that follow from another task's
CLASSES = ("class_map", "class_names", "class_count")  # one of which says what the semantic classes are
SHAPE_TOLERANCE = 0.02  # of the ratio of width to height, between a photo and labels of another size


class FileDataset(torch.utils.data.Dataset[Sample]):
    """One split. Images are resized to height x width, labels to the nearest pixel, lines to all cells they cross.

    To read a dataset of your own, derive a class, whose docstring is its layout, with

    - `list_images(split)`: ids, and the group of each or None: neighbouring frames are one group;
    - `photo_path(name)`, `label_paths(task, name)`: where the files lie;
    - `read_semseg(name)`, `read_depth(name)`, ...: for each of `tasks_read`, a label, (H, W, label_channels), and its
      validity, (H, W) bool; `read_normals` and `read_edge` are here derived from depth and classes;
    - `class_map(data)` for semseg, or `class_names(data)` where the ids are the classes; `camera` for derived normals.

    Raises InputError if the root or the split is missing, and, on reading, for a missing or malformed file.
    """

    NEEDS: ClassVar = ("name", "tasks_read", "list_images", "photo_path", "label_paths")  # of a class of one's own

    name: ClassVar[str]
    tasks_read: ClassVar[tuple[str, ...]]
    published: ClassVar[Mapping[str, int]] = {}  # {split: how many images it has where it was published}
    has_test: ClassVar[bool] = False  # else the published validation split is the test split
    same_size: ClassVar[bool] = True  # labels have the size of their photo, else its shape
    camera: ClassVar[Camera | None] = None
    centroids: ClassVar[str | None] = None  # of the normals, as `data.normal_centroids`

    def __init__(self, data: DataSettings, split: str, tasks: Mapping[str, Task]):
        self.data = data
        self.root = self.check_root(data)
        self.size = (data.height, data.width)
        self.tasks = dict(tasks)
        self.image_folder = dict.fromkeys(tasks, "")  # {task: whose image it sees}; "" stands for that of all
        self.ids, self.groups = self._images(split)
        self.cache = None if data.cache is None else SampleCache(data.cache, self.root)

    @classmethod
    def layout(cls) -> str:
        return inspect.getdoc(cls) or ""

    @classmethod
    def check_root(cls, data: DataSettings) -> Path:
        if data.root is None:
            raise InputError(f"data.name is {data.name} but data.root is not given: expected the folder of your data")
        root = Path(data.root)
        if not root.is_dir():
            raise InputError(f"data.root '{root}' is not a folder; {cls.hint()}")
        return root

    @classmethod
    def hint(cls) -> str:
        return f"layout: --check-data, or {cls.__module__}"

    @classmethod
    def class_map(cls, data: DataSettings) -> ClassMap:
        """From the ids in files to the semantic classes."""
        raise NotImplementedError

    @classmethod
    def class_names(cls, data: DataSettings) -> Sequence[str]:
        """Of the semantic classes."""
        return cls.class_map(data).names

    @cached_property
    def classes(self) -> ClassMap:
        return self.class_map(self.data)

    @classmethod
    def class_count(cls, data: DataSettings) -> int:
        return len(cls.class_names(data))

    @classmethod
    def check_tasks(cls, tasks: Sequence[str]) -> None:
        """Raises InputError for a task that the class does not read, or says that it reads and has no method for."""
        for task in tasks:
            if task not in cls.tasks_read:
                raise unknown(f"task of {cls.name}", task, cls.tasks_read)
        if cls.read_label is FileDataset.read_label:
            readers = [
                DERIVED[task] if lacking(cls, FileDataset, [f"read_{task}"]) and task in DERIVED else task
                for task in tasks
            ]
            missing = lacking(cls, FileDataset, [f"read_{task}" for task in dict.fromkeys(readers)])
            if "semseg" in tasks and len(lacking(cls, FileDataset, CLASSES)) == len(CLASSES):
                missing.append("class_map")
            require("data.name", f"{cls.__module__}:{cls.__qualname__}", missing, FileDataset)

    @classmethod
    def reads_own(cls, entry: str) -> bool:
        """Whether an entry of data.tasks is a task that reads its own files, where the layout has a place for them."""
        return False

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        """The ids of train, of val and, with `has_test`, of test; and the group of each where it is known."""
        raise NotImplementedError

    def photo_path(self, name: str, folder: str = "") -> Path:
        """folder: the task whose own image it is, or ''. Raises InputError if there is none."""
        raise NotImplementedError

    def label_paths(self, task: str, name: str) -> list[Path]:
        """The files of a label, which need not exist."""
        raise NotImplementedError

    def read_label(self, task: Task, name: str) -> Label:
        label: Label = getattr(self, f"read_{task.name}")(name)
        return label

    def read_image(self, name: str, folder: str = "") -> np.ndarray:
        """(H, W, 3) uint8."""
        return np.array(read_photo(self.photo_path(name, folder)))

    def read_semseg(self, name: str) -> Label:
        raise NotImplementedError

    def read_depth(self, name: str) -> Label:
        raise NotImplementedError

    def read_edge(self, name: str) -> Label:
        return edges_from_classes(*self.read_semseg(name))

    def read_normals(self, name: str) -> Label:
        if self.camera is None:
            raise NotImplementedError(f"{type(self).__name__} has no camera")
        return normals_from_depth(*self.read_depth(name), self.camera)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        name = self.ids[index]
        if self.cache is None:
            return self._decode(name)
        return self.cache.sample(self._origin(name), lambda: self._decode(name))

    def _decode(self, name: str) -> Sample:
        folders = dict.fromkeys(self.image_folder.values())
        photos = {folder: self.read_image(name, folder) for folder in folders}
        labels, masks = {}, {}
        for task in self.tasks.values():
            label, valid = self._label(task, name, photos[self.image_folder[task.name]])
            resize = resize_lines if task.marks_lines else resize_nearest
            labels[task.name] = _to_tensor(resize(label, *self.size))
            masks[task.name] = _to_tensor(resize_nearest(valid[..., None], *self.size))
        images = {folder: self._pixels(photo) for folder, photo in photos.items()}
        image = {task: images[folder] for task, folder in self.image_folder.items()} if any(images) else images[""]
        return {"image": image, "labels": labels, "masks": masks}

    def _origin(self, name: str) -> list:
        """What a sample follows from."""
        states = [(str(path.resolve()), path.stat()) for path in self._files(name)]
        files = [[path, state.st_size, state.st_mtime_ns] for path, state in states]
        return [self._reader, self.name, *self._choices(), *self.size, self.image_folder, name, files]

    @cached_property
    def _reader(self) -> list[str]:
        """The sources of the class, of those between it and this one, and of tasks that read their own files: an edited
        one reads anew.
        """
        kinds: list[type] = [
            kind for kind in type(self).__mro__ if issubclass(kind, FileDataset) and kind is not FileDataset
        ]
        kinds += [type(task) for task in self.tasks.values() if type(task).read is not Task.read]
        return [inspect.getsource(inspect.getmodule(kind) or kind) for kind in kinds]

    def identity(self) -> list:
        """Each id with the sizes of its files in bytes, images first. Raises InputError for a missing file."""
        return [self.name, *self._choices(), *([name, *self._sizes(name)] for name in self.ids)]

    def _choices(self) -> list:
        """Settings that decide what the files mean."""
        return [self.data.classes]

    def _sizes(self, name: str) -> list[int]:
        return [path.stat().st_size for path in self._files(name)]

    def _files(self, name: str) -> list[Path]:
        photos = [self.photo_path(name, folder) for folder in sorted(set(self.image_folder.values()))]
        labels = [path for task in sorted(self.tasks) for path in self.label_paths(task, name)]
        return [self._existing(path) for path in (*photos, *labels)]

    def examine(self, index: int) -> Examined:
        """The image's labels as its files have them, and every file that is missing or malformed."""
        name = self.ids[index]
        found = Examined(None, {}, {}, [])
        photos: dict[str, np.ndarray] = {}
        for folder in dict.fromkeys(self.image_folder.values()):
            try:
                photos[folder] = self.read_image(name, folder)
            except InputError as error:
                found.problems.append(str(error))
        first = next(iter(photos.values()), None)
        found.size = None if first is None else (first.shape[1], first.shape[0])
        for task in self.tasks.values():
            if self.image_folder[task.name] not in photos:
                continue
            try:
                label, valid = self._label(task, name, photos[self.image_folder[task.name]])
            except InputError as error:
                if str(error) not in found.problems:  # of a file that several labels come from
                    found.problems.append(str(error))
            else:
                found.labels[task.name], found.masks[task.name] = _to_tensor(label), _to_tensor(valid[..., None])
        return found

    def _images(self, split: str) -> tuple[list[str], list[str] | None]:
        """Of the split as it is used: without a published test split, val is the test split, and val part of train."""
        share = self.data.validation_fraction
        if self.has_test or (split == "train" and not share):
            return self.list_images(split)
        if split == "test" or not share:
            return self.list_images("val")
        ids, groups = self.list_images("train")
        held_out = _held_out(groups or stretches(ids), share)
        chosen = [i for i, out in enumerate(held_out) if out == (split == "val")]
        if not chosen:
            raise InputError(f"data.validation_fraction is {share}, which leaves no image to {split}: expected another")
        return [ids[i] for i in chosen], None if groups is None else [groups[i] for i in chosen]

    def _existing(self, path: Path) -> Path:
        if not path.is_file():
            others = (path.with_suffix(suffix) for suffix in (path.suffix.upper(), path.suffix.lower()))
            alike = [f" ({other.name} is another: upper and lower case count)" for other in others if other.is_file()]
            found = "".join(alike)
            raise InputError(f"{path}: no such file{found}; {self.hint()}")
        return path

    def _label(self, task: Task, name: str, photo: np.ndarray) -> Label:
        paths = [self._existing(path) for path in self.label_paths(task.name, name)]
        label, valid = self.read_label(task, name)
        found, expected = label.shape[1::-1], photo.shape[1::-1]
        alike = abs(found[0] * expected[1] / (found[1] * expected[0]) - 1) <= SHAPE_TOLERANCE
        if found != expected and (self.same_size or not alike):
            kind = "as its photo has" if self.same_size else "or the same shape, as its photo has"
            raise InputError(f"{paths[0]}: {found[0]}x{found[1]} pixels, expected {expected[0]}x{expected[1]} {kind}")
        return label, valid

    def _pixels(self, photo: np.ndarray) -> Tensor:
        """(3, H, W) uint8, resized."""
        height, width = self.size
        if photo.shape[:2] != self.size:
            photo = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
        return torch.from_numpy(photo).movedim(-1, 0)


def stretches(ids: Sequence[str], length: int = 20) -> list[str]:
    """Groups of so many neighbours, where nothing else is known."""
    return [str(i // length) for i in range(len(ids))]


def neighbours(scenes: Sequence[str], length: int = 20) -> list[str]:
    """Groups of so many neighbouring images of a scene, from the scene of each image."""
    seen: dict[str, int] = {}
    groups = []
    for scene in scenes:
        groups.append(f"{scene} {seen.setdefault(scene, 0) // length}")
        seen[scene] += 1
    return groups


def _held_out(groups: Sequence[str], share: float) -> list[bool]:
    """For each image, whether its group is among those held out, which are spread evenly."""
    names = list(dict.fromkeys(groups))
    chosen = {name for i, name in enumerate(names) if int((i + 1) * share) > int(i * share)}
    return [group in chosen for group in groups]


def read_list(path: Path, hint: str, expected: str = "expected one ID a line") -> list[str]:
    """The lines of a text file that are not blank, without the spaces around them and the mark that Windows sets before
    the first. Raises InputError where there is none.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file, {expected}; {hint}")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file, {expected}") from error
    if not lines:
        raise InputError(f"{path}: is empty, {expected}")
    return lines


def any_case(pattern: str) -> str:
    """A pattern of files whose suffix may be in upper case, so that a misnamed image is missed and not skipped."""
    stem, _, suffix = pattern.rpartition(".")
    return f"{stem}." + "".join(f"[{letter}{letter.upper()}]" for letter in suffix)


def _to_tensor(maps: np.ndarray) -> Tensor:
    """(H, W, c) to (c, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(maps.transpose(2, 0, 1)))
