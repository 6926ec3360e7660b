"""data: the dataset and its preprocessing."""

import math
from dataclasses import dataclass, field

from experiment.config.checks import at_least, one_of, plain_values, within
from experiment.config.sensors import SensorSettings
from experiment.errors import InputError

EMPTY_CLASSES = ("zero", "skip")
SMALLEST, LARGEST = 32, 2**14  # pixels along an image's side
MOST_CLASSES, MOST_IMAGES, MOST_WORKERS = 2**16, 10**7, 1024


@dataclass(frozen=True)
class DataSettings:
    """The dataset and its preprocessing. Raises InputError for values that no dataset can use.

    Args:
        name: dataset: scenes (built-in procedural rooms), sensors (the same rooms, each task with a sensor of its
            own) or folder (your own data).
        root: folder of your own data; see the README for its layout.
        height: height of the images that the network sees, in pixels.
        width: width of the images that the network sees, in pixels.
        tasks: tasks to predict: semseg, depth, normals, edge, human_parts, saliency.
        classes: number of semantic classes of a folder; by default read from its meta.json.
        train_images: number of training scenes (scenes and sensors only).
        validation_images: number of validation scenes (scenes and sensors only).
        test_images: number of test scenes (scenes and sensors only).
        workers: processes that load data beside the training; 0 loads in the training process.
        scale_range: smallest and largest random magnification in training.
        photometric: whether training images vary in brightness, contrast, saturation and hue.
        empty_classes: a class that occurs neither in labels nor in predictions counts 0 (zero) or is left out of
            mean IoU (skip).
        normal_centroids: .npy file of (R, 3) directions, the label regions of the normals; by default 40 even ones.
        edge_positive_weight: weight of edge pixels in the edge loss, from 0 to 1 (ATRC - 0.8 NYUD-v2, 0.95 PASCAL).
        edge_tolerance: tolerance of odsF, as a fraction of the image diagonal (0.011 NYUD-v2, 0.0075 PASCAL).
        sensors: what each task sees in the dataset sensors.
    """

    name: str = "scenes"
    root: str | None = None
    height: int = 96
    width: int = 128
    tasks: list[str] = field(default_factory=lambda: ["semseg", "depth", "normals", "edge"])
    classes: int | None = None
    train_images: int = 1000
    validation_images: int = 100
    test_images: int = 100
    workers: int = 1
    scale_range: tuple[float, float] = (0.5, 2.0)
    photometric: bool = True
    empty_classes: str = "zero"
    normal_centroids: str | None = None
    edge_positive_weight: float = 0.8
    edge_tolerance: float = 0.011
    sensors: SensorSettings = field(default_factory=SensorSettings)

    def __post_init__(self) -> None:
        plain_values("data", self)
        if min(self.height, self.width) < SMALLEST:
            found = f"data.height x data.width is {self.height}x{self.width}"
            raise InputError(f"{found}: expected at least {SMALLEST}x{SMALLEST}")
        for key in ("height", "width"):
            within(f"data.{key}", getattr(self, key), SMALLEST, LARGEST)
        if self.sensors.displacement > self.height // 4:
            limit = f"at most a quarter of data.height, {self.height // 4}"
            raise InputError(f"data.sensors.displacement is {self.sensors.displacement}: expected {limit}")
        within("data.classes", self.classes, 1, MOST_CLASSES)
        for key in ("train_images", "validation_images", "test_images"):
            within(f"data.{key}", getattr(self, key), 1, MOST_IMAGES)
        within("data.workers", self.workers, 0, MOST_WORKERS)
        low, high = self.scale_range
        if not 0 < low <= high < math.inf:
            raise InputError(f"data.scale_range is [{low}, {high}]: expected 0 < smallest <= largest")
        one_of("data.empty_classes", self.empty_classes, EMPTY_CLASSES)
        if not 0 <= self.edge_positive_weight <= 1:
            raise InputError(f"data.edge_positive_weight is {self.edge_positive_weight}: expected 0 to 1")
        at_least("data.edge_tolerance", self.edge_tolerance, 0)
