"""concat: the maps of all stages, enlarged to the finest and concatenated, feed one 3x3 bottleneck per task.

Source: the host network of Bruggemann et al., ATRC, ICCV 2021.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multitask.decoders.base import Decoder
from multitask.resizing import resize


class Bottleneck(nn.Module):
    """relu(bn(conv3x3(x))); `finish` is what follows the convolution."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        return self.finish(self.conv(maps))

    def finish(self, convolved: Tensor) -> Tensor:
        return F.relu(self.norm(convolved))


class ConcatDecoder(Decoder):
    """shared: the concatenated maps, S = sum(encoder_channels); features: relu(bn(conv3x3(shared))), one per task.

    Cost: 9 S C multiply-adds per task and pixel of the finest map.
    """

    def build(self) -> None:
        self.shared_channels = sum(self.encoder_channels)

    def task_part(self, task: str) -> Bottleneck:
        return Bottleneck(self.shared_channels, self.channels)

    def forward(self, maps: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        size = maps[0].shape[2:]
        coarser = (resize(m, size) for m in maps[1:])
        shared = torch.cat([maps[0], *coarser], 1)
        return self._features(shared), shared

    def _features(self, shared: Tensor) -> dict[str, Tensor]:
        """All tasks' convolutions as one wide one, channels last: a fifth faster on a CPU than one after another."""
        parts = {name: part for name, part in self.parts.items() if isinstance(part, Bottleneck)}
        layout = torch.channels_last
        weight = torch.cat([part.conv.weight for part in parts.values()]).contiguous(memory_format=layout)
        wide = F.conv2d(shared.contiguous(memory_format=layout), weight, padding=1).contiguous()
        return {name: part.finish(maps) for (name, part), maps in zip(parts.items(), wide.chunk(len(parts), 1))}
