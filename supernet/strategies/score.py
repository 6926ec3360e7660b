"""score: what is each message worth to a trained network without any exchange?

1. Train the multi-task network without exchange, or take a trained one (`search.from`).
2. Freeze it. On images that it has not seen, train a probe for every pair and block (score_test/probes.py), in two
   folds, each tested on the other's images.
3. The effect of a block is the loss that its probe saves beyond what the same probe saves with the target's own
   features (score_test/effects.py). Its posterior is estimated from all effects together (score_test/shrinkage.py).
4. A pair gets a block where the probability of an effect above `search.worth` is at least `search.confidence`: the
   cheapest of those whose expected effects differ by less than `search.worth` from the best.

No supernet is needed.
"""

import torch
from torch import Tensor

from experiment.progress import Progress
from experiment.seeds import derive_seed
from multitask.data.loader import evaluation_loader
from multitask.data.samples import plain_batch
from multitask.network import MultiTaskNetwork, feature_channels, feature_size
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.cost.table import block_costs
from supernet.records.choices import Choice
from supernet.records.effects import EFFECTS, write_effects
from supernet.score_test.effects import FoldLosses, effects
from supernet.score_test.probes import ProbeBank, ProbedNetwork, ProbeTrainer, probe_losses, probes_of
from supernet.score_test.worth import Posterior, choose
from supernet.search_split import Images, group_numbers, halves, split_training
from supernet.strategies.base import Strategy

BATCH = 16  # held-out images at a time


class Score(Strategy):
    name = "score"

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        posterior, _ = measure(context)
        record = context.record()
        probabilities = [posterior.probabilities(pair, context.space.blocks) for pair in context.space.pairs]
        record.add(context.config.training.iterations, probabilities)
        return choose(posterior, context.space, context.config.search.confidence, costs_of(context), context.budget)


def measure(context: SearchContext, name: str = "") -> tuple[Posterior, Images]:
    """Trains the network without exchange and the probes; the posterior of all effects, and the images held out.

    name: of the network's training, where the main one is another's.
    """
    config = context.config
    kept, held_out = split_training(context.dataset, config.search.score.held_out_fraction)
    network = context.network_without_exchange()
    trainer = context.trainer(network, images=kept, name=name)
    trainer.fit()
    network.requires_grad_(False).eval()
    first, second = halves(held_out)
    folds = [
        _fold(context, network, first, second, "probes_1"),
        _fold(context, network, second, first, "probes_2"),
    ]
    with context.choosing():
        posterior = Posterior(effects(context.space, folds), config.search.worth)
    network.requires_grad_(True)
    write_effects(context.run.path(EFFECTS), posterior.effects)
    return posterior, held_out


def costs_of(context: SearchContext) -> dict[str, float]:
    """Multiply-adds of each block."""
    config = context.config
    size = feature_size(config.network, config.data.height, config.data.width)
    return block_costs(context.space, feature_channels(config.network), size)


def _fold(
    context: SearchContext, network: MultiTaskNetwork, trained_on: Images, tested_on: Images, name: str
) -> dict[str, FoldLosses]:
    """The losses of probes that are trained on some images, on others: {target: losses}."""
    probes = probes_of(context.space)
    channels = feature_channels(context.config.network)
    bank = ProbeBank(context.space, probes, channels, derive_seed(context.seed, name))
    model = ProbedNetwork(network, bank, context.config.search.noise_null)
    trainer = context.probe_trainer(model, trained_on, name)
    trainer.fit()
    context.choice_seconds += trainer.seconds
    with context.choosing():
        losses = _losses(trainer, model, tested_on)
    groups = group_numbers(tested_on)
    return {
        task: FoldLosses(tuple(p for p in probes if p.target == task), losses[task], groups)
        for task in context.space.tasks
    }


def _losses(trainer: ProbeTrainer, model: ProbedNetwork, images: Images) -> dict[str, Tensor]:
    """{target: (1 + probes, images)}"""
    model.eval()
    batch_size = max(BATCH, trainer.settings.batch_size)
    progress = Progress(-(-len(images) // batch_size), 0, f"{trainer.label}, test")
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for sample in evaluation_loader(images, batch_size, trainer.recipe.data.workers, False):  # type: ignore[arg-type]
            batch = plain_batch(sample, trainer.device)
            for task, losses in probe_losses(trainer.tasks, model(batch.image, batch.valid), batch).items():
                parts.setdefault(task, []).append(losses.cpu())
            progress.advance()
    progress.close()
    return {task: torch.cat(losses, 1) for task, losses in parts.items()}
