"""synthia: SYNTHIA-RAND-CITYSCAPES."""

from pathlib import Path

import numpy as np

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data.array_files import read_wide_png
from multitask.data.class_maps import ClassMap, check_ids, chosen_map
from multitask.data.derived import Camera, Label
from multitask.data.facts import facts
from multitask.data.files import FileDataset, any_case

FACTS = facts("synthia")
BLOCK = 10  # consecutive images that stay together
TRAIN_BLOCKS = 4  # of 5


class Synthia(FileDataset):
    """SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016), 9400 images.

    ROOT/RGB/NNNNNNN.png
    ROOT/GT/LABELS/NNNNNNN.png     16 bits a channel: the class, then the instance
    ROOT/Depth/Depth/NNNNNNN.png   16-bit centimetres, in the first channel if there are several; 0 and 65535 invalid

    An image's number decides its split: of every 50 numbers the first 40 train, the last 10 are val (7520 and 1880
    images), so that neighbours stay together and no image is in both. The published code shuffled the files twice, in
    an order that the file system decides. Groups are 10 consecutive images. Classes are Cityscapes' 16 (DenseMTL's);
    other ids are ignored. Derived: normals from depth, edges from classes.
    """

    name = "synthia"
    tasks_read = ("semseg", "depth", "normals", "edge")
    published = {"train": 7520, "val": 1880}
    camera = Camera(**FACTS["camera"])

    @classmethod
    def class_map(cls, data: DataSettings) -> ClassMap:
        return chosen_map(FACTS, data.classes, 16)

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        """The numbers of the images that have a photo or classes."""
        folders = (self.root / "RGB", self.root / "GT" / "LABELS")
        names = sorted({path.stem for folder in folders for path in folder.glob(any_case("[!.]*.png"))})
        strange = [name for name in names if not name.isdecimal()]
        if strange:
            raise InputError(f"{self.root / 'RGB' / strange[0]}.png: no number, expected NNNNNNN.png")
        ids = [name for name in names if split_of(int(name)) == split]
        if not ids:
            raise InputError(f"{self.root / 'RGB'}: none of its {len(names)} .png files is {split}; {self.hint()}")
        return ids, [str(int(name) // BLOCK) for name in ids]

    def photo_path(self, name: str, folder: str = "") -> Path:
        return self._existing(self.root / "RGB" / f"{name}.png")

    def label_paths(self, task: str, name: str) -> list[Path]:
        folder = Path("GT", "LABELS") if task in ("semseg", "edge") else Path("Depth", "Depth")
        return [self.root / folder / f"{name}.png"]

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        ids = read_wide_png(path)[..., 0]
        check_ids(ids, path, len(FACTS["names"]) - 1)
        return self.classes(ids)

    def read_depth(self, name: str) -> Label:
        (path,) = self.label_paths("depth", name)
        centimetres = read_wide_png(path)[..., 0].astype(np.float32)
        valid = (centimetres > 0) & (centimetres < 2**16 - 1)
        return np.where(valid, centimetres / 100, 0)[..., None], valid


def split_of(number: int) -> str:
    return "train" if number // BLOCK % 5 < TRAIN_BLOCKS else "val"
