"""Does a pair's source know something about its target's errors? Measured on held-out images of a trained mixture.

The pair's messages are replaced by their mean over images, so that nothing of this image's source is heard but nothing
else changes either. The gradient of each image's loss with respect to the target's refined features, with its sign
turned, then says what the target lacks; how it goes together with the messages is what the pair could tell. Only these
moments are kept, summed over groups of images, for each candidate:

    cross_f = - sum over images i of group f and pixels x of  dL_i/dR_x  (m_x - mean m_x)^T     (C, d)
    square  =   sum over images and pixels of  (m_x - mean m_x) (m_x - mean m_x)^T              (d, d)

A linear map from messages to refined features that is fitted on all groups but one is tested on that one. So a message
is judged by what it holds, however far its readout was trained, and memorised images count for nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces import Exchange
from search_spaces.blocks import Pair
from search_spaces.exchange import Messages

Losses = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]  # refined features -> each task's loss per image, (B,)

GROUPS = 32
RIDGE = 0.1  # of the messages' mean square, added to each of their channels when the map is fitted


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
class Evidence:
    """Of one pair. candidates: K names in the space's order; cross: (groups, C, K, d); square: (K, d, K, d)."""

    candidates: tuple[str, ...]
    cross: Tensor
    square: Tensor

    def whole(self) -> Tensor:
        """What all candidates together tell about each group of images, (groups,); mean zero if that is nothing."""
        return _told(self.cross.flatten(2), self.square.flatten(2).flatten(0, 1))

    def alone(self) -> Tensor:
        """The same of each candidate, (K, groups): the gain of loss per unit of message, to first order, so that its
        square goes with the loss that the candidate can save.
        """
        each = range(len(self.candidates))
        return torch.stack([_told(self.cross[:, :, k], self.square[k, :, k]) for k in each])


def collect(exchange: Exchange, batches: Iterable[HeldOut], open: Tensor) -> dict[Pair, Evidence]:
    """The evidence on every pair that has open candidates. Leaves the exchange in eval mode.

    open: (pairs, blocks) bool, the candidates of the mixture, none aside.
    """
    exchange.eval()
    weights = open.float() / open.sum(1, keepdim=True).clamp_min(1)
    active = {name: open[:, i].nonzero().flatten().tolist() for i, name in enumerate(exchange.block_names)}
    cross: dict[int, Tensor] = {}
    square: dict[int, Tensor] = {}
    seen = 0
    for batch in batches:
        with torch.no_grad():
            messages = exchange.messages(batch.features, batch.regions, batch.valid, active)
            means = {name: (on, message.mean(0, keepdim=True)) for name, (on, message) in messages.items()}
        size = len(batch.features[exchange.tasks[0]])
        group = (seen + torch.arange(size)) % GROUPS
        seen += size
        for pairs in _passes(exchange.pairs, open):
            lacking = _lacking(exchange, batch, _silenced(messages, means, pairs), weights, pairs)
            for i in pairs:
                told = torch.stack(
                    [
                        message[:, on.index(i)] - means[name][1][:, on.index(i)]
                        for name, (on, message) in messages.items()
                        if i in on
                    ],
                    1,
                )  # (B, K, d, H, W)
                each = torch.einsum("bchw,bkdhw->bckd", lacking[i], told.float())
                former = cross.get(i, each.new_zeros(GROUPS, *each.shape[1:]))
                cross[i] = former.index_add(0, group.to(each.device), each)
                square[i] = square.get(i, 0) + torch.einsum("bkdhw,bjehw->kdje", told.float(), told.float())
    names = {i: tuple(name for name in messages if i in messages[name][0]) for i in cross}
    used = min(seen, GROUPS)
    return {exchange.pairs[i]: Evidence(names[i], cross[i][:used].cpu(), square[i].cpu()) for i in sorted(cross)}


def _passes(pairs: Sequence[Pair], open: Tensor) -> list[list[int]]:
    """Pairs (their indices) that can be silenced together, since they have different targets."""
    waiting: dict[str, list[int]] = {}
    for i, (target, _) in enumerate(pairs):
        if open[i].any():
            waiting.setdefault(target, []).append(i)
    longest = max(map(len, waiting.values()), default=0)
    return [[queue[place] for queue in waiting.values() if place < len(queue)] for place in range(longest)]


def _silenced(messages: Messages, means: Messages, pairs: Sequence[int]) -> Messages:
    """`messages`, those of some pairs being replaced by their means."""
    silenced = {}
    for name, (on, message) in messages.items():
        rows = [on.index(i) for i in pairs if i in on]
        message = message.clone()
        message[:, rows] = means[name][1][:, rows]
        silenced[name] = (on, message)
    return silenced


def _lacking(
    exchange: Exchange, batch: HeldOut, messages: Messages, weights: Tensor, pairs: Sequence[int]
) -> dict[int, Tensor]:
    """Each pair's target's falling loss as a direction in its refined features, {pair: (B, C, H, W)}."""
    with torch.no_grad():
        refined = exchange.mix(batch.features, messages, weights)
    refined = {task: maps.detach().requires_grad_() for task, maps in refined.items()}
    targets = [exchange.pairs[i][0] for i in pairs]
    with torch.enable_grad():
        losses = batch.losses(refined)
        total = torch.stack([losses[target].sum() for target in targets]).sum()
    gradients = torch.autograd.grad(total, [refined[target] for target in targets])
    return {i: -gradient.float() for i, gradient in zip(pairs, gradients, strict=True)}


def _told(cross: Tensor, square: Tensor) -> Tensor:
    """Each group's agreement with the map fitted on the other groups: cross (groups, C, q), square (q, q) -> (groups,).

    The map is scaled to say something of size one, whatever the size of the messages.
    """
    cross, square = cross.double(), square.double()
    mean_square = square.diagonal().mean().clamp_min(1e-30)
    ridge = RIDGE * mean_square * torch.eye(len(square), dtype=square.dtype)
    fitted = torch.linalg.solve(square + ridge, (cross.sum(0) - cross).transpose(1, 2)).transpose(
        1, 2
    )  # (groups, C, q)
    size = torch.einsum("fcq,qr,fcr->f", fitted, square, fitted).clamp_min(1e-30).sqrt()
    return (cross * fitted).sum((1, 2)) / size
