"""cross_stitch and nddr: each task's features become a learned linear mixture of all tasks'.

Source: Misra et al., Cross-stitch Networks, CVPR 2016; Gao et al., NDDR-CNN, CVPR 2019; initial weights as in
Vandenhende et al., A Survey, TPAMI 2021. Here one unit mixes the features behind the decoder, as in Table 1 of
Bruggemann et al., ATRC, ICCV 2021; the papers have units after every stage of separate encoders, and train them with a
hundredfold learning rate. Cost: cross_stitch N^2 C multiply-adds a pixel, which counters of layers miss; nddr N^2 C^2.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrain.refinements.base import Refinement

OWN, OTHERS = 0.9, 0.1  # initial weights, on NYUD-v2


class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels: int, initial: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), initial))

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.weight.view(-1, 1, 1)


class CrossStitch(Refinement):
    """F'_t = sum_s w_ts * F_s, with one weight a channel. N^2 C parameters."""

    def build(self) -> None:
        self.mix = self.per_pair("mix", lambda t, s: Scale(self.channels, OWN if t == s else OTHERS))

    def refine(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {t: torch.stack([mix(features[s]) for s, mix in row.items()]).sum(0) for t, row in self.mix.items()}


class Mixed(Refinement):
    """F'_t = ReLU BN sum_s W_ts F_s: one 1x1 convolution over all tasks' features. N^2 C^2 + 2 N C parameters."""

    momentum = 0.1

    def build(self) -> None:
        self.mix = self.per_pair("mix", self.weight)
        self.norm = self.per_task("norm", lambda: nn.BatchNorm2d(self.channels, momentum=self.momentum))

    def weight(self, target: str, source: str) -> nn.Conv2d:
        """W_ts, drawn as one block of the whole convolution."""
        conv = nn.Conv2d(self.channels, self.channels, 1, bias=False)
        bound = (len(self.tasks) * self.channels) ** -0.5
        nn.init.uniform_(conv.weight, -bound, bound)
        return conv

    def refine(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        everything = torch.cat([features[task] for task in self.tasks], 1)
        refined = {}
        for target, row in self.mix.items():
            weight = torch.cat([row[source].weight for source in self.tasks], 1)
            refined[target] = F.relu(self.norm[target](F.conv2d(everything, weight)))
        return refined


class Nddr(Mixed):
    """It starts as a fixed mixture of the tasks, channel by channel, and its norm forgets slowly."""

    momentum = 0.05

    def weight(self, target: str, source: str) -> nn.Conv2d:
        conv = super().weight(target, source)
        with torch.no_grad():
            conv.weight[:, :, 0, 0] = torch.eye(self.channels) * (OWN if target == source else OTHERS)
        return conv
