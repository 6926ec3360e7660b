"""nyud: NYU-Depth-v2 with 40 classes, as packed for multi-task learning."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data.array_files import read_map, read_metres, read_npy
from multitask.data.class_maps import ClassMap, check_ids
from multitask.data.derived import Label
from multitask.data.facts import HERE, facts
from multitask.data.files import FileDataset, read_list
from multitask.data.label_files import read_binary_file, read_image
from multitask.data.published.vectors import unit_vectors

FACTS = facts("nyu")
FOLDERS = {"semseg": "segmentation", "depth": "depth", "normals": "normals", "edge": "edge"}


class NYUD(FileDataset):
    """NYU-Depth-v2: NYUD_MT of ASTMT (Maninis et al., CVPR 2019), or its later package, which has PNGs where marked *.

    ROOT/gt_sets/{train,val}.txt   ids, the numbers of the official split: 795 and 654 images
    ROOT/images/ID.jpg             * .png
    ROOT/segmentation/ID.png       8-bit; 0 void, 1..40 the classes
    ROOT/depth/ID.npy              metres; 0 invalid
    ROOT/normals/ID.npy            unit vectors, 0 invalid; * .png, n = 2 v / 255 - 1
    ROOT/edge/ID.npy               0 or 1; * .png, 0 or 255

    Nothing is derived: edges and normals ship with the package. Normals are taken in the frame they are stored in,
    which is also that of the 40 centroids (ATRC's). With data.classes 13, the 40 classes are joined to the 13 of
    Couprie et al. Groups are runs of consecutive numbers of the official split, which never divides a scene. odsF
    matches within 0.011 of the diagonal.
    """

    name = "nyud"
    tasks_read = ("semseg", "depth", "normals", "edge")
    published = {"train": 795, "val": 654}
    centroids = str(HERE / "nyu_centroids.npy")

    @classmethod
    def class_map(cls, data: DataSettings) -> ClassMap:
        names = FACTS["classes_40"]
        if data.classes in (None, 40):
            return ClassMap([{"name": name, "ids": [k]} for k, name in enumerate(names, 1)])
        if data.classes != 13:
            raise InputError(f"data.classes is {data.classes}: expected 13 or 40, or null")
        ids = [[k for k, joined in enumerate(FACTS["to_13"], 1) if joined == c] for c in range(1, 14)]
        return ClassMap([{"name": name, "ids": own} for name, own in zip(FACTS["classes_13"], ids, strict=True)])

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        ids = read_list(self.root / "gt_sets" / f"{split}.txt", self.hint())
        return ids, official_groups(ids)

    def photo_path(self, name: str, folder: str = "") -> Path:
        return self._either("images", name, ".jpg")

    def label_paths(self, task: str, name: str) -> list[Path]:
        return [self._either(FOLDERS[task], name, ".png" if task == "semseg" else ".npy")]

    def _either(self, folder: str, name: str, suffix: str) -> Path:
        """The file of either package; neither is an error that names the first."""
        path, later = (self.root / folder / f"{name}{ending}" for ending in (suffix, ".png"))
        if folder != "depth" and not path.is_file() and later.is_file():
            return later
        return self._existing(path)

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        ids = read_image(path, "8-bit class ids", ("L", "P"))
        check_ids(ids, path, len(FACTS["classes_40"]), " (void)")
        return self.classes(ids)

    def read_depth(self, name: str) -> Label:
        (path,) = self.label_paths("depth", name)
        return read_metres(path)

    def read_normals(self, name: str) -> Label:
        (path,) = self.label_paths("normals", name)
        if path.suffix == ".npy":
            return unit_vectors(read_npy(path, (None, None, 3)).astype(np.float32), path)
        return unit_vectors(2 * read_image(path, "8-bit RGB normals", ("RGB",)).astype(np.float32) / 255 - 1, path)

    def read_edge(self, name: str) -> Label:
        (path,) = self.label_paths("edge", name)
        if path.suffix == ".png":
            return read_binary_file(path)
        values = read_map(path)
        strange = np.setdiff1d(values, (0, 1))
        if strange.size:
            raise InputError(f"{path}: value {strange[0]}, expected 0 or 1")
        return values.astype(np.uint8)[..., None], np.ones(values.shape, bool)


def official_groups(ids: Sequence[str]) -> list[str] | None:
    """The run of the official split to which each number belongs; None unless all ids are such numbers."""
    runs = [(first, last) for split in ("train", "test") for first, last in FACTS[split]]
    run_of = {number: str(k) for k, (first, last) in enumerate(runs) for number in range(first, last + 1)}
    try:
        return [run_of[int(name)] for name in ids]
    except (ValueError, KeyError):
        return None
