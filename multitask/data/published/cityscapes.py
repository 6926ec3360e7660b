"""cityscapes: Cityscapes with depth from its disparities."""

from pathlib import Path

import numpy as np

from experiment.config import DataSettings
from experiment.documents import read_json
from experiment.errors import InputError
from multitask.data.class_maps import ClassMap, check_ids, chosen_map
from multitask.data.derived import Camera, Label
from multitask.data.facts import facts
from multitask.data.files import FileDataset, neighbours
from multitask.data.label_files import read_image

FACTS = facts("cityscapes")
SMALLEST = 1  # raw disparity of which nothing is left


class Cityscapes(FileDataset):
    """Cityscapes (Cordts et al., CVPR 2016). SPLIT is train (2975 images) and val (500).

    ROOT/leftImg8bit/SPLIT/CITY/CITY_SSSSSS_FFFFFF_leftImg8bit.png   or leftImg8bit_small, half or a quarter of the size
    ROOT/gtFine/SPLIT/CITY/..._gtFine_labelIds.png                   8-bit, 34 ids
    ROOT/disparity/SPLIT/CITY/..._disparity.png                      16-bit; d = (raw - 1) / 256, raw of 0 or 1 invalid
    ROOT/camera/SPLIT/CITY/..._camera.json                           {"extrinsic": {"baseline"}, "intrinsic": {"fx"}}
    ROOT/leftImg8bit_sequence/SPLIT/CITY/...                         optional: the frames around, or .._sequence_small

    Depth is baseline * fx / d in metres, with fx of the full size whatever the image's. Classes: 16 (DenseMTL's,
    without terrain, truck and train), or with data.classes 19, 13, 8 (shared with vkitti2) or 7; other ids are ignored.
    Derived: normals from depth, edges from classes. Groups are 20 neighbouring images of a city.
    """

    name = "cityscapes"
    tasks_read = ("semseg", "depth", "normals", "edge")
    published = {"train": 2975, "val": 500}
    same_size = False
    camera = Camera(**FACTS["camera"])

    @classmethod
    def class_map(cls, data: DataSettings) -> ClassMap:
        return chosen_map(FACTS, data.classes, 16)

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        """Ids are SPLIT/CITY/CITY_SSSSSS_FFFFFF, of the images that have a photo or classes."""
        places = ((self._photos(), "_leftImg8bit"), (self.root / "gtFine", "_gtFine_labelIds"))
        ids = sorted(
            {
                f"{split}/{path.parent.name}/{path.stem.removesuffix(end)}"
                for top, end in places
                for path in (top / split).glob(f"*/[!.]*{end}.*")
            }
        )
        if not ids:
            raise InputError(f"{self._photos() / split}: no CITY/*_leftImg8bit.png; {self.hint()}")
        return ids, neighbours([name.split("/")[1] for name in ids])

    def photo_path(self, name: str, folder: str = "") -> Path:
        return self._photo(self._photos(), name)

    def label_paths(self, task: str, name: str) -> list[Path]:
        if task in ("semseg", "edge"):
            return [self.root / "gtFine" / f"{name}_gtFine_labelIds.png"]
        return [self.root / "disparity" / f"{name}_disparity.png", self.root / "camera" / f"{name}_camera.json"]

    def neighbour(self, name: str, offset: int) -> Path | None:
        """The frame so many frames later (earlier, if negative) in the sequence; None where it is missing."""
        first, frame = name.rsplit("_", 1)
        other = f"{first}_{int(frame) + offset:06d}"
        folder = f"{self._photos().name.replace('leftImg8bit', 'leftImg8bit_sequence')}"
        try:
            return self._photo(self.root / folder, other)
        except InputError:
            return None

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        ids = read_image(path, "8-bit class ids", ("L", "P"))
        check_ids(ids, path, len(FACTS["names"]) - 1)
        return self.classes(ids)

    def read_depth(self, name: str) -> Label:
        path, camera = self.label_paths("depth", name)
        raw = read_image(path, "16-bit disparity", ("I;16", "I;16B", "I")).astype(np.float32)
        valid = raw > SMALLEST
        scale = 256 * _baseline_times_focal(camera)
        return np.where(valid, scale / np.maximum(raw - 1, 1), 0).astype(np.float32)[..., None], valid

    def _photos(self) -> Path:
        small = self.root / "leftImg8bit_small"
        return small if small.is_dir() else self.root / "leftImg8bit"

    def _photo(self, top: Path, name: str) -> Path:
        for suffix in (".png", ".jpg"):
            path = top / f"{name}_leftImg8bit{suffix}"
            if path.is_file():
                return path
        return self._existing(top / f"{name}_leftImg8bit.png")


def _baseline_times_focal(path: Path) -> float:
    """Metres times pixels of the full size."""
    content = read_json(path)
    try:
        value = float(content["extrinsic"]["baseline"]) * float(content["intrinsic"]["fx"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no extrinsic.baseline and intrinsic.fx, expected numbers") from error
    if not 0 < value < float("inf"):
        raise InputError(f"{path}: baseline times fx is {value:g}, expected a positive number")
    return value
