"""scenenet: SceneNet RGB-D with 13 classes."""

from pathlib import Path

import numpy as np

from experiment.config import DataSettings
from multitask.data.class_maps import check_ids
from multitask.data.derived import Camera, Label
from multitask.data.facts import facts
from multitask.data.label_files import read_image
from multitask.data.published.listed import ListedDataset

FACTS = facts("scenenet")


class SceneNet(ListedDataset):
    """SceneNet RGB-D (McCormac et al., ICCV 2017), 320x240.

    ROOT/{train,val}.csv   image,depth,label, paths below ROOT, such as 0/223/photo/0.jpg,0/223/depth/0.png,
                           0/223/label/0.png

    Images are RGB; depth is 16-bit millimetres, 0 invalid; labels are 8-bit, 0 void and 1..13 NYU's 13 classes.
    Derived: normals from depth, edges from classes. A scene is the folder above photo/; none may stand in both lists.
    Groups are 20 consecutive lines of a scene.
    """

    name = "scenenet"
    camera = Camera(**FACTS["camera"])

    @classmethod
    def class_names(cls, data: DataSettings) -> list[str]:
        names: list[str] = FACTS["classes"]
        return names

    def scene_of(self, image: str) -> str:
        return str(Path(image).parent.parent)

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        ids = read_image(path, "8-bit class ids", ("L", "P"))
        check_ids(ids, path, len(FACTS["classes"]), " (void)")
        valid = ids > 0
        return np.where(valid, ids - 1, 0).astype(np.uint8)[..., None], valid
