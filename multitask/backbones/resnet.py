"""ResNets of basic blocks, with the maps of all four stages.

Source: He et al., Deep Residual Learning, CVPR 2016. Parameter names are torchvision's, so that its public ImageNet
checkpoints load into the networks of width 64.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """relu(x + bn(conv3x3(relu(bn(conv3x3(x))))))"""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = F.relu(self.bn1(self.conv1(maps)))
        return F.relu(self.bn2(self.conv2(maps)) + shortcut)


class ResNet(nn.Module):
    """(B, 3, H, W) -> four maps at strides 4, 8, 16, 32 with width, 2, 4, 8 x width channels."""

    def __init__(self, depths: Sequence[int], width: int):
        super().__init__()
        self.channels = tuple(width * 2**stage for stage in range(4))
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inner = width
        for stage, (depth, channels) in enumerate(zip(depths, self.channels, strict=True)):
            blocks = []
            for i in range(depth):
                blocks.append(BasicBlock(inner, channels, stride=2 if stage and not i else 1))
                inner = channels
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        stages = []
        for name in ("layer1", "layer2", "layer3", "layer4"):
            maps = self.get_submodule(name)(maps)
            stages.append(maps)
        return stages
