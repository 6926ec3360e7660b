"""Sets whose images stand in lists of image, depth and label files, as the fission paper uses ScanNet and SceneNet."""

import csv
from pathlib import Path

import numpy as np

from experiment.errors import InputError
from multitask.data.derived import Label
from multitask.data.files import FileDataset, neighbours, read_list
from multitask.data.label_files import read_image


class ListedDataset(FileDataset):
    """Images of ROOT/{train,val}.csv; an id is the path of its image."""

    tasks_read = ("semseg", "depth", "normals", "edge")
    same_size = False

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        rows = self._rows(split)
        scenes = [self.scene_of(row[0]) for row in rows]
        other = "val" if split == "train" else "train"
        if (self.root / f"{other}.csv").is_file():
            shared = sorted(set(scenes) & {self.scene_of(row[0]) for row in self._rows(other)})
            if shared:
                found = f"{self.root}: train.csv and val.csv share {len(shared)} scenes, such as {shared[0]}"
                raise InputError(f"{found}: expected whole scenes in either, because frames of one overlap")
        self.files = {row[0]: row[1:] for row in rows}
        return [row[0] for row in rows], neighbours(scenes)

    def scene_of(self, image: str) -> str:
        """The room that an image shows."""
        raise NotImplementedError

    def photo_path(self, name: str, folder: str = "") -> Path:
        return self._existing(self.root / name)

    def label_paths(self, task: str, name: str) -> list[Path]:
        depth, classes = self.files[name]
        return [self.root / (classes if task in ("semseg", "edge") else depth)]

    def read_depth(self, name: str) -> Label:
        (path,) = self.label_paths("depth", name)
        millimetres = read_image(path, "16-bit depth in millimetres", ("I;16", "I;16B", "I"))
        return millimetres.astype(np.float32)[..., None] / 1000, millimetres > 0

    def _rows(self, split: str) -> list[list[str]]:
        path = self.root / f"{split}.csv"
        rows = [[cell.strip() for cell in row] for row in csv.reader(read_list(path, self.hint()))]
        for row in rows:
            if len(row) != 3 or not all(row):
                raise InputError(f"{path}: '{','.join(row)}', expected image,depth,label")
            if "\\" in "".join(row):
                raise InputError(f"{path}: '{','.join(row)}', expected / between the folders of a path")
        return rows
