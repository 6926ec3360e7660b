"""vkitti2: Virtual KITTI 2, of its variations 15-deg-left."""

from pathlib import Path

import numpy as np

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data.class_maps import ClassMap, chosen_map
from multitask.data.derived import Camera, Label
from multitask.data.facts import facts
from multitask.data.files import FileDataset, any_case
from multitask.data.label_files import read_image

FACTS = facts("vkitti2")
FAR = 65535  # centimetres: the sky and whatever is farther
VARIATION = "15-deg-left"
NEIGHBOURS = 20  # consecutive frames of a drive in a group
# kind of files, beginning of their names, suffix
PHOTOS, CLASSES, DEPTHS = ("rgb", "rgb", "jpg"), ("classSegmentation", "classgt", "png"), ("depth", "depth", "png")
UNKNOWN = len(FACTS["names"])  # stands for a colour that no class has


class VKITTI2(FileDataset):
    """Virtual KITTI 2 (Cabon et al., arXiv:2001.10773), the variation 15-deg-left.

    ROOT/SceneXX/15-deg-left/frames/rgb/Camera_0/rgb_NNNNN.jpg
    ROOT/SceneXX/15-deg-left/frames/classSegmentation/Camera_0/classgt_NNNNN.png   RGB, 14 colours
    ROOT/SceneXX/15-deg-left/frames/depth/Camera_0/depth_NNNNN.png                 16-bit centimetres; 65535 far

    or the same below ROOT/rgb, ROOT/classSegmentation and ROOT/depth, as the archives unpack. Whole scenes are split:
    02, 18 and 20 train, 06 val, 01 test (1409, 270 and 447 images); the published code's random split had most of val
    in train. Groups are 20 consecutive frames.

    Classes: 14, or with data.classes 8 those shared with Cityscapes; other colours are ignored. Depth of 65535 is
    invalid (DenseMTL trains on it as 655.35 m). Derived: normals from depth, edges from classes.
    """

    name = "vkitti2"
    tasks_read = ("semseg", "depth", "normals", "edge")
    published = {split: sum(FACTS["frames"][scene] for scene in scenes) for split, scenes in FACTS["scenes"].items()}
    has_test = True
    camera = Camera(**FACTS["camera"])

    @classmethod
    def class_map(cls, data: DataSettings) -> ClassMap:
        return chosen_map(FACTS, data.classes, 14)

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        """Ids are SceneXX/NNNNN."""
        scenes: list[str] = FACTS["scenes"][split]
        ids = [f"{scene}/{number}" for scene in scenes for number in self._numbers(scene)]
        if not ids:
            raise InputError(f"{self.root}: no images of {', '.join(scenes)}, which are {split}; {self.hint()}")
        return ids, [f"{name.split('/')[0]} {_number(name) // NEIGHBOURS}" for name in ids]

    def photo_path(self, name: str, folder: str = "") -> Path:
        return self._existing(self._file(name, *PHOTOS))

    def label_paths(self, task: str, name: str) -> list[Path]:
        if task in ("semseg", "edge"):
            return [self._file(name, *CLASSES)]
        return [self._file(name, *DEPTHS)]

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        colours = read_image(path, "8-bit RGB colours of classes", ("RGB",)).astype(np.int64)
        packed = colours @ (2**16, 2**8, 1)
        known = np.array(FACTS["colours"]) @ (2**16, 2**8, 1)
        order = np.argsort(known)
        nearest = order[np.searchsorted(known, packed, sorter=order).clip(0, len(known) - 1)]
        ids = np.where(known[nearest] == packed, nearest, UNKNOWN)
        strange = float(np.mean(ids == UNKNOWN))
        if strange > 0.5:
            raise InputError(f"{path}: {strange:.0%} of its pixels have a colour of no class, expected its 14 colours")
        return self.classes(ids)

    def read_depth(self, name: str) -> Label:
        (path,) = self.label_paths("depth", name)
        centimetres = read_image(path, "16-bit depth in centimetres", ("I;16", "I;16B", "I"))
        valid = (centimetres > 0) & (centimetres < FAR)
        return (np.where(valid, centimetres, 0).astype(np.float32) / 100)[..., None], valid

    def _numbers(self, scene: str) -> list[str]:
        """Of the frames that have a photo or classes, so that a missing one is missed."""
        photos, labels = (self._file(f"{scene}/*", *kind) for kind in (PHOTOS, CLASSES))
        found = (path for place in (photos, labels) for path in place.parent.glob(any_case(place.name)))
        return sorted({path.stem.rsplit("_", 1)[1] for path in found})

    def _file(self, name: str, kind: str, prefix: str, suffix: str) -> Path:
        """Built from its parts: a root whose own name holds 'rgb' must not be changed."""
        scene, number = name.split("/")
        top = self.root / kind if (self.root / kind).is_dir() else self.root
        return top / scene / VARIATION / "frames" / kind / "Camera_0" / f"{prefix}_{number}.{suffix}"


def _number(name: str) -> int:
    digits = name.split("/")[1]
    return int(digits) if digits.isdigit() else 0
