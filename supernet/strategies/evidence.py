"""evidence: train all candidates as a uniform mixture, then test them on held-out images.

Two supernets share the training images and the steps. Each learns from one part and is tested on the other, so that
every image is held out once and no result rests on one training alone. `score_test.evidence` measures on held-out
images what each pair's messages hold; `score_test.posterior` turns that into a choice and its posterior probability.
"""

from collections.abc import Mapping

import torch

from experiment.config import Config
from experiment.seeds import derive_seed
from multitask.data import DatasetSplits
from multitask.network import MultiTaskNetwork, feature_size
from multitask.training.trainer import Trainer
from search_spaces import Exchange, SearchSpace
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.cost.budget import Budget
from supernet.cost.memory import Conditions
from supernet.cost.table import block_costs
from supernet.records.choices import Choice
from supernet.samplers.uniform_mixture import UniformMixture
from supernet.score_test.evidence import Evidence, collect, pool, probe_exchanges
from supernet.score_test.held_out import held_out_batches
from supernet.score_test.memory import describe_held_out
from supernet.score_test.posterior import PairPosterior, infer_posterior
from supernet.search_split import Images, split_training
from supernet.strategies.base import Strategy
from supernet.supernet import Supernet

FIRST = "first"  # the first supernet's name: its folder in the run


def halved(iterations: int) -> int:
    """The steps of each of two supernets."""
    return -(-iterations // 2)


class EvidenceSearch(Strategy):
    name = "evidence"
    knows_scales = False

    @classmethod
    def check(cls, config: Config, dataset: DatasetSplits) -> None:
        split_training(dataset, config.search.evidence.validation_fraction)

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        config, space = context.config, context.space
        steps = halved(config.training.iterations)
        second_part, first_part = split_training(context.dataset, config.search.evidence.validation_fraction)
        record = context.record()
        first = self._trained(context, first_part, steps, "supernet 1 of 2", FIRST)
        with context.choosing():
            parts = [_evidence(context, first, second_part)]
        second = self._trained(context, second_part, steps, "supernet 2 of 2")
        with context.choosing():
            parts.append(_evidence(context, second, first_part))
            size = feature_size(config.network, config.data.height, config.data.width)
            costs = block_costs(space, _supernet(second).exchange.channels, size)
            posteriors = infer_posterior(pool(parts), costs, config.search.confidence)
        record.add(steps, [probabilities(posteriors.get(pair), space) for pair in space.pairs])
        choices = {}
        for pair in space.pairs:
            posterior = posteriors.get(pair)  # None where nothing but none is legal
            choices[pair] = Choice("none", 1.0) if posterior is None else _choice(posterior)
        return choices if context.budget is None else within(context.budget, choices, posteriors)

    def _trained(self, context: SearchContext, images: Images, steps: int, label: str, *names: str) -> Trainer:
        """A supernet trained on some images. Both start from the same encoder, each from an exchange of its own."""
        sampler = UniformMixture(
            context.space, context.generator("sampler", *names), context.config.search.evidence.pair_dropout
        )
        network = context.supernet(sampler, *names)
        if names == (FIRST,):
            device = context.fabric.device
            conditions = Conditions.of(context.config, device)
            print(describe_held_out(network, context.space, sampler.candidates, conditions, device))
        trainer = context.trainer(network, images=images, iterations=steps, name="".join(names), label=label)
        trainer.fit()
        return trainer


def _supernet(trainer: Trainer) -> Supernet:
    assert isinstance(trainer.network, MultiTaskNetwork) and isinstance(trainer.network.exchange, Supernet)
    return trainer.network.exchange


def _evidence(context: SearchContext, trainer: Trainer, images: Images) -> dict[Pair, Evidence]:
    """The evidence of a trained supernet on images that it has not seen."""
    supernet = _supernet(trainer)
    sampler = supernet.sampler
    assert isinstance(sampler, UniformMixture)
    trainer.network.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(trainer.seed, "probes"))
        exchange = supernet.exchange
        assert isinstance(exchange, Exchange)  # evidence knows one scale
        probes = probe_exchanges(context.space, exchange.channels)
    for probe in probes:
        probe.exchange.to(trainer.device)
    # of the noise null: a random sign per image leaves no relation between messages and errors
    signs = torch.Generator().manual_seed(trainer.seed) if context.config.search.noise_null else None
    return collect(exchange, held_out_batches(trainer, images, signs), sampler.candidates, probes)


def _choice(posterior: PairPosterior) -> Choice:
    return Choice(posterior.choice, posterior.p_correct, posterior.decided)


def within(budget: Budget, choices: dict[Pair, Choice], posteriors: Mapping[Pair, PairPosterior]) -> dict[Pair, Choice]:
    """The choices, if they keep the budget. Otherwise the pairs with an exchange get the blocks, or none, whose
    probabilities of being the best add up to most. A pair that this changes counts as undecided.
    """
    if budget.keeps({pair: choice.block for pair, choice in choices.items()}):
        return choices
    values: dict[Pair, dict[str, float]] = {}
    for pair, choice in choices.items():
        values[pair] = {"none": 0.0}
        if choice.block != "none":
            posterior = posteriors[pair]
            values[pair] |= {name: posterior.p_exchange * p for name, p in posterior.p_best.items()}
    changed = {}
    for pair, block in budget.choose(values).items():
        former = choices[pair]
        probability = values[pair][block] if block != "none" else 1 - posteriors[pair].p_exchange
        changed[pair] = former if block == former.block else Choice(block, probability, False)
    return changed


def probabilities(posterior: PairPosterior | None, space: SearchSpace) -> list[float]:
    """A row of selection.csv: `none` has 1 - p_exchange; the candidates share p_exchange by their p_best."""
    if posterior is None:
        return [float(name == "none") for name in space.blocks]
    total = sum(posterior.p_best.values()) or 1.0
    shares = {name: posterior.p_exchange * p / total for name, p in posterior.p_best.items()}
    return [shares.get(name, 0.0) if name != "none" else 1 - posterior.p_exchange for name in space.blocks]
