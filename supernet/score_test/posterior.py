"""From held-out evidence to a choice per pair and its posterior probability.

Is there an effect? If a candidate predicts nothing, the moments of each group of images are as likely with the other
sign. So the agreement of the groups is compared with its distribution under random signs: mean zero, variance and
skewness in closed form, whatever the loss, the network or its overfitting. That gives a z per pair and candidate:
N(0, 1) without an effect and N(delta, 1) with one, delta being half normal with any of several spreads (a two-groups
model). The shares of pairs without an effect, and with each block, are estimated from all pairs of the search.

Which candidate? The gain of each is normal about its mean over groups. Each two groups meet twice there, so that the
covariance is twice the groups' own. The variance between trainings is estimated from the two supernets.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.blocks import Pair
from supernet.score_test.evidence import Evidence

TWICE = 2.0  # true over counted variance
TRAINING = 0.95  # with one supernet: standard deviation between trainings over the standard error of a gain
DRAWS = 4000
WIDER = 1.25  # sd of z without an effect, measured on planted problems 22 to 25
SPREADS = (2.0, 4.0, 8.0)  # of delta with as many images as below: smaller effects do not matter
IMAGES = 1024  # the spreads are proportional to the number of images
PRIOR = 2.0  # pseudo-count of pairs without an effect, and as many with one
ROUNDS = 200  # of expectation maximisation


@dataclass(frozen=True)
class PairPosterior:
    """choice: a candidate or none; p_correct: its posterior probability; decided: whether that reaches the confidence;
    z: the largest of all candidates; p_exchange: the probability that the pair has an effect; log_odds: the same, for
    comparing pairs near 1; p_best: for each candidate, the probability that it is the best, given an effect; margin:
    the difference of the two largest gains, over the largest.
    """

    choice: str
    p_correct: float
    decided: bool
    z: float
    p_exchange: float
    log_odds: float
    p_best: dict[str, float]
    margin: float


def infer_posterior(
    evidence: Mapping[Pair, Evidence], cost: Mapping[str, float] | None = None, confidence: float = 0.8
) -> dict[Pair, PairPosterior]:
    """A posterior per pair.

    A pair whose p_exchange is below `confidence` gets none. Another gets the candidate that is likeliest to be the best
    if p_exchange times p_best reaches `confidence`; else it is undecided and gets the cheapest candidate of at least
    half the largest p_best.
    cost: of each candidate; by default all are equal.
    """
    names = list(dict.fromkeys(name for one in evidence.values() for name in one.candidates))
    z = torch.full((len(evidence), len(names)), -torch.inf, dtype=torch.double)
    for i, one in enumerate(evidence.values()):
        z[i, [names.index(name) for name in one.candidates]] = sign_flip_z(one.agreement())
    images = max(sum(part.images for part in one.parts) for one in evidence.values())
    odds = posterior_log_odds(z, images)
    gains = {pair: one.gains() for pair, one in evidence.items()}
    training = training_variance(list(gains.values()))
    best = torch.zeros_like(z)
    for i, (pair, one) in enumerate(evidence.items()):
        best[i, [names.index(name) for name in one.candidates]] = probabilities_of_being_best(gains[pair], training)
    best = empirical_bayes_update(best, odds.sigmoid())
    posteriors = {}
    for i, (pair, one) in enumerate(evidence.items()):
        chances = {name: float(best[i, names.index(name)]) for name in one.candidates}
        margin = _margin(average(gains[pair])[0])
        posteriors[pair] = _posterior(chances, margin, float(z[i].max()), float(odds[i]), cost or {}, confidence)
    return posteriors


def _margin(gains: Tensor) -> float:
    means = sorted(gains.clamp_min(0).tolist(), reverse=True)
    return (means[0] - means[1]) / means[0] if len(means) > 1 and means[0] > 0 else 1.0


def _posterior(
    p_best: dict[str, float], margin: float, z: float, log_odds: float, cost: Mapping[str, float], confidence: float
) -> PairPosterior:
    p_exchange = 1 / (1 + math.exp(-log_odds))
    if p_exchange < confidence:
        choice, p_correct = "none", 1 - p_exchange
    else:
        choice = max(p_best, key=lambda name: p_best[name])
        if p_exchange * p_best[choice] < confidence:
            likely = [name for name, chance in p_best.items() if chance >= p_best[choice] / 2]
            choice = min(likely, key=lambda name: (cost.get(name, 0.0), -p_best[name]))
        p_correct = p_exchange * p_best[choice]
    return PairPosterior(choice, p_correct, p_correct >= confidence, z, p_exchange, log_odds, p_best, margin)


def sign_flip_z(agreement: Tensor) -> Tensor:
    """A normal score for the sum of each candidate's agreement (K, groups, groups) -> (K,).

    Under random signs of the groups the sum has the cumulants below; the quantile is that of a gamma distribution
    with the same three (Wilson and Hilferty).
    """
    spread = (2 * agreement.square().sum((1, 2))).clamp_min(1e-60).sqrt()
    skew = 8 * torch.einsum("kfg,kgh,khf->k", agreement, agreement, agreement) / spread**3
    skew = skew.clamp_min(1e-3)
    root = (1 + agreement.sum((1, 2)) / spread * skew / 2).clamp_min(1e-6) ** (1 / 3)
    return (root - 1 + skew**2 / 36) * 6 / skew


def posterior_log_odds(z: Tensor, images: int = IMAGES) -> Tensor:
    """From the z of all pairs and candidates (pairs, K), minus infinity where a block is no candidate: the log odds of
    an effect, (pairs,).

    images: the number of held-out images, to which the spreads of delta are proportional.
    """
    z = z.double()
    variance = (torch.tensor(SPREADS, dtype=z.dtype) * images / IMAGES).view(-1, 1, 1) ** 2
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
    log_joint = ratio + shares.log()
    return log_joint[:, 1:].logsumexp(1) - log_joint[:, 0]


def average(gains: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The candidates' mean gains over supernets, each (K, groups) -> (K,), and their covariance, (K, K)."""
    means = torch.stack([one.double().mean(1) for one in gains])
    return means.mean(0), torch.stack([_covariance(one.double()) for one in gains]).sum(0) / len(gains) ** 2


def _covariance(gains: Tensor) -> Tensor:
    """Of the mean over groups."""
    count, groups = gains.shape
    if groups == 1:  # no spread to estimate it from: as large as the gain itself
        return torch.diag(gains[:, 0].square())
    return torch.cov(gains).reshape(count, count) * TWICE / groups


def training_variance(gains: Sequence[Sequence[Tensor]]) -> float:
    """The variance of a candidate's gain between trainings, over its squared standard error.

    gains: for each pair, those of each supernet, (K, groups). With two or more supernets: the excess of their
    differences over what their groups explain. What all candidates of a pair have in common does not count.
    """
    beyond, expected = 0.0, 0.0
    for by_supernet in gains:
        count = len(by_supernet[0])
        if len(by_supernet) < 2 or count < 2:
            continue
        centre = torch.eye(count, dtype=torch.double) - 1 / count
        means = torch.stack([one.double().mean(1) for one in by_supernet]) @ centre
        own = [centre @ average([one])[1] @ centre for one in by_supernet]
        size = torch.stack([one.trace() for one in own]).mean()  # pairs count alike, whatever their units
        beyond += float((means - means.mean(0)).square().sum() / (len(by_supernet) - 1) / size)
        expected += 1.0
    return max(0.0, beyond / expected - 1) if expected else TRAINING**2


def probabilities_of_being_best(gains: Sequence[Tensor], training: float) -> Tensor:
    """Of each candidate of a pair, (K,), under equal prior probabilities.

    gains: by each supernet, (K, groups); training: the variance between trainings over the candidates' own.
    """
    mean, covariance = average(gains)
    covariance = covariance + training * torch.diag(covariance.diagonal())
    jitter = 1e-9 * covariance.diagonal().mean().clamp_min(1e-30)
    root = torch.linalg.cholesky(covariance + jitter * torch.eye(len(mean), dtype=torch.double))
    normal = torch.randn(DRAWS, len(mean), generator=torch.Generator().manual_seed(0), dtype=torch.double)
    which = (mean + normal @ root.T).argmax(1)
    return torch.bincount(which, minlength=len(mean)).double() / DRAWS


def empirical_bayes_update(best: Tensor, weight: Tensor) -> Tensor:
    """The same probabilities with the share of pairs on which each block is best, estimated from all pairs, as prior.

    best: (pairs, K), zero where a block is no candidate; weight: (pairs,), the probability that a pair has an effect.
    """
    shares = torch.full((best.shape[1],), 1 / best.shape[1], dtype=best.dtype)
    for _ in range(ROUNDS):
        chances = best * shares
        chances = chances / chances.sum(1, keepdim=True)
        count = (chances * weight[:, None]).sum(0) + PRIOR / len(shares)
        shares = count / count.sum()
    return chances
