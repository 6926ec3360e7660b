"""scannet: ScanNet with its 20 benchmark classes."""

from functools import cached_property
from pathlib import Path

import numpy as np

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data.class_maps import MOST_IDS, ClassMap, chosen_map
from multitask.data.derived import Camera, Label
from multitask.data.facts import facts
from multitask.data.files import read_list
from multitask.data.label_files import read_image
from multitask.data.published.listed import ListedDataset

FACTS = facts("scannet")


class ScanNet(ListedDataset):
    """ScanNet (Dai et al., CVPR 2017), as its .sens files unpack.

    ROOT/{train,val}.csv                    image,depth,label, paths below ROOT, such as
                                            scene0000_00/color/0.jpg,scene0000_00/depth/0.png,scene0000_00/label/0.png
    ROOT/scannetv2-labels.combined.tsv      column 1 the id in label files, column 5 nyu40id

    Images are RGB; depth is 16-bit millimetres, 0 invalid; labels are 16-bit ids, 0 void. Colour and labels may be
    larger than depth. Classes are the 20 of the benchmark, by NYU's 40; an id that the table lacks is ignored. Derived:
    normals from depth (intrinsics of the depth camera), edges from classes. No scene, whatever its scan, may stand in
    both lists. Groups are 20 consecutive lines of a scene.
    """

    name = "scannet"
    camera = Camera(**FACTS["camera"])

    @classmethod
    def class_map(cls, data: DataSettings) -> ClassMap:
        return chosen_map(FACTS, data.classes, 20)

    def scene_of(self, image: str) -> str:
        """sceneXXXX without the number of its scan."""
        folder = next((part for part in Path(image).parts if part.startswith("scene")), Path(image).parts[0])
        return folder.rsplit("_", 1)[0]

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        ids = read_image(path, "16-bit class ids", ("I;16", "I;16B", "I", "L")).astype(np.int64)
        if ids.max(initial=0) >= MOST_IDS:
            raise InputError(f"{path}: class id {ids.max()}, expected 16 bits")
        return self.classes(self._nyu40[ids])

    @cached_property
    def _nyu40(self) -> np.ndarray:
        """NYU's id of each of ScanNet's, 0 where it has none."""
        path = self.root / "scannetv2-labels.combined.tsv"
        table = np.zeros(MOST_IDS, np.int64)
        for line in read_list(path, self.hint(), "expected a table with the columns id and nyu40id")[1:]:
            cells = line.split("\t")
            try:
                table[int(cells[0])] = int(cells[4])
            except (IndexError, ValueError) as error:
                raise InputError(f"{path}: '{line[:60]}', expected id in column 1 and nyu40id in column 5") from error
        return table
