"""nyuv2_13: NYU-Depth-v2 with 13 classes at 288x384, as MTAN and LibMTL use it."""

from pathlib import Path

import numpy as np

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data.array_files import read_map, read_metres, read_npy
from multitask.data.derived import Label
from multitask.data.facts import facts
from multitask.data.files import FileDataset
from multitask.data.published.vectors import unit_vectors

FACTS = facts("nyu")
FOLDERS = {"semseg": "label", "depth": "depth", "normals": "normal", "edge": "label"}


class NYUv2With13Classes(FileDataset):
    """NYU-Depth-v2 as MTAN (Liu et al., CVPR 2019) and LibMTL prepare it. SPLIT is train (795 images) and val (654).

    ROOT/SPLIT/image/N.npy    (288, 384, 3) in 0..1
    ROOT/SPLIT/label/N.npy    (288, 384); -1 void, 0..12 the classes
    ROOT/SPLIT/depth/N.npy    (288, 384, 1) metres; 0 invalid
    ROOT/SPLIT/normal/N.npy   (288, 384, 3) unit vectors; 0 invalid

    N counts from 0. Derived: edges from classes. Normals are taken in the frame they are stored in. Images are rounded
    to 8 bits. Which scene an image shows is not known; groups are 20 neighbours.
    """

    name = "nyuv2_13"
    tasks_read = ("semseg", "depth", "normals", "edge")
    published = {"train": 795, "val": 654}

    @classmethod
    def class_names(cls, data: DataSettings) -> list[str]:
        names: list[str] = FACTS["classes_13"]
        return names

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        """Ids are SPLIT/N, of the images that have a photo or classes."""
        files = [path for kind in ("image", "label") for path in (self.root / split / kind).glob("*.npy")]
        numbers = sorted({int(path.stem) for path in files if path.stem.isdecimal()})
        if not numbers:
            raise InputError(f"{self.root / split / 'image'}: no N.npy; {self.hint()}")
        return [f"{split}/{n}" for n in numbers], [f"{split} {n // 20}" for n in numbers]

    def photo_path(self, name: str, folder: str = "") -> Path:
        return self._file(name, "image")

    def label_paths(self, task: str, name: str) -> list[Path]:
        return [self._file(name, FOLDERS[task])]

    def read_image(self, name: str, folder: str = "") -> np.ndarray:
        path = self._existing(self._file(name, "image"))
        pixels = read_npy(path, (None, None, 3))
        if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 1:
            raise InputError(f"{path}: values {pixels.min():.3g} to {pixels.max():.3g}, expected 0 to 1")
        return (255 * pixels).round().astype(np.uint8)

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        ids = read_map(path)
        last = len(FACTS["classes_13"]) - 1
        strange = np.setdiff1d(ids, np.arange(-1, last + 1))
        if strange.size:
            raise InputError(f"{path}: class id {strange[0]}, expected -1 (void) to {last}")
        valid = ids >= 0
        return np.where(valid, ids, 0).astype(np.uint8)[..., None], valid

    def read_depth(self, name: str) -> Label:
        (path,) = self.label_paths("depth", name)
        return read_metres(path)

    def read_normals(self, name: str) -> Label:
        (path,) = self.label_paths("normals", name)
        return unit_vectors(read_npy(path, (None, None, 3)).astype(np.float32), path)

    def _file(self, name: str, folder: str) -> Path:
        split, number = name.split("/")
        return self.root / split / folder / f"{number}.npy"
