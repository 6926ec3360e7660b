"""Do a pair's messages predict the target's negative loss gradient? Measured on held-out images of a trained supernet.

The pair's messages are replaced by their mean over images, so that this image's source has no influence and nothing
else changes. The negative gradient of each image's loss with respect to the target's refined features is the direction
in which they should change; a pair can help as far as its messages are correlated with it. Only these moments are
kept, summed over groups of images, for each candidate:

    cross_f = - sum over images i of group f and pixels x of  dL_i/dR_x  (m_x - mean m_x)^T     (C, d)
    square  =   sum over images and pixels of  (m_x - mean m_x) (m_x - mean m_x)^T              (d, d)

The messages' linear regression on the refined features is subtracted first, because the target's head could read that
part without any exchange. A linear map from messages to the negative gradient is fitted on some groups and tested on
the others: a message counts by its content, however far its readout was trained, and memorised images do not count. The
messages of untrained probe exchanges stand beside those of the trained one, for what a block could send with other
weights.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from multitask import processes
from multitask.training.finite import Diverged, first_not_finite
from search_spaces import Exchange, SearchSpace
from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import Pair
from search_spaces.blocks.layers import row_index, send
from search_spaces.exchange import Messages

Losses = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]  # refined features -> each task's loss per image, (B,)

GROUPS = 32
RIDGE = 0.05  # of each message channel's mean square, added to it when the map is fitted


@dataclass(frozen=True)
class HeldOut:
    """A batch of the exchange's inputs: features {task: (B, C, H, W)}, region logits {task: (B, R, H, W)}, validity
    (B, 1, H, W), and the function that turns refined features into each task's loss per image. first: the number of
    its first image; None goes on from the batch before.
    """

    features: Mapping[str, Tensor]
    regions: Mapping[str, Tensor]
    losses: Losses
    valid: Tensor | None = None
    first: int | None = None


@dataclass(frozen=True)
class Moments:
    """cross: (groups, C, K, d); square: (K, d, d), where d counts the channels of all exchanges; images: the number of
    held-out images.
    """

    cross: Tensor
    square: Tensor
    images: int

    def agreement(self) -> Tensor:
        """For each candidate, how well the map fitted on each group of images does on each other, (K, groups, groups).

        Symmetric with a zero diagonal. If the candidate predicts nothing, each group's cross moments are as likely with
        the other sign.
        """
        return torch.stack([_agreement(self.cross[:, :, k], square) for k, square in enumerate(self.square)])

    def gains(self) -> Tensor:
        """Each candidate's decrease of the loss on each group by the map fitted on all others, (K, groups): to first
        order and per unit of message, so that its square is proportional to the loss that the candidate can save.
        """
        return torch.stack([_gains(self.cross[:, :, k], square) for k, square in enumerate(self.square)])


@dataclass(frozen=True)
class Evidence:
    """Of one pair. candidates: K names in the space's order; parts: the moments of each supernet."""

    candidates: tuple[str, ...]
    parts: tuple[Moments, ...]

    def agreement(self) -> Tensor:
        """(K, groups, groups), the groups of all supernets; those of different ones have nothing to agree on."""
        by_part = [part.agreement() for part in self.parts]
        return torch.stack([torch.block_diag(*of_block) for of_block in zip(*by_part, strict=True)])

    def gains(self) -> list[Tensor]:
        """Of each supernet, (K, groups)."""
        return [part.gains() for part in self.parts]


def pool(parts: Sequence[Mapping[Pair, Evidence]]) -> dict[Pair, Evidence]:
    """The evidence of several supernets, each on images of its own."""
    first = parts[0]
    return {
        pair: Evidence(first[pair].candidates, tuple(p for one in parts for p in one[pair].parts)) for pair in first
    }


class ProbeExchange:
    """Untrained blocks in their probe form, from whose messages the source can be read linearly."""

    def __init__(self, space: SearchSpace, projection: Tensor):
        self.exchange = Exchange(replace(space, normalize_messages=False), projection.shape[1], affine=False)
        self.exchange.requires_grad_(False).train()  # norms without statistics of their own
        # the blocks whose messages do not depend on the target
        self.source_only = {name for name in self.exchange.served if self.exchange.block(name).as_probe(projection)}

    def messages(self, batch: HeldOut, active: Mapping[str, list[int]]) -> Messages:
        """As those of an exchange. A message that depends on the source alone is computed once for all its targets."""
        served = self.exchange.served
        wanted = {name: [i for i in on if i in served.get(name, ())] for name, on in active.items()}
        representatives = {name: {self._message_key(name, i): i for i in on} for name, on in wanted.items()}
        computed = {name: list(of_key.values()) for name, of_key in representatives.items()}
        messages: Messages = {}
        for name, (on, computed_messages) in self.exchange.messages(
            batch.features, batch.regions, batch.valid, computed
        ).items():
            rows = [on.index(representatives[name][self._message_key(name, i)]) for i in wanted[name]]
            index = row_index(tuple(rows), computed_messages.device)
            messages[name] = (wanted[name], computed_messages.index_select(1, index))
        return messages

    def _message_key(self, name: str, pair: int) -> Pair | str:
        """Pairs with the same key have the same messages."""
        return self.exchange.pairs[pair][1] if name in self.source_only else self.exchange.pairs[pair]


def probe_exchanges(space: SearchSpace, channels: int) -> list[ProbeExchange]:
    """As many as needed for the messages to hold all channels of the source, each exchange a part of them."""
    width = AGGREGATORS[space.aggregator].message_channels(channels)
    rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
    # the last exchange may repeat channels of the first
    rows = torch.arange(-(-channels // width) * width) % channels
    return [ProbeExchange(space, rotation[part]) for part in rows.split(width)]


def collect(
    exchange: Exchange, batches: Iterable[HeldOut], open: Tensor, probes: Sequence[ProbeExchange] = ()
) -> dict[Pair, Evidence]:
    """The evidence on every pair that has open candidates. Leaves the exchange in eval mode.

    open: (pairs, blocks) bool, the candidates of the mixture, none aside; probes: over the same space, beside the
    trained exchange. Several processes each collect from batches of their own; the moments are those of all.
    """
    collection, seen = Collection(exchange, open, probes), 0
    for batch in batches:
        size = len(batch.features[exchange.tasks[0]])
        collection.add(batch, seen if batch.first is None else batch.first)
        seen += size
    names, sums = collection.names, collection.sums
    seen = sum(processes.gathered(seen))
    if processes.count() > 1:
        names, sums = _added(processes.gathered((names, {i: one.on_host() for i, one in sums.items()})))
    found = {}
    for i in sorted(names):
        pair = exchange.pairs[i]
        _check_finite(sums[i].parts, pair)
        moments = sums[i].residualize(seen)
        _check_finite(moments, pair)
        found[pair] = Evidence(names[i], (moments,))
    return found


class Collection:
    """The sums over batches, of every pair that has open candidates; see `collect`, whose arguments it takes.

    names: {pair's number: its candidates}; sums: {pair's number: what is added up}.
    """

    def __init__(self, exchange: Exchange, open: Tensor, probes: Sequence[ProbeExchange] = ()):
        self.exchange, self.open, self.probes = exchange.eval(), open, probes
        self.weights = open.float() / open.sum(1, keepdim=True).clamp_min(1)
        self.active = {name: open[:, i].nonzero().flatten().tolist() for i, name in enumerate(exchange.block_names)}
        self.names: dict[int, tuple[str, ...]] = {}
        self.sums: dict[int, _Sums] = {}

    def add(self, batch: HeldOut, first: int) -> None:
        """first: the number of the batch's first image."""
        exchange, active = self.exchange, self.active
        maps = batch.features[exchange.tasks[0]]
        group = (first + torch.arange(len(maps), device=maps.device)) % GROUPS
        with torch.no_grad():
            trained = exchange.messages(batch.features, batch.regions, batch.valid, active)
            messages = _centred([trained, *(one.messages(batch, active) for one in self.probes)])
            sums_by_pair = exchange.combine(trained, send(self.weights, maps.device))
        for pairs in _passes(exchange.pairs, self.open):
            replaced = {
                **sums_by_pair,
                **{i: sums_by_pair[i].mean(0, keepdim=True).expand_as(sums_by_pair[i]) for i in pairs},
            }
            negative_gradient, refined = _negative_gradient(exchange, batch, replaced, pairs)
            for i in pairs:
                of_pair = {name: (on, rows) for name, (on, rows) in messages.items() if i in on}
                self.names[i] = tuple(of_pair)
                covariates = refined[i] - refined[i].mean((0, 2, 3), keepdim=True)
                covariates = torch.cat([covariates, torch.ones_like(covariates[:, :1])], 1)
                stacked = torch.stack([rows[:, on.index(i)] for on, rows in of_pair.values()], 1).float()
                self.sums.setdefault(i, _Sums()).add(group, negative_gradient[i], stacked, covariates)


def _added(
    parts: Sequence[tuple[dict[int, tuple[str, ...]], dict[int, "_Sums"]]],
) -> tuple[dict[int, tuple[str, ...]], dict[int, "_Sums"]]:
    """Of several processes, each with the names of a pair's candidates and its sums."""
    names, sums = parts[0]
    for more_names, more in parts[1:]:
        names |= more_names
        for i, one in more.items():
            sums.setdefault(i, _Sums()).join(one)
    return names, sums


def _check_finite(sums: object, pair: Pair) -> None:
    name = first_not_finite(sums)
    if name is not None:
        raise Diverged(f"held-out images: the evidence on {' <- '.join(pair)} not finite, first tensor: {name}")


class _Sums:
    """Moments of negative gradients, messages and covariates, summed over images."""

    def __init__(self) -> None:
        self.parts: dict[str, Tensor] = {}

    def add(self, group: Tensor, negative_gradient: Tensor, messages: Tensor, covariates: Tensor) -> None:
        """negative_gradient: (B, C, H, W); messages: (B, K, d, H, W); covariates: (B, r, H, W); group: (B,)."""
        flat = messages.permute(1, 2, 0, 3, 4).flatten(2)
        rows = covariates.transpose(0, 1).flatten(1)
        by_group = {
            "cross": torch.einsum("bchw,bkdhw->bckd", negative_gradient, messages),
            "covariate_cross": torch.einsum("bchw,brhw->bcr", negative_gradient, covariates),
        }
        for name, each in by_group.items():
            former = self.parts.get(name, each.new_zeros(GROUPS, *each.shape[1:]))
            self.parts[name] = former.index_add(0, group, each)
        products = {"square": flat @ flat.transpose(1, 2), "both": flat @ rows.T, "covariates": rows @ rows.T}
        for name, each in products.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(each)) + each

    def on_host(self) -> "_Sums":
        copy = _Sums()
        copy.parts = {name: each.cpu() for name, each in self.parts.items()}
        return copy

    def join(self, other: "_Sums") -> None:
        """Adds sums over other images."""
        for name, each in other.parts.items():
            self.parts[name] = self.parts[name] + each if name in self.parts else each

    def residualize(self, images: int) -> Moments:
        """The moments of the messages less their linear regression on the covariates.

        A linear map of the refined features is a change of the head and needs no exchange. It is taken out of the
        messages only; the gradients may stay as they are (Frisch and Waugh).
        """
        used = min(images, GROUPS)
        parts = {name: each.double().cpu() for name, each in self.parts.items()}
        covariates = parts["covariates"]
        ridge = (
            1e-6 * covariates.diagonal().mean().clamp_min(1e-30) * torch.eye(len(covariates), dtype=covariates.dtype)
        )
        by_covariates = torch.linalg.solve(covariates + ridge, parts["both"].transpose(1, 2)).transpose(
            1, 2
        )  # (K, d, r)
        cross = parts["cross"][:used] - torch.einsum("gcr,kdr->gckd", parts["covariate_cross"][:used], by_covariates)
        square = parts["square"] - by_covariates @ parts["both"].transpose(1, 2)
        # of a channel that holds nothing more, only rounding errors are left
        empty = square.diagonal(dim1=1, dim2=2) <= 1e-5 * parts["square"].diagonal(dim1=1, dim2=2)  # (K, d)
        cross = cross.masked_fill(empty, 0)
        square = square.masked_fill(empty[:, :, None] | empty[:, None], 0)
        return Moments(cross.float(), square.float(), images)


def _centred(all_messages: Sequence[Messages]) -> Messages:
    """The messages of several exchanges as one, their channels side by side, less their mean over images."""
    centred = {}
    for name, (on, _) in all_messages[0].items():
        joined = torch.cat([messages[name][1] for messages in all_messages], 2)
        centred[name] = (on, joined - joined.mean(0, keepdim=True))
    return centred


def _passes(pairs: Sequence[Pair], open: Tensor) -> list[list[int]]:
    """Pairs (their indices) that can be replaced together, since they have different targets."""
    waiting: dict[str, list[int]] = {}
    for i, (target, _) in enumerate(pairs):
        if open[i].any():
            waiting.setdefault(target, []).append(i)
    longest = max(map(len, waiting.values()), default=0)
    return [[queue[place] for queue in waiting.values() if place < len(queue)] for place in range(longest)]


def _negative_gradient(
    exchange: Exchange, batch: HeldOut, sums_by_pair: Mapping[int, Tensor], pairs: Sequence[int]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Of each pair's target, {pair: (B, C, H, W)}: its negative loss gradient in refined features, and these."""
    with torch.no_grad():
        refined = exchange.aggregate(batch.features, sums_by_pair)
    refined = {task: maps.detach().requires_grad_() for task, maps in refined.items()}
    targets = [exchange.pairs[i][0] for i in pairs]
    with torch.enable_grad():
        losses = batch.losses(refined)
        total = torch.stack([losses[target].sum() for target in targets]).sum()
    gradients = torch.autograd.grad(total, [refined[target] for target in targets])
    negative_gradient = {i: -gradient.float() for i, gradient in zip(pairs, gradients, strict=True)}
    return negative_gradient, {i: refined[target].detach().float() for i, target in zip(pairs, targets, strict=True)}


def _scaled(cross: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of message channels of size one, and the same square with its ridge."""
    cross, square = cross.double(), square.double()
    size = square.diagonal().clamp_min(1e-30).sqrt()
    cross, square = cross / size, square / size / size[:, None]
    return cross, square, square + RIDGE * torch.eye(len(square), dtype=square.dtype, device=square.device)


def _agreement(cross: Tensor, square: Tensor) -> Tensor:
    """cross (groups, C, q), square (q, q) -> (groups, groups)."""
    cross, _, ridged = _scaled(cross, square)
    fitted = torch.linalg.solve(ridged, cross.transpose(1, 2)).transpose(1, 2)
    agreement = torch.einsum("fcq,gcq->fg", fitted, cross)
    return agreement - torch.diag(agreement.diagonal())


def _gains(cross: Tensor, square: Tensor) -> Tensor:
    """cross (groups, C, q), square (q, q) -> (groups,); the map is scaled to outputs of size one, whatever the size of
    the messages.
    """
    cross, square, ridged = _scaled(cross, square)
    fitted = torch.linalg.solve(ridged, (cross.sum(0) - cross).transpose(1, 2)).transpose(1, 2)  # (groups, C, q)
    size = torch.einsum("fcq,qr,fcr->f", fitted, square, fitted).clamp_min(1e-30).sqrt()
    return (cross * fitted).sum((1, 2)) / size
