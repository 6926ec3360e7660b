"""folder: a user's own data, one folder per task and a list of ids per split.

ROOT/images/ID.jpg (or .png)      ROOT/splits/{train,val,test}.txt, one ID a line, or ID, tab, GROUP
ROOT/images/TASK/ID.png (or .jpg) optional: what this task sees in place of images/ID.jpg
ROOT/semseg/ID.png                8-bit; 0 ignored, 1..K the classes
ROOT/depth/ID.png                 16-bit millimetres; 0 invalid
ROOT/normals/ID.png               8-bit RGB, n = (v - 127) / 127; x right, y up, z towards the camera; 0,0,0 invalid
ROOT/edge/ID.png, saliency/ID.png 8-bit, 0 or 255; a palette's colours, black or white
ROOT/human_parts/ID.png           8-bit; 0 background, 1..6 parts, 255 ignored
ROOT/meta.json                    optional: {"semseg": {"classes": [names]}}

Photos count as their EXIF orientation shows them. Normals far from length 1 (black, middle grey, white) are invalid.
A group is a set of neighbouring frames, such as those of one video; all lines of a split name one, or none does.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from experiment.documents import read_json
from experiment.errors import InputError, unknown
from multitask.data.census import Examined
from multitask.data.image_files import read_photo
from multitask.data.label_files import READERS
from multitask.data.samples import Sample
from multitask.tasks import Task

SPLITS = ("train", "val", "test")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
SOURCE_HINT = "layout: ROOT/images/ID.jpg, ROOT/TASK/ID.png for each task, ROOT/splits/{train,val,test}.txt"


class Folder(torch.utils.data.Dataset[Sample]):
    """One split. Images are resized to height x width, labels to the nearest pixel, lines to all cells they cross.

    Raises InputError if the root or the split is missing, and, on reading, for a missing or malformed file.
    """

    def __init__(self, root: Path, split: str, height: int, width: int, tasks: Mapping[str, Task]):
        self.root = check_root(root)
        self.size = (height, width)
        self.tasks = dict(tasks)
        for name in tasks:
            if name not in READERS:
                raise unknown("task of a data folder", name, READERS)
        self.ids, self.groups = read_split(root, split)
        self.image_folder = {name: name if (root / "images" / name).is_dir() else "" for name in tasks}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        name = self.ids[index]
        folders = dict.fromkeys(self.image_folder.values())
        photos = {folder: read_photo(self._photo_path(name, folder)) for folder in folders}
        labels, masks = {}, {}
        for task in self.tasks.values():
            label, valid = self._label(task, name, photos[self.image_folder[task.name]].size)
            resize = resize_lines if task.marks_lines else resize_nearest
            labels[task.name] = _to_tensor(resize(label, *self.size))
            masks[task.name] = _to_tensor(resize_nearest(valid[..., None], *self.size))
        images = {folder: self._pixels(photo) for folder, photo in photos.items()}
        image = {task: images[folder] for task, folder in self.image_folder.items()} if any(images) else images[""]
        return {"image": image, "labels": labels, "masks": masks}

    def _pixels(self, photo: Image.Image) -> Tensor:
        """(3, H, W) uint8, resized."""
        height, width = self.size
        if photo.size != (width, height):
            photo = photo.resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(photo)).movedim(-1, 0)

    def identity(self) -> list:
        """Each id with the sizes of its files in bytes, images first. Raises InputError for a missing file."""
        folders = sorted(set(self.image_folder.values()))
        return [
            "folder",
            *([i, *(self._photo_path(i, f).stat().st_size for f in folders), *self._label_sizes(i)] for i in self.ids),
        ]

    def _label_sizes(self, name: str) -> list[int]:
        return [self._label_path(task, name).stat().st_size for task in sorted(self.tasks)]

    def examine(self, index: int) -> Examined:
        """The image's labels as its files have them, and every file that is missing or malformed."""
        name = self.ids[index]
        found = Examined(None, {}, {}, [])
        sizes: dict[str, tuple[int, int]] = {}
        for folder in dict.fromkeys(self.image_folder.values()):
            try:
                sizes[folder] = read_photo(self._photo_path(name, folder)).size
            except InputError as error:
                found.problems.append(str(error))
        found.size = next(iter(sizes.values()), None)
        for task in self.tasks.values():
            if self.image_folder[task.name] not in sizes:
                continue
            try:
                label, valid = self._label(task, name, sizes[self.image_folder[task.name]])
            except InputError as error:
                found.problems.append(str(error))
            else:
                found.labels[task.name], found.masks[task.name] = _to_tensor(label), _to_tensor(valid[..., None])
        return found

    def _photo_path(self, name: str, folder: str) -> Path:
        """folder: the task whose own image it is, or ''."""
        for suffix in PHOTO_SUFFIXES:
            path = self.root / "images" / folder / f"{name}{suffix}"
            if path.is_file():
                return path
        raise InputError(f"{self.root / 'images' / folder / name}.jpg: no such file (nor .jpeg, .png); {SOURCE_HINT}")

    def _label_path(self, task: str, name: str) -> Path:
        path = self.root / task / f"{name}.png"
        if not path.is_file():
            raise InputError(f"{path}: no such file; {SOURCE_HINT}")
        return path

    def _label(self, task: Task, name: str, photo_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        path = self._label_path(task.name, name)
        label, valid = READERS[task.name](path, task)
        size = (label.shape[1], label.shape[0])
        if size != photo_size:
            raise InputError(
                f"{path}: {size[0]}x{size[1]} pixels, expected {photo_size[0]}x{photo_size[1]} as its photo has"
            )
        return label, valid


def resize_nearest(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, c) to (height, width, c): the pixel at each cell's centre, so that no values mix."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip((height, width), maps.shape[:2], strict=True)
    )
    return maps[rows[:, None], columns]


def resize_lines(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, c) of 0 and 1 to (height, width, c): 1 where any part of a positive pixel lies in the cell."""
    for axis, new in enumerate((height, width)):
        old = maps.shape[axis]
        first = np.arange(new) * old // new
        behind = -(-(np.arange(new) + 1) * old // new)
        before = np.insert(np.cumsum(maps, axis, dtype=np.int64), 0, 0, axis)  # the positive pixels before each
        maps = (before.take(behind, axis) > before.take(first, axis)).astype(maps.dtype)
    return maps


def _to_tensor(maps: np.ndarray) -> Tensor:
    """(H, W, c) to (c, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(maps.transpose(2, 0, 1)))


def check_root(root: Path) -> Path:
    if not root.is_dir():
        raise InputError(f"data.root '{root}' is not a folder; {SOURCE_HINT}")
    return root


def read_split(root: Path, split: str) -> tuple[list[str], list[str] | None]:
    """The ids of a split, and the group of each where the file names groups."""
    path, expected = root / "splits" / f"{split}.txt", "expected one ID a line, or ID, tab, GROUP"
    if not path.is_file():
        raise InputError(f"{path}: no such file, {expected}; {SOURCE_HINT}")
    try:
        lines = [
            [word.strip() for word in line.strip().split("\t")]
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file, {expected}") from error
    if not lines:
        raise InputError(f"{path}: is empty, {expected}")
    widest = max(lines, key=len)
    narrowest = min(lines, key=len)
    if len(widest) > 2:
        raise InputError(f"{path}: '{' '.join(widest)}' has {len(widest)} columns, {expected}")
    if len(widest) > len(narrowest):
        raise InputError(f"{path}: '{' '.join(widest)}' has a group, '{narrowest[0]}' has none: expected all or none")
    return [line[0] for line in lines], [line[1] for line in lines] if len(widest) == 2 else None


def class_names(root: Path) -> list[str]:
    """Of the semantic classes, as far as meta.json lists them."""
    try:
        return _listed_classes(root)
    except InputError:
        return []


def class_count(root: Path, configured: int | None) -> int:
    """The number of semantic classes: as configured, or as meta.json lists them."""
    return configured if configured is not None else len(_listed_classes(check_root(root)))


def _listed_classes(root: Path) -> list[str]:
    path = root / "meta.json"
    expected = 'expected {"semseg": {"classes": [names]}} there, or data.classes'
    if not path.is_file():
        raise InputError(f"{path}: no such file; {expected}")
    content = read_json(path)
    semseg = content.get("semseg") if isinstance(content, dict) else None
    names = semseg.get("classes") if isinstance(semseg, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: no list of semseg classes; {expected}")
    return names
