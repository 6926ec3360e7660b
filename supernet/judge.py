"""From held-out evidence to a choice per pair, and how sure it is.

Something or none? The whole evidence of a pair that tells nothing has mean zero, whatever the loss, the network or its
overfitting. Each group of images is tested against all others, so every two groups meet twice and the variance of the
sum is twice what the groups' spread suggests: z = t / sqrt 2. Then z ~ N(delta, 1), where delta is 0 for some pairs and
otherwise positive, of unknown size: half normal with any of several spreads. The share of pairs that tell something is
unknown too, but common to all: it is averaged over a grid, weighted by how well it explains all pairs.

Which candidate? What each can tell is normal about its mean over groups, with twice the groups' covariance.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.blocks import Pair
from supernet.evidence import Evidence

TWICE = 2.0  # true over counted variance
DRAWS = 4000
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the pairs that tell something
SPREADS = (0.5, 1.0, 2.0, 4.0, 8.0)  # of delta
AS_GOOD = 0.5  # a candidate is right if it saves this part of what the best one saves


@dataclass(frozen=True)
class Verdict:
    """choice: a candidate or none; sureness: the probability that it is right; decided: whether that is enough;
    z: of whether the pair tells anything; something: the probability that it does; good: for each candidate, the
    probability that it is as good as the best, if the pair tells anything; margin: how much more the best tells than
    the next, as a part of what it tells.
    """

    choice: str
    sureness: float
    decided: bool
    z: float
    something: float
    good: dict[str, float]
    margin: float


def judge(
    evidence: Mapping[Pair, Evidence], cost: Mapping[str, float] | None = None, confidence: float = 0.8
) -> dict[Pair, Verdict]:
    """A verdict per pair.

    A pair that tells something with less than the probability `confidence` gets none, which is then the cheapest that
    is not known to be worse. Another gets the candidate that is likeliest to be as good as the best, if that is right
    with the same probability; else, undecided, the cheapest that is about as likely.
    cost: of each candidate; without it they count as alike.
    """
    z = torch.stack([t_statistic(one.whole()) for one in evidence.values()]) / TWICE**0.5
    chances = something_probability(z).tolist()
    return {
        pair: _verdict(one, score, something, cost or {}, confidence)
        for (pair, one), score, something in zip(evidence.items(), z.tolist(), chances, strict=True)
    }


def _verdict(evidence: Evidence, z: float, something: float, cost: Mapping[str, float], confidence: float) -> Verdict:
    alone = evidence.alone()
    good = dict(zip(evidence.candidates, as_good_as_best(alone).tolist()))
    means = sorted(alone.mean(1).clamp_min(0).tolist(), reverse=True)
    margin = (means[0] - means[1]) / means[0] if len(means) > 1 and means[0] > 0 else 1.0
    if something < confidence:
        choice, sureness = "none", 1 - something
    else:
        choice = max(good, key=lambda name: good[name])
        if something * good[choice] < confidence:
            likely = [name for name, chance in good.items() if chance >= good[choice] / 2]
            choice = min(likely, key=lambda name: (cost.get(name, 0.0), -good[name]))
        sureness = something * good[choice]
    return Verdict(choice, sureness, sureness >= confidence, z, something, good, margin)


def t_statistic(values: Tensor) -> Tensor:
    """Mean over its standard error, along the last axis."""
    return values.mean(-1) / (values.std(-1) / values.shape[-1] ** 0.5).clamp_min(1e-30)


def something_probability(z: Tensor) -> Tensor:
    """The probability that each pair tells something, from the z of all pairs, (pairs,)."""
    z = z.double()
    share = torch.tensor(SHARES, dtype=z.dtype)[:, None]
    variance = torch.tensor(SPREADS, dtype=z.dtype)[:, None] ** 2
    shrunk = variance / (1 + variance)
    # likelihood of delta ~ |N(0, variance)| over that of delta = 0, mean over the spreads
    ratio = torch.special.log_ndtr(z * shrunk.sqrt()) + z**2 * shrunk / 2 - torch.log1p(variance) / 2
    telling = share.log() + ratio.logsumexp(0) + math.log(2 / len(SPREADS))  # (shares, pairs)
    either = torch.logaddexp(telling, torch.log1p(-share))
    plausible = either.sum(1, keepdim=True).softmax(0)
    return (plausible * (telling - either).exp()).sum(0).clamp(0, 1)


def as_good_as_best(alone: Tensor) -> Tensor:
    """For each candidate, the probability that it saves `AS_GOOD` of what the best saves: (K, groups) -> (K,)."""
    count, groups = alone.shape
    if count == 1:
        return torch.ones(1)
    covariance = torch.cov(alone.double()) * TWICE / groups
    jitter = 1e-9 * covariance.diagonal().mean().clamp_min(1e-30)
    root = torch.linalg.cholesky(covariance + jitter * torch.eye(count, dtype=torch.double))
    normal = torch.randn(DRAWS, count, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    drawn = alone.double().mean(1) + normal @ root.T
    best = drawn.max(1, keepdim=True).values
    enough = torch.where(best > 0, AS_GOOD**0.5 * best, best)  # savings go with the square
    return (drawn >= enough).double().mean(0)
