"""From held-out evidence to a choice per pair, and how sure it is.

Something or none? If a candidate tells nothing, the moments of each group of images may as well have the other sign.
So the agreement of the groups is compared with what it would be under random signs: mean zero, variance and skewness in
closed form, whatever the loss, the network or its overfitting. That gives a z per pair and candidate, less what a block
tells the target about itself: N(0, 1) if nothing is told and N(delta, 1) otherwise, delta being half normal with any of
several spreads. How many pairs tell nothing and how many want which block is learned from all pairs of the search.

Which candidate? What each can tell is normal about its mean over groups. Each two groups meet twice there, so that the
covariance is twice the groups' own; and another training would have taught each candidate better or worse.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.blocks import Pair
from supernet.evidence import Evidence

TWICE = 2.0  # true over counted variance
TRAINING = 0.95  # another training moves what a candidate tells by up to this part of its standard error
DRAWS = 4000
WIDER = 1.25  # sd of z where nothing is told, as found on planted problems 22 to 25
SPREADS = (2.0, 4.0, 8.0)  # of delta: smaller ones are as good as none
PRIOR = 2.0  # pairs that tell nothing, and as many that tell something, known beforehand
ROUNDS = 200  # of learning the shares
AS_GOOD = 1.0  # a candidate is right if it saves this part of what the best one saves


@dataclass(frozen=True)
class Verdict:
    """choice: a candidate or none; sureness: the probability that it is right; decided: whether that is enough;
    z: the largest of all candidates; something: the probability that the pair tells anything; log_odds: the same, for
    comparing pairs that surely do; good: for each candidate, the probability that it is as good as the best, if the
    pair tells anything; margin: how much more the best tells than the next, as a part of what it tells.
    """

    choice: str
    sureness: float
    decided: bool
    z: float
    something: float
    log_odds: float
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
    names = list(dict.fromkeys(name for one in evidence.values() for name in one.candidates))
    z = torch.full((len(evidence), len(names)), -torch.inf, dtype=torch.double)
    control = torch.full_like(z, torch.nan)
    for i, one in enumerate(evidence.values()):
        columns = [names.index(name) for name in one.candidates]
        z[i, columns] = sign_z(one.moments.agreement())
        if one.control is not None:
            control[i, columns] = sign_z(one.control.agreement())
    z = beyond_control(z, control)
    odds, shares = telling_odds(z)
    share = dict(zip(names, shares.tolist()))
    return {
        pair: _verdict(one, scores, log_odds, share, cost or {}, confidence)
        for (pair, one), scores, log_odds in zip(evidence.items(), z.amax(1).tolist(), odds.tolist(), strict=True)
    }


def _verdict(
    evidence: Evidence,
    z: float,
    log_odds: float,
    share: Mapping[str, float],
    cost: Mapping[str, float],
    confidence: float,
) -> Verdict:
    gains = evidence.moments.gains()
    shares = torch.tensor([share[name] for name in evidence.candidates])
    good = dict(zip(evidence.candidates, as_good_as_best(gains, shares).tolist()))
    means = sorted(gains.mean(1).clamp_min(0).tolist(), reverse=True)
    margin = (means[0] - means[1]) / means[0] if len(means) > 1 and means[0] > 0 else 1.0
    something = 1 / (1 + math.exp(-log_odds))
    if something < confidence:
        choice, sureness = "none", 1 - something
    else:
        choice = max(good, key=lambda name: good[name])
        if something * good[choice] < confidence:
            likely = [name for name, chance in good.items() if chance >= good[choice] / 2]
            choice = min(likely, key=lambda name: (cost.get(name, 0.0), -good[name]))
        sureness = something * good[choice]
    return Verdict(choice, sureness, sureness >= confidence, z, something, log_odds, good, margin)


def sign_z(agreement: Tensor) -> Tensor:
    """A normal score for the sum of each candidate's agreement (K, groups, groups) -> (K,).

    Under random signs of the groups the sum has the cumulants below; the quantile is that of a gamma distribution
    with the same three (Wilson and Hilferty).
    """
    spread = (2 * agreement.square().sum((1, 2))).clamp_min(1e-60).sqrt()
    skew = 8 * torch.einsum("kfg,kgh,khf->k", agreement, agreement, agreement) / spread**3
    skew = skew.clamp_min(1e-3)
    root = (1 + agreement.sum((1, 2)) / spread * skew / 2).clamp_min(1e-6) ** (1 / 3)
    return (root - 1 + skew**2 / 36) * 6 / skew


def beyond_control(z: Tensor, control: Tensor) -> Tensor:
    """The z that a pair's own images give beyond what images of others give, both (pairs, K), nan where there is no
    control: N(0, 1) again if the source tells nothing.

    Without the source's image a block's z is N(m + b, 1) with a b of the pair's own. m and the variance of b are those
    found in the controls of all pairs; a pair's own control says something about its b.
    """
    beyond = z.clone()
    for k in range(z.shape[1]):
        known = ~control[:, k].isnan()
        if known.sum() < 3:
            continue
        found = control[known, k]
        mean, variance = found.mean(), (found.var() - 1).clamp_min(0)
        trust = variance / (1 + variance)
        expected = mean + trust * (found - mean)
        beyond[known, k] = (z[known, k] - expected) / (1 + trust).sqrt()
    return beyond


def telling_odds(z: Tensor) -> tuple[Tensor, Tensor]:
    """From the z of all pairs and candidates (pairs, K), minus infinity where a block is no candidate: the log odds of
    each pair telling something, (pairs,), and the share of each block among those that do, (K,).
    """
    z = z.double()
    variance = torch.tensor(SPREADS, dtype=z.dtype).view(-1, 1, 1) ** 2
    shrunk = variance / (1 + variance)
    finite = (z / WIDER).clamp_min(-30)
    # likelihood of delta ~ |N(0, variance)| over that of delta = 0, mean over the spreads
    ratio = torch.special.log_ndtr(finite * shrunk.sqrt()) + finite**2 * shrunk / 2 - torch.log1p(variance) / 2
    ratio = ratio.logsumexp(0) + math.log(2 / len(SPREADS))
    ratio = ratio.masked_fill(z.isinf(), -torch.inf)
    ratio = torch.cat([torch.zeros_like(ratio[:, :1]), ratio], 1)  # none first
    count = z.shape[1]
    before = torch.tensor([PRIOR] + [PRIOR / count] * count, dtype=z.dtype)
    shares = before / before.sum()
    for _ in range(ROUNDS):
        belongs = (ratio + shares.log()).softmax(1)
        shares = (belongs.sum(0) + before) / (len(z) + before.sum())
    telling = ratio + shares.log()
    return telling[:, 1:].logsumexp(1) - telling[:, 0], shares[1:] / shares[1:].sum()


def as_good_as_best(gains: Tensor, shares: Tensor) -> Tensor:
    """For each candidate, the probability that it saves `AS_GOOD` of what the best saves, (K,).

    gains: (K, groups); shares: (K,), how often each is the best elsewhere.
    """
    count, groups = gains.shape
    if count == 1:
        return torch.ones(1)
    covariance = torch.cov(gains.double()) * TWICE / groups
    covariance = covariance + TRAINING**2 * torch.diag(covariance.diagonal())
    jitter = 1e-9 * covariance.diagonal().mean().clamp_min(1e-30)
    root = torch.linalg.cholesky(covariance + jitter * torch.eye(count, dtype=torch.double))
    normal = torch.randn(DRAWS, count, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    drawn = gains.double().mean(1) + normal @ root.T
    best, which = drawn.max(1, keepdim=True)
    enough = torch.where(best > 0, AS_GOOD**0.5 * best, best)  # savings go with the square
    weight = shares.double()[which]
    return ((drawn >= enough) * weight).sum(0) / weight.sum()
