import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data import check_data, open_dataset
from tests.support.folders import TASKS, H, W, write_folder

APARTMENT = Path(__file__).parents[3] / "shared" / "data" / "replica_apartment"


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "mine")


def settings(folder, **changes):
    return DataSettings(**{"name": "folder", "root": str(folder), "height": H, "width": W, "tasks": TASKS, **changes})


def test_labels_are_read_by_the_layout(root):
    sample = open_dataset(settings(root)).splits["train"][1]

    def raw(task):
        return np.array(Image.open(root / task / "train_1.png"))

    ids, parts, millimetres, pixels = raw("semseg"), raw("human_parts"), raw("depth"), raw("normals")
    labels, masks = sample["labels"], sample["masks"]
    assert torch.equal(masks["semseg"][0], torch.from_numpy(ids > 0))
    assert (labels["semseg"][0].numpy()[ids > 0] == ids[ids > 0] - 1).all()
    assert (masks["human_parts"][0].numpy() == (parts != 255)).all()
    assert (labels["human_parts"][0].numpy()[parts != 255] == parts[parts != 255]).all()
    assert np.allclose(labels["depth"][0].numpy()[millimetres > 0], millimetres[millimetres > 0] / 1000)
    assert (masks["depth"][0].numpy() == (millimetres > 0)).all()
    n = (pixels.astype(float) - 127) / 127
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    assert np.allclose(labels["normals"].numpy().transpose(1, 2, 0), n, atol=1e-6)
    assert (labels["edge"][0].numpy() == raw("edge") // 255).all()
    assert sample["image"].shape == (3, H, W)


def test_resizing_takes_nearest_labels(root):
    full = open_dataset(settings(root)).splits["val"][0]
    half = open_dataset(settings(root, height=32, width=W)).splits["val"][0]
    rows = [int((i + 0.5) * H / 32) for i in range(32)]
    for task in TASKS:
        assert torch.equal(half["labels"][task], full["labels"][task][:, rows])
        assert torch.equal(half["masks"][task], full["masks"][task][:, rows])
    assert half["image"].shape == (3, 32, W)


def test_check_data_lists_every_problem(root):
    assert check_data(settings(root)) == []
    (root / "depth" / "train_0.png").unlink()
    Image.fromarray(np.zeros((H, W + 2), np.uint8)).save(root / "semseg" / "train_2.png")
    Image.fromarray(np.full((H, W), 9, np.uint8)).save(root / "semseg" / "val_0.png")
    Image.fromarray(np.full((H, W), 100, np.uint8)).save(root / "edge" / "val_1.png")
    (root / "normals" / "test_0.png").write_bytes(b"not an image")
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(root / "depth" / "test_1.png")
    found = check_data(settings(root))
    assert len(found) == 6
    for file, reason in (
        ("depth/train_0.png", "no such file"),
        ("semseg/train_2.png", "58x40 pixels, expected 56x40"),
        ("semseg/val_0.png", "class id 9, expected 0 (ignored) to 3"),
        ("edge/val_1.png", "value 100, expected 0 or 255"),
        ("normals/test_0.png", "cannot be read"),
        ("depth/test_1.png", "16-bit depth"),
    ):
        assert any(file.replace("/", os.sep) in line and reason in line for line in found), (file, found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "nowhere"}, "data.root 'nowhere' is not a folder"),
        ({"root": None}, "data.root is not given"),
        ({"name": "foldr"}, "unknown dataset 'foldr'.*nearest: 'folder'"),
        ({"height": 8}, "expected at least 32x32"),
        ({"scale_range": (2.0, 1.0)}, "smallest <= largest"),
        ({"empty_classes": "skipp"}, "nearest: 'skip'"),
        ({"normal_centroids": "nowhere.npy"}, "cannot be read"),
    ],
)
def test_bad_settings_are_one_clear_line(root, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(settings(root, **changes))
    assert "\n" not in str(caught.value)


def test_ids_may_hold_spaces_and_check_data_goes_on_after_a_missing_list(root):
    for task in ("images", *TASKS):
        old = next((root / task).glob("train_0.*"))
        old.rename(old.with_name(old.name.replace("train_0", "view 0")))
    (root / "splits/train.txt").write_text("view 0\n\ntrain_1\n")
    (root / "splits/val.txt").unlink()
    (root / "edge/test_1.png").unlink()
    found = check_data(settings(root))
    assert len(found) == 2 and "val.txt" in found[0] and "test_1.png" in found[1]


def test_missing_split_and_missing_class_list(root):
    (root / "splits" / "val.txt").unlink()
    with pytest.raises(InputError, match=r"val\.txt: no such file"):
        open_dataset(settings(root))
    (root / "meta.json").unlink()
    with pytest.raises(InputError, match=r"data\.classes"):
        open_dataset(settings(root))


@pytest.mark.skipif(not APARTMENT.is_dir(), reason="the apartment's data is not beside the project")
def test_the_real_apartment():
    source = open_dataset(settings(APARTMENT, tasks=TASKS[:4], height=96, width=128))
    assert [len(source.splits[s]) for s in ("train", "val", "test")] == [249, 55, 90]
    sample = source.splits["val"][10]
    assert sample["image"].shape == (3, 96, 128)
    assert 0.3 < sample["labels"]["depth"][sample["masks"]["depth"]].median() < 9
    lengths = sample["labels"]["normals"].norm(dim=0)[sample["masks"]["normals"][0]]
    assert lengths.allclose(torch.ones_like(lengths), atol=1e-5)
    assert source.tasks["semseg"].channels == 40
