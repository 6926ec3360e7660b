"""score: what is each message worth to a trained network without any exchange?

1. Train the multi-task network without exchange, or take a trained one (`search.from`).
2. Freeze it. On images that it has not seen, train a probe for every pair and block (score_test/probes.py) and test it
   on others. Swap the two halves, and do it again for those candidates that may still be chosen
   (score_test/screening.py).
3. The effect of a block is the loss that its probe saves beyond what the same probe saves with the target's own
   features (score_test/effects.py). Its posterior is estimated from all effects together (score_test/shrinkage.py), and
   what retraining makes of an effect is part of it (score_test/worth.py).
4. A pair gets a block where the probability of an effect above `search.worth` is at least `search.confidence`: the
   cheapest of those that are not surely worse than the best, by more than `search.worth`.

No supernet is needed.
"""

import copy

import torch
from torch import Tensor, nn

from experiment.config import Config
from experiment.errors import InputError
from experiment.progress import track
from experiment.seeds import derive_seed
from multitask import processes
from multitask.data import DatasetSplits
from multitask.data.loader import evaluation_loader
from multitask.data.samples import plain_batch
from multitask.network import MultiTaskNetwork, feature_channels, feature_size
from multitask.training.checkpoints import load_checkpoint, save_checkpoint
from search_spaces.blocks import Pair
from supernet.context import SearchContext
from supernet.cost.table import block_costs
from supernet.records.choices import Choice
from supernet.records.effects import EFFECTS, write_effects
from supernet.score_test.effects import FoldLosses, effects
from supernet.score_test.probes import Probe, ProbeBank, ProbedNetwork, ProbeTrainer, probe_losses, probes_of
from supernet.score_test.screening import contenders, remaining_probes
from supernet.score_test.worth import Posterior, choose
from supernet.search_split import LEAST, Images, group_numbers, halves, split_training, whole
from supernet.strategies.base import Strategy
from supernet.trained_network import load_network, network_without_exchange, read_network

BATCH = 16  # held-out images at a time
LABEL = "network without exchange"
FROM = "from"  # the checkpoint that keeps the network of search.from


class Score(Strategy):
    name = "score"
    knows_scales = False

    @classmethod
    def check(cls, config: Config, dataset: DatasetSplits) -> None:
        held_out = _parts(config, dataset)[1]
        groups = len(group_numbers(held_out).unique())
        if groups >= 2 * LEAST:
            return
        if config.search.from_ is None:
            count, share = len(dataset.splits["train"]), config.search.score.held_out_fraction
            found = f"of {count} training images {len(held_out)} are held out (search.score.held_out_fraction {share})"
        else:
            found = f"search.from leaves {len(held_out)} validation images"
        raise InputError(
            f"{config.search.strategy}: {found}, in {groups} groups: expected at least {2 * LEAST} groups, to "
            "distinguish effects from chance; give more images, or take search.strategy gumbel"
        )

    def search(self, context: SearchContext) -> dict[Pair, Choice]:
        posterior, _, _ = measure(context)
        record = context.record()
        probabilities = [posterior.probabilities(pair, context.space.blocks) for pair in context.space.pairs]
        record.add(context.config.training.iterations, probabilities)
        return choose(posterior, context.space, context.config.search.confidence, costs_of(context), context.budget)


def measure(context: SearchContext, name: str = "") -> tuple[Posterior, Images, Images]:
    """Trains the network without exchange, or takes the trained one, and the probes; the posterior of all effects, the
    images to train on, and those held out.

    name: of the network's training, where the main one is another's.
    """
    config = context.config
    network = network_without_exchange(config, context.dataset, context.space)
    kept, held_out = _parts(config, context.dataset)
    if config.search.from_ is None:
        context.trainer(network, images=kept, name=name, label=LABEL).fit()
        auxiliary = None
    else:
        heads = copy.deepcopy(network.auxiliary_heads)
        auxiliary = None if _load(context, network) else heads
        context.trainer(network, name=name, label=LABEL)
        print(f"the network of {config.search.from_}; its probes see the {len(held_out)} validation images")
    network.requires_grad_(False).eval()
    first, second = halves(held_out)
    probes, worth = probes_of(context.space), config.search.worth
    folds = [_fold(context, network, probes, first, second, "probes_1", auxiliary)]
    with context.choosing():
        posterior = Posterior(effects(context.space, folds), worth)
    probes = remaining_probes(contenders(posterior), probes)
    if probes:
        folds.append(_fold(context, network, probes, second, first, "probes_2", auxiliary))
        with context.choosing():
            posterior = Posterior(effects(context.space, folds), worth)
    network.requires_grad_(True)
    write_effects(context.run.path(EFFECTS), posterior.effects)
    return posterior, kept, held_out


def _parts(config: Config, dataset: DatasetSplits) -> tuple[Images, Images]:
    """The images to train on, and those held out: what a network that was trained elsewhere has not seen."""
    if config.search.from_ is not None:
        return whole(dataset.splits["train"]), whole(dataset.splits["val"])
    return split_training(dataset, config.search.score.held_out_fraction, "search.score.held_out_fraction")


def _load(context: SearchContext, network: MultiTaskNetwork) -> bool:
    """Loads the network of `search.from`, and keeps it in the run; whether it has auxiliary heads."""
    where = str(context.config.search.from_)
    kept = load_checkpoint(context.run, FROM)
    state = read_network(where, context.seed) if kept is None else kept["network"]
    auxiliary = load_network(network, state, where)
    if kept is None:
        save_checkpoint(context.run, {"network": dict(state)}, FROM)
    return auxiliary


def costs_of(context: SearchContext) -> dict[str, float]:
    """Multiply-adds of each block."""
    config = context.config
    size = feature_size(config.network, config.data.height, config.data.width)
    return block_costs(context.space, feature_channels(config.network), size)


def _fold(
    context: SearchContext,
    network: MultiTaskNetwork,
    probes: tuple[Probe, ...],
    trained_on: Images,
    tested_on: Images,
    name: str,
    auxiliary: nn.ModuleDict | None,
) -> dict[str, FoldLosses]:
    """The losses of probes that are trained on some images, on others: {target: losses}, of targets with probes."""
    channels = feature_channels(context.config.network)
    bank = ProbeBank(context.space, probes, channels, derive_seed(context.seed, name), network.decoder.shared_channels)
    model = ProbedNetwork(network, bank, context.config.search.noise_null, copy.deepcopy(auxiliary))
    trainer = context.probe_trainer(model, trained_on, name, f"probes {name[-1]} of 2")
    trainer.fit()
    context.choice_seconds += trainer.seconds
    with context.choosing():
        losses = _losses(trainer, model, tested_on)
    groups = group_numbers(tested_on)
    return {task: FoldLosses(tuple(p for p in probes if p.target == task), losses[task], groups) for task in losses}


def _losses(trainer: ProbeTrainer, model: ProbedNetwork, images: Images) -> dict[str, Tensor]:
    """{target: (1 + probes, images)}. Several processes take batches in turn."""
    model.eval()
    batch_size = max(BATCH, trainer.settings.batch_size)
    loader = evaluation_loader(images, batch_size, trainer.recipe.data.workers, trainer.device.type == "cuda")  # type: ignore[arg-type]
    parts: list[dict[str, Tensor]] = []  # of each batch
    with torch.no_grad():
        for sample in track(loader, trainer.phase("testing"), unit="batch", delay=0.0):
            batch = plain_batch(sample, trainer.device)
            parts.append(probe_losses(trainer.tasks, model(batch.image, batch.valid).predictions, batch))
    if processes.count() > 1:
        parts = processes.in_order([{task: losses.cpu() for task, losses in part.items()} for part in parts])
    return {task: torch.cat([part[task] for part in parts], 1).cpu() for task in model.bank.targets}
