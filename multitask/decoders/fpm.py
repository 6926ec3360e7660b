"""fpm: the tasks' features of every scale, from coarse to fine, each joined with the coarser one by a feature
propagation module.

Source: Vandenhende et al., MTI-Net, ECCV 2020, without its distillation, as the neck of ATRC (Bruggemann et al., ICCV
2021). mti_net.py has the whole network.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from multitask.decoders.base import Decoded, Decoder, Early, Refine, prediction
from multitask.decoders.layers import BasicBlock, concatenate, conv_norm
from multitask.resizing import resize

REDUCTION = 16  # of the squeeze-and-excitation


class Propagation(nn.Module):
    """F_t + SE_t(BasicBlock(G * [F]_all)), where the gate G is a softmax over the tasks of each channel.

    faithful: the published code normalises over groups of N neighbouring channels of one task instead.
    """

    def __init__(self, channels: int, tasks: Sequence[str], faithful: bool):
        super().__init__()
        self.channels, self.faithful = channels, faithful
        every = len(tasks) * channels
        narrow = every // 4
        self.gate = nn.Sequential(BasicBlock(every, narrow), BasicBlock(narrow, narrow), nn.Conv2d(narrow, every, 1))
        self.reduce = BasicBlock(every, channels)
        self.excite = nn.ModuleDict({task: _excitation(channels) for task in tasks})

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: (B, C, h, w)} -> the same."""
        joined = torch.cat([features[task] for task in self.excite], 1)
        count = len(self.excite)
        if self.faithful:
            gate = self.gate(joined).unflatten(1, (self.channels, count)).softmax(2)
        else:
            gate = self.gate(joined).unflatten(1, (count, self.channels)).softmax(1)
        common = self.reduce(gate.flatten(1, 2) * joined)
        return {
            task: features[task] + common * excite(common.mean((2, 3)))[..., None, None]
            for task, excite in self.excite.items()
        }


def _excitation(channels: int) -> nn.Sequential:
    narrow = max(channels // REDUCTION, 1)
    return nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid())


class Refinement(nn.Module):
    """One task at one scale: two BasicBlocks, and an early prediction of their output."""

    def __init__(self, channels: int, out_channels: int, predicted: int):
        super().__init__()
        self.blocks = nn.Sequential(BasicBlock(channels, out_channels), BasicBlock(out_channels, out_channels))
        self.predict = prediction(out_channels, predicted)


class FpmDecoder(Decoder):
    """F_t = ReLU BN conv3x3 of the task's maps of all scales, enlarged and concatenated.

    shared: the encoder's maps likewise, S = sum(encoder_channels), for the auxiliary heads. In training, each scale's
    early predictions are supervised like the final ones.
    """

    joint = True
    faithful: ClassVar[bool] = False
    propagation: nn.ModuleList  # between scales i + 1 and i

    def build(self) -> None:
        self.shared_channels = sum(self.encoder_channels)
        tasks = list(self.task_channels)
        self.propagation = nn.ModuleList(
            Propagation(channels, tasks, self.faithful) for channels in self.encoder_channels[1:]
        )

    def task_part(self, task: str) -> nn.Module:
        widths, predicted = self.encoder_channels, self.task_channels[task]
        coarser = (*widths[1:], 0)  # channels that come from the next scale
        scales = [Refinement(own + below, own, predicted) for own, below in zip(widths, coarser, strict=True)]
        return nn.ModuleDict({"scales": nn.ModuleList(scales), "join": self.joining()})

    def joining(self) -> nn.Module:
        """From the task's maps of all scales to its features."""
        return conv_norm(self.shared_channels, self.channels, 3)

    def pyramids(self, maps: Sequence[Tensor]) -> tuple[list[dict[str, Tensor]], list[Early]]:
        """{task: (B, C_i, h_i, w_i)} of each scale, finest first, and the early predictions of a training pass."""
        scales: list[dict[str, Tensor]] = []
        early: list[Early] = []
        coarser: dict[str, Tensor] = {}
        for i in reversed(range(len(maps))):
            refined, predicted = {}, {}
            for task, part in self.parts.items():
                layers = part["scales"][i]  # type: ignore[index]
                below = [resize(coarser[task], maps[i].shape[2:])] if coarser else []
                refined[task] = layers.blocks(torch.cat([maps[i], *below], 1))
                if self.training:
                    predicted[task] = layers.predict(refined[task])
            scales.insert(0, refined)
            early += [Early(1.0, predicted)] if predicted else []
            if i > 0:
                coarser = self.propagation[i - 1](refined)
        return scales, early

    @classmethod
    def scale_channels(cls, encoder_channels: Sequence[int]) -> tuple[int, ...]:
        return tuple(encoder_channels)

    def forward(self, maps: Sequence[Tensor], refine: Refine | None = None) -> Decoded:
        scales, early = self.pyramids(maps)
        shared = concatenate(maps)
        if refine is not None:
            scales = list(refine(dict(enumerate(scales)), shared).values())
        features = {}
        for task, part in self.parts.items():
            features[task] = part["join"](concatenate([scale[task] for scale in scales]))  # type: ignore[index]
        return Decoded(features, shared, early)
