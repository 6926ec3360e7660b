"""pap and psd: similarities between pixels, found by every task and averaged, spread each task's features.

Source of pap: Zhang et al., Pattern-Affinitive Propagation, CVPR 2019, without public code. Here pixels are compared
after a ReLU by cosine, at half the features' size, and rows are normalised. psd (Zhou et al., Pattern-Structure
Diffusion, CVPR 2020) is an APPROXIMATION: neither code nor a full description was found. It is pap over 9x9
neighbourhoods at full size; its convolutions are sized to the cost in Table 1 of Bruggemann et al., ATRC, ICCV 2021.
Cost of pap: (N + K N) L'^2 d for the similarities and K steps, L' pixels; of psd: 81 (N d + K N C) L.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multitask.decoders.layers import conv_norm
from multitask.resizing import resize
from retrain.refinements.base import Refinement

SPREAD = 0.05  # share of the neighbours' features in each step
STEPS = 3
LOCAL_STEPS, WINDOW = 2, 9


class Mixture(nn.Module):
    """A target's weights over the tasks' similarities, a softmax that starts even."""

    def __init__(self, tasks: tuple[str, ...]):
        super().__init__()
        self.logits = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})

    def forward(self, similarities: Mapping[str, Tensor]) -> Tensor:
        weights = torch.stack(list(self.logits.values())).softmax(0)
        return sum((w * similarities[task] for w, task in zip(weights, self.logits)), weights.new_zeros(()))


class Pap(Refinement):
    """F'_t = F_t + ReLU BN conv1x1(h), h <- b S_t h + (1 - b) Y_t in 3 steps from h = Y_t.

    Y_t = conv1x1 F_t, from C to C/2 channels.

    S_t = sum_s softmax(w_t)_s S_s; S_s has the cosines of relu(conv1x1 F_s), each row divided by its sum.
    """

    def build(self) -> None:
        narrow = self.channels // 2
        self.compare = self._convolutions("compare", narrow)
        self.value = self._convolutions("value", narrow)
        self.mixture = self.per_task("mixture", lambda: Mixture(self.tasks))
        self.out = self.per_task("out", lambda: conv_norm(narrow, self.channels))

    def _convolutions(self, name: str, narrow: int) -> Any:
        return self.per_task(name, lambda: nn.Conv2d(self.channels, narrow, 1, bias=False))

    def refine(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        reduced = {task: F.avg_pool2d(features[task], 2, ceil_mode=True) for task in self.tasks}
        similar = {task: _similarity(self.compare[task](reduced[task])) for task in self.tasks}
        refined = {}
        for task in self.tasks:
            own = self.value[task](reduced[task])
            spread = _spread(own.flatten(2), self.mixture[task](similar)).unflatten(2, own.shape[2:])
            refined[task] = features[task] + resize(self.out[task](spread), features[task].shape[2:])
        return refined


def _similarity(maps: Tensor) -> Tensor:
    """(B, d, h, w) -> (B, L, L), rows that sum to one (to zero for a pixel without any positive value)."""
    unit = F.normalize(F.relu(maps.flatten(2)), dim=1)
    cosines = unit.mT @ unit
    return cosines / cosines.sum(2, keepdim=True).clamp_min(1e-12)


def _spread(own: Tensor, similarity: Tensor) -> Tensor:
    """(B, d, L), (B, L, L) -> (B, d, L)."""
    state = own
    for _ in range(STEPS):
        state = SPREAD * (state @ similarity.mT) + (1 - SPREAD) * own
    return state


class Psd(Refinement):
    """F'_t = ReLU BN conv3x3(h), h spread from Y_t = ReLU BN conv1x1 F_t in 2 steps over 9x9 neighbourhoods, as in pap.

    Positions outside the image have no similarity.
    """

    def build(self) -> None:
        self.compare = self.per_task("compare", lambda: conv_norm(self.channels, self.channels // 2))
        self.value = self.per_task("value", lambda: conv_norm(self.channels, self.channels))
        self.mixture = self.per_task("mixture", lambda: Mixture(self.tasks))
        self.out = self.per_task("out", lambda: conv_norm(self.channels, self.channels, 3))

    def refine(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        similar = {task: _local_similarity(self.compare[task](features[task])) for task in self.tasks}
        refined = {}
        for task in self.tasks:
            own = state = self.value[task](features[task])
            mixed = self.mixture[task](similar)
            for _ in range(LOCAL_STEPS):
                state = SPREAD * _gather(state, mixed) + (1 - SPREAD) * own
            refined[task] = self.out[task](state)
        return refined


def _neighbours(maps: Tensor) -> Tensor:
    """(B, d, h, w) -> (B, L, d, 81), zeros outside."""
    patches = F.unfold(maps, WINDOW, padding=WINDOW // 2)
    return patches.unflatten(1, (maps.shape[1], -1)).permute(0, 3, 1, 2)


def _local_similarity(maps: Tensor) -> Tensor:
    """(B, d, h, w) -> (B, L, 1, 81)."""
    unit = F.normalize(maps, dim=1)
    cosines = unit.flatten(2).mT[:, :, None] @ _neighbours(unit)
    return cosines / cosines.sum(3, keepdim=True).clamp_min(1e-12)


def _gather(maps: Tensor, similarity: Tensor) -> Tensor:
    """(B, C, h, w), (B, L, 1, 81) -> (B, C, h, w)."""
    return (_neighbours(maps) @ similarity.mT)[..., 0].mT.unflatten(2, maps.shape[2:])
