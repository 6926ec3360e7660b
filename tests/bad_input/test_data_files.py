"""Images, labels and lists of a data folder with one fault each: refused in one line that names the file."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from experiment.config import DataSettings
from multitask.data import open_dataset
from multitask.data.split_checks import check_splits
from tests.support.folders import TASKS, H, W, write_folder
from tests.support.refusals import ending, one_line, refusal


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "D")


def read(root):
    """What a run does before and while it trains."""
    source = open_dataset(DataSettings(name="folder", root=str(root), height=32, width=48, tasks=list(TASKS)))
    check_splits(source)
    for split in source.splits.values():
        for index in range(len(split)):
            split[index]


def encoded(image, form, **options):
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def image_faults(data, form):
    """{fault: the bytes of the file}, of a right file's bytes."""
    grey = Image.fromarray(np.full((H, W), 7, np.uint8))
    faults = {f"cut at {k}/8": data[: len(data) * k // 8] for k in range(8)}
    faults |= {
        "text": b"no image at all\n" * 40,
        "zeros": bytes(500),
        "its header twice": data[:20] + data,
        "no header": data[20:],
        "another size": encoded(grey.resize((W + 1, H)), form),
        "one pixel": encoded(grey.resize((1, 1)), form),
        "a bomb": encoded(Image.new("1", (20_000, 10_000)), "PNG"),
        "32-bit values": encoded(Image.fromarray(np.ones((H, W), np.float32)), "TIFF"),
    }
    if form == "PNG":
        faults |= {
            "a JPEG": encoded(grey, "JPEG"),
            "a GIF": encoded(grey, "GIF"),
            "alpha": encoded(grey.convert("LA"), form),
        }
        faults |= {"CMYK": encoded(grey.convert("CMYK"), "TIFF"), "RGBA": encoded(grey.convert("RGBA"), form)}
    return faults


@pytest.mark.parametrize("folder", ["images", *TASKS])
def test_images_and_labels(root, folder):
    path = next((root / folder).glob("train_0.*"))
    data = path.read_bytes()
    try:
        for fault, content in image_faults(data, "JPEG" if folder == "images" else "PNG").items():
            path.write_bytes(content)
            assert "train_0." in refusal(lambda: read(root)), fault
        path.unlink()
        assert path.name in refusal(lambda: read(root))
        path.mkdir()
        assert path.name in refusal(lambda: read(root))
        path.rmdir()
    finally:
        path.write_bytes(data)
    read(root)


VALUES = {
    "semseg": (np.uint8, [4, 255]),
    "human_parts": (np.uint8, [7, 254]),
    "edge": (np.uint8, [2, 128, 254]),
    "saliency": (np.uint8, [2, 128, 254]),
}


@pytest.mark.parametrize("task", VALUES)
def test_values_that_no_label_has(root, task):
    path = root / task / "val_1.png"
    data = path.read_bytes()
    kind, values = VALUES[task]
    for value in values:
        label = np.array(Image.open(io.BytesIO(data)))
        label[3, 4] = value
        Image.fromarray(label.astype(kind)).save(path)
        line = refusal(lambda: read(root))
        assert f"{task}/val_1.png" in line and str(value) in line
    path.write_bytes(data)


LISTS = {
    "empty": b"",
    "blank": b"\n \n\t\n",
    "an id twice": b"train_0\ntrain_1\ntrain_0\n",
    "an id without files": b"train_0\nnobody\n",
    "an over-long id": b"train_0\n" + b"x" * 5000 + b"\n",
    "an id with a NUL": b"train_0\ntrain\x001\n",
    "a path": b"train_0\n../../etc/passwd\n",
    "a suffix": b"train_0.jpg\n",
    "three columns": b"train_0\ta\tb\n",
    "a group once": b"train_0\ta\ntrain_1\n",
    "UTF-16": "train_0\n".encode("utf-16"),
    "latin-1": "tr\xe4in_0\n".encode("latin-1"),
    "binary": bytes(range(256)),
    "a PNG": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "one line of commas": b"train_0,train_1,train_2\n",
    "many unknown": b"".join(b"id_%d\n" % k for k in range(500)),
}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_lists(root, split):
    path = root / "splits" / f"{split}.txt"
    text = path.read_bytes()
    for fault, content in LISTS.items():
        path.write_bytes(content.replace(b"train", split.encode()))
        code, errors = ending(lambda: read(root))
        assert code == 2, (fault, errors)
        one_line(errors)
    path.unlink()
    assert f"{split}.txt" in refusal(lambda: read(root))
    path.mkdir()
    assert f"{split}.txt" in refusal(lambda: read(root))
    path.rmdir()
    path.write_bytes(text)


@pytest.mark.parametrize(("split", "other"), [("train", "val"), ("train", "test"), ("val", "train"), ("test", "train")])
def test_an_image_of_two_splits(root, split, other):
    path = root / "splits" / f"{split}.txt"
    text = path.read_text()
    path.write_text(f"{text}{other}_0\n")
    assert f"1 image ({other}_0)" in refusal(lambda: read(root))
    path.write_text(text)


def test_folders_that_are_missing(root, tmp_path):
    for folder in ("images", "splits", *TASKS):
        copy = tmp_path / folder
        shutil.copytree(root, copy)
        shutil.rmtree(copy / folder)
        assert str(copy) in refusal(lambda copy=copy: read(copy))


META = (
    "",
    "[]",
    "{}",
    "NaN",
    "null",
    '{"semseg": 3}',
    '{"semseg": {"classes": "wall"}}',
    '{"semseg": {"classes": []}}',
    '{"semseg": {"classes": [1]}}',
    '{"semseg": {"classes": {"a": 1}}}',
    "[" * 9000,
    "\x00",
    '{"semseg": {"classes": ["a"',
)


def test_class_lists(root):
    path = root / "meta.json"
    text = path.read_text()
    for content in META:
        path.write_text(content)
        assert "meta.json" in refusal(lambda: read(root)), content[:40]
    path.write_text(text)
