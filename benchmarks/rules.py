"""Search rules, each from the images of a planted problem to a block for every pair of different tasks.

All see the same images and the same batches of 8, and train with AdamW and a polynomial decay. What differs is what
they compute at a step, so a rule may be given more steps: the benchmark reports seconds.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from benchmarks.planted import CHANNELS, Images, PlantedNetwork, planted_network
from search_spaces import SearchSpace
from search_spaces.blocks import Pair
from supernet.evidence import HeldOut, collect
from supernet.gumbel import GumbelSearch
from supernet.judge import judge
from supernet.mixture import Mixture
from supernet.settings import SearchSettings, SelectionSettings
from supernet.supernet import Supernet

BATCH, RATE, CLIP = 8, 1e-2, 10.0


@dataclass(frozen=True)
class Choice:
    """block; margin: the rule's own measure of distance to the next best; sureness: probability of being right, where
    the rule states one; t: of whether the pair carries anything, likewise.
    """

    block: str
    margin: float = 0.0
    sureness: float | None = None
    t: float | None = None


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


def fit(network: nn.Module, images: Images, steps: int, seed: int, backward: Callable[[int, Images], None]) -> None:
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
        nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()


def gumbel(
    space: SearchSpace, images: Images, seed: int, steps: int, learning_rate: float = 0.01, noise: bool = False
) -> Outcome:
    """ATRC's search. With `noise`, white noise of its size replaces the tasks' gradient to the logits (the null)."""
    torch.manual_seed(seed)
    supernet = Supernet(space, CHANNELS, torch.Generator().manual_seed(seed))
    selection, logits = supernet.selection, supernet.selection.logits
    for i, (target, source) in enumerate(space.pairs):
        if target == source:
            selection.fixed[i] = space.blocks.index("none")
    selection.refresh()
    network = PlantedNetwork(supernet)
    settings = SelectionSettings(learning_rate=learning_rate)
    search = GumbelSearch(supernet, settings, SearchSettings(record_every=steps), steps)
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
    chosen = selection.architecture().exchanges
    top = selection.probabilities().detach().topk(2, 1).values
    margins = dict(zip(space.pairs, (top[:, 0] - top[:, 1]).tolist()))
    choices = {pair: Choice(chosen[pair], margins[pair]) for pair in crossing(space)}
    return Outcome(choices, steps, time.process_time() - began, 0.0)


def chance(space: SearchSpace, images: Images, seed: int, steps: int) -> Outcome:
    """A legal block for each pair, drawn evenly."""
    draw = random.Random(seed)
    choices = {pair: Choice(draw.choice(space.legal(pair))) for pair in crossing(space)}
    return Outcome(choices, 0, 0.0, 0.0)


def held_out(network: PlantedNetwork, images: Images, batch: int = 64) -> list[HeldOut]:
    """Batches at the exchange's door."""
    network.eval()
    found = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            part = images[slice(start, start + batch)]
            features, regions = network.encode(part.inputs)
            found.append(HeldOut(features, regions, partial(network.losses, part)))
    return found


def evidence(space: SearchSpace, images: Images, seed: int, steps: int) -> Outcome:
    """Trains random parts of the mixture on half of the images; judges by what wrong sources cost on the others."""
    torch.manual_seed(seed)
    half = len(images) // 2
    network = planted_network(space)
    open = Mixture.everything(space)
    for i, (target, source) in enumerate(space.pairs):
        open[i] &= target != source
    mixture = Mixture(space, open)
    draw = torch.Generator().manual_seed(seed + 1)
    times = [time.process_time()]
    fit(network, images[slice(0, half)], steps, seed, lambda _, batch: network(batch, mixture.draw(draw)).backward())
    times.append(time.process_time())
    verdicts = judge(collect(network.exchange, held_out(network, images[slice(half, None)]), open))
    times.append(time.process_time())
    choices = {
        pair: Choice(verdict.choice, verdict.margin, verdict.sureness, verdict.z) for pair, verdict in verdicts.items()
    }
    return Outcome(choices, steps, times[1] - times[0], times[2] - times[1])


RULES: dict[str, Rule] = {
    "gumbel": gumbel,
    "gumbel_slow": partial(gumbel, learning_rate=5e-4),
    "null": partial(gumbel, noise=True),
    "random": chance,
    "evidence": evidence,
}
