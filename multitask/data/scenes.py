"""scenes: procedural rooms, rendered on the fly, with labels for all six tasks that are exact by construction."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from experiment.progress import track
from multitask.data.rendering import Body, Panel, cast
from multitask.data.rooms import CLASSES, LABEL, PARTS, Room
from multitask.data.samples import Sample

SPLITS = ("train", "val", "test")
KEPT = 256 * 2**20  # bytes of rendered scenes in memory
TASKS = ("semseg", "depth", "normals", "edge", "human_parts", "saliency")


@dataclass(frozen=True)
class Scene:
    """A rendered room with exact labels. The principal point is the image centre and pixels are square."""

    image: np.ndarray  # (H, W, 3) uint8
    semseg: np.ndarray  # (H, W) uint8, index into CLASSES
    depth: np.ndarray  # (H, W) float32, metres along the optical axis
    normals: np.ndarray  # (H, W, 3) float32, unit; x right, y up, z towards the camera
    instance: np.ndarray  # (H, W) int32
    surface: np.ndarray  # (H, W) int32, the smooth face that was hit
    human_parts: np.ndarray  # (H, W) uint8, index into PARTS
    saliency: np.ndarray  # (H, W) bool
    focal: float  # pixels

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    @property
    def edge(self) -> np.ndarray:
        """(H, W) bool: both pixels of every change of instance between horizontal or vertical neighbours."""
        edge = np.zeros(self.instance.shape, bool)
        for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
            change = self.instance[before] != self.instance[after]
            edge[before] |= change
            edge[after] |= change
        return edge


def render(seed: Sequence[int] | int, height: int, width: int) -> Scene:
    """The scene of this seed. The size changes its sampling, not its geometry."""
    rng = np.random.default_rng(seed)
    room = Room(random.Random(int(rng.integers(2**62))))
    room.furnish()
    layout = room.layout()
    buffers = cast(layout, height, width, rng)
    things: list[Panel | Body] = [*layout.panels, *layout.bodies]
    labels = [LABEL[name] for name in ("wall", "wall", "floor", "ceiling", "wall", "wall")]
    classes = np.array(labels + [thing.label for thing in things], np.uint8)
    salient = np.array([False for _ in labels] + [thing.salient for thing in things])
    return Scene(
        image=buffers.image,
        semseg=classes[buffers.instance],
        depth=buffers.depth,
        normals=buffers.normals,
        instance=buffers.instance,
        surface=buffers.surface,
        human_parts=buffers.parts,
        saliency=(salient | (classes == LABEL["person"]))[buffers.instance],
        focal=layout.focal * max(height, width),
    )


_kept: dict[tuple[tuple[int, ...], int, int], Scene] = {}


def _rendered(seed: tuple[int, ...], height: int, width: int) -> Scene:
    """The scene of this seed, from memory where it is there."""
    key = (seed, height, width)
    if key not in _kept:
        scene = render(seed, height, width)
        if len(_kept) * scene.nbytes > KEPT:
            return scene
        _kept[key] = scene
    return _kept[key]


def _of_key(key: tuple[tuple[int, ...], int, int]) -> Scene:
    return render(*key)


def render_ahead(splits: Sequence[Scenes], processes: int) -> None:
    """Renders all scenes in some processes, into the memory of this one and of those that it forks later."""
    wanted = [key for split in splits for key in split.keys_in_memory() if key not in _kept]
    if not wanted:
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        rendered = pool.imap(_of_key, wanted, chunksize=8)
        for key, scene in zip(wanted, track(rendered, "rendering images", len(wanted)), strict=True):
            _kept[key] = scene
        pool.close()
        pool.join()


class Scenes(torch.utils.data.Dataset):
    """`count` scenes of one split with the labels of `tasks`; splits and seeds never share a scene.

    Rendered scenes stay in memory, up to KEPT bytes in a process.
    """

    def __init__(self, split: str, count: int, height: int, width: int, tasks: Sequence[str], seed: int) -> None:
        if split not in SPLITS or not set(tasks) <= set(TASKS):
            raise ValueError(f"split {split!r} with tasks {list(tasks)}: expected one of {SPLITS} and any of {TASKS}")
        self.key = (seed, SPLITS.index(split))
        self.count, self.height, self.width, self.tasks = count, height, width, tuple(tasks)

    def __len__(self) -> int:
        return self.count

    def keys_in_memory(self) -> list[tuple[tuple[int, ...], int, int]]:
        """By which rendered scenes are kept."""
        return [((*self.key, index), self.height, self.width) for index in range(self.count)]

    def identity(self) -> list:
        """What its scenes follow from."""
        return ["scenes", *self.key, self.count, self.height, self.width]

    @property
    def groups(self) -> list[str]:
        """Every scene is a group of its own."""
        return [str(index) for index in range(self.count)]

    def __getitem__(self, index: int) -> Sample:
        """image uint8 (3, H, W); labels (C, H, W), C = 3 for normals, else 1; masks bool (1, H, W), all True."""
        return self.scene(index)[1]

    def scene(self, index: int) -> tuple[Scene, Sample]:
        """A scene as it was rendered, and as a sample."""
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        scene = _rendered((*self.key, index), self.height, self.width)
        labels = {task: to_tensor(getattr(scene, task)) for task in self.tasks}
        masks = {task: torch.ones(1, self.height, self.width, dtype=torch.bool) for task in self.tasks}
        return scene, {"image": to_tensor(scene.image), "labels": labels, "masks": masks}


def to_tensor(array: np.ndarray) -> torch.Tensor:
    """(H, W) or (H, W, C) to (C, H, W); bool to uint8."""
    array = array.astype(np.uint8) if array.dtype == bool else array
    return torch.from_numpy(array.reshape(*array.shape[:2], -1).transpose(2, 0, 1).copy())


__all__ = ["CLASSES", "PARTS", "SPLITS", "Scene", "Scenes", "render", "render_ahead", "to_tensor"]
