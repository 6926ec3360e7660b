"""What the papers' data sets are known for: encodings that mislead, splits that overlap, values that are no labels."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from skimage.morphology import thin

from experiment.config import DataSettings
from experiment.config.data import EDGES, OTHER_EDGES
from experiment.errors import InputError
from multitask.data import check_data, open_dataset
from multitask.data.facts import facts
from multitask.data.published import PUBLISHED
from multitask.data.published.cityscapes import Cityscapes
from multitask.data.published.nyud import official_groups
from multitask.data.published.synthia import split_of
from multitask.data.published.vkitti2 import VKITTI2
from multitask.data.splits import groups_of
from multitask.plugins import import_class
from tests.support.published import (
    VKITTI2_COLOURS,
    WRITERS,
    H,
    W,
    records,
    save,
    size_of,
    wide_png,
    write_cityscapes,
    write_nyud,
    write_pascal_context,
    write_scannet,
    write_scenenet,
    write_synthia,
    write_vkitti2,
)


def settings(name, root, *tasks, **changes):
    height, width = size_of(name)
    return DataSettings(name=name, root=str(root), height=height, width=width, workers=0, tasks=tasks, **changes)


def problem(name, root, *tasks):
    """The one problem of the first training image."""
    (line,) = open_dataset(settings(name, root, *tasks)).splits["train"].examine(0).problems
    return line


# splits


def test_the_official_split_of_nyu_depth_is_whole():
    numbers = {s: [n for a, b in facts("nyu")[s] for n in range(a, b + 1)] for s in ("train", "test")}
    assert [len(numbers[s]) for s in ("train", "test")] == [795, 654]
    assert sorted(numbers["train"] + numbers["test"]) == list(range(1, 1450))
    groups = official_groups([str(n) for n in numbers["train"]])
    assert groups is not None and len(set(groups)) == 123
    assert all(
        (a == b) == (m - n == 1) for n, m, a, b in zip(numbers["train"], numbers["train"][1:], groups, groups[1:])
    )
    assert not set(groups) & set(official_groups([f"{n:04d}" for n in numbers["test"]]))
    assert official_groups(["3", "basement_0001a"]) is None


def test_scenes_of_vkitti2_are_whole_and_in_one_split():
    scenes = facts("vkitti2")["scenes"]
    assert sorted(s for own in scenes.values() for s in own) == ["Scene01", "Scene02", "Scene06", "Scene18", "Scene20"]
    assert VKITTI2.published == {"train": 1409, "val": 270, "test": 447} and sum(VKITTI2.published.values()) == 2126


def test_synthia_divides_numbers_whatever_files_there_are():
    splits = [split_of(n) for n in range(9400)]
    assert (splits.count("train"), splits.count("val")) == (7520, 1880)
    changes = [n for n in range(1, 9400) if splits[n] != splits[n - 1]]
    assert all(n % 10 == 0 for n in changes), "neighbours stay together"


@pytest.mark.parametrize(("name", "write"), [("vkitti2", write_vkitti2), ("synthia", write_synthia)])
def test_no_image_of_a_rendered_set_is_in_two_splits(name, write, tmp_path):
    write(tmp_path)
    splits = open_dataset(settings(name, tmp_path, "depth")).splits
    train = set(splits["train"].ids)
    assert train and not train & set(splits["val"].ids) and not train & set(splits["test"].ids)
    part = next(tmp_path.rglob("*.jpg" if name == "vkitti2" else "RGB/*.png"))
    before = {key: list(split.ids) for key, split in splits.items()}
    for kind in ("rgb", "RGB", "LABELS", "classSegmentation"):  # an image that is gone moves no other
        for path in tmp_path.rglob(f"{kind}/**/*{part.stem[-5:]}.*"):
            if path.parts[: len(part.parts) - 5] == part.parts[: len(part.parts) - 5]:
                path.unlink()
    after = open_dataset(settings(name, tmp_path, "depth")).splits
    assert all(set(after[key].ids) <= set(ids) for key, ids in before.items())


@pytest.mark.parametrize(("name", "write"), [("scannet", write_scannet), ("scenenet", write_scenenet)])
def test_a_scene_in_both_lists_is_refused(name, write, tmp_path):
    write(tmp_path)
    first = (tmp_path / "train.csv").read_text().splitlines()[0].replace("scene0000_00", "scene0000_07")
    (tmp_path / "val.csv").write_text(f"{first}\n")
    with pytest.raises(InputError, match=r"share 1 scenes, such as (scene0000|0/223): expected whole scenes"):
        open_dataset(settings(name, tmp_path, "depth"))
    (tmp_path / "val.csv").write_text("a.jpg,b.png\n")
    with pytest.raises(InputError, match=r"'a\.jpg,b\.png', expected image,depth,label"):
        open_dataset(settings(name, tmp_path, "depth"))


def test_groups_are_neighbouring_frames(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name)
    groups = {n: groups_of(open_dataset(settings(n, tmp_path / n, "semseg")).splits["train"]) for n in WRITERS}
    assert groups["nyud"][0] == groups["nyud"][1] != groups["nyud"][2] == groups["nyud"][3]
    assert groups["vkitti2"] == ["Scene18 0", "Scene18 0", "Scene18 0", "Scene18 1"]
    assert groups["cityscapes"] == ["aachen 0", "aachen 0", "bochum 0", "bochum 0"]
    assert groups["scannet"] == ["scene0000 0"] * 4 + ["scene0002 0"] * 2
    assert groups["synthia"] == ["0", "0", "3", "5"]


LISTS = {"nyud": "gt_sets/train.txt", "pascal_context": "ImageSets/Context/train.txt", "scannet": "train.csv"}


@pytest.mark.parametrize("name", LISTS)
def test_lists_as_windows_writes_them(name, tmp_path):
    """With its mark at the start, its ends of lines, blank lines and spaces; what is twice or misspelt is named."""
    WRITERS[name](tmp_path)
    path = tmp_path / LISTS[name]
    lines = path.read_text().splitlines()
    task = PUBLISHED[name].tasks_read[0]
    path.write_bytes("\ufeff{}\r\n".format(" \r\n\r\n\t".join(lines)).encode())
    assert open_dataset(settings(name, tmp_path, task)).splits["train"].ids == [line.split(",")[0] for line in lines]
    path.write_text("\r\n".join([*lines, lines[0]]))
    report = check_data(settings(name, tmp_path, task))
    assert report.problems == [f"train holds 1 image ({lines[0].split(',')[0]}) twice: expected each image once"]
    path.write_text("\n".join([lines[0].replace("/", "\\"), *lines[1:]]))
    if name == "scannet":
        assert "expected / between the folders" in "".join(check_data(settings(name, tmp_path, task)).problems)


def test_ids_in_folders(tmp_path):
    truth = write_nyud(tmp_path)
    for file in ("images/3.jpg", "depth/3.npy"):
        path = tmp_path / file
        (path.parent / "home").mkdir()
        path.rename(path.parent / "home" / path.name)
    (tmp_path / "gt_sets" / "train.txt").write_text("home/3\n4\n")
    train = open_dataset(settings("nyud", tmp_path, "depth")).splits["train"]
    label, valid = truth["3"]["depth"]
    assert (train[0]["masks"]["depth"][0].numpy() == valid).all() and train.groups is None
    assert np.allclose(train[0]["labels"]["depth"][0].numpy(), label[..., 0])


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "nyuv2_13"])
def test_suffixes_in_upper_case_are_named(name, tmp_path):
    """Also where photo and label both have one, and the image is in no list."""
    WRITERS[name](tmp_path)
    train = open_dataset(settings(name, tmp_path, "semseg")).splits["train"]
    if name == "pascal_context":  # the second of two places for classes
        (tmp_path / "semseg" / "pascal-context" / f"{train.ids[0]}.png").unlink()
    photo, labels = train.photo_path(train.ids[0]), train.label_paths("semseg", train.ids[0])
    for path in (photo, *labels):
        path.rename(path.with_suffix(path.suffix.upper()))
    line = problem(name, tmp_path, "semseg")
    assert f"{photo}: no such file ({photo.stem}{photo.suffix.upper()} is another: upper and lower case count)" in line
    photo.with_suffix(photo.suffix.upper()).rename(photo)
    assert f"{labels[0]}: no such file ({labels[0].stem}.PNG is another" in problem(name, tmp_path, "semseg")


# classes


def test_ids_outside_a_map_are_ignored():
    """Nine of Cityscapes' ids belong to the 8 classes shared with Virtual KITTI 2; wall is ignored."""
    city, drive = (facts(name)["map_8"] for name in ("cityscapes", "vkitti2"))
    assert [entry["name"] for entry in city] == [entry["name"] for entry in drive]
    mapping = Cityscapes.class_map(DataSettings(name="cityscapes", classes=8))
    classes, valid = mapping(np.arange(34)[None])
    assert np.flatnonzero(valid).tolist() == [7, 11, 17, 19, 20, 21, 23, 26, 28]
    assert classes[0, [7, 11, 17, 19, 20, 21, 23, 26, 28], 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert facts("cityscapes")["names"][12] == "wall" and not valid[0, 12]


def test_maps_of_other_sizes_are_refused(tmp_path):
    write_cityscapes(tmp_path)
    for classes in (19, 16, 13, 8, 7):
        data = settings("cityscapes", tmp_path, "semseg", classes=classes)
        assert open_dataset(data).tasks["semseg"].channels == classes
    with pytest.raises(InputError, match=r"data\.classes is 20: expected one of 7, 8, 13, 16, 19, or null"):
        open_dataset(settings("cityscapes", tmp_path, "semseg", classes=20))


def test_nyud_with_13_classes(tmp_path):
    truth = write_nyud(tmp_path)
    data = settings("nyud", tmp_path, "semseg", classes=13)
    sample = open_dataset(data).splits["train"][0]
    label, valid = truth["3"]["semseg"]
    joined = np.array(facts("nyu")["to_13"])[label.astype(int)] - 1
    assert (sample["masks"]["semseg"][0].numpy() == valid).all()
    assert (sample["labels"]["semseg"][0].numpy()[valid] == joined[..., 0][valid]).all()
    names = {
        facts("nyu")["classes_40"][k]: facts("nyu")["classes_13"][c - 1] for k, c in enumerate(facts("nyu")["to_13"])
    }
    assert (names["wall"], names["television"], names["refridgerator"], names["otherprop"]) == (
        "wall", "tv", "furniture", "objects",
    )  # fmt: skip


def test_colours_of_vkitti2_are_all_different_and_most_must_be_known(tmp_path):
    assert [tuple(c) for c in facts("vkitti2")["colours"]] == VKITTI2_COLOURS and len(set(VKITTI2_COLOURS)) == 14
    write_vkitti2(tmp_path)
    path = next((tmp_path / "Scene18").rglob("classgt_00000.png"))
    save(path, np.full((H, W, 3), 7, np.uint8))
    assert "100% of its pixels have a colour of no class" in problem("vkitti2", tmp_path, "semseg")


# values


@pytest.mark.parametrize(
    ("name", "task", "file", "content", "message"),
    [
        ("nyud", "semseg", "segmentation/3.png", np.full((H, W), 41, np.uint8), "class id 41, expected 0 (void) to 40"),
        ("nyud", "depth", "depth/3.npy", np.full((H, W), -1.0), "depth -1, expected metres of at least 0"),
        ("nyud", "depth", "depth/3.npy", np.full((H, W), np.nan), "holds numbers that are not finite"),
        ("nyud", "depth", "depth/3.npy", np.array([["a"]]), "expected real numbers"),
        ("nyud", "depth", "depth/3.npy", np.ones((H, W, 3)), "has shape (40, 56, 3), expected (any, any)"),
        ("nyud", "normals", "normals/3.npy", np.full((H, W, 3), 7.0), "far from length 1, expected unit normals"),
        ("nyud", "edge", "edge/3.npy", np.full((H, W), 0.5), "value 0.5, expected 0 or 1"),
        ("nyuv2_13", "semseg", "train/label/0.npy", np.full((H, W), 13), "class id 13, expected -1 (void) to 12"),
        ("nyuv2_13", "semseg", "train/image/0.npy", np.full((H, W, 3), 255.0), "values 255 to 255, expected 0 to 1"),
        ("pascal_context", "semseg", "semseg/VOC12/2008_000002.png", np.full((H, W), 21, np.uint8), "class id 21"),
        ("pascal_context", "saliency", "sal_distill/2008_000002.png", np.zeros((H, W, 3), np.uint8), "a RGB image"),
        ("scenenet", "semseg", "0/223/label/0.png", np.full((H, W), 14, np.uint8), "class id 14, expected 0"),
        ("scannet", "depth", "scene0000_00/depth/0.png", np.zeros((H, W), np.uint8), "expected 16-bit depth"),
        ("cityscapes", "semseg", None, np.full((64, 128), 34, np.uint8), "class id 34, expected 0 to 33"),
    ],
)  # fmt: skip
def test_values_that_no_label_has(name, task, file, content, message, tmp_path):
    WRITERS[name](tmp_path)
    path = next((tmp_path / "gtFine" / "train").rglob("*.png")) if file is None else tmp_path / file
    save(path, content)
    line = problem(name, tmp_path, task)
    assert str(path) in line and message in line


def test_eight_bit_labels_of_synthia_and_unknown_classes(tmp_path):
    write_synthia(tmp_path)
    path = tmp_path / "GT" / "LABELS" / "0000000.png"
    save(path, np.full((H, W), 3, np.uint8))
    assert "has 8 bits a channel, expected 16" in problem("synthia", tmp_path, "semseg")
    wide_png(path, np.full((H, W, 1), 23))
    assert "class id 23, expected 0 to 22" in problem("synthia", tmp_path, "semseg")
    (tmp_path / "RGB" / "notes.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"notes\.png: no number"):
        open_dataset(settings("synthia", tmp_path, "semseg"))


@pytest.mark.parametrize("name", ["cityscapes", "synthia", "nyuv2_13", "vkitti2"])
def test_files_that_other_programs_leave_are_no_images(name, tmp_path):
    """Such as the ._NAME of macOS and Thumbs.db."""
    WRITERS[name](tmp_path)
    before = {key: split.ids for key, split in open_dataset(settings(name, tmp_path, "semseg")).splits.items()}
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(b"no image")
        (path.parent / "Thumbs.db").write_bytes(b"no image")
    assert {k: s.ids for k, s in open_dataset(settings(name, tmp_path, "semseg")).splits.items()} == before


def test_disparities_without_a_valid_pixel_and_cameras_without_numbers(tmp_path):
    write_cityscapes(tmp_path)
    disparity = next((tmp_path / "disparity" / "train").rglob("*.png"))
    save(disparity, np.ones((64, 128), np.uint16))
    sample = open_dataset(settings("cityscapes", tmp_path, "depth", "normals")).splits["train"][0]
    assert not sample["masks"]["depth"].any() and not sample["masks"]["normals"].any()
    assert all(label.isfinite().all() for label in sample["labels"].values())
    camera = next((tmp_path / "camera" / "train").rglob("*.json"))
    for content in ({}, {"extrinsic": {"baseline": "far"}, "intrinsic": {"fx": 1}}, [1]):
        camera.write_text(json.dumps(content))
        assert "expected numbers" in problem("cityscapes", tmp_path, "depth")
    camera.write_text(json.dumps({"extrinsic": {"baseline": 0}, "intrinsic": {"fx": 1}}))
    assert "expected a positive number" in problem("cityscapes", tmp_path, "depth")


def test_neighbours_of_cityscapes(tmp_path):
    write_cityscapes(tmp_path)
    train = open_dataset(settings("cityscapes", tmp_path, "depth")).splits["train"]
    first, second = train.ids[:2]
    assert train.neighbour(first, -1).name == "aachen_000000_000018_leftImg8bit.png"
    assert train.neighbour(first, 1).name == "aachen_000000_000020_leftImg8bit.png"
    assert train.neighbour(second, -1) is None and train.neighbour(second, 1) is not None


def test_the_table_of_scannet(tmp_path):
    write_scannet(tmp_path)
    path = tmp_path / "scannetv2-labels.combined.tsv"
    path.write_text("id\traw\n1\tone\n")
    assert "expected id in column 1 and nyu40id in column 5" in problem("scannet", tmp_path, "semseg")
    path.unlink()
    assert "scannetv2-labels.combined.tsv: no such file" in problem("scannet", tmp_path, "semseg")


# PASCAL-Context


def test_parts_that_have_no_number(tmp_path):
    write_pascal_context(tmp_path)
    path = tmp_path / "human_parts" / "2008_000002.mat"
    parts = records([{"part_name": "tail", "mask": np.ones((H, W), np.uint8)}])
    person = {"class": "person", "class_ind": 15, "mask": np.ones((H, W), np.uint8), "parts": parts}
    savemat(path, {"anno": {"imname": "x", "objects": records([person])}})
    assert "a person's part 'tail', expected one of hair" in problem("pascal_context", tmp_path, "human_parts")
    savemat(path, {"anno": np.ones(3)})
    assert "is no annotation of PASCAL-Part" in problem("pascal_context", tmp_path, "human_parts")
    savemat(path, {"other": 1})
    assert "has no variable anno" in problem("pascal_context", tmp_path, "human_parts")
    savemat(path, {"anno": {"imname": "x", "objects": np.zeros((0, 0))}})
    sample = open_dataset(settings("pascal_context", tmp_path, "human_parts")).splits["train"][0]
    assert not sample["masks"]["human_parts"].any()


def test_edges_of_a_label_map_are_its_laplacian_thinned(tmp_path):
    """By loops; the border is mirrored without repeating it."""
    truth = write_pascal_context(tmp_path)
    train = open_dataset(settings("pascal_context", tmp_path, "edge")).splits["train"]
    for index in range(2):
        ids = truth[train.ids[index]]["label_map"].astype(int)
        laplacian = np.zeros((H, W), int)
        for i in range(H):
            for j in range(W):
                for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    a, b = i + di, j + dj
                    a, b = (
                        (-a if a < 0 else 2 * H - 2 - a if a >= H else a),
                        (-b if b < 0 else 2 * W - 2 - b if b >= W else b),
                    )
                    laplacian[i, j] += ids[a, b] - ids[i, j]
        assert (train[index]["labels"]["edge"][0].numpy() == thin(laplacian != 0)).all()
        assert train[index]["masks"]["edge"].all()


def test_normals_count_on_the_classes_of_nyu_depth():
    """accordion (1) is no class there, bag (9) and book (33) are; tvmonitor (427) was added."""
    assert {9, 33, 427} <= set(facts("pascal")["normals"]) and 1 not in facts("pascal")["normals"]


# cameras


def test_cameras_are_the_published_ones():
    """The fission paper's code has f_x = 238.44 beside f_y = 582.69 for NYU-Depth-v2, a misprint. Here that set has no
    camera: its normals ship with it. No other set's focal lengths are as far apart.
    """
    cameras = {name: kind.camera for name, kind in PUBLISHED.items()}
    assert {name for name, camera in cameras.items() if camera is None} == {"nyud", "nyuv2_13", "pascal_context"}
    found = {name: (c.width, c.height, c.fx, round(c.fy, 2), c.cx, c.cy) for name, c in cameras.items() if c}
    assert found == {
        "vkitti2": (1242, 375, 725.0087, 725.01, 620.5, 187),
        "cityscapes": (2048, 1024, 2262.52, 2265.30, 1096.98, 513.137),
        "synthia": (1280, 760, 532.740352, 532.74, 640, 380),
        "scannet": (640, 480, 577.591, 578.73, 318.905, 242.684),
        "scenenet": (320, 240, 277.128, 289.71, 160, 120),
    }
    assert all(abs(fx / fy - 1) < 0.05 for _, _, fx, fy, _, _ in found.values())


# settings


def test_edges_of_a_dataset_are_those_of_its_paper():
    assert EDGES == {"pascal_context": (0.95, 0.0075)} and OTHER_EDGES == (0.8, 0.011)
    assert set(EDGES) <= set(PUBLISHED)
    assert DataSettings(name="pascal_context").edge_tolerance == 0.0075
    assert DataSettings(name="pascal_context", edge_tolerance=0.02).edges == (0.95, 0.02)


@pytest.mark.parametrize("name", ["nyud", "pascal_context"])
def test_label_regions_of_normals_are_the_published_centroids(name, tmp_path):
    WRITERS[name](tmp_path)
    own = np.load(PUBLISHED[name].centroids)
    regions = open_dataset(settings(name, tmp_path, "normals")).tasks["normals"].centroids.numpy()
    assert np.allclose(regions, own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-6) and len(own) == 40


OWN = '''
import numpy as np
from multitask.data.files import FileDataset

class Mine(FileDataset):
    """ROOT/ID.png, ROOT/ID.npy"""
    name = "mine"
    tasks_read = ("depth",)
    has_test = True
    def list_images(self, split):
        return [f"{split}_{i}" for i in range(2)], None
    def photo_path(self, name, folder=""):
        return self.root / f"{name}.png"
    def label_paths(self, task, name):
        return [self.root / f"{name}.npy"]
    def read_depth(self, name):
        metres = np.load(self.label_paths("depth", name)[0])
        return metres[..., None], metres > 0
'''


def test_a_class_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_dataset_for_test.py").write_text(OWN)
    for split in ("train", "val", "test"):
        for i in range(2):
            save(tmp_path / f"{split}_{i}.png", np.full((H, W, 3), 9, np.uint8))
            save(tmp_path / f"{split}_{i}.npy", np.full((H, W), 1.5, np.float32))
    data = DataSettings(name="own_dataset_for_test:Mine", root=str(tmp_path), height=H, width=W, tasks=["depth"])
    report = check_data(data)
    assert report.problems == [] and report.layout == ["ROOT/ID.png, ROOT/ID.npy"]
    dataset = open_dataset(data)
    assert dataset.name == "mine" and (dataset.splits["test"][1]["labels"]["depth"] == 1.5).all()
    with pytest.raises(InputError, match=r"expected a subclass of multitask\.data\.files\.FileDataset"):
        open_dataset(DataSettings(name="pathlib:Path", root=str(tmp_path)))
    assert import_class("data.name", "own_dataset_for_test:Mine", object).__name__ == "Mine"


def test_photos_in_jpeg_are_named_when_they_are_cut(tmp_path):
    write_vkitti2(tmp_path)
    path = next((tmp_path / "Scene18").rglob("rgb_00000.jpg"))
    path.write_bytes(path.read_bytes()[:300])
    assert str(path) in problem("vkitti2", tmp_path, "depth")
    Image.new("RGB", (W + 1, H)).save(path)
    assert "56x40 pixels, expected 57x40" in problem("vkitti2", tmp_path, "depth")
