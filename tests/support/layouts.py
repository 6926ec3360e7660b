"""The images of a folder dataset written out in layouts of the papers' sets.

A writer takes a root and {split: [(name, photo's path, labels)]}, labels {task: (label (H, W, c), valid (H, W))} of
semseg (NYU's 40 ids less 1), depth, normals and edge. It returns {task: what the loader should read}: functions from
these labels to (label, valid, by how much the label may be off).
"""

import json
import shutil

import numpy as np
from PIL import Image

from multitask.data.facts import facts
from tests.support.published import CITYSCAPES_16, VKITTI2_COLOURS, save

BASELINE, FOCAL = 0.2, 2262.0
SCENES = {"train": "Scene18", "val": "Scene06", "test": "Scene01"}


def copy(photo, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(photo, path)


def exactly(task):
    return lambda labels: (*labels[task], 0.0)


def renamed(classes):
    """Semantic classes as `classes`, one for each of NYU's 40; None is ignored."""
    table = np.array([255 if c is None else c for c in classes])

    def expected(labels):
        label, valid = labels["semseg"]
        found = table[label.astype(int)]
        return found, valid & (found[..., 0] != 255), 0.0

    return expected


def ids_of(labels):
    label, valid = labels["semseg"]
    return np.where(valid, label[..., 0].astype(int) + 1, 0)


def depth_of(labels):
    label, valid = labels["depth"]
    return np.where(valid, label[..., 0].astype(np.float64), 0)


def write_nyud(root, splits):
    (root / "gt_sets").mkdir(parents=True)
    for split, images in splits.items():
        if split != "test":
            (root / "gt_sets" / f"{split}.txt").write_text("".join(f"{name}\n" for name, _, _ in images))
        for name, photo, labels in images:
            copy(photo, root / "images" / f"{name}.jpg")
            save(root / "segmentation" / f"{name}.png", ids_of(labels).astype(np.uint8))
            save(root / "depth" / f"{name}.npy", depth_of(labels).astype(np.float32))
            normals, valid = labels["normals"]
            pixels = np.where(valid[..., None], 127.5 + 127.5 * normals, 127.5)  # a zero vector is 127 or 128
            save(root / "normals" / f"{name}.png", pixels.round().astype(np.uint8))
            save(root / "edge" / f"{name}.npy", labels["edge"][0][..., 0].astype(np.float32))
    rounding = np.sqrt(3) / 255  # of a vector, half a step in each of three components
    return {
        "semseg": exactly("semseg"),
        "depth": exactly("depth"),
        "normals": lambda labels: (*labels["normals"], 1.01 * rounding),
        "edge": exactly("edge"),
    }


def write_scannet(root, splits):
    root.mkdir(parents=True)
    rows = [f"{k + 7}\tname\tname\t1\t{k}\t1" for k in range(1, 41)]  # ids of its own, 8 to 47
    (root / "scannetv2-labels.combined.tsv").write_text("\n".join(["id\tr\tc\tn\tnyu40id\te", *rows]) + "\n")
    for n, (split, images) in enumerate(splits.items()):
        lines = []
        for name, photo, labels in images:
            kinds = (("color", "jpg"), ("depth", "png"), ("label", "png"))
            files = [f"scene{n:04d}_00/{kind}/{name}.{suffix}" for kind, suffix in kinds]
            copy(photo, root / files[0])
            save(root / files[1], (1000 * depth_of(labels)).round().astype(np.uint16))
            ids = ids_of(labels)
            save(root / files[2], np.where(ids > 0, ids + 7, 0).astype(np.uint16))
            lines.append(",".join(files))
        if split != "test":
            (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    order = [entry["ids"][0] for entry in facts("scannet")["map_20"]]
    classes = [order.index(k) if k in order else None for k in range(1, 41)]
    return {"semseg": renamed(classes), "depth": exactly("depth")}


def write_cityscapes(root, splits):
    for split, images in splits.items():
        for number, (_, photo, labels) in enumerate(images):
            name = f"{split}/bern/bern_{number:06d}_000019"
            picture = Image.open(photo).convert("RGB")
            (root / "leftImg8bit" / split / "bern").mkdir(parents=True, exist_ok=True)
            picture.save(root / "leftImg8bit" / f"{name}_leftImg8bit.png")
            label, valid = labels["semseg"]
            ids = np.where(valid, np.array(CITYSCAPES_16)[label[..., 0].astype(int) % 16], 0)
            save(root / "gtFine" / f"{name}_gtFine_labelIds.png", ids.astype(np.uint8))
            depth = depth_of(labels)
            disparity = 256 * BASELINE * FOCAL / np.maximum(depth, 2.0) + 1  # nearer than 1.8 m it passes 16 bits
            save(
                root / "disparity" / f"{name}_disparity.png",
                np.where(depth >= 2, disparity.round(), 0).astype(np.uint16),
            )
            camera = root / "camera" / f"{name}_camera.json"
            camera.parent.mkdir(parents=True, exist_ok=True)
            camera.write_text(json.dumps({"extrinsic": {"baseline": BASELINE}, "intrinsic": {"fx": FOCAL}}))

    def depth(labels):
        label, valid = labels["depth"]
        # half a step of the raw disparity moves depth by depth^2 / (2 * 256 * baseline * focal)
        return label, valid & (label[..., 0] >= 2), 1.01 * label**2 / (512 * BASELINE * FOCAL)

    return {"semseg": renamed([k % 16 for k in range(40)]), "depth": depth}


def write_vkitti2(root, splits):
    for split, images in splits.items():
        for number, (_, photo, labels) in enumerate(images):
            frames = root / SCENES[split] / "15-deg-left" / "frames"
            copy(photo, frames / "rgb" / "Camera_0" / f"rgb_{number:05d}.jpg")
            label, valid = labels["semseg"]
            colours = np.array(VKITTI2_COLOURS, np.uint8)[label[..., 0].astype(int) % 14]
            path = frames / "classSegmentation" / "Camera_0" / f"classgt_{number:05d}.png"
            save(path, np.where(valid[..., None], colours, 1).astype(np.uint8))
            path = frames / "depth" / "Camera_0" / f"depth_{number:05d}.png"
            save(path, (100 * depth_of(labels)).round().astype(np.uint16))

    def depth(labels):
        label, valid = labels["depth"]
        return label, valid & (label[..., 0] >= 0.006), 0.00501  # half a centimetre; less than that is 0, invalid

    return {"semseg": renamed([k % 14 for k in range(40)]), "depth": depth}


LAYOUTS = {"nyud": write_nyud, "scannet": write_scannet, "cityscapes": write_cityscapes, "vkitti2": write_vkitti2}
