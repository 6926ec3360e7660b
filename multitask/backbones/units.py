"""An encoder cut into a stem and units, one after another, so that tasks can share some of them and not others."""

from collections.abc import Iterable
from typing import NamedTuple, cast

from torch import Tensor, nn

from experiment.errors import InputError


class Parts(NamedTuple):
    """The same modules as the encoder's, in its order.

    stem: (B, 3, H, W) -> the maps that the encoder returns of it, and at last the first unit's input.
    units: each maps (B, C, h, w) to the next one's input; not in place.
    mapped: for each unit, whether its output is the encoder's next map.
    """

    stem: nn.Module
    units: list[nn.Module]
    mapped: list[bool]


class Stem(nn.Module):
    """Layers one after another; those whose outputs are maps are named in `mapped`."""

    def __init__(self, layers: Iterable[tuple[str, nn.Module]], mapped: Iterable[str]):
        super().__init__()
        self.layers = nn.ModuleDict(dict(layers))
        self.mapped = frozenset(mapped)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = []
        for name, layer in self.layers.items():
            image = layer(image)
            if name in self.mapped:
                maps.append(image)
        return [*maps, image]


def split(encoder: nn.Module, name: str) -> Parts:
    """The parts of an encoder that has a method `split`, as those of timm do. name: of the backbone, for errors.

    Raises InputError for one that cannot be split.
    """
    cut = getattr(encoder, "split", None)
    if not callable(cut):
        raise InputError(
            f"network.backbone '{name}' cannot be split into units that tasks share: expected a class with a method "
            "split, or a timm model made of blocks, such as resnet18 or mobilenetv2_100"
        )
    return cast(Parts, cut())
