"""data.cache: the same samples, decoded once, and never an old one."""

import os
import shutil

import pytest
import torch
from PIL import Image

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data import open_dataset
from multitask.data.loader import evaluation_loader
from tests.support.folders import TASKS, write_folder
from tests.support.published import WRITERS, size_of


def settings(root, cache, **changes):
    return DataSettings(
        **{"name": "folder", "root": str(root), "height": 40, "width": 56, "tasks": list(TASKS), **changes},
        cache=None if cache is None else str(cache),
        workers=0,
    )


def flat(sample):
    image = sample["image"]
    images = [image] if isinstance(image, torch.Tensor) else list(image.values())
    return [*images, *sample["labels"].values(), *sample["masks"].values()]


def same(one, other):
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(flat(one), flat(other), strict=True))


def counted(monkeypatch, split):
    """The names that are decoded from here on."""
    decoded = []
    original = type(split)._decode
    monkeypatch.setattr(type(split), "_decode", lambda self, name: decoded.append(name) or original(self, name))
    return decoded


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "data")


def test_samples_are_the_same_and_decoded_once(root, tmp_path, monkeypatch):
    (root / "images" / "depth").mkdir()
    for photo in (root / "images").glob("*.jpg"):
        shutil.copy(photo, root / "images" / "depth")
    plain = open_dataset(settings(root, None)).splits["train"]
    expected = [plain[i] for i in range(len(plain))]
    kept = open_dataset(settings(root, tmp_path / "cache")).splits["train"]
    decoded = counted(monkeypatch, kept)
    for _ in range(2):
        assert all(same(kept[i], one) for i, one in enumerate(expected))
    again = open_dataset(settings(root, tmp_path / "cache")).splits["train"]
    assert all(same(again[i], one) for i, one in enumerate(expected))
    assert decoded == plain.ids


@pytest.mark.parametrize("name", ["cityscapes", "pascal_context", "nyuv2_13"])
def test_derived_labels_are_kept_too(name, tmp_path):
    WRITERS[name](tmp_path / "data")
    height, width = size_of(name)
    tasks = ["semseg", "normals", "edge"]
    plain, kept = (
        open_dataset(settings(tmp_path / "data", cache, name=name, height=height, width=width, tasks=tasks))
        for cache in (None, tmp_path / "cache")
    )
    for _ in range(2):
        assert same(plain.splits["train"][0], kept.splits["train"][0])


def test_whatever_a_sample_follows_from_makes_another(root, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    train = open_dataset(settings(root, cache)).splits["train"]
    decoded = counted(monkeypatch, train)

    def read(**changes):
        before = len(decoded)
        sample = open_dataset(settings(root, cache, **changes)).splits["train"][0]
        return sample, len(decoded) - before

    assert read()[1] == 1 and read()[1] == 0
    assert read(width=60)[1] == 1 and read(tasks=["depth"])[1] == 1 and read(height=36)[1] == 1
    path = root / "depth" / "train_0.png"
    before, state = read()[0], path.stat()
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    after, made = read()
    assert made == 1 and not same(before, after)
    assert torch.equal(before["labels"]["depth"].flip(2), after["labels"]["depth"])


@pytest.mark.parametrize("damaged", [b"", b"no tensors", None])
def test_a_damaged_file_is_made_again(root, tmp_path, damaged):
    expected = open_dataset(settings(root, tmp_path / "cache")).splits["val"][0]
    (path,) = (tmp_path / "cache").rglob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damaged is None else damaged)
    assert same(open_dataset(settings(root, tmp_path / "cache")).splits["val"][0], expected)
    assert path.read_bytes() == whole


def test_workers_share_it(root, tmp_path):
    plain, kept = (open_dataset(settings(root, cache)).splits["train"] for cache in (None, tmp_path / "cache"))
    for _ in range(2):
        batches = list(evaluation_loader(kept, 2, workers=2, pin=False))
        for one, other in zip(batches, evaluation_loader(plain, 2, workers=0, pin=False), strict=True):
            assert same(one, other)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 3


def test_places_that_are_no_cache(root, tmp_path):
    with pytest.raises(InputError, match=r"lies in data\.root"):
        open_dataset(settings(root, root / "cache"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file: expected a folder"):
        open_dataset(settings(root, tmp_path / "file"))
    with pytest.raises(InputError, match=r"data\.cache is given, but scenes reads no files"):
        DataSettings(name="scenes", cache="runs/cache")
    with pytest.raises(InputError, match=r"data\.cache is empty"):
        DataSettings(name="folder", cache="")
