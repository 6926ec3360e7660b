"""data: the dataset and its preprocessing."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataSettings:
    """What is learned from.

    Args:
        name: dataset: scenes (built-in procedural rooms) or folder (your own data).
        root: folder of your own data; see the README for its layout.
        height: height of the images that the network sees, in pixels.
        width: width of the images that the network sees, in pixels.
        tasks: what is predicted: semseg, depth, normals, edge, human_parts, saliency.
        classes: number of semantic classes of a folder; by default read from its meta.json.
        train_images: number of training scenes (scenes only).
        validation_images: number of validation scenes (scenes only).
        test_images: number of test scenes (scenes only).
        workers: processes that load data beside the training; 0 loads in the training process.
        scale_range: smallest and largest random magnification in training.
        photometric: whether training images vary in brightness, contrast, saturation and hue.
        empty_classes: a class that occurs neither in labels nor in predictions counts 0 (zero) or is left out of
            mean IoU (skip).
        normal_centroids: .npy file of (R, 3) directions, the label regions of the normals; by default 40 even ones.
        edge_positive_weight: weight of edge pixels in the edge loss, from 0 to 1 (ATRC - 0.8 NYUD-v2, 0.95 PASCAL).
        edge_tolerance: tolerance of odsF, as a fraction of the image diagonal (0.011 NYUD-v2, 0.0075 PASCAL).
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
