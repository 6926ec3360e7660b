"""pascal_context: PASCAL-Context with five tasks, as packed for multi-task learning."""

from pathlib import Path
from typing import Any

import numpy as np

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.data.array_files import read_mat
from multitask.data.derived import Label
from multitask.data.facts import HERE, facts
from multitask.data.files import FileDataset, read_list
from multitask.data.label_files import read_image
from multitask.data.published.vectors import unit_vectors
from multitask.metrics.boundary import thin

FACTS = facts("pascal")
VOID = 255
PERSON = 15  # among the objects' classes
PARTS: dict[str, int] = {name: part for part, names in FACTS["parts"].items() for name in names}


class PascalContext(FileDataset):
    """PASCAL-Context: PASCAL_MT of ASTMT (Maninis et al., CVPR 2019).

    ROOT/ImageSets/Context/{train,val}.txt   ids: 4998 and 5105 images
    ROOT/JPEGImages/ID.jpg
    ROOT/semseg/VOC12/ID.png                 or else semseg/pascal-context/ID.png: 8-bit; 0..20 the classes, 255 void
    ROOT/human_parts/ID.mat                  PASCAL-Part: anno.objects(i).class_ind, .parts(j).part_name and .mask
    ROOT/normals_distill/ID.png              8-bit RGB, n = 2 v / 255 - 1 (distilled)
    ROOT/sal_distill/ID.png                  8-bit saliency (distilled)
    ROOT/pascal-context/trainval/ID.mat      LabelMap, the 459 classes

    Derived: human parts, six of the persons' labelled parts, of which later ones lie on top; an image without any is
    not labelled at all. Saliency is 1 above half. Normals count on those classes of the LabelMap that NYU-Depth-v2 has
    too, and tvmonitor. Edges are where the LabelMap's Laplacian is not 0, thinned. ImageSets/Parts is neither read nor
    written. odsF matches within 0.0075 of the diagonal.
    """

    name = "pascal_context"
    tasks_read = ("semseg", "human_parts", "saliency", "normals", "edge")
    published = {"train": 4998, "val": 5105}
    centroids = str(HERE / "pascal_centroids.npy")

    @classmethod
    def class_names(cls, data: DataSettings) -> list[str]:
        names: list[str] = FACTS["classes"]
        return names

    def list_images(self, split: str) -> tuple[list[str], list[str] | None]:
        """Every photo is a group of its own."""
        ids = read_list(self.root / "ImageSets" / "Context" / f"{split}.txt", self.hint())
        return ids, list(ids)

    def photo_path(self, name: str, folder: str = "") -> Path:
        return self._existing(self.root / "JPEGImages" / f"{name}.jpg")

    def label_paths(self, task: str, name: str) -> list[Path]:
        root, classes = self.root, self.root / "pascal-context" / "trainval" / f"{name}.mat"
        if task == "semseg":
            first, second = (root / "semseg" / folder / f"{name}.png" for folder in ("VOC12", "pascal-context"))
            return [first if first.is_file() or not second.is_file() else second]
        return {
            "human_parts": [root / "human_parts" / f"{name}.mat"],
            "saliency": [root / "sal_distill" / f"{name}.png"],
            "normals": [root / "normals_distill" / f"{name}.png", classes],
            "edge": [classes],
        }[task]

    def read_semseg(self, name: str) -> Label:
        (path,) = self.label_paths("semseg", name)
        ids = read_image(path, "8-bit class ids", ("L", "P"))
        valid = ids != VOID
        if ids[valid].max(initial=0) >= len(FACTS["classes"]):
            last = len(FACTS["classes"]) - 1
            raise InputError(f"{path}: class id {ids[valid].max()}, expected 0 to {last}, or {VOID} (void)")
        return np.where(valid, ids, 0).astype(np.uint8)[..., None], valid

    def read_human_parts(self, name: str) -> Label:
        (path,) = self.label_paths("human_parts", name)
        annotation = read_mat(path, "anno")
        try:
            parts = _parts(annotation, path)
            if parts is None:
                parts = np.zeros(self.read_image(name).shape[:2], np.uint8)
        except InputError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: is no annotation of PASCAL-Part, expected anno.objects") from error
        return parts[..., None], np.full(parts.shape, bool(parts.any()))

    def read_saliency(self, name: str) -> Label:
        (path,) = self.label_paths("saliency", name)
        values = read_image(path, "8-bit saliency", ("L",))
        return (values > VOID / 2).astype(np.uint8)[..., None], np.ones(values.shape, bool)

    def read_normals(self, name: str) -> Label:
        path, classes = self.label_paths("normals", name)
        normals = 2 * read_image(path, "8-bit RGB normals", ("RGB",)).astype(np.float32) / 255 - 1
        known = np.isin(_label_map(classes), FACTS["normals"])
        if known.shape != normals.shape[:2]:
            found, expected = (f"{shape[1]}x{shape[0]}" for shape in (known.shape, normals.shape))
            raise InputError(f"{classes}: {found} pixels, expected {expected} as {path.name} has")
        return unit_vectors(np.where(known[..., None], normals, 0), path)

    def read_edge(self, name: str) -> Label:
        (path,) = self.label_paths("edge", name)
        ids = np.pad(_label_map(path), 1, mode="reflect").astype(np.int64)
        laplacian = ids[:-2, 1:-1] + ids[2:, 1:-1] + ids[1:-1, :-2] + ids[1:-1, 2:] - 4 * ids[1:-1, 1:-1]
        edge = thin(laplacian != 0)
        return edge.astype(np.uint8)[..., None], np.ones(edge.shape, bool)


def _label_map(path: Path) -> np.ndarray:
    labels = read_mat(path, "LabelMap")
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "iu" or min(labels.shape) < 2:
        raise InputError(f"{path}: LabelMap is no map of class ids, expected (H, W) integers")
    return labels


def _parts(annotation: Any, path: Path) -> np.ndarray | None:
    """(H, W) uint8, 0 background, 1 to 6; None where no object is annotated."""
    objects = annotation["objects"][0, 0].ravel()
    target = None
    for one in objects:
        mask = np.asarray(one["mask"])
        if target is None:
            target = np.zeros(mask.shape, np.uint8)
        if int(one["class_ind"].item()) != PERSON or not one["parts"].size:
            continue
        for part in one["parts"].ravel():
            part_name = str(part["part_name"].item())
            if part_name not in PARTS:
                raise InputError(f"{path}: a person's part '{part_name}', expected one of {', '.join(PARTS)}")
            target[part["mask"].astype(bool)] = PARTS[part_name]
    if target is not None and target.ndim != 2:
        raise ValueError("a mask that is no map")
    return target
