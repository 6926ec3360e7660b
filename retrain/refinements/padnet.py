"""padnet_a, padnet_b, padnet_c: PAD-Net's three distillation modules, each closed by a 1x1 convolution.

Source: Xu et al., PAD-Net, CVPR 2018, as their costs in Table 1 of Bruggemann et al., ATRC, ICCV 2021 determine them.
The blocks padnet_linear, padnet_conv and padnet_gate are the messages alone.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from multitask.decoders.layers import conv_norm
from multitask.decoders.mti_net import Gated
from retrain.refinements.base import Refinement
from retrain.refinements.cross_stitch import Mixed


class PadnetA(Mixed):
    """O_t = ReLU BN sum_s W_ts F_s, the target itself included."""


class Summed(Refinement):
    """O_t = w_t(F_t + sum over s != t of m_ts(F_s)), w_t = ReLU BN conv1x1."""

    def build(self) -> None:
        self.messages = self.per_pair("message", lambda target, source: self.message(), with_self=False)
        self.close = self.per_task("close", lambda: conv_norm(self.channels, self.channels))

    def message(self) -> nn.Module:
        raise NotImplementedError(f"{type(self).__name__} defines no message")

    def refine(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        refined = {}
        for target, row in self.messages.items():
            terms = [features[target], *(message(features[source]) for source, message in row.items())]
            refined[target] = self.close[target](torch.stack(terms).sum(0))
        return refined


class PadnetB(Summed):
    """m = ReLU BN conv3x3. N (N - 1) (9 C^2 + 2 C) + N (C^2 + 2 C) parameters."""

    def message(self) -> nn.Module:
        return conv_norm(self.channels, self.channels, 3)


class PadnetC(Summed):
    """m = conv3x3 * sigmoid conv3x3. 18 N (N - 1) C^2 + N (C^2 + 2 C) parameters."""

    def message(self) -> nn.Module:
        return Gated(self.channels)
