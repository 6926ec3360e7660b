"""Simple blocks as a user writes them, for one pair."""

import torch
from torch import Tensor, nn


class Product(nn.Module):
    """A product of both ends, projected, with a norm of its own."""

    def __init__(self, channels: int, message_channels: int):
        super().__init__()
        self.project = nn.Conv2d(channels, message_channels, 1)
        self.norm = nn.BatchNorm2d(message_channels)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return self.norm(self.project(target * source))


class Regional(nn.Module):
    """Reads the regions of both ends; the mean of the source over its first region, where the target's is."""

    regions = ("target", "source")
    legal_on_self = False

    def __init__(self, channels: int, message_channels: int):
        super().__init__()
        self.width = message_channels
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, target: Tensor, source: Tensor, target_regions: Tensor, source_regions: Tensor) -> Tensor:
        mean = (source[:, : self.width].flatten(2) * source_regions[:, :1]).sum(2)
        where = target_regions[:, 0].view(len(source), 1, *source.shape[2:])
        return self.scale * mean[:, :, None, None] * where


class Gated(Product):
    """Shows gates, a quarter open."""

    def gate_maps(self, target: Tensor, source: Tensor) -> Tensor:
        return torch.full_like(source, 0.25)


class Mistaken(Product):
    """Shows attention of the wrong shape."""

    def attention_maps(self, target: Tensor, source: Tensor, pixels: Tensor) -> Tensor:
        return source


class TooNarrow(Product):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source)[:, :-1]


class Halved(Product):
    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return super().forward(target, source)[..., ::2, ::2]


class OddHalved(Product):
    """Right on maps of even size only."""

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        message = super().forward(target, source)
        return message[..., ::2, ::2] if target.shape[2] % 2 else message


class Copied(nn.Module):
    """Without a single weight."""

    def __init__(self, channels: int, message_channels: int):
        super().__init__()

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return source


class Learned(nn.Module):
    def __init__(self, channels: int, message_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, message_channels, 1)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return self.conv(source) - target


def path_of(block: type[nn.Module]) -> str:
    """The import path by which a space knows the block."""
    return f"{block.__module__}:{block.__name__}"
