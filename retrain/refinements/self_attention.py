"""self_attention: every other task's gated features are added, with one gate per source that all targets share.

Source: the task distillation of a course report after PAD-Net (Xu et al., CVPR 2018), on DeepLabV3+ decoders.
Cost: 18 C^2 parameters a task.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from multitask.decoders.mti_net import Gated
from retrain.refinements.base import Refinement


class SelfAttention(Refinement):
    """F'_t = F_t + sum over s != t of conv3x3(F_s) * sigmoid(g_s(F_s)); g_s starts at zero, gates half open."""

    def build(self) -> None:
        self.attention = self.per_task("attention", self._half_open)

    def _half_open(self) -> Gated:
        block = Gated(self.channels)
        nn.init.zeros_(block.gate.weight)
        return block

    def refine(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        messages = {task: self.attention[task](features[task]) for task in self.tasks}
        return {
            target: torch.stack([features[target], *(messages[s] for s in self.tasks if s != target)]).sum(0)
            for target in self.tasks
        }
