import os
import shutil
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data import check_data, open_dataset
from multitask.data.splits import groups_of
from multitask.testing import check_dataset
from tests.support.folders import TASKS, H, W, write_folder

APARTMENT = Path(__file__).parents[3] / "shared" / "data" / "replica_apartment"


@pytest.fixture
def root(tmp_path):
    return write_folder(tmp_path / "mine")


def settings(folder, **changes):
    return DataSettings(**{"name": "folder", "root": str(folder), "height": H, "width": W, "tasks": TASKS, **changes})


def problems(root):
    return check_data(settings(root)).problems


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
        if task != "edge":
            assert torch.equal(half["labels"][task], full["labels"][task][:, rows])
        assert torch.equal(half["masks"][task], full["masks"][task][:, rows])
    assert half["image"].shape == (3, 32, W)


@pytest.mark.parametrize("size", [(32, 32), (40, 56), (39, 33), (41, 112), (93, 57)])
def test_every_cell_that_an_edge_crosses_is_an_edge(root, size):
    """By exact fractions: pixel k covers [k, k + 1), cell i [i old / new, (i + 1) old / new)."""
    full = np.random.default_rng(0).random((H, W)) < 0.02
    Image.fromarray(full.astype(np.uint8) * 255).save(root / "edge" / "val_0.png")
    crossed = np.zeros(size, bool)
    for y, x in zip(*np.nonzero(full), strict=True):
        spans = []
        for k, old, new in ((y, H, size[0]), (x, W, size[1])):
            cell = Fraction(old, new)
            spans.append([i for i in range(new) if i * cell < k + 1 and (i + 1) * cell > k])
        crossed[np.ix_(*spans)] = True
    label = open_dataset(settings(root, tasks=["edge"], height=size[0], width=size[1])).splits["val"][0]["labels"]
    assert (label["edge"][0].numpy() == crossed).all()


@pytest.mark.parametrize("size", [(32, 33), (93, 57)])
def test_resizing_mixes_no_depths_and_keeps_normals_of_unit_length(root, size):
    sample = open_dataset(settings(root, height=size[0], width=size[1])).splits["val"][0]
    millimetres = np.array(Image.open(root / "depth" / "val_0.png"))
    depths = (sample["labels"]["depth"][sample["masks"]["depth"]] * 1000).round().int().numpy()
    assert set(depths) <= set(millimetres[millimetres > 0].tolist())
    lengths = sample["labels"]["normals"].norm(dim=0)[sample["masks"]["normals"][0]]
    assert lengths.allclose(torch.ones_like(lengths), atol=1e-5) and len(lengths) == size[0] * size[1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_by_its_exif_orientation(root, orientation):
    shown = np.array(Image.open(root / "images" / "train_0.jpg"))
    # how a file's rows and columns are stored, by the standard's table of the first row and the first column
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: np.rot90(shown, 1),
        7: shown[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(shown, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    (root / "images" / "train_0.jpg").unlink()
    Image.fromarray(np.ascontiguousarray(stored)).save(root / "images" / "train_0.png", exif=exif)
    assert problems(root) == []
    sample = open_dataset(settings(root)).splits["train"][0]
    assert (sample["image"].numpy() == shown.transpose(2, 0, 1)).all()


def test_sixteen_bit_grey_photos_show_their_upper_eight_bits(root):
    grey = np.random.default_rng(0).integers(0, 2**16, (H, W)).astype(np.uint16)
    (root / "images" / "train_0.jpg").unlink()
    Image.fromarray(grey).save(root / "images" / "train_0.png")
    image = open_dataset(settings(root)).splits["train"][0]["image"].numpy()
    assert (image == (grey // 256)[None]).all()


@pytest.mark.parametrize("task", ["edge", "saliency"])
@pytest.mark.parametrize("white", [0, 1])
def test_colours_decide_in_palettes_of_binary_labels(root, task, white):
    values = np.array(Image.open(root / task / "train_0.png"))
    palette = np.zeros((2, 3), np.uint8)
    palette[white] = 255
    image = Image.fromarray(np.where(values > 0, white, 1 - white).astype(np.uint8))
    image.putpalette(palette.flatten().tolist())
    image.save(root / task / "train_0.png")
    label = open_dataset(settings(root)).splits["train"][0]["labels"][task]
    assert (label[0].numpy() == values // 255).all()
    palette[white] = (255, 255, 254)
    image.putpalette(palette.flatten().tolist())
    image.save(root / task / "train_0.png")
    (line,) = problems(root)
    assert "train_0.png: its palette's colour (255, 255, 254), expected black or white" in line


def test_indices_decide_in_palettes_of_class_ids(root):
    for task in ("semseg", "human_parts"):
        ids = Image.open(root / task / "train_0.png")
        ids.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        before = open_dataset(settings(root)).splits["train"][0]
        ids.save(root / task / "train_0.png")
        after = open_dataset(settings(root)).splits["train"][0]
        assert torch.equal(before["labels"][task], after["labels"][task])
        assert torch.equal(before["masks"][task], after["masks"][task])


def test_normals_far_from_unit_length_are_invalid(root):
    pixels = np.array(Image.open(root / "normals" / "train_0.png"))
    for row, value in enumerate((0, 127, 128, 255)):
        pixels[row] = value
    pixels[4] = (127, 127, 190)  # half a unit
    pixels[5] = (200, 200, 200)  # grey, but a direction
    Image.fromarray(pixels).save(root / "normals" / "train_0.png")
    sample = open_dataset(settings(root)).splits["train"][0]
    valid = sample["masks"]["normals"][0]
    assert not valid[:5].any() and valid[5:].all()
    assert sample["labels"]["normals"][:, 5].allclose(torch.tensor(3**-0.5), atol=1e-5)
    pixels[: H // 2 + 2] = (127, 127, 190)
    Image.fromarray(pixels).save(root / "normals" / "train_0.png")
    (line,) = problems(root)
    assert "train_0.png: 55% of its vectors are far from length 1" in line


@pytest.mark.parametrize("task", TASKS)
def test_labels_must_be_png_files(root, task):
    path = root / task / "train_0.png"
    image = Image.open(path)
    image.load()
    kind = "TIFF" if task == "depth" else "JPEG"
    image.save(path, kind)
    (line,) = problems(root)
    assert f"train_0.png: is a {kind} file, expected a PNG" in line


def test_ids_in_four_bit_grey_are_refused(root):
    """Pillow multiplies them by 17."""
    path = root / "semseg" / "train_0.png"
    rows = np.array(Image.open(path)).reshape(H, W // 2, 2)
    packed = np.insert(rows[..., 0] << 4 | rows[..., 1], 0, 0, 1).astype(np.uint8)
    header = struct.pack(">IIBBBBB", W, H, 4, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(packed.tobytes())), (b"IEND", b""))
    written = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    (line,) = problems(root)
    assert "train_0.png: 4-bit grey, expected 8-bit class ids" in line


@pytest.mark.parametrize("folder", ["images", "edge"])
def test_whatever_pillow_raises_is_a_line_that_names_the_file(root, folder, monkeypatch):
    (root / "images" / "train_0.jpg").rename(root / "images" / "train_0.png")
    path = root / folder / "train_0.png"
    Image.new("1", (400, 200)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20000)  # 80000 pixels are more than twice as many
    (line,) = problems(root)
    assert str(path) in line and "exceeds limit" in line and "\n" not in line
    whole = (root / folder / "train_1.jpg" if folder == "images" else root / folder / "train_1.png").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (line,) = problems(root)
    assert str(path) in line and "cannot be read as an image" in line


def test_check_data_lists_every_problem(root):
    assert problems(root) == []
    (root / "depth" / "train_0.png").unlink()
    Image.fromarray(np.zeros((H, W + 2), np.uint8)).save(root / "semseg" / "train_2.png")
    Image.fromarray(np.full((H, W), 9, np.uint8)).save(root / "semseg" / "val_0.png")
    Image.fromarray(np.full((H, W), 100, np.uint8)).save(root / "edge" / "val_1.png")
    (root / "normals" / "test_0.png").write_bytes(b"not an image")
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(root / "depth" / "test_1.png")
    found = problems(root)
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
    photo = root / "images/train_1.jpg"
    photo.rename(photo.with_suffix(".JPG"))  # as cameras write it
    (root / "splits/train.txt").write_bytes(b"\xef\xbb\xbfview 0 \r\n\r\ntrain_1\r\n")  # as Windows writes it
    (root / "splits/val.txt").unlink()
    (root / "edge/test_1.png").unlink()
    found = problems(root)
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


def write_own_images(root, task, suffix="png", size=(W, H)):
    """An image of its own for every id of a task; returns {id: pixels}."""
    (root / "images" / task).mkdir()
    draw, written = np.random.default_rng(1), {}
    for photo in sorted((root / "images").glob("*.jpg")):
        pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / task / f"{photo.stem}.{suffix}")
        written[photo.stem] = pixels
    return written


def test_tasks_with_images_of_their_own_see_them(root):
    photo = open_dataset(settings(root)).splits["train"][1]["image"]
    own = write_own_images(root, "depth")
    dataset = open_dataset(settings(root))
    sample = dataset.splits["train"][1]
    assert dataset.images == {task: "plain" if task == "depth" else "photo" for task in TASKS}
    assert torch.equal(sample["image"]["depth"], torch.from_numpy(own["train_1"]).movedim(-1, 0))
    assert all(torch.equal(sample["image"][task], photo) for task in TASKS if task != "depth")
    check_dataset(dataset)
    assert not open_dataset(settings(root, tasks=["semseg", "edge"])).images


def test_a_task_without_a_folder_is_one_problem_that_names_the_other_tasks(root):
    shutil.rmtree(root / "edge")
    (found,) = problems(root)
    assert "edge: no such folder" in found and "data.tasks [semseg, depth, normals, " in found
    with pytest.raises(InputError, match="edge: no such folder"):
        open_dataset(settings(root)).splits["train"][0]


def test_images_of_tasks_have_the_size_of_their_labels(root):
    """Sensors may differ in size; without a task that reads it, the photo is not needed."""
    write_own_images(root, "edge", size=(20, 10))
    for path in (root / "edge").glob("*.png"):
        Image.fromarray(np.full((10, 20), 255, np.uint8)).save(path)
    for path in (root / "images").glob("*.jpg"):
        path.unlink()
    data = settings(root, tasks=["edge"])
    assert check_data(data).problems == []
    assert open_dataset(data).splits["val"][0]["image"]["edge"].shape == (3, H, W)
    (root / "images" / "edge" / "val_0.png").unlink()
    Image.fromarray(np.zeros((10, 22, 3), np.uint8)).save(root / "images" / "edge" / "val_1.png")
    found = check_data(data).problems
    assert len(found) == 2
    assert "images/edge/val_0.jpg: no such file" in found[0]
    assert "edge/val_1.png: 20x10 pixels, expected 22x10" in found[1]


def test_lines_of_splits_name_groups(root):
    path = root / "splits" / "train.txt"
    assert groups_of(open_dataset(settings(root)).splits["train"]) is None
    path.write_text("train_0\tthe kitchen\ntrain_1\tthe kitchen \n\ntrain_2\thall\n")
    train = open_dataset(settings(root)).splits["train"]
    assert train.ids == ["train_0", "train_1", "train_2"]
    assert groups_of(train) == ["the kitchen", "the kitchen", "hall"]
    assert groups_of(Subset(Subset(train, [2, 0]), [1])) == ["the kitchen"]
    scenes = open_dataset(DataSettings(train_images=3)).splits["train"]
    assert len(set(groups_of(scenes))) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("train_0\ta\ntrain_1\n", r"train.txt: 'train_0 a' has a group, 'train_1' has none: expected all or none"),
        ("train_0\ta\tb\n", r"train.txt: 'train_0 a b' has 3 columns, expected one ID a line, or ID, tab, GROUP"),
    ],
)
def test_half_named_groups_are_refused(root, lines, message):
    (root / "splits" / "train.txt").write_text(lines)
    with pytest.raises(InputError, match=message):
        open_dataset(settings(root))
