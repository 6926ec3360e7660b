"""From held-out evidence to a choice per pair, and how sure it is.

The evidence is a worth per image: how much the loss rises when the source shows another image. If a pair carries
nothing, own and other images are alike to the target, so the worth has mean zero and its t statistic is standard
normal, whatever the loss, the network or its overfitting.

Something or none? t ~ N(delta, 1), where delta is 0 for a share of the pairs and otherwise positive, half normal with
some spread. Share and spread are unknown and common to all pairs: both are averaged over a grid, weighted by how well
they explain all pairs. Which candidate? Their mean worths are normal with the covariance of their means over images,
times the square of `INFLATION`, since another training of the same supernet moves them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from supernet.evidence import Evidence

INFLATION = 1.3  # true over counted standard error of a worth
DRAWS = 4000
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the pairs carrying something
SPREADS = (1.0, 2.0, 4.0, 8.0, 16.0)  # of delta, in standard errors


@dataclass(frozen=True)
class Verdict:
    """choice: a candidate or none; sureness: the probability that it is right; decided: whether that is enough;
    something: the probability that the pair carries anything; good: for each candidate, the probability that it
    brings at least `tolerance` of what the best one brings, given that the pair carries anything; margin: by how much
    the mean worth of the best exceeds the next.
    """

    choice: str
    sureness: float
    decided: bool
    something: float
    good: dict[str, float]
    margin: float
    t: float


def judge(evidence: Sequence[Evidence], confidence: float = 0.9, tolerance: float = 0.5) -> list[Verdict]:
    """A verdict per pair.

    A pair that more likely than not carries nothing gets none. Another gets its best candidate if that is right with
    probability `confidence`; else, undecided, the cheapest candidate that the evidence does not rule out.
    """
    t = torch.stack([t_statistic(one.whole) for one in evidence])
    verdicts = []
    for one, score, something in zip(evidence, t.tolist(), something_probability(t).tolist()):
        good = _good(one.alone, tolerance)
        mean = one.alone.mean(1)
        best = int(mean.argmax())
        others = [float(x) for i, x in enumerate(mean) if i != best]
        if something < 0.5:
            choice, sureness = "none", 1 - something
        else:
            choice, sureness = one.candidates[best], something * float(good[best])
            if sureness < confidence:
                cheapest = next(i for i, p in enumerate(good.tolist()) if p >= min(0.5, float(good.max())))
                choice, sureness = one.candidates[cheapest], something * float(good[cheapest])
        verdicts.append(
            Verdict(
                choice,
                sureness,
                sureness >= confidence,
                something,
                dict(zip(one.candidates, good.tolist())),
                float(mean[best]) - max(others, default=0.0),
                score,
            )
        )
    return verdicts


def t_statistic(worth: Tensor) -> Tensor:
    """Mean over its standard error, along the images."""
    return worth.mean(-1) / (worth.std(-1) / worth.shape[-1] ** 0.5).clamp_min(1e-12)


def something_probability(t: Tensor) -> Tensor:
    """The probability that each pair carries something, from the t statistics of all pairs, (pairs,)."""
    t = t.double()
    share = torch.tensor(SHARES, dtype=t.dtype)[:, None, None]
    variance = torch.tensor(SPREADS, dtype=t.dtype)[None, :, None] ** 2
    # marginal likelihood ratio of delta ~ |N(0, variance)| against delta = 0
    shrunk = variance / (1 + variance)
    log_ratio = (
        torch.log(torch.tensor(2.0)) + torch.special.log_ndtr(t * shrunk.sqrt()) + t**2 * shrunk / 2
    ) - torch.log1p(variance) / 2
    carrying, empty = share.log() + log_ratio, torch.log1p(-share)  # (shares, spreads, pairs)
    either = torch.logaddexp(carrying, empty)
    posterior = either.sum(2, keepdim=True).flatten(0, 1).softmax(0).view(len(SHARES), len(SPREADS), 1)
    return (posterior * (carrying - either).exp()).sum((0, 1))


def _good(alone: Tensor, tolerance: float) -> Tensor:
    """For each candidate, the probability that it brings at least `tolerance` of the best, (candidates,)."""
    count, images = alone.shape
    if count == 1:
        return torch.ones(1)
    mean = alone.mean(1).double()
    covariance = torch.cov(alone.double()) * INFLATION**2 / images
    jitter = 1e-9 * covariance.diagonal().mean().clamp_min(1e-30)
    root = torch.linalg.cholesky(covariance + jitter * torch.eye(count, dtype=torch.double))
    normal = torch.randn(DRAWS, count, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    drawn = mean + normal @ root.T
    best = drawn.max(1, keepdim=True).values
    return (drawn >= torch.where(best > 0, tolerance * best, best)).double().mean(0)
