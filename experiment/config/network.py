"""network: the backbone and the heads."""

from dataclasses import dataclass

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
