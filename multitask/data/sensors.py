"""sensors: the rooms of `scenes`, each task seeing them by a sensor of its own.

What one sensor misses another may hold, so that tasks gain by exchanging features. Every reading is stored as a pixel,
0 to 255, like any image; what it means:

colour  a dim camera: half of the photo's brightness, with noise
grey    the photo's luminance, with noise
range   NEAR / depth, averaged over coarse cells, with noise; 0 in cells without a reading
events  the gradient's length of the photo's log luminance, in units of FULL, with noise
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import torch

from experiment.config import SensorSettings
from multitask.data.samples import STD, Sample
from multitask.data.scenes import SPLITS, Scene, Scenes, to_tensor

PHOTO_STD = float(np.mean(STD))  # of full scale
DIM = 0.5
NEAR = 0.5  # metres; what is nearer reads as this
FULL = 2.0  # of the gradient of log luminance between neighbours
DARK = 0.05  # of full scale, added to luminance before its logarithm
LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)

Rng = np.random.Generator


def _colour(scene: Scene, settings: SensorSettings, rng: Rng) -> np.ndarray:
    return _noisy(DIM * scene.image.astype(np.float32) / 255, PHOTO_STD * settings.noise_of("colour"), rng)


def _grey(scene: Scene, settings: SensorSettings, rng: Rng) -> np.ndarray:
    return _noisy(_luminance(scene), PHOTO_STD * settings.noise_of("grey"), rng)


def _range(scene: Scene, settings: SensorSettings, rng: Rng) -> np.ndarray:
    cells = _cell_means(1 / scene.depth, settings.cell)
    readings = _noisy(NEAR * cells, NEAR * settings.noise_of("range"), rng).clip(1 / 255, 1)
    readings[rng.random(cells.shape, np.float32) < settings.holes] = 0
    height, width = scene.depth.shape
    return readings.repeat(settings.cell, 0).repeat(settings.cell, 1)[:height, :width]


def _events(scene: Scene, settings: SensorSettings, rng: Rng) -> np.ndarray:
    down, right = np.gradient(np.log(_luminance(scene) + DARK))
    return _noisy(np.hypot(down, right) / FULL, settings.noise_of("events") / FULL, rng)


Read = Callable[[Scene, SensorSettings, Rng], np.ndarray]
# {sensor: (its readings, (H, W) or (H, W, 3), of full scale; how training changes them, see `DatasetSplits.images`;
# how far its view is moved down, in displacements)}
SENSORS: dict[str, tuple[Read, str, int]] = {
    "colour": (_colour, "photo", 0),
    "range": (_range, "range", -1),
    "grey": (_grey, "photo", 1),
    "events": (_events, "plain", 0),
}


def image_kinds(tasks: Sequence[str], settings: SensorSettings) -> dict[str, str]:
    """{task: the kind of its image}; empty where all tasks have the same sensor."""
    sensors = {task: settings.sensor_of(task) for task in tasks}
    if len(set(sensors.values())) == 1:
        return {}
    return {task: SENSORS[sensor][1] for task, sensor in sensors.items()}


class Sensors(torch.utils.data.Dataset[Sample]):
    """`count` scenes of one split; an image for each task, or one where all tasks have the same sensor.

    The scenes are those of `Scenes`. A sensor's noise follows from the split, the index and the sensor.
    """

    def __init__(
        self, split: str, count: int, height: int, width: int, tasks: Sequence[str], settings: SensorSettings
    ) -> None:
        self.scenes = Scenes(split, count, height, width, tasks, seed=0)
        self.key, self.settings = (0, SPLITS.index(split)), settings
        self.sensors = {task: settings.sensor_of(task) for task in tasks}

    def __len__(self) -> int:
        return len(self.scenes)

    def identity(self) -> list:
        """What its images and labels follow from."""
        return ["sensors", self.scenes.identity(), self.sensors, asdict(self.settings)]

    @property
    def groups(self) -> list[str]:
        return self.scenes.groups

    def __getitem__(self, index: int) -> Sample:
        scene, sample = self.scenes.scene(index)
        used = [sensor for sensor in SENSORS if sensor in self.sensors.values()]
        if len(used) == 1:  # nothing is displaced against it
            return {**sample, "image": self._image(scene, index, used[0])}
        images = {sensor: shift(self._image(scene, index, sensor), self.shift_of(sensor)) for sensor in used}
        moved: dict[str, dict[str, torch.Tensor]] = {}
        for part in ("labels", "masks"):
            moved[part] = {task: shift(sample[part][task], self.shift_of(s)) for task, s in self.sensors.items()}
        return {"image": {task: images[sensor] for task, sensor in self.sensors.items()}, **moved}

    def shift_of(self, sensor: str) -> int:
        """Pixels by which the sensor's view is moved down."""
        return SENSORS[sensor][2] * self.settings.displacement

    def _image(self, scene: Scene, index: int, sensor: str) -> torch.Tensor:
        """(3, H, W) uint8."""
        number = 1 + list(SENSORS).index(sensor)  # numpy takes a seed that ends in 0 for the shorter one of the scene
        rng = np.random.default_rng((*self.key, index, number))
        pixels = (255 * SENSORS[sensor][0](scene, self.settings, rng).clip(0, 1)).round().astype(np.uint8)
        return to_tensor(pixels).expand(3, -1, -1)


def shift(maps: torch.Tensor, rows: int) -> torch.Tensor:
    """(c, H, W) moved down by some rows, up if negative; 0 where nothing is known."""
    if rows == 0:
        return maps
    moved = torch.zeros_like(maps)
    if rows > 0:
        moved[:, rows:] = maps[:, :-rows]
    else:
        moved[:, :rows] = maps[:, -rows:]
    return moved


def _noisy(readings: np.ndarray, noise: float, rng: Rng) -> np.ndarray:
    return readings + np.float32(noise) * rng.standard_normal(readings.shape, np.float32)


def _luminance(scene: Scene) -> np.ndarray:
    """(H, W), of full scale."""
    return scene.image.astype(np.float32) @ LUMINANCE / 255


def _cell_means(maps: np.ndarray, cell: int) -> np.ndarray:
    """(H, W) averaged over cells of cell x cell pixels; those at the far borders may be smaller."""
    sums, count = maps, np.ones_like(maps)
    for axis, length in enumerate(maps.shape):
        starts = np.arange(0, length, cell)
        sums, count = np.add.reduceat(sums, starts, axis), np.add.reduceat(count, starts, axis)
    return sums / count


__all__ = ["SENSORS", "Sensors", "image_kinds", "shift"]
