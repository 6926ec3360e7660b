"""The multi-task network: backbone, one head per task, and a slot between them that takes any exchange module.

Source: the host network of Bruggemann et al., ATRC, ICCV 2021.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiment.config import NetworkSettings
from experiment.errors import InputError
from multitask.backbones import build_backbone
from multitask.tasks import Task


@dataclass
class Outputs:
    """Raw outputs at the image's size: predictions (B, channels, H, W), auxiliary (B, R, H, W)."""

    predictions: dict[str, Tensor]
    auxiliary: dict[str, Tensor]


def feature_channels(settings: NetworkSettings) -> int:
    """C of each task's features: as set, or a quarter of the backbone's concatenated maps."""
    if settings.channels is not None:
        if settings.channels < 2:
            raise InputError(f"network.channels is {settings.channels}: expected at least 2")
        return settings.channels
    return sum(build_backbone(settings.backbone, settings.width).channels) // 4


class MultiTaskNetwork(nn.Module):
    """Maps of all stages, upsampled to stride 4 and concatenated, feed one 3x3 bottleneck per task; the exchange
    refines these features; a 1x1 convolution and bilinear upsampling give the predictions.

    exchange: called as `exchange(features, regions, valid)` with {task: (B, C, H/4, W/4)}, {task: (B, R, H/4, W/4)}
        and (B, 1, H/4, W/4) bool; returns {task: (B, C, H/4, W/4)}. None leaves the features as they are.
    auxiliary: the tasks that get an auxiliary prediction. Its input carries no gradient to the backbone, but the
        final loss does train it through the exchange.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        tasks: Mapping[str, Task],
        exchange: nn.Module | None = None,
        auxiliary: Sequence[str] = (),
    ):
        super().__init__()
        self.backbone = build_backbone(settings.backbone, settings.width, settings.backbone_weights)
        inner = sum(self.backbone.channels)
        channels = feature_channels(settings)
        self.tasks = dict(tasks)
        self.bottlenecks = nn.ModuleDict({name: _conv_norm_relu(inner, channels, 3) for name in tasks})
        self.auxiliary = nn.ModuleDict(
            {
                name: nn.Sequential(_conv_norm_relu(inner, inner, 1), _logits(inner, tasks[name].region_count))
                for name in auxiliary
            }
        )
        self.exchange = exchange
        self.logits = nn.ModuleDict({name: _logits(channels, task.channels) for name, task in tasks.items()})

    def forward(self, image: Tensor, valid: Tensor | None = None) -> Outputs:
        """image: (B, 3, H, W); valid: (B, 1, H, W) bool, False on padding."""
        return self.head(self.encode(image), image.shape[2:], valid)

    def encode(self, image: Tensor) -> Tensor:
        """The backbone's maps at stride 4, concatenated: (B, C_in, H/4, W/4)."""
        stages = self.backbone(image)
        size = stages[0].shape[2:]
        return torch.cat(
            [stages[0], *(F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in stages[1:])], 1
        )

    def head(self, maps: Tensor, size: torch.Size, valid: Tensor | None = None) -> Outputs:
        """All that follows the backbone; size: (H, W) of the image."""
        features, regions = self.split(maps)
        if self.exchange is not None:
            features = self.exchange(features, regions, self.shrink(valid, maps))
        predictions = {name: layer(features[name]) for name, layer in self.logits.items()}
        return Outputs(enlarge(predictions, size), enlarge(regions, size))

    def split(self, maps: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the exchange gets: {task: (B, C, H/4, W/4)} and the label regions' logits, {task: (B, R, H/4, W/4)}."""
        return self._bottlenecks(maps), {name: layer(maps.detach()) for name, layer in self.auxiliary.items()}

    def _bottlenecks(self, maps: Tensor) -> dict[str, Tensor]:
        """All tasks' convolutions as one wide one, channels last: a fifth faster on a CPU than one after another."""
        convs = [layer[0].weight for layer in self.bottlenecks.values()]  # type: ignore[index]
        layout = torch.channels_last
        weight = torch.cat(convs).contiguous(memory_format=layout)
        wide = F.conv2d(maps.contiguous(memory_format=layout), weight, padding=1).contiguous()
        parts = wide.chunk(len(convs), 1)
        return {name: layer[1:](part) for (name, layer), part in zip(self.bottlenecks.items(), parts, strict=True)}  # type: ignore[index]

    @staticmethod
    def shrink(valid: Tensor | None, maps: Tensor) -> Tensor | None:
        """The validity at the maps' size."""
        return None if valid is None else F.interpolate(valid.float(), size=maps.shape[2:], mode="nearest").bool()


def enlarge(maps: Mapping[str, Tensor], size: torch.Size) -> dict[str, Tensor]:
    """Raw outputs at stride 4 to the image's (H, W), bilinear, fp32."""
    return {k: F.interpolate(m.float(), size=size, mode="bilinear", align_corners=False) for k, m in maps.items()}


def _conv_norm_relu(channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def _logits(channels: int, out_channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, out_channels, 1)
    nn.init.normal_(layer.weight, std=0.01)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
