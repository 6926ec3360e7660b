"""HRNet, which keeps a map at stride 4 from end to end beside coarser ones, with the maps of all four branches.

Source: Wang, Sun et al., Deep High-Resolution Representation Learning, TPAMI 2020 (HRNetV2). Coarser maps are enlarged
bilinearly, as for dense prediction there, and straight to the finer branch's size, which may be odd. Parameter names
are those of HRNet-Image-Classification, so that its public ImageNet checkpoints load.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multitask.backbones.resnet import BasicBlock

STEM = 64  # channels


class Bottleneck(nn.Module):
    """relu(x + bn(conv1x1(relu(bn(conv3x3(relu(bn(conv1x1(x)))))))), 4 * STEM channels from STEM inside"""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = nn.Conv2d(STEM, STEM, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM)
        self.conv3 = nn.Conv2d(STEM, 4 * STEM, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * STEM)
        self.downsample = None if channels == 4 * STEM else _conv_norm(channels, 4 * STEM, 1)

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = F.relu(self.bn1(self.conv1(maps)))
        maps = F.relu(self.bn2(self.conv2(maps)))
        return F.relu(self.bn3(self.conv3(maps)) + shortcut)


class HighResolutionModule(nn.Module):
    """Maps, finest first, each half the size of the one before -> as many of the same shapes.

    Each goes through blocks of its own, and becomes the ReLU of the sum of all, brought to its size and channels.
    """

    def __init__(self, channels: Sequence[int], depth: int):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(c, c, 1) for _ in range(depth))) for c in channels)
        branches = range(len(channels))
        self.fuse_layers = nn.ModuleList(nn.ModuleList(_path(channels, s, t) for s in branches) for t in branches)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = [branch(m) for branch, m in zip(self.branches, maps, strict=True)]
        fused = []
        for target, layers in enumerate(self.fuse_layers):
            assert isinstance(layers, nn.ModuleList)
            parts = [layer(m) for layer, m in zip(layers, maps, strict=True)]
            size = maps[target].shape[2:]
            for source in range(target + 1, len(maps)):
                parts[source] = F.interpolate(parts[source], size=size, mode="bilinear", align_corners=False)
            fused.append(F.relu(functools.reduce(torch.add, parts)))
        return fused


class HRNet(nn.Module):
    """(B, 3, H, W) -> four maps at strides 4, 8, 16, 32 with width, 2, 4, 8 x width channels.

    depth: blocks in the first stage and in every branch of a module; modules: of the stages with two, three and four
        branches.
    """

    def __init__(self, width: int, depth: int, modules: Sequence[int]):
        super().__init__()
        self.channels = tuple(width * 2**branch for branch in range(4))
        self.conv1 = nn.Conv2d(3, STEM, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.conv2 = nn.Conv2d(STEM, STEM, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM)
        self.layer1 = nn.Sequential(Bottleneck(STEM), *(Bottleneck(4 * STEM) for _ in range(depth - 1)))
        before: tuple[int, ...] = (4 * STEM,)
        for branches, count in zip((2, 3, 4), modules, strict=True):
            channels = self.channels[:branches]
            self.add_module(f"transition{branches - 1}", _transition(before, channels))
            stage = nn.Sequential(*(HighResolutionModule(channels, depth) for _ in range(count)))
            self.add_module(f"stage{branches}", stage)
            before = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        stem = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(image))))))
        maps = [self.layer1(stem)]
        for branches in (2, 3, 4):
            transition = self.get_submodule(f"transition{branches - 1}")
            assert isinstance(transition, nn.ModuleList)
            maps = [layer(m) for layer, m in zip(transition, [*maps, maps[-1]], strict=True)]
            maps = self.get_submodule(f"stage{branches}")(maps)
        return maps


def _conv_norm(channels: int, out_channels: int, kernel: int, stride: int = 1, relu: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), *([nn.ReLU()] if relu else []))


def _transition(before: Sequence[int], channels: Sequence[int]) -> nn.ModuleList:
    """One layer a branch; the last, new one halves the size of the coarsest map there is."""
    layers: list[nn.Module] = [
        nn.Identity() if old == new else _conv_norm(old, new, 3, relu=True)
        for old, new in zip(before, channels[:-1], strict=True)
    ]
    return nn.ModuleList([*layers, nn.Sequential(_conv_norm(before[-1], channels[-1], 3, 2, relu=True))])


def _path(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """The source branch's map to the target's channels and, where that is coarser, to its size."""
    if source == target:
        return nn.Identity()
    if source > target:
        return _conv_norm(channels[source], channels[target], 1)
    halvings = [_conv_norm(channels[source], channels[source], 3, 2, relu=True) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, _conv_norm(channels[source], channels[target], 3, 2))
