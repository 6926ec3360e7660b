"""The readouts' weights before the first step: what an untrained block's messages already say is read in closed form.

One step of K-FAC (Martens and Grosse, ICML 2015) from zero: the readout W of messages m, with the target's negative
loss gradient g with respect to its refined features, becomes

    E[g g']^-1  E[g m']  E[m m']^-1

as a direction, whose length is found by a line search on other images. So training begins where a linear readout of the
untrained block would end, and goes on from there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from multitask.processes import summed
from search_spaces.blocks.layers import PairConv, pick, row_index, send

RIDGE = 0.01  # of a message's variance
NEGLIGIBLE = 1e-5  # of the mean square over messages: less is the rounding of a constant, magnified by a norm
DAMPING = 0.1  # of the gradient's mean variance over channels
SCALES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # what is added, as a share of the refined features


@dataclass(frozen=True)
class Look:
    """A batch of images as the probes see it.

    messages: (B, probes, d, h, w); refined: {target: (B, C, h, w)}.
    losses: of a target's refined features (K, B, C, h, w), for each of them and each image, (K, B).
    """

    messages: Tensor
    refined: Mapping[str, Tensor]
    losses: Callable[[str, Tensor], Tensor]


def start_readouts(
    readout: PairConv, rows: Mapping[str, list[int]], fitted: Iterable[Look], scaled: Iterable[Look]
) -> None:
    """Sets the weights of a 1x1 readout (P, C, d). rows: {target: its probes}.

    fitted, scaled: the batches that directions and scales are taken from.
    """
    moments: dict[str, _Moments] = {}
    for look in fitted:
        for target, probes in rows.items():
            refined, gradient = look.refined[target], _negative_gradient(look, target)
            moments.setdefault(target, _Moments()).add(_of(look, probes), refined, gradient)
    weights, biases = torch.zeros_like(readout.weight[..., 0, 0]), torch.zeros_like(readout.bias)  # type: ignore[arg-type]
    for target, probes in rows.items():
        found = moments[target].solve()
        index = row_index(tuple(probes), weights.device)
        weights.index_copy_(0, index, found[..., :-1].to(weights))
        biases.index_copy_(0, index, found[..., -1].to(biases))
    sums: dict[str, Tensor] = {}
    for look in scaled:
        for target, probes in rows.items():
            losses = _losses(look, target, pick(weights, probes), pick(biases, probes), probes)
            sums[target] = sums[target] + losses if target in sums else losses
    scales = send(torch.tensor(SCALES, dtype=weights.dtype), weights.device)
    best = torch.ones_like(weights[:, :1, :1])
    for target, probes in rows.items():
        (losses,) = summed(sums[target])
        found = scales[losses.argmin(0)][:, None, None]
        best.index_copy_(0, row_index(tuple(probes), best.device), found)
    weights, biases = weights * best, biases * best[..., 0]
    with torch.no_grad():
        readout.weight.copy_(weights[..., None, None])
        readout.bias.copy_(biases)  # type: ignore[union-attr]


class _Moments:
    """Sums over pixels, in the end of all processes' images, of messages with a constant 1 at their end."""

    def __init__(self) -> None:
        self.messages: Tensor | float = 0.0  # (n, d + 1, d + 1)
        self.crossed: Tensor | float = 0.0  # (n, C, d + 1)
        self.gradients: Tensor | float = 0.0  # (C, C)
        self.refined: Tensor | float = 0.0  # squares
        self.pixels = 0

    def add(self, messages: Tensor, refined: Tensor, gradient: Tensor) -> None:
        """(B, n, d, h, w), (B, C, h, w) and (B, C, h, w)"""
        m = messages.flatten(3).transpose(0, 1).transpose(2, 3).flatten(1, 2).double()  # (n, pixels, d)
        m = torch.cat([m, torch.ones_like(m[..., :1])], 2)
        g = gradient.flatten(2).transpose(1, 2).flatten(0, 1).double()  # (pixels, C)
        self.messages = self.messages + m.mT @ m
        self.crossed = self.crossed + g.T @ m
        self.gradients = self.gradients + g.T @ g
        self.refined = self.refined + refined.double().square().sum()
        self.pixels += len(g)

    def solve(self) -> Tensor:
        """Weights by which a probe adds maps as large as the refined features, (n, C, d + 1)."""
        assert isinstance(self.messages, Tensor) and isinstance(self.crossed, Tensor)
        assert isinstance(self.gradients, Tensor)
        assert isinstance(self.refined, Tensor)
        pixels = torch.full_like(self.refined, self.pixels)
        messages, crossed, gradients, refined, pixels = summed(
            self.messages, self.crossed, self.gradients, self.refined, pixels
        )
        a, s = messages / pixels, gradients / pixels
        s = s + (DAMPING * s.diagonal().mean() + 1e-30) * torch.eye(len(s), dtype=s.dtype, device=s.device)
        ridged = a + torch.diag_embed(RIDGE * a.diagonal(dim1=-2, dim2=-1) + 1e-12)
        size = a.diagonal(dim1=-2, dim2=-1)[:, :-1]  # (n, d)
        kept = F.pad(size >= NEGLIGIBLE * size.mean(), (0, 1), value=True)  # and the constant
        weights = torch.linalg.solve(s, torch.linalg.solve(ridged, crossed.mT / pixels).mT) * kept[:, None]
        added = torch.einsum("ncd,nde,nce->n", weights, a, weights)  # the mean square over pixels
        return weights * (refined / pixels / added.clamp_min(1e-30)).sqrt()[:, None, None]


def _negative_gradient(look: Look, target: str) -> Tensor:
    """Of each image's loss, as a mean over its pixels would have it: (B, C, h, w)."""
    maps = look.refined[target].detach().requires_grad_()
    with torch.enable_grad():
        loss = look.losses(target, maps[None]).sum()
    return -torch.autograd.grad(loss, maps)[0] * maps.shape[2] * maps.shape[3]


def _of(look: Look, probes: list[int]) -> Tensor:
    """The messages of some probes, (B, n, d, h, w)."""
    return look.messages.index_select(1, row_index(tuple(probes), look.messages.device))


@torch.no_grad()
def _losses(look: Look, target: str, weights: Tensor, biases: Tensor, probes: list[int]) -> Tensor:
    """Summed over the images, at each scale: (scales, probes)."""
    messages = _of(look, probes).transpose(0, 1)  # (n, B, d, h, w)
    added = (weights[:, None] @ messages.flatten(3) + biases[:, None, :, None]).unflatten(3, messages.shape[3:])
    refined = look.refined[target]
    return torch.stack([look.losses(target, refined + scale * added).sum(1) for scale in SCALES])
