"""distillation: DeepLabV3+ decoders that predict once before the exchange and, refined, once more.

Source: the task distillation network of a course report, after PAD-Net (Xu et al., CVPR 2018). A source-only task has
its ASPP, first decoder and prediction, but nothing behind the exchange.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from multitask.decoders.base import Decoded, Early, prediction
from multitask.decoders.deeplab import DeeplabBranched
from multitask.decoders.layers import conv_norm


class DistillationDecoder(DeeplabBranched):
    """Features: those of `deeplab_branched`. Early: conv3x3 of them, supervised like the final prediction. Head: two
    3x3 convolutions with BN and ReLU, and the last 3x3 convolution; of a source-only task the last one alone.
    """

    has_source_only = True

    def task_part(self, task: str) -> nn.Module:
        part = super().task_part(task)
        if task not in self.source_only:
            part.add_module("early", prediction(self.channels, self.task_channels[task], 3))
        return part

    def head(self, task: str) -> nn.Module:
        last = super().head(task)
        if task in self.source_only:
            return last
        channels = self.channels
        return nn.Sequential(conv_norm(channels, channels, 3), conv_norm(channels, channels, 3), last)

    def forward(self, maps: Sequence[Tensor]) -> Decoded:  # type: ignore[override]
        features, shared = super().forward(maps)
        if not self.training:
            return Decoded(features, shared)
        targets = [task for task in features if task not in self.source_only]
        predicted = {task: self.parts[task].early(features[task]) for task in targets}  # type: ignore[operator]
        return Decoded(features, shared, [Early(1.0, predicted)])
