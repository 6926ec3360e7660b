"""Adaptive shrinkage: the posterior of many effects, each measured with an error.

The effects' distribution is a mixture of a point mass at zero and of half-normals on either side of it, whose weights
are estimated from all effects together (Stephens, False discovery rates: a new deal, Biostatistics 2017). Many
candidates without an effect so make each single one less likely to have one: the local false discovery rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RATIO = math.sqrt(2)  # of neighbouring scales
PRIOR = 2.0  # pseudo-count of effects that are zero, and as many of others
ROUNDS = 500  # of expectation maximisation


@dataclass(frozen=True)
class Posterior:
    """Of n effects: a mixture of zero and of normals truncated at zero.

    weights: (n, 1 + 2 m), of zero, of m positive and of m negative components; mean, spread: (n, m), of the normals
    before truncation; draws are made by `sample`.
    """

    weights: Tensor
    mean: Tensor
    spread: Tensor

    def above(self, worth: float) -> Tensor:
        """The probability that each effect is above `worth`, which is not negative, (n,)."""
        beyond = torch.special.log_ndtr((self.mean - worth) / self.spread)
        inside = torch.special.log_ndtr(self.mean / self.spread)
        return (self.weights[:, 1 : 1 + self.mean.shape[1]] * (beyond - inside).exp()).sum(1).clamp(0, 1)

    def expectation(self) -> Tensor:
        """(n,)"""
        m = self.mean.shape[1]
        positive = self.mean + self.spread * _inverse_mills(self.mean / self.spread)
        negative = self.mean - self.spread * _inverse_mills(-self.mean / self.spread)
        return (self.weights[:, 1 : 1 + m] * positive + self.weights[:, 1 + m :] * negative).sum(1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, n)"""
        n, m = self.mean.shape
        which = torch.multinomial(self.weights, count, replacement=True, generator=generator).T  # (count, n)
        component = (which - 1).clamp_min(0) % m
        rows = torch.arange(n)
        mean, spread = self.mean[rows, component], self.spread[rows, component]
        sign = torch.where(which > m, -1.0, 1.0).double()
        uniform = torch.rand(count, n, generator=generator, dtype=torch.double).clamp_min(1e-12)
        # a normal truncated at zero, by its quantiles: from the upper tail, where the numbers keep their digits
        tail = uniform * torch.special.ndtr(sign * mean / spread)
        value = (mean * sign - spread * torch.special.ndtri(tail.clamp(1e-300, 1 - 1e-12))).clamp_min(0) * sign
        return torch.where(which == 0, 0.0, value)


def shrink_effects(values: Sequence[float], errors: Sequence[float]) -> Posterior:
    """The posterior of effects measured as `values` with standard errors `errors`."""
    e = torch.tensor(values, dtype=torch.double)[:, None]
    s = torch.tensor(errors, dtype=torch.double).clamp_min(1e-9)[:, None]
    largest = max(2 * float((e**2 - s**2).max().clamp_min(0)) ** 0.5, 2 * float(s.min()))
    smallest = float(s.min()) / 10
    steps = max(1, math.ceil(math.log(largest / smallest, RATIO)))
    scale = (smallest * RATIO ** torch.arange(steps + 1, dtype=torch.double))[None]
    total = (s**2 + scale**2).sqrt()
    mean, spread = e * scale**2 / total**2, s * scale / total
    wide = _log_normal(e / total) - total.log() + math.log(2)
    ratio = e * scale / (s * total)
    zero = _log_normal(e / s) - s.log()
    likelihood = torch.cat([zero, wide + torch.special.log_ndtr(ratio), wide + torch.special.log_ndtr(-ratio)], 1)
    count = likelihood.shape[1]
    before = torch.full((count,), PRIOR / (count - 1), dtype=torch.double)
    before[0] = PRIOR
    shares = before / before.sum()
    for _ in range(ROUNDS):
        weights = (likelihood + shares.log()).softmax(1)
        shares = (weights.sum(0) + before) / (len(e) + 2 * PRIOR)
    return Posterior((likelihood + shares.log()).softmax(1), mean, spread)


def _log_normal(x: Tensor) -> Tensor:
    return -x.square() / 2 - math.log(2 * math.pi) / 2


def _inverse_mills(x: Tensor) -> Tensor:
    """phi(x) / Phi(x)"""
    return (_log_normal(x) - torch.special.log_ndtr(x)).exp()
