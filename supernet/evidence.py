"""What a pair's messages are worth to its target: losses of held-out images with and without them, image by image.

A supernet that was trained as a mixture is evaluated with the weights of one pair changed, or with that pair listening
to the source features of another image. Whatever makes an image easy or hard is the same on both sides and cancels in
the difference. The messages are computed once; only the target's aggregator and head run anew. Targets do not hear
each other's changes, so one pass serves one change at every target.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces import Exchange
from search_spaces.blocks import Pair
from search_spaces.exchange import Messages

Losses = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]  # refined features -> each task's loss per image, (B,)


@dataclass(frozen=True)
class HeldOut:
    """A batch at the exchange's door: features {task: (B, C, H, W)}, region logits {task: (B, R, H, W)}, validity
    (B, 1, H, W), and the function that turns refined features into each task's loss per image.
    """

    features: Mapping[str, Tensor]
    regions: Mapping[str, Tensor]
    losses: Losses
    valid: Tensor | None = None


@dataclass(frozen=True)
class Probe:
    """One change at one pair: the weights (blocks,) of its candidates, and whose source features they read.

    shift: the source features come from the image so many places further in the batch; 0 is the image itself.
    """

    pair: int
    weights: Tensor
    shift: int = 0


@dataclass(frozen=True)
class Evidence:
    """Of one pair: how much worse its target fares on each held-out image when the source shows other images.

    whole: (N,), with all open candidates speaking, as in the mixture; alone: (candidates, N), with one speaking for
    all; candidates: their names in the space's order.
    """

    pair: Pair
    candidates: tuple[str, ...]
    whole: Tensor
    alone: Tensor


def collect(exchange: Exchange, batches: Sequence[HeldOut], open: Tensor, shifts: int = 4) -> dict[Pair, Evidence]:
    """The evidence on each pair of different tasks that has open candidates.

    open: (pairs, blocks) bool; shifts: how many other images each target hears, which must be fewer than a batch has.
    """
    weights = open.float() / open.sum(1, keepdim=True).clamp_min(1)
    places = range(shifts + 1)
    probes: list[Probe] = []
    asked = [i for i, pair in enumerate(exchange.pairs) if pair[0] != pair[1] and open[i].any()]
    for i in asked:
        rows = [weights[i], *torch.eye(open.shape[1])[open[i]].to(weights)]
        probes += [Probe(i, row, shift) for row in rows for shift in places]
    losses = probe_losses(exchange, batches, weights, probes).unflatten(0, (-1, len(places)))  # (rows, places, N)
    worths = losses[:, 1:].mean(1) - losses[:, 0]
    found = {}
    for i, part in zip(asked, worths.split([1 + int(open[i].sum()) for i in asked]), strict=True):
        names = tuple(name for name, here in zip(exchange.block_names, open[i].tolist()) if here)
        found[exchange.pairs[i]] = Evidence(exchange.pairs[i], names, part[0].cpu(), part[1:].cpu())
    return found


@torch.no_grad()
def probe_losses(exchange: Exchange, batches: Sequence[HeldOut], weights: Tensor, probes: Sequence[Probe]) -> Tensor:
    """The loss of each probe's target on each image, (probes, N). Leaves the exchange in eval mode.

    weights: (pairs, blocks), what the candidates of all other pairs count.
    """
    exchange.eval()
    heard = _heard(exchange, weights, probes)
    shifts = sorted({one.shift for one in probes} - {0})
    passes = _passes(exchange, probes)
    columns = []
    for batch in batches:
        own = exchange.messages(batch.features, batch.regions, batch.valid, heard)
        others = {shift: _messages_of_others(exchange, batch, heard, shift) for shift in shifts}
        rows: list[Tensor] = [torch.empty(0)] * len(probes)
        for members in passes:
            changed = weights.clone()
            for i in members:
                changed[probes[i].pair] = probes[i].weights
            messages = own
            for shift in sorted({probes[i].shift for i in members} - {0}):
                messages = _replace(messages, others[shift], [probes[i].pair for i in members if probes[i].shift])
            losses = batch.losses(exchange.mix(batch.features, messages, changed))
            for i in members:
                rows[i] = losses[exchange.pairs[probes[i].pair][0]].float()
        columns.append(torch.stack(rows))
    return torch.cat(columns, 1)


def _heard(exchange: Exchange, weights: Tensor, probes: Sequence[Probe]) -> dict[str, list[int]]:
    """{block: the pairs on which it has weight, in the mixture or in a probe}."""
    used = weights != 0
    for one in probes:
        used[one.pair] |= one.weights != 0
    return {name: used[:, i].nonzero().flatten().tolist() for i, name in enumerate(exchange.block_names)}


def _messages_of_others(exchange: Exchange, batch: HeldOut, heard: Mapping[str, Sequence[int]], shift: int) -> Messages:
    """The messages of the pairs of different tasks, where every source shows another image than its target."""
    found: Messages = {}
    for source in exchange.tasks:
        listening = {
            name: [i for i in on if exchange.pairs[i][1] == source and exchange.pairs[i][0] != source]
            for name, on in heard.items()
        }
        features = {**batch.features, source: batch.features[source].roll(shift, 0)}
        regions = {**batch.regions, source: batch.regions[source].roll(shift, 0)} if batch.regions else {}
        for name, (on, message) in exchange.messages(features, regions, batch.valid, listening).items():
            before = found.get(name)
            found[name] = (on, message) if before is None else (before[0] + on, torch.cat([before[1], message], 1))
    return found


def _replace(messages: Messages, others: Messages, pairs: Sequence[int]) -> Messages:
    """`messages` with those of some pairs taken from `others`."""
    replaced = dict(messages)
    for name, (on, message) in messages.items():
        if name not in others:
            continue
        there, other = others[name]
        moved = [i for i in pairs if i in on and i in there]
        if moved:
            message = message.clone()
            message[:, [on.index(i) for i in moved]] = other[:, [there.index(i) for i in moved]]
            replaced[name] = (on, message)
    return replaced


def _passes(exchange: Exchange, probes: Sequence[Probe]) -> list[list[int]]:
    """Probes (their indices) that can share a pass: of different targets, and reading the same image."""
    waiting: dict[int, dict[str, list[int]]] = {}
    for i, one in enumerate(probes):
        waiting.setdefault(one.shift, {}).setdefault(exchange.pairs[one.pair][0], []).append(i)
    passes = []
    for queues in waiting.values():
        for place in range(max(map(len, queues.values()))):
            passes.append([queue[place] for queue in queues.values() if place < len(queue)])
    return passes
