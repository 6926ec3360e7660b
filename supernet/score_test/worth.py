"""From measured effects to a choice per pair: is an exchange worth it, which, and how sure is that?"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from search_spaces import SearchSpace
from search_spaces.blocks import Pair
from supernet.cost.budget import Budget
from supernet.records.choices import Choice
from supernet.records.effects import MeasuredEffect
from supernet.score_test.effects import Candidate, Effect
from supernet.score_test.shrinkage import shrink_effects

DRAWS = 4000  # of the posterior, for intervals and probabilities
# what retraining makes of an effect beside a frozen network, measured on two problems (docs/log/score.md): the median
# of the ratio, and the standard deviations of its logarithm between pairs and between the blocks of a pair
RETRAINED = 1.8
OF_PAIRS, OF_BLOCKS = 0.3, 0.12


class Posterior:
    """The posterior of all effects of a search, once the network is retrained with the exchange.

    A true effect of a probe, times what retraining makes of it: log-normal, and much alike for the blocks of a pair.

    effects: {(pair, block): measured effect and its posterior}; draws: (DRAWS, candidates).
    """

    def __init__(self, measured: Mapping[Candidate, Effect], worth: float, seed: int = 0):
        self.worth, self.candidates = worth, list(measured)
        posterior = shrink_effects([e.value for e in measured.values()], [e.error for e in measured.values()])
        generator = torch.Generator().manual_seed(seed)
        draws = self._correlated(posterior.sample(DRAWS, generator), list(measured.values()), generator)
        self.draws = draws * self._retrained(generator)
        low, high = torch.quantile(self.draws, torch.tensor([0.025, 0.975], dtype=torch.double), dim=0)
        mean_factor = RETRAINED * math.exp((OF_PAIRS**2 + OF_BLOCKS**2) / 2)
        means, above = posterior.expectation() * mean_factor, (self.draws > worth).double().mean(0)
        self.effects = {
            key: MeasuredEffect(e.value, e.error, *(float(v[i]) for v in (means, low, high, above)))
            for i, (key, e) in enumerate(measured.items())
        }

    @property
    def _columns(self) -> dict[Pair, list[int]]:
        """Of each pair's candidates."""
        found: dict[Pair, list[int]] = {}
        for i, (pair, _) in enumerate(self.candidates):
            found.setdefault(pair, []).append(i)
        return found

    def _correlated(self, draws: Tensor, measured: Sequence[Effect], generator: torch.Generator) -> Tensor:
        """The draws of each candidate in another order, so that those of a pair's blocks go with each other as their
        errors do (Iman and Conover, Communications in Statistics 1982).
        """
        draws = draws.clone()
        for columns in self._columns.values():
            own = [measured[i] for i in columns]
            correlation = torch.tensor(
                [[1.0 if a is b else a.covariance(b) / max(a.error * b.error, 1e-18) for b in own] for a in own],
                dtype=torch.double,
            )
            root = torch.linalg.cholesky(correlation + 1e-9 * torch.eye(len(own), dtype=torch.double))
            normal = torch.randn(DRAWS, len(own), generator=generator, dtype=torch.double) @ root.T
            draws[:, columns] = draws[:, columns].sort(0).values.gather(0, normal.argsort(0).argsort(0))
        return draws

    def _retrained(self, generator: torch.Generator) -> Tensor:
        """Ratios of the effects after retraining to those of the probes, (DRAWS, candidates)."""
        logarithm = OF_BLOCKS * torch.randn(DRAWS, len(self.candidates), generator=generator, dtype=torch.double)
        for columns in self._columns.values():
            logarithm[:, columns] += OF_PAIRS * torch.randn(DRAWS, 1, generator=generator, dtype=torch.double)
        return RETRAINED * logarithm.exp()

    def draws_of(self, candidates: Sequence[Candidate]) -> Tensor:
        """(DRAWS, candidates)"""
        return self.draws[:, [self.candidates.index(candidate) for candidate in candidates]]

    def worse(self, candidates: Sequence[Candidate], other: Candidate) -> Tensor:
        """The probability that each candidate's effect is below another's by more than `worth`."""
        return (self.draws_of([other]) - self.draws_of(candidates) > self.worth).double().mean(0)

    def of_pair(self, pair: Pair) -> dict[str, MeasuredEffect]:
        """{block: effect}"""
        return {block: effect for (p, block), effect in self.effects.items() if p == pair}

    def probabilities(self, pair: Pair, blocks: tuple[str, ...]) -> list[float]:
        """That each block is the best on a pair and worth it; of `none`, that no block is worth it."""
        columns = [i for i, (p, _) in enumerate(self.candidates) if p == pair]
        names = [self.candidates[i][1] for i in columns]
        if not columns:
            return [float(name == "none") for name in blocks]
        drawn = torch.cat([torch.full((DRAWS, 1), self.worth, dtype=torch.double), self.draws[:, columns]], 1)
        shares: Tensor = torch.bincount(drawn.argmax(1), minlength=len(columns) + 1).double() / DRAWS
        by_name = dict(zip(("none", *names), shares.tolist(), strict=True))
        return [by_name.get(name, 0.0) for name in blocks]


def choose(
    posterior: Posterior, space: SearchSpace, confidence: float, cost: Mapping[str, float], budget: Budget | None
) -> dict[Pair, Choice]:
    """A choice for every pair, within the budget where there is one.

    cost: of each block; of several equally good ones the cheapest is chosen.
    """
    choices = {pair: _choose(posterior, pair, confidence, cost) for pair in space.pairs}
    if budget is None or budget.keeps({pair: choice.block for pair, choice in choices.items()}):
        return choices
    values: dict[Pair, dict[str, float]] = {}
    for pair in space.pairs:
        eligible = {b: e.effect for b, e in posterior.of_pair(pair).items() if e.probability >= confidence}
        values[pair] = {"none": 0.0, **eligible}
    for pair, block in budget.choose(values).items():
        if block != choices[pair].block:
            effects = posterior.of_pair(pair)
            choices[pair] = _none(effects, confidence) if block == "none" else choice_of(block, effects[block])
    return choices


def _choose(posterior: Posterior, pair: Pair, confidence: float, cost: Mapping[str, float]) -> Choice:
    effects = posterior.of_pair(pair)
    eligible = {name: effect for name, effect in effects.items() if effect.probability >= confidence}
    if not eligible:
        return _none(effects, confidence)
    best = max(eligible, key=lambda block: eligible[block].effect)
    worse = posterior.worse([(pair, name) for name in eligible], (pair, best)).tolist()
    near = [name for name, share in zip(eligible, worse, strict=True) if share < confidence]
    name = min(near, key=lambda block: (cost.get(block, 0.0), -eligible[block].effect))
    return choice_of(name, eligible[name])


def choice_of(block: str, effect: MeasuredEffect) -> Choice:
    """A block and what it is expected to save."""
    low, high = min(effect.low, effect.effect), max(effect.high, effect.effect)
    return Choice(block, effect.probability, True, effect.effect, (low, high))


def _none(effects: Mapping[str, MeasuredEffect], confidence: float) -> Choice:
    """The probability of `none` is that no block is worth it, at least 1 minus that of the likeliest."""
    likeliest = max((effect.probability for effect in effects.values()), default=0.0)
    return Choice("none", 1 - likeliest, 1 - likeliest >= confidence)
