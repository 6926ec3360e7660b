"""mtan: every task attends to the shared encoder's maps, stage by stage.

Source: Liu, Johns and Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019, as built on ResNets by
Vandenhende et al., Multi-Task Learning for Dense Prediction Tasks: A Survey, TPAMI 2021. There a mask reads the map
before a stage's last block and multiplies the one behind it; here both are the stage's map, which every encoder has.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multitask.decoders.base import Decoder
from multitask.decoders.layers import BasicBlock, concatenate, conv_norm

NARROWING = 4  # of a mask's hidden channels


class MtanDecoder(Decoder):
    """a_i = M_i * u_i, M_i = sigmoid BN conv1x1 ReLU BN conv1x1([u_i, pool(r_i(a_(i-1)))]); all tasks share r_i.

    F_t = ReLU BN conv3x3 of the a_i of all stages i, enlarged and concatenated.
    """

    def build(self) -> None:
        self.shared_channels = sum(self.encoder_channels)
        widths = self.encoder_channels
        self.refine = nn.ModuleList(BasicBlock(fine, coarse) for fine, coarse in pairwise(widths))

    def task_part(self, task: str) -> nn.Module:
        masks = []
        for i, width in enumerate(self.encoder_channels):
            hidden = max(width // NARROWING, 1)
            first = conv_norm(width * (1 if i == 0 else 2), hidden)
            masks.append(nn.Sequential(first, conv_norm(hidden, width, relu=False), nn.Sigmoid()))
        join = conv_norm(self.shared_channels, self.channels, 3)
        return nn.ModuleDict({"masks": nn.ModuleList(masks), "join": join})

    def forward(self, maps: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        features = {}
        for task, part in self.parts.items():
            attended: list[Tensor] = []
            for i, own in enumerate(maps):
                before = [self._down(i, attended[-1], own)] if attended else []
                mask = part["masks"][i](torch.cat([own, *before], 1))  # type: ignore[index]
                attended.append(mask * own)
            features[task] = part["join"](concatenate(attended))  # type: ignore[index]
        return features, concatenate(maps)

    def _down(self, i: int, finer: Tensor, like: Tensor) -> Tensor:
        """The refined features of the stage before, at the size of stage i."""
        return F.adaptive_max_pool2d(self.refine[i - 1](finer), like.shape[2:])
