"""The data sets of the published papers: one a file, each a `FileDataset` whose docstring is its layout.

To add one, write such a file and a line in `PUBLISHED`; what is known about the set besides its code, such as class
names and maps, goes into multitask/data/facts.
"""

from multitask.data.files import FileDataset
from multitask.data.published.cityscapes import Cityscapes
from multitask.data.published.nyud import NYUD
from multitask.data.published.nyuv2_13 import NYUv2With13Classes
from multitask.data.published.pascal_context import PascalContext
from multitask.data.published.scannet import ScanNet
from multitask.data.published.scenenet import SceneNet
from multitask.data.published.synthia import Synthia
from multitask.data.published.vkitti2 import VKITTI2

PUBLISHED: dict[str, type[FileDataset]] = {
    kind.name: kind
    for kind in (NYUD, NYUv2With13Classes, PascalContext, VKITTI2, Cityscapes, Synthia, ScanNet, SceneNet)
}
