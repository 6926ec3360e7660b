"""Tiny folders in the layouts of the papers' data sets, with known labels and with what loaders stumble over.

A writer takes a root and returns {id: {task: (label, valid)}}, label (H, W, c) and valid (H, W) bool, as they should be
read. What is derived is left to the tests. All images of a set have the size that `SIZES` says.
"""

import json
import struct
import zlib

import numpy as np
from PIL import Image
from scipy.io import savemat

H, W = 40, 56
SIZES = {"cityscapes": (64, 128)}  # (height, width) of labels where they are not H and W


def enlarge(height, width):
    """Makes the writers write this size, for benchmarks."""
    global H, W
    H, W = height, width
    SIZES["cityscapes"] = (height, width)


def size_of(name):
    return SIZES.get(name, (H, W))


def wide_png(path, pixels):
    """A PNG of 16 bits a channel, (H, W, 1 to 4), which Pillow cannot write."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for key, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + key + data + struct.pack(">I", zlib.crc32(key + data)))


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def photo(path, draw, size=None):
    size = size or (H, W)
    save(path, draw.integers(0, 256, (*size, 3), dtype=np.uint8))


def everywhere(label):
    return label[..., None], np.ones(label.shape, bool)


def where(label, valid):
    return np.where(valid, label, 0)[..., None], valid


def directions(draw):
    normals = draw.normal(size=(H, W, 3))
    return (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)


def metres(draw, height=None, width=None):
    """A slanted wall, (H, W), whose neighbours differ by less than 2 %."""
    rows, columns = np.mgrid[: height or H, : width or W]
    return draw.uniform(2, 4) + 0.01 * rows + 0.02 * columns


def lines(draw):
    """A few lines, (H, W) of 0 and 1, one of which touches the border."""
    edge = np.zeros((H, W), np.float32)
    edge[0, 7] = edge[draw.integers(2, H - 2), 3:40] = edge[5:30, draw.integers(2, W - 2)] = 1
    return edge


def blocks(draw, values, height=None, width=None, side=8):
    """Squares of some values each of which occurs."""
    height, width = height or H, width or W
    count = -(-height // side) * -(-width // side)
    picked = np.concatenate([values, draw.choice(values, max(0, count - len(values)))])[:count]
    grid = draw.permutation(picked).reshape(-(-height // side), -1)
    return grid.repeat(side, 0).repeat(side, 1)[:height, :width]


def write_nyud(root, later=False):
    """Class 0 and 40, a hole in the depth, a zero normal, an edge on the border; ids are official numbers."""
    draw, truth = np.random.default_rng(0), {}
    lists = {"train": ["3", "4", "10", "11"], "val": ["1", "2"]}
    (root / "gt_sets").mkdir(parents=True)
    for split, ids in lists.items():
        (root / "gt_sets" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for name in ids:
            photo(root / "images" / f"{name}.{'png' if later else 'jpg'}", draw)
            classes = draw.integers(0, 41, (H, W)).astype(np.uint8)
            classes[0, :2] = 0, 40
            save(root / "segmentation" / f"{name}.png", classes)
            depth = metres(draw).astype(np.float32)
            depth[3, 4] = 0
            save(root / "depth" / f"{name}.npy", depth)
            normals, edge = directions(draw), lines(draw)
            normals[5, 6] = 0
            if later:
                pixels = (127.5 + 127.5 * normals).round().astype(np.uint8)
                save(root / "normals" / f"{name}.png", pixels)
                save(root / "edge" / f"{name}.png", (255 * edge).astype(np.uint8))
                normals = 2 * pixels.astype(np.float32) / 255 - 1
                normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
                normals[5, 6] = 0
            else:
                save(root / "normals" / f"{name}.npy", normals)
                save(root / "edge" / f"{name}.npy", edge)
            truth[name] = {
                "semseg": where(classes.astype(int) - 1, classes > 0),
                "depth": where(depth, depth > 0),
                "normals": (normals, (normals != 0).any(-1)),
                "edge": everywhere(edge),
            }
    return truth


def write_nyud_later(root):
    return write_nyud(root, later=True)


def write_nyuv2_13(root):
    """Void -1, a hole in the depth, a zero normal; 10 comes after 9."""
    draw, truth = np.random.default_rng(0), {}
    for split, numbers in (("train", (0, 1, 9, 10, 20)), ("val", (0, 1))):
        for n in numbers:
            folder = root / split
            pixels = draw.integers(0, 256, (H, W, 3))
            save(folder / "image" / f"{n}.npy", pixels / 255)
            classes = blocks(draw, np.arange(-1, 13)).astype(float)
            save(folder / "label" / f"{n}.npy", classes)
            depth = metres(draw)[..., None]
            depth[3, 4] = 0
            save(folder / "depth" / f"{n}.npy", depth)
            normals = directions(draw)
            normals[5, 6] = 0
            save(folder / "normal" / f"{n}.npy", normals)
            truth[f"{split}/{n}"] = {
                "image": pixels,
                "semseg": where(classes, classes >= 0),
                "depth": where(depth[..., 0], depth[..., 0] > 0),
                "normals": (normals, (normals != 0).any(-1)),
            }
    return truth


def records(rows):
    """MATLAB's structure array, (1, n), of dictionaries with the same keys."""
    array = np.zeros((1, len(rows)), [(key, object) for key in rows[0]])
    for k, row in enumerate(rows):
        for key, value in row.items():
            array[0, k][key] = value
    return array


def write_pascal_context(root):
    """Two persons with parts, one of them over the other, in one image and none in another; a person without parts;
    void; one image from VOC12, one only in pascal-context; an old list of parts.
    """
    draw, truth = np.random.default_rng(0), {}
    names = {"train": ["2008_000002", "2008_000008", "2009_000001", "2010_000002"], "val": ["2008_000015"]}
    for split, ids in names.items():
        path = root / "ImageSets" / "Context" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(ids) + "\n")
        (root / "ImageSets" / "Parts").mkdir(exist_ok=True)
        (root / "ImageSets" / "Parts" / f"{split}.txt").write_text('{"another image": [15]}\n')
        for k, name in enumerate(ids):
            photo(root / "JPEGImages" / f"{name}.jpg", draw)
            classes = draw.integers(0, 21, (H, W)).astype(np.uint8)
            classes[2, :9] = 255
            image = Image.fromarray(classes)
            image.putpalette(draw.integers(0, 256, 768).tolist())
            folder = root / "semseg" / ("pascal-context" if k == 1 else "VOC12")
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{name}.png")
            if k == 0:  # VOC12 comes first
                save(root / "semseg" / "pascal-context" / f"{name}.png", np.zeros((H, W), np.uint8))
            parts, labels = _people(draw, with_parts=k != 1, only_person_without_parts=k == 2)
            (root / "human_parts").mkdir(exist_ok=True)
            savemat(root / "human_parts" / f"{name}.mat", {"anno": {"imname": name, "objects": parts}})
            label_map = blocks(draw, np.array([2, 9, 427, 100, 12])).astype(np.uint16)
            path = root / "pascal-context" / "trainval" / f"{name}.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            savemat(path, {"LabelMap": label_map})
            pixels = (127.5 + 127.5 * directions(draw)).round().astype(np.uint8)
            save(root / "normals_distill" / f"{name}.png", pixels)
            normals = 2 * pixels.astype(np.float32) / 255 - 1
            normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
            known = np.isin(label_map, (9, 427))  # bag and tvmonitor; no aeroplane, crabstick or bamboo weaving
            salient = draw.integers(0, 256, (H, W)).astype(np.uint8)
            salient[0, :2] = 127, 128
            save(root / "sal_distill" / f"{name}.png", salient)
            truth[name] = {
                "semseg": where(classes, classes != 255),
                "human_parts": (labels[..., None], np.full((H, W), bool(labels.any()))),
                "saliency": everywhere((salient > 127).astype(int)),
                "normals": (np.where(known[..., None], normals, 0), known),
                "label_map": label_map,
            }
    return truth


def _people(draw, with_parts, only_person_without_parts):
    """The objects of an annotation, and the label: 1 head, 2 torso, ..., 6 lower leg."""

    def mask(top, left, height=6, width=6):
        area = np.zeros((H, W), np.uint8)
        area[top : top + height, left : left + width] = 1
        return area

    def thing(kind, number, area, parts=()):
        listed = records(list(parts)) if parts else np.zeros((0, 0))
        return {"class": kind, "class_ind": number, "mask": area, "parts": listed}

    horse = thing("horse", 13, mask(30, 1), [{"part_name": "head", "mask": mask(30, 1)}])
    label = np.zeros((H, W), int)
    if not with_parts:
        return records([horse]), label
    if only_person_without_parts:
        return records([horse, thing("person", 15, mask(0, 0, 20, 20))]), label
    first = [("hair", 1, mask(0, 0)), ("torso", 2, mask(6, 0, 12, 6)), ("ruarm", 3, mask(6, 6, 4, 6))]
    second = [
        ("lfoot", 6, mask(10, 3)),
        ("luleg", 5, mask(20, 20)),
        ("rhand", 4, mask(34, 50)),
        ("neck", 2, mask(0, 30)),
    ]
    for _, part, area in (*first, *second):  # the second person's foot lies on the first one's torso
        label[area > 0] = part
    people = [
        thing("person", 15, mask(0, 0, 40, 40), [{"part_name": n, "mask": a} for n, _, a in parts])
        for parts in (first, second)
    ]
    return records([people[0], horse, people[1]]), label


VKITTI2_COLOURS = [
    (210, 0, 200), (90, 200, 255), (0, 199, 0), (90, 240, 0), (140, 140, 140), (100, 60, 100), (250, 100, 255),
    (255, 255, 0), (200, 200, 0), (255, 130, 0), (80, 80, 80), (160, 60, 60), (255, 127, 80), (0, 139, 139),
]  # fmt: skip


def write_vkitti2(root, split_archives=False):
    """Every colour and one unknown, 65535 and 100 cm; another variation, which is not read."""
    draw, truth = np.random.default_rng(0), {}
    for scene, frames in (("Scene01", (0, 1)), ("Scene06", (0, 1)), ("Scene18", (0, 1, 19, 20))):
        for n in frames:
            for variation in ("15-deg-left", "clone") if n == 0 else ("15-deg-left",):
                base = (scene, variation, "frames")

                def place(kind, prefix, suffix, base=base, n=n):
                    top = root / kind if split_archives else root
                    return top.joinpath(*base, kind, "Camera_0", f"{prefix}_{n:05d}.{suffix}")

                photo(place("rgb", "rgb", "jpg"), draw)
                colours = np.array([*VKITTI2_COLOURS, (1, 2, 3)], np.uint8)
                ids = blocks(draw, np.arange(15))
                save(place("classSegmentation", "classgt", "png"), colours[ids])
                depth = (100 * metres(draw)).astype(np.uint16)
                depth[0, :4] = 65535, 100, 65534, 0
                save(place("depth", "depth", "png"), depth)
                if variation == "15-deg-left":
                    truth[f"{scene}/{n:05d}"] = {
                        "semseg": where(ids, ids < 14),
                        "depth": where(depth / 100, (depth > 0) & (depth < 65535)),
                    }
    return truth


def write_vkitti2_archives(root):
    return write_vkitti2(root, split_archives=True)


CITYSCAPES_16 = [7, 8, 11, 12, 13, 17, 19, 20, 21, 23, 24, 25, 26, 28, 32, 33]


def write_cityscapes(root):
    """Raw disparities 0, 1, 2 and 32768, all 34 ids; photos of half the labels' size; neighbours, one of them not."""
    draw, truth = np.random.default_rng(0), {}
    height, width = SIZES["cityscapes"]
    for split, cities in (("train", ("aachen", "bochum")), ("val", ("lindau",))):
        for city in cities:
            for n in range(2):
                name = f"{split}/{city}/{city}_{n:06d}_000019"
                photo(root / "leftImg8bit_small" / f"{name}_leftImg8bit.png", draw, (height // 2, width // 2))
                for frame in (18, 20) if n == 0 else (20,):
                    other = f"{name[:-6]}{frame:06d}_leftImg8bit.png"
                    photo(root / "leftImg8bit_sequence_small" / other, draw, (height // 2, width // 2))
                ids = blocks(draw, np.arange(34), height, width)
                save(root / "gtFine" / f"{name}_gtFine_labelIds.png", ids.astype(np.uint8))
                raw = (256 * 500 / metres(draw, height, width)).astype(np.uint16)
                raw[0, :4] = 0, 1, 2, 32768
                save(root / "disparity" / f"{name}_disparity.png", raw)
                camera = {"extrinsic": {"baseline": 0.2 + n / 100, "pitch": 0}, "intrinsic": {"fx": 2260.0, "fy": 2270}}
                path = root / "camera" / f"{name}_camera.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(camera))
                classes = np.full((height, width), 255)
                for k, number in enumerate(CITYSCAPES_16):
                    classes[ids == number] = k
                with np.errstate(divide="ignore"):
                    depth = (0.2 + n / 100) * 2260 / ((raw.astype(float) - 1) / 256)
                truth[name] = {"semseg": where(classes, classes < 255), "depth": where(depth, raw > 1)}
    return truth


SYNTHIA_16 = [3, 4, 2, 21, 5, 7, 15, 9, 6, 1, 10, 17, 8, 19, 12, 11]


def write_synthia(root):
    """Labels of two 16-bit planes, of which the second is the instance; id 22; depth over 255 cm."""
    draw, truth = np.random.default_rng(0), {}
    for number in (0, 1, 39, 40, 49, 50, 99):
        name = f"{number:07d}"
        photo(root / "RGB" / f"{name}.png", draw)
        ids = blocks(draw, np.arange(23))
        instances = draw.integers(0, 2**16, (H, W))
        wide_png(root / "GT" / "LABELS" / f"{name}.png", np.stack([ids, instances, instances][: 2 + number % 2], -1))
        depth = (100 * metres(draw)).astype(int)
        depth[0, :3] = 65535, 0, 256
        wide_png(root / "Depth" / "Depth" / f"{name}.png", np.stack([depth] * (1 + 2 * (number % 2)), -1))
        classes = np.full((H, W), 255)
        for k, own in enumerate(SYNTHIA_16):
            classes[ids == own] = k
        truth[name] = {
            "semseg": where(classes, classes < 255),
            "depth": where(depth / 100, (depth > 0) & (depth < 65535)),
        }
    return truth


SCANNET_TABLE = {1: 1, 2: 5, 5: 39, 1163: 40, 300: 13, 20: 0}  # a row more: an id of no class of NYU's 40


def write_scannet(root):
    """A table of a few ids, 13 and 40 of NYU's being none of the 20; an id that it lacks; depth 0; larger colour."""
    draw, truth = np.random.default_rng(0), {}
    lines = ["id\traw_category\tcategory\tcount\tnyu40id\teigen13id"]
    lines += [f"{own}\tname {own}\tname\t7\t{nyu}\t1" for own, nyu in SCANNET_TABLE.items()]
    root.mkdir(parents=True, exist_ok=True)
    (root / "scannetv2-labels.combined.tsv").write_text("\n".join(lines) + "\n")
    for split, scans in (("train", ("scene0000_00", "scene0000_01", "scene0002_00")), ("val", ("scene0001_00",))):
        rows = []
        for scan in scans:
            for n in range(2):
                files = [f"{scan}/color/{n}.jpg", f"{scan}/depth/{n}.png", f"{scan}/label/{n}.png"]
                rows.append(",".join(files))
                photo(root / files[0], draw, (2 * H, 2 * W))
                depth = (1000 * metres(draw)).astype(np.uint16)
                depth[3, 4] = 0
                save(root / files[1], depth)
                ids = blocks(draw, np.array([0, *SCANNET_TABLE, 4000])).astype(np.uint16)
                save(root / files[2], ids)
                classes = np.full((H, W), 255)
                for own, k in ((1, 0), (2, 4), (5, 19)):  # wall, chair, otherfurniture
                    classes[ids == own] = k
                truth[files[0]] = {"semseg": where(classes, classes < 255), "depth": where(depth / 1000, depth > 0)}
        (root / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return truth


def write_scenenet(root):
    """Void and 13, depth 0."""
    draw, truth = np.random.default_rng(0), {}
    root.mkdir(parents=True, exist_ok=True)
    for split, scenes in (("train", ("0/223", "0/682")), ("val", ("1/7",))):
        rows = []
        for scene in scenes:
            for n in (0, 25):
                files = [f"{scene}/photo/{n}.jpg", f"{scene}/depth/{n}.png", f"{scene}/label/{n}.png"]
                rows.append(",".join(files))
                photo(root / files[0], draw)
                depth = (1000 * metres(draw)).astype(np.uint16)
                depth[3, 4] = 0
                save(root / files[1], depth)
                ids = blocks(draw, np.arange(14)).astype(np.uint8)
                save(root / files[2], ids)
                truth[files[0]] = {
                    "semseg": where(ids.astype(int) - 1, ids > 0),
                    "depth": where(depth / 1000, depth > 0),
                }
        (root / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return truth


WRITERS = {
    "nyud": write_nyud,
    "nyuv2_13": write_nyuv2_13,
    "pascal_context": write_pascal_context,
    "vkitti2": write_vkitti2,
    "cityscapes": write_cityscapes,
    "synthia": write_synthia,
    "scannet": write_scannet,
    "scenenet": write_scenenet,
}
