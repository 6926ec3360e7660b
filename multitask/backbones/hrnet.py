"""timm's HRNets with bilinear fusion, as dense prediction uses them.

Source: Wang, Sun et al., Deep High-Resolution Representation Learning, TPAMI 2020 (HRNetV2). timm enlarges coarser
branches by nearest neighbours and by powers of two. Here they are enlarged bilinearly, as in ATRC, and straight to the
finer branch's size, which may be odd. On this module's account alone timm's HRNets run on images of any size.
"""

import functools

import torch
from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn

from multitask.resizing import resize


class BilinearModule(HighResolutionModule):
    """Sums every branch's map into every other, coarser ones enlarged bilinearly to the finer one's size."""

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        maps = [branch(m) for branch, m in zip(self.branches, x, strict=True)]
        fused = []
        for target, layers in enumerate(self.fuse_layers):
            size = maps[target].shape[2:]
            parts = [layer(m) for layer, m in zip(layers, maps, strict=True)]
            for source in range(target + 1, len(maps)):
                parts[source] = resize(parts[source], size)
            fused.append(self.fuse_act(functools.reduce(torch.add, parts)))
        return fused


def fuse_bilinearly(model: nn.Module) -> None:
    """Changes an HRNet of timm in place; its parameters and their names stay."""
    for module in model.modules():
        if isinstance(module, HighResolutionModule) and module.num_branches > 1:
            module.__class__ = BilinearModule
            for layer in module.fuse_layers.modules():
                if isinstance(layer, nn.Sequential) and len(layer) and isinstance(layer[-1], nn.Upsample):
                    layer[-1] = nn.Identity()
