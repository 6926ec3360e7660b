"""The groups of the configuration that the learner reads; their docstrings are what `--help` shows."""

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


RESNET_WIDTH = 16
HRNET_WIDTHS = {"hrnet18": 18, "hrnet48": 48}


def backbone_width(backbone: str | None, width: int | None) -> int:
    """network.width as set, or what its default, null, means for this backbone."""
    return width if width is not None else HRNET_WIDTHS.get(backbone or "", RESNET_WIDTH)


@dataclass(frozen=True)
class NetworkSettings:
    """The backbone and the head.

    Args:
        backbone: resnet10, resnet18, resnet34, hrnet18 (ATRC's HRNet18-S, the small W18) or hrnet48.
        width: channels of the finest map. ResNets take any, by default 16; 64 is the published network. An HRNet's
            name says its width, and another is refused.
        backbone_weights: file with the backbone's pretrained state dict, under the names of torchvision (ResNets, width
            64) or HRNet-Image-Classification and timm (HRNets); a classifier in it is left out.
        channels: channels C of each task's features; by default a quarter of the backbone's concatenated maps.
    """

    backbone: str = "resnet18"
    width: int | None = None
    backbone_weights: str | None = None
    channels: int | None = None


@dataclass(frozen=True)
class TrainingSettings:
    """How weights are learned, in search and in retraining alike.

    Args:
        iterations: training steps.
        batch_size: images a step.
        optimizer: adamw or sgd.
        learning_rate: initial learning rate; falls to 0 by the poly rule.
        momentum: of sgd.
        weight_decay: of all weights.
        poly_power: the learning rate is multiplied by (1 - step / iterations) to this power.
        clip_norm: largest norm of the gradient in retraining (ATRC - none); a search has its own, search.clip_norm.
        auxiliary_weight: weight of the auxiliary predictions' losses, relative to their tasks'.
        log_every: steps between log lines.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations of a retraining, the best of which is reported; 0 validates only at
            the end. A search validates at its end.
    """

    iterations: int = 40000
    batch_size: int = 8
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    poly_power: float = 0.9
    clip_norm: float | None = None
    auxiliary_weight: float = 1.0
    log_every: int = 20
    checkpoint_every: int = 200
    validate_every: int = 0


@dataclass(frozen=True)
class LossWeightSettings:
    """How the tasks' losses are weighed.

    Args:
        weights: weight per task, such as {depth - 1, normals - 10}; a task left out keeps its published weight.
    """

    weights: dict[str, float] = field(default_factory=dict)
