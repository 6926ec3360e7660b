"""Search rules, each from the images of a planted problem to a block for every pair of different tasks.

All see the same images and the same batches of 8, and train with AdamW and a polynomial decay. What differs is what
they compute at a step, so a rule may be given more steps: the benchmark reports seconds.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.planted import CHANNELS, Images, PlantedNetwork, planted_network
from benchmarks.supernets import gumbel_supernet
from experiment.config import GumbelSettings, SearchSettings
from search_spaces import Architecture, Exchange, SearchSpace
from search_spaces.blocks import Pair
from search_spaces.blocks.layers import frozen_statistics
from supernet.samplers.relaxed import GumbelSampler
from supernet.samplers.uniform_mixture import UniformMixture, all_candidates
from supernet.score_test.effects import FoldLosses, effects
from supernet.score_test.evidence import HeldOut, collect, pool, probe_exchanges
from supernet.score_test.posterior import infer_posterior
from supernet.score_test.probes import ProbeBank, probes_of
from supernet.score_test.warm_start import Look, start_readouts
from supernet.score_test.worth import Posterior, choose
from supernet.strategies.gumbel import GumbelCallback

BATCH, RATE, CLIP = 8, 1e-2, 10.0
WORTH = 0.5  # percent of the loss; retrained, a message of 1 % of the label's variance saves about 1 %


@dataclass(frozen=True)
class Choice:
    """block: the rule's choice; candidate: its choice if none were not allowed; score: how far it prefers that to none,
    in its own units; probability: that `block` is right, None where the rule has none.
    """

    block: str
    candidate: str
    score: float = 0.0
    probability: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a rule chose, and its steps and seconds of training and of evaluation."""

    choices: dict[Pair, Choice]
    steps: int
    train_seconds: float
    evaluation_seconds: float


Rule = Callable[[SearchSpace, Images, int, int], Outcome]  # (space, images, seed, steps)


def crossing(space: SearchSpace) -> list[Pair]:
    """Pairs of different tasks: the others are none by definition of the problem."""
    return [(target, source) for target, source in space.pairs if target != source]


def fit(
    network: nn.Module,
    images: Images,
    steps: int,
    seed: int,
    backward: Callable[[int, Images], None],
    clip: bool = True,
) -> None:
    """Trains all parameters but logits; `backward(step, batch)` leaves their gradients."""
    weights = [p for name, p in network.named_parameters() if not name.endswith("logits")]
    optimizer = torch.optim.AdamW(weights, RATE)
    draw = torch.Generator().manual_seed(seed)
    epochs = -(-steps * BATCH // len(images))
    order = torch.cat([torch.randperm(len(images), generator=draw) for _ in range(epochs)])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps) ** 0.9
        optimizer.zero_grad()
        backward(step, images[order[step * BATCH : (step + 1) * BATCH]])
        if clip:
            nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()


def gumbel(
    space: SearchSpace,
    images: Images,
    seed: int,
    steps: int,
    learning_rate: float = 0.01,
    noise: bool = False,
    fix_gap: float = 0.3,
) -> Outcome:
    """ATRC's search; a pair is fixed at a gap of `fix_gap` in probability, never if that is 1.

    With `noise`, white noise of the same norm replaces the logits' gradient of the tasks' losses (the noise null).
    """
    torch.manual_seed(seed)
    supernet = gumbel_supernet(space, CHANNELS, torch.Generator().manual_seed(seed))
    sampler = supernet.sampler
    assert isinstance(sampler, GumbelSampler)
    selection, logits = sampler.selection, sampler.selection.logits
    for i, (target, source) in enumerate(space.pairs):
        if target == source:
            selection.fixed[i] = space.blocks.index("none")
    selection.refresh()
    network = PlantedNetwork(supernet)
    settings = GumbelSettings(learning_rate=learning_rate, fix_gap=fix_gap)
    search = GumbelCallback(sampler, settings, SearchSettings(record_every=steps), steps)
    draw = torch.Generator().manual_seed(seed + 1)

    def backward(step: int, batch: Images) -> None:
        search.before_step(step)
        network(batch).backward()
        gradient = logits.grad
        if noise and gradient is not None:
            white = torch.randn(gradient.shape, generator=draw) * (gradient != 0)
            logits.grad = white * (gradient.norm() / white.norm().clamp_min(1e-30))
        search.loss().backward()
        # the logits have an optimizer of their own, and the entropy no part in the weights' gradients
        search.after_step(step + 1)

    began = time.process_time()
    fit(network, images, steps, seed, backward)
    seconds = time.process_time() - began
    chosen = {pair: space.blocks[i] for pair, i in zip(space.pairs, selection.choices().tolist())}
    logits_of = dict(zip(space.pairs, selection.masked_logits().detach().tolist()))
    choices = {}
    for pair in crossing(space):
        of_block = dict(zip(space.blocks, logits_of[pair]))
        none = of_block.pop("none")
        candidate = max(of_block, key=lambda name: of_block[name])
        choices[pair] = Choice(chosen[pair], candidate, of_block[candidate] - none)
    return Outcome(choices, steps, seconds, 0.0)


def chance(space: SearchSpace, images: Images, seed: int, steps: int) -> Outcome:
    """A legal block for each pair, drawn evenly."""
    draw = random.Random(seed)
    choices = {}
    for pair in crossing(space):
        legal = space.legal(pair)
        block, candidate = draw.choice(legal), draw.choice([name for name in legal if name != "none"])
        choices[pair] = Choice(block, candidate, draw.random())
    return Outcome(choices, 0, 0.0, 0.0)


def held_out(network: PlantedNetwork, images: Images, batch: int = 64) -> list[HeldOut]:
    """Batches of the exchange's inputs."""
    network.eval()
    batches = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            part = images[slice(start, start + batch)]
            features, regions = network.encode(part.inputs)
            batches.append(HeldOut(features, regions, partial(network.losses, part)))
    return batches


def evidence(space: SearchSpace, images: Images, seed: int, steps: int) -> Outcome:
    """Two supernets, each trained for half of the steps on half of the images and evaluated on the other half."""
    open = all_candidates(space)
    for i, (target, source) in enumerate(space.pairs):
        open[i] &= target != source
    halves = [slice(0, len(images) // 2), slice(len(images) // 2, None)]
    mixture = UniformMixture(space, torch.Generator().manual_seed(seed + 1), candidates=open)
    parts, training, evaluation = [], 0.0, 0.0
    torch.manual_seed(seed)
    for own, others in (halves, halves[::-1]):
        times = [time.process_time()]
        network = planted_network(space)

        def backward(step: int, batch: Images, network: PlantedNetwork = network) -> None:
            network(batch, mixture.draw()).backward()

        fit(network, images[own], steps // 2, seed, backward)
        times.append(time.process_time())
        assert isinstance(network.exchange, Exchange)
        probes = probe_exchanges(space, CHANNELS)
        parts.append(collect(network.exchange, held_out(network, images[others]), open, probes))
        times.append(time.process_time())
        training += times[1] - times[0]
        evaluation += times[2] - times[1]
    began = time.process_time()
    posteriors = infer_posterior(pool(parts))
    evaluation += time.process_time() - began
    choices = {}
    for pair, posterior in posteriors.items():
        candidate = max(posterior.p_best, key=lambda name: posterior.p_best[name])
        choices[pair] = Choice(posterior.choice, candidate, posterior.log_odds, posterior.p_correct)
    return Outcome(choices, steps, training, evaluation)


def score(space: SearchSpace, images: Images, seed: int, steps: int) -> Outcome:
    """A network without exchange, trained on half of the images for half of the steps; then probes in two folds of the
    other half, for a quarter of the steps each.
    """
    torch.manual_seed(seed)
    times = [time.process_time()]
    none = Architecture.from_space(space, dict.fromkeys(space.pairs, "none"))
    network = PlantedNetwork(Exchange(none, CHANNELS))
    half, quarter = len(images) // 2, len(images) // 4
    fit(network, images[:half], steps // 2, seed, lambda step, batch: network(batch).backward())
    times.append(time.process_time())
    network.requires_grad_(False).eval()
    parts = (images[half : half + quarter], images[half + quarter :])
    folds = [
        _probed(space, network, *order, seed + number, steps // 4) for number, order in enumerate((parts, parts[::-1]))
    ]
    posterior = Posterior(effects(space, folds), WORTH)
    chosen = choose(posterior, space, 0.8, {}, None)
    times.append(time.process_time())
    choices = {}
    for pair in crossing(space):
        of_pair = posterior.of_pair(pair)
        candidate = max(of_pair, key=lambda name: of_pair[name].effect)
        choice = chosen[pair]
        choices[pair] = Choice(choice.block, candidate, of_pair[candidate].probability, choice.probability)
    return Outcome(choices, steps, times[1] - times[0], times[2] - times[1])


def _probed(
    space: SearchSpace, network: PlantedNetwork, own: Images, others: Images, seed: int, steps: int
) -> dict[str, FoldLosses]:
    """The losses on other images of probes that are trained on some, {target: losses}."""
    probes = probes_of(space)
    bank = ProbeBank(space, probes, CHANNELS, seed, 2 * CHANNELS)
    rows = {t: bank.rows_of(t) for t in space.tasks}

    def exchange(batch: Images) -> tuple[dict[str, Tensor], Tensor]:
        """The refined features, and the messages of all probes."""
        with torch.no_grad():
            features, regions = network.encode(batch.inputs)
            refined, hidden = network.exchange(features, regions), network.hidden(batch.inputs)
        return refined, bank.messages(features, regions, shared=hidden)

    def of_maps(batch: Images, target: str, maps: Tensor) -> Tensor:
        """(K, B, C, H, W) -> (K, B)"""
        predictions = network.readouts[target](maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        return (predictions - batch.labels[target]).square().mean((2, 3, 4))

    def losses(batch: Images) -> dict[str, Tensor]:
        """{target: (1 + probes, B)}, the network's own first."""
        refined, messages = exchange(batch)
        added = bank.read(messages).transpose(0, 1)
        return {t: of_maps(batch, t, torch.cat([refined[t][None], refined[t] + added[rows[t]]])) for t in space.tasks}

    def looks(first: int, last: int) -> Iterator[Look]:
        for start in range(first, last, 64):
            batch = own[slice(start, min(start + 64, last))]
            with torch.no_grad():
                refined, messages = exchange(batch)
            yield Look(messages, refined, partial(of_maps, batch))

    with frozen_statistics(bank):
        start_readouts(bank.readout, rows, looks(0, 3 * len(own) // 4), looks(3 * len(own) // 4, len(own)))

    def backward(step: int, batch: Images) -> None:
        torch.stack([of_target[1:].mean(1).sum() for of_target in losses(batch).values()]).sum().backward()

    fit(bank, own, steps, seed, backward, clip=False)
    bank.eval()
    with torch.no_grad():
        tested = [losses(others[slice(start, start + 64)]) for start in range(0, len(others), 64)]
    groups = torch.arange(len(others))
    return {
        t: FoldLosses(tuple(probes[i] for i in rows[t]), torch.cat([one[t] for one in tested], 1), groups)
        for t in space.tasks
    }


RULES: dict[str, Rule] = {
    "gumbel": gumbel,
    "gumbel_open": partial(gumbel, fix_gap=1.0),
    "null": partial(gumbel, noise=True),
    "random": chance,
    "evidence": evidence,
    "score": score,
}
