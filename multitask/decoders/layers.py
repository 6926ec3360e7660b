"""What several decoders are built of."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multitask.resizing import resize


def conv_norm(
    channels: int, out_channels: int, kernel: int = 1, *, dilation: int = 1, relu: bool = True
) -> nn.Sequential:
    """A 'same' convolution without bias, BN, and ReLU if `relu`."""
    conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=False)
    norm = nn.BatchNorm2d(out_channels)
    return nn.Sequential(conv, norm, nn.ReLU()) if relu else nn.Sequential(conv, norm)


def concatenate(maps: Sequence[Tensor]) -> Tensor:
    """Maps of several sizes, enlarged to that of the first and concatenated."""
    return torch.cat([maps[0], *(resize(one, maps[0].shape[2:]) for one in maps[1:])], 1)


class BasicBlock(nn.Module):
    """relu(bn conv3x3 relu bn conv3x3(x) + x), where the channels change with bn conv1x1(x) in the place of x."""

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.first = conv_norm(channels, out_channels, 3)
        self.second = conv_norm(out_channels, out_channels, 3, relu=False)
        same = channels == out_channels
        self.shortcut = nn.Identity() if same else conv_norm(channels, out_channels, relu=False)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.second(self.first(maps)) + self.shortcut(maps))


class Pooled(nn.Module):
    """The mean over all pixels, projected, at every pixel; a batch of one, without a variance, is normalised as in
    evaluation.
    """

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        mean = self.conv(maps.mean((2, 3), keepdim=True))
        if self.training and len(mean) == 1:
            norm = self.norm
            mean = F.batch_norm(mean, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        else:
            mean = self.norm(mean)
        return F.relu(mean).expand(-1, -1, *maps.shape[2:])


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: conv1x1, a dilated conv3x3 for each rate, and the mean, joined by a conv1x1.

    Source: Chen et al., DeepLabV3, 2017. Every convolution has BN and ReLU.
    """

    def __init__(self, channels: int, out_channels: int, rates: Sequence[int]):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_norm(channels, out_channels),
                *(conv_norm(channels, out_channels, 3, dilation=rate) for rate in rates),
                Pooled(channels, out_channels),
            ]
        )
        self.project = conv_norm(len(self.branches) * out_channels, out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        return self.project(torch.cat([branch(maps) for branch in self.branches], 1))
