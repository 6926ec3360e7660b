"""A folder's images written out in layouts of the papers' sets and read back: the same samples, up to each encoding.

The folder is a small made one, and a scanned apartment, where the data is: beside the project, or what APARTMENT names.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiment.config import DataSettings
from multitask.data import check_data, open_dataset
from tests.support.folders import H, W, write_folder
from tests.support.layouts import LAYOUTS

APARTMENT = Path(os.environ.get("APARTMENT", Path(__file__).parents[3] / "shared" / "data" / "replica_apartment"))
EVERY = 60  # of the apartment's images that are taken
TASKS = ["semseg", "depth", "normals", "edge"]


def images_of(root, height, width, every):
    """{split: [(name, photo's path, labels)]}, as the loader of folders reads them."""
    data = DataSettings(name="folder", root=str(root), height=height, width=width, tasks=TASKS, workers=0)
    found = {}
    for split, samples in open_dataset(data).splits.items():
        found[split] = []
        for index in range(0, len(samples), every):
            sample = samples[index]
            labels = {
                task: (sample["labels"][task].numpy().transpose(1, 2, 0), sample["masks"][task][0].numpy())
                for task in TASKS
            }
            found[split].append((samples.ids[index], samples.photo_path(samples.ids[index]), labels))
    return found


@pytest.fixture(scope="module", params=["made", "apartment"])
def images(request, tmp_path_factory):
    if request.param == "made":
        return (H, W), images_of(write_folder(tmp_path_factory.mktemp("data") / "folder"), H, W, 1)
    if not (APARTMENT / "meta.json").is_file():
        pytest.skip("the apartment's data is not beside the project, and the variable APARTMENT does not name it")
    return (192, 256), images_of(APARTMENT, 192, 256, EVERY)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_written_in_a_layout_is_read_back(name, images, tmp_path):
    (height, width), splits = images
    expected = LAYOUTS[name](tmp_path / "data", splits)
    data = DataSettings(
        name=name, root=str(tmp_path / "data"), height=height, width=width, tasks=list(expected), workers=0
    )
    assert check_data(data).problems == []
    read = open_dataset(data).splits
    for split in ("train", "val"):
        assert len(read[split]) == len(splits[split]) > 0
        for sample, (own, photo, labels) in zip((read[split][i] for i in range(len(read[split]))), splits[split]):
            pixels = np.array(Image.open(photo).convert("RGB"))
            assert (sample["image"].numpy().transpose(1, 2, 0) == pixels).all(), own
            for task, expect in expected.items():
                label, valid, bound = expect(labels)
                assert valid.any() and (sample["masks"][task][0].numpy() == valid).all(), (own, task)
                found = sample["labels"][task].numpy().transpose(1, 2, 0).astype(np.float64)
                distance = np.linalg.norm(found - label, axis=-1, keepdims=True)
                assert (distance <= bound + 1e-6)[valid].all(), (own, task, distance[valid].max())
