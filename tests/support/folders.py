"""Small data folders for tests."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

TASKS = ["semseg", "depth", "normals", "edge", "human_parts", "saliency"]
H, W = 40, 56


def write_folder(root: Path, splits=(("train", 3), ("val", 2), ("test", 2))) -> Path:
    """A small folder of all six tasks with known values."""
    draw = np.random.default_rng(0)
    for folder in ("images", "splits", *TASKS):
        (root / folder).mkdir(parents=True)
    for split, count in splits:
        ids = [f"{split}_{i}" for i in range(count)]
        (root / "splits" / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for name in ids:
            Image.fromarray(draw.integers(0, 256, (H, W, 3), dtype=np.uint8)).save(root / "images" / f"{name}.jpg")
            normals = draw.normal(size=(H, W, 3))
            normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
            labels = {
                "semseg": draw.integers(0, 4, (H, W)).astype(np.uint8),
                "depth": draw.integers(0, 5000, (H, W)).astype(np.uint16),
                "normals": (127 + 127 * normals).round().astype(np.uint8),
                "edge": (255 * draw.integers(0, 2, (H, W))).astype(np.uint8),
                "human_parts": np.where(draw.random((H, W)) < 0.1, 255, draw.integers(0, 7, (H, W))).astype(np.uint8),
                "saliency": (255 * draw.integers(0, 2, (H, W))).astype(np.uint8),
            }
            for task, label in labels.items():
                Image.fromarray(label).save(root / task / f"{name}.png")
    (root / "meta.json").write_text(json.dumps({"semseg": {"classes": ["a", "b", "c"]}}))
    return root


def write_own_labels(root: Path) -> None:
    """Beside the photos of a folder, labels of the tasks in docs/extending.md: albedo and keypoints."""
    draw = np.random.default_rng(1)
    for task in ("albedo", "keypoints"):
        (root / task).mkdir()
    for photo in sorted((root / "images").glob("*.jpg")):
        marks = np.zeros((H, W), np.uint8)
        marks.flat[draw.choice(H * W, 2, replace=False)] = (1, 2)
        Image.fromarray(marks).save(root / "keypoints" / f"{photo.stem}.png")
        albedo = draw.integers(0, 256, (H, W, 3), dtype=np.uint8)
        Image.fromarray(albedo).save(root / "albedo" / f"{photo.stem}.png")
