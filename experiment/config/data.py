"""data: the dataset and its preprocessing."""

import math
from dataclasses import dataclass, field, replace

from experiment.config.augmentation import AUGMENTATIONS, Augmentation
from experiment.config.checks import at_least, one_of, plain_values, positive, within
from experiment.config.sensors import SensorSettings
from experiment.errors import InputError

EMPTY_CLASSES = ("zero", "skip")
DEPTH_LOSSES, NORMALS_LOSSES = ("l1", "berhu"), ("l1", "cosine")
RENDERED = ("scenes", "sensors")
# {dataset: (weight of edge pixels in the loss, tolerance of odsF)}, as ATRC has them
EDGES = {"pascal_context": (0.95, 0.0075)}
OTHER_EDGES = (0.8, 0.011)  # NYUD-v2
SMALLEST, LARGEST = 32, 2**14  # pixels along an image's side
MOST_CLASSES, MOST_IMAGES, MOST_WORKERS = 2**16, 10**7, 1024


@dataclass(frozen=True)
class DataSettings:
    """The dataset and its preprocessing. Raises InputError for values that no dataset can use.

    Args:
        name: dataset: scenes (built-in procedural rooms), sensors (the same rooms, each task with a sensor of its
            own), folder (your own data), one of the papers' (nyud, nyuv2_13, pascal_context, vkitti2, cityscapes,
            synthia, scannet, scenenet) or a class of your own, package.module:Class.
        root: folder of the data on disk; --check-data prints its layout.
        height: height of the images that the network sees, in pixels.
        width: width of the images that the network sees, in pixels.
        tasks: tasks to predict - semseg, depth, normals, edge, human_parts, saliency, or classes of your own,
            package.module:Class.
        metrics: metrics of your own that are measured beside a task's, such as {depth - [package.module:Class]}.
        classes: number of semantic classes - of a folder, by default read from its meta.json; of the papers' sets,
            which of their maps of classes, by default the largest common one.
        train_images: number of training scenes (scenes and sensors only).
        validation_images: number of validation scenes (scenes and sensors only).
        test_images: number of test scenes (scenes and sensors only).
        validation_fraction: share of the training images of the papers' sets that is held out as validation split, in
            whole groups of neighbouring frames; 0 validates on the test split, as the papers do.
        workers: processes that load data beside the training; 0 loads in the training process.
        cache: folder, outside data.root, in which decoded, resized and derived samples are kept, so that each is made
            once; by default none is kept.
        augmentation: how training images vary - atrc, vandenhende_nyud, vandenhende_pascal, libmtl or densemtl.
        scale_range: smallest and largest random magnification in training, in place of the augmentation's.
        photometric: whether training images vary in brightness, contrast, saturation and hue, in place of the
            augmentation's.
        empty_classes: a class that occurs neither in labels nor in predictions counts 0 (zero) or is left out of
            mean IoU (skip).
        depth_loss: l1, of metres; or berhu (reversed Huber) of inverse depth, which is then what the network
            predicts (DenseMTL).
        depth_limit: metres up to which depth is evaluated - farther pixels are left out, predictions end there; by
            default all valid pixels count.
        normals_loss: l1, of the unit prediction; or cosine, 1 minus that of the angle (DenseMTL).
        normal_centroids: .npy file of (R, 3) directions, the label regions of the normals; by default those of the
            dataset (nyud, pascal_context), or else 40 even ones.
        edge_positive_weight: weight of edge pixels in the edge loss, from 0 to 1; by default 0.95 for pascal_context
            and 0.8 otherwise (ATRC).
        edge_tolerance: tolerance of odsF, as a fraction of the image diagonal; by default 0.0075 for pascal_context and
            0.011 otherwise.
        sensors: what each task sees in the dataset sensors.
    """

    name: str = "scenes"
    root: str | None = None
    height: int = 96
    width: int = 128
    tasks: list[str] = field(default_factory=lambda: ["semseg", "depth", "normals", "edge"])
    metrics: dict[str, list[str]] = field(default_factory=dict)
    classes: int | None = None
    train_images: int = 1000
    validation_images: int = 100
    test_images: int = 100
    validation_fraction: float = 0.0
    workers: int = 1
    cache: str | None = None
    augmentation: str = "atrc"
    scale_range: tuple[float, float] | None = None
    photometric: bool | None = None
    empty_classes: str = "zero"
    depth_loss: str = "l1"
    depth_limit: float | None = None
    normals_loss: str = "l1"
    normal_centroids: str | None = None
    edge_positive_weight: float | None = None
    edge_tolerance: float | None = None
    sensors: SensorSettings = field(default_factory=SensorSettings)

    def __post_init__(self) -> None:
        for key, value in zip(("edge_positive_weight", "edge_tolerance"), self.edges):
            object.__setattr__(self, key, value)  # so that config.yaml says what is used
        one_of("data.augmentation", self.augmentation, AUGMENTATIONS)
        for key in ("scale_range", "photometric"):
            object.__setattr__(self, key, getattr(self.recipe, key))
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
        if not 0 <= self.validation_fraction < 1:
            raise InputError(f"data.validation_fraction is {self.validation_fraction}: expected at least 0 and below 1")
        if self.cache is not None and (not self.cache or self.name in RENDERED):
            found = "is empty" if not self.cache else f"is given, but {self.name} reads no files"
            raise InputError(f"data.cache {found}: expected a folder, or null")
        within("data.workers", self.workers, 0, MOST_WORKERS)
        low, high = self.recipe.scale_range
        if not 0 < low <= high < math.inf:
            raise InputError(f"data.scale_range is [{low}, {high}]: expected 0 < smallest <= largest")
        one_of("data.empty_classes", self.empty_classes, EMPTY_CLASSES)
        one_of("data.depth_loss", self.depth_loss, DEPTH_LOSSES)
        positive("data.depth_limit", self.depth_limit)
        one_of("data.normals_loss", self.normals_loss, NORMALS_LOSSES)
        within("data.edge_positive_weight", self.edge_positive_weight, 0, 1)
        at_least("data.edge_tolerance", self.edge_tolerance, 0)

    @property
    def recipe(self) -> Augmentation:
        """The augmentation with the values that are given in place of its own."""
        recipe = AUGMENTATIONS[self.augmentation]
        if self.scale_range is not None:
            low, high = self.scale_range
            if (low, high) != recipe.scale_range:
                recipe = replace(recipe, scale_range=(low, high), factors=())
        return recipe if self.photometric is None else replace(recipe, photometric=self.photometric)

    @property
    def edges(self) -> tuple[float, float]:
        """edge_positive_weight and edge_tolerance, as given or the dataset's own."""
        weight, tolerance = EDGES.get(self.name, OTHER_EDGES)
        given, within = self.edge_positive_weight, self.edge_tolerance
        return weight if given is None else given, tolerance if within is None else within
