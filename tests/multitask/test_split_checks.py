"""Images that stand twice, splits without labels, and the fingerprint of a split."""

import shutil
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data import check_splits, fingerprint, open_dataset
from multitask.data.split_checks import repeated_images, unlabelled
from tests.support.folders import TASKS, write_folder

SPLITS = ("train", "val", "test")


class Listed:
    def __init__(self, ids):
        self.ids = ids


lists = st.lists(st.sampled_from("abcdefgh"), max_size=6)


@given(lists, lists, lists)
@settings(max_examples=200, deadline=None)
def test_repeated_images_against_all_couples(train, val, test):
    ids = dict(zip(SPLITS, (train, val, test), strict=True))
    errors, warnings = repeated_images({name: Listed(own) for name, own in ids.items()})
    places = [(name, i, one) for name in SPLITS for i, one in enumerate(ids[name])]
    couples = {(a[0], b[0]) for a, b in product(places, places) if a[:2] != b[:2] and a[2] == b[2]}
    named = {(line.split()[0], line.split()[0] if " twice" in line else line.split()[2]) for line in errors}
    assert named == {(a, b) for a, b in couples if SPLITS.index(a) <= SPLITS.index(b) and (a, b) != ("val", "test")}
    assert bool(warnings) == (("val", "test") in couples)
    shared = sorted(set(val) & set(test))
    assert all(f"share {len(shared)} image" in line for line in warnings)


def settings_of(root, *tasks, **more):
    return DataSettings(name="folder", root=str(root), height=40, width=56, workers=0, tasks=tasks or TASKS, **more)


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "data")


def blank(root, task, split, value=0):
    for path in (root / task).glob(f"{split}_*.png"):
        Image.fromarray(np.full_like(np.array(Image.open(path)), value)).save(path)


def test_a_sound_folder_is_read_an_image_a_split(root, monkeypatch, capsys):
    source = open_dataset(settings_of(root))
    read = []
    original = type(source.splits["train"]).__getitem__
    monkeypatch.setattr(type(source.splits["train"]), "__getitem__", lambda s, i: read.append(i) or original(s, i))
    check_splits(source)
    assert read == [0, 0, 0] and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("train", "test", "train and test share 2 images (test_0, test_1)"),
        ("train", "val", "train and val share 2 images (val_0, val_1)"),
        ("val", "val", "val holds 2 images (val_0, val_1) twice"),
        ("test", "test", "test holds 2 images (test_0, test_1) twice"),
    ],
)
def test_images_in_two_places_are_refused(root, one, other, words):
    path, more = (root / "splits" / f"{name}.txt" for name in (one, other))
    path.write_text(path.read_text() + more.read_text())
    with pytest.raises(InputError) as error:
        check_splits(open_dataset(settings_of(root)))
    assert words in str(error.value)


def test_images_in_val_and_test_are_a_warning(root, capsys):
    shutil.copy(root / "splits/val.txt", root / "splits/test.txt")
    check_splits(open_dataset(settings_of(root)))
    assert capsys.readouterr().err.startswith("warning: val and test share 2 images (val_0, val_1)")


def test_messages_stay_short(root):
    ids = [f"{'long' * 60}{i}" for i in range(50)]
    errors, _ = repeated_images({"train": Listed(ids), "val": Listed([]), "test": Listed(ids)})
    assert len(errors[0]) <= 290 and "50 images" in errors[0]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_task_without_labels_is_named(root, capsys, task, split):
    blank(root, task, split, 255 if task == "human_parts" else 0)
    source = open_dataset(settings_of(root))
    reason = {"edge": "no valid pixel is an edge", "saliency": "no valid pixel is salient"}.get(task, "no valid pixel")
    expected = f"{split} has no labels of {task}: {reason} in its {len(source.splits[split])} images"
    if split == "test":
        check_splits(source)
        assert capsys.readouterr().err.startswith(f"warning: {expected}")
    else:
        with pytest.raises(InputError) as error:
            check_splits(source)
        assert expected in str(error.value)


def test_one_valid_pixel_of_the_last_image_is_enough(root):
    blank(root, "depth", "train")
    path = root / "depth/train_2.png"
    depth = np.array(Image.open(path))
    depth[20, 30] = 1500
    Image.fromarray(depth).save(path)
    source = open_dataset(settings_of(root, "depth"))
    assert unlabelled(source.splits["train"], source.tasks) == []


def test_a_fingerprint_follows_the_images_not_their_place(root, tmp_path):
    shutil.copytree(root, tmp_path / "moved")
    one, other = (open_dataset(settings_of(path)) for path in (root, tmp_path / "moved"))
    assert {split: fingerprint(one, split) for split in SPLITS} == {s: fingerprint(other, s) for s in SPLITS}
    assert len({fingerprint(one, split) for split in SPLITS}) == 3


def test_a_fingerprint_changes_with_a_list_a_photo_or_a_label(root):
    def found():
        return fingerprint(open_dataset(settings_of(root)), "test")

    seen = [found()]
    path = root / "splits/test.txt"
    path.write_text("test_1\ntest_0\n")
    seen.append(found())
    path.write_text("test_1\n")
    seen.append(found())
    Image.new("RGB", (56, 40)).save(root / "images/test_1.jpg")
    seen.append(found())
    blank(root, "edge", "test")
    seen.append(found())
    assert len(set(seen)) == len(seen)
    (root / "edge/train_0.png").unlink()
    assert found() == seen[-1]
    assert fingerprint(open_dataset(settings_of(root, "depth")), "test") not in seen


def test_a_fingerprint_of_scenes_follows_their_number_and_size():
    def found(split="test", **more):
        return fingerprint(open_dataset(DataSettings(**more)), split)

    assert found() == found(train_images=3, scale_range=(1.0, 1.0), workers=0)
    assert len({found(), found("val"), found(test_images=7), found(height=128)}) == 4


def test_a_split_without_ids_and_identity_is_known_by_its_length(root):
    source = open_dataset(settings_of(root, "depth"))
    plain = {name: torch.utils.data.Subset(split, [0]) for name, split in source.splits.items()}
    other = type(source)(source.name, source.tasks, plain)
    check_splits(other)
    assert fingerprint(other, "val") == fingerprint(other, "test") != fingerprint(source, "test")
