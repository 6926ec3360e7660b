"""The module through which tasks exchange features: of one architecture, or of a whole search space.

Every target t gets F'_t = aggregate(F_t, [m_ts for its sources s]), where the message m_ts is that of the pair's one
block, or in a search space the weighted sum over the pair's candidates.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from search_spaces.aggregators import AGGREGATORS
from search_spaces.architecture import Architecture
from search_spaces.blocks import ExchangeBlock, ExchangeInputs, Pair, build_block, check_call, regions_needed
from search_spaces.blocks.base import region_weights
from search_spaces.blocks.layers import PairBatchNorm, frozen_statistics, pick
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.seeds import initial_weights
from search_spaces.space import SearchSpace

# {block name: (indices of the pairs it was computed on, their messages (B, pairs, d, H, W))}
Messages = dict[str, tuple[list[int], Tensor]]


class Exchange(nn.Module):
    """Runs each kind of block once over all the pairs that use it, and aggregates the messages.

    plan: an Architecture (each pair has one block), or a SearchSpace (each pair has all its legal blocks, and `forward`
        takes their weights). If its `normalize_messages` is true, every message ends in BatchNorm (not affine in a
        search) and ReLU.
    channels: C of every task's features.
    seed: with one, the initial weights of each (block, pair) and of each part of the aggregator follow from the seed
        and from their names. So exchanges of different architectures, and of their space, start with the same weights
        wherever they have the same block on the same pair. Without one, weights come from the global generator.
    affine: whether the blocks' last norms have a scale and an offset; by default only outside a search.
    dropout: Dropout2d rate after the `atrc` aggregator; by default 0.05 outside a search (ATRC), 0 in one.
    recompute: blocks that compute their activations again in the backward pass, to save memory; `auto` alone stands for
        what whoever builds the exchange will set.
    own_features: every block reads the target's own features and regions in the source's place, with the weights that
        it would have otherwise. No pair then learns anything of another task: a control of capacity.
    Raises SpaceError for a block to recompute that the plan lacks, and for a plan with scales (scaled_exchange.py).
    """

    scales: tuple[int, ...] = ()

    def __init__(
        self,
        plan: Architecture | SearchSpace,
        channels: int,
        *,
        seed: int | None = None,
        affine: bool | None = None,
        dropout: float | None = None,
        recompute: Sequence[str] = (),
        own_features: bool = False,
    ):
        super().__init__()
        if plan.scales:
            raise SpaceError(
                f"the plan has the scales {list(plan.scales)}: expected build_exchange with channels of each"
            )
        searching = isinstance(plan, SearchSpace)
        candidates: dict[Pair, tuple[str, ...]]
        if isinstance(plan, SearchSpace):
            candidates = {pair: plan.legal(pair) for pair in plan.pairs}
            self.block_names = plan.blocks
        else:
            candidates = {pair: (plan.exchanges[pair],) for pair in plan.pairs}
            self.block_names = tuple(dict.fromkeys(plan.exchanges[pair] for pair in plan.pairs))
        for name in recompute if tuple(recompute) != ("auto",) else ():
            if name not in self.block_names:
                raise unknown_name("block to recompute", name, self.block_names)
        self.recompute = tuple(recompute)
        self.own_features = own_features
        self.plan = plan
        self.tasks = plan.tasks
        self.pairs = plan.pairs
        self.channels = channels
        self.normalize_messages = bool(plan.normalize_messages)
        self.affine = not searching if affine is None else affine
        aggregator = AGGREGATORS[plan.aggregator]
        self.message_channels = aggregator.message_channels(channels)

        self.served: dict[str, list[int]] = {}  # block name -> its pairs, as indices into self.pairs
        self.blocks = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for name in self.block_names:
            served = [i for i, pair in enumerate(self.pairs) if name in candidates[pair]]
            if name == "none" or not served:
                continue
            self.served[name] = served
            pairs = [self.pairs[i] for i in served]
            check_call(name, pairs[0], channels, self.message_channels)
            self.blocks[_key(name)] = self._initial_block(name, pairs, seed)
            if self.normalize_messages:
                self.norms[_key(name)] = PairBatchNorm(len(served), self.message_channels, self.affine)

        read = {(name, pair) for name in self.served for pair in self.block(name).pairs}
        needed = {task for name, pair in read for task in regions_needed(name, pair)}
        self._region_tasks = tuple(task for task in self.tasks if task in needed)

        with_message = {i for served in self.served.values() for i in served}
        self.sources = {
            target: tuple(s for s in self.tasks if self.pairs.index((target, s)) in with_message)
            for target in self.tasks
        }
        rate = (0.0 if searching else 0.05) if dropout is None else dropout
        self.aggregator = aggregator(self.sources, channels, rate, seed)

    def _initial_block(self, name: str, pairs: list[Pair], seed: int | None) -> ExchangeBlock:
        """A block for all its pairs; with a seed, each pair's weights are those of a block for that pair alone."""
        shape = (self.channels, self.message_channels, self.affine)
        with initial_weights(seed, name):
            block = build_block(name, pairs, *shape)
        if seed is not None:
            for row, pair in enumerate(pairs):
                with initial_weights(seed, name, *pair):
                    block.load_pair(row, build_block(name, [pair], *shape).pair_state(0))
        if self.own_features:
            block.pairs = tuple((target, target) for target, _ in pairs)
        return block

    def region_tasks(self) -> tuple[str, ...]:
        """The tasks whose label regions some block reads; `forward` needs their regions."""
        return self._region_tasks

    def forward(
        self,
        features: Mapping[str, Tensor],
        regions: Mapping[str, Tensor] | None = None,
        valid: Tensor | None = None,
        weights: Tensor | None = None,
        active: Mapping[str, Sequence[int]] | None = None,
    ) -> dict[str, Tensor]:
        """Refined features, {task: (B, C, H, W)}.

        features: {task: (B, C, H, W)}; regions: {task: (B, R, H, W)}, logits of the label regions, needed for
        `region_tasks()`; valid: (B, 1, H, W) bool, False where the image is padding. For a space also weights:
        (pairs, blocks), not negative, the weight of each block on each pair; and active: {block name: indices of the
        pairs on which it is computed}, by default all its legal ones. Raises SpaceError for inputs that do not fit.
        """
        if weights is None and isinstance(self.plan, SearchSpace):
            raise SpaceError("an Exchange over a space needs the weights of its candidates: (pairs, blocks)")
        return self.mix(features, self.messages(features, regions, valid, active, weights))

    def messages(
        self,
        features: Mapping[str, Tensor],
        regions: Mapping[str, Tensor] | None = None,
        valid: Tensor | None = None,
        active: Mapping[str, Sequence[int]] | None = None,
        weights: Tensor | None = None,
    ) -> Messages:
        """The messages of each block on its active pairs, multiplied by their weights if `weights` are given.

        The arguments are those of `forward`.
        """
        self._check(features, regions)
        inputs = ExchangeInputs(features, {t: region_weights(regions[t], valid) for t in self._region_tasks if regions})
        messages: Messages = {}
        for name, served in self.served.items():
            on = served if active is None else [i for i in active.get(name, ()) if i in served]
            if not on:
                continue
            weight = None if weights is None else self._weight(name, on, weights)
            messages[name] = (on, self._message(name, inputs, [served.index(i) for i in on], weight))
        return messages

    def mix(
        self, features: Mapping[str, Tensor], messages: Messages, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Refined features, {task: (B, C, H, W)}, from `messages`; `weights` unless the messages are weighted."""
        return self.aggregate(features, self.combine(messages, weights))

    def combine(self, messages: Messages, weights: Tensor | None = None) -> dict[int, Tensor]:
        """The sum of each pair's messages, {index of the pair: (B, d, H, W)}; `weights` as in `mix`."""
        sums: dict[tuple[int, ...], Tensor] = {}  # messages added up over the blocks that serve the same pairs
        for name, (on, message) in messages.items():
            if weights is not None:
                message = message * self._weight(name, on, weights).to(message.dtype).view(1, -1, 1, 1, 1)
            key = tuple(on)
            sums[key] = sums[key] + message if key in sums else message
        by_pair: dict[int, Tensor] = {}
        for indices, sum_of_pairs in sums.items():
            for i, message in zip(indices, sum_of_pairs.unbind(1), strict=True):
                by_pair[i] = by_pair[i] + message if i in by_pair else message
        return by_pair

    def aggregate(self, features: Mapping[str, Tensor], by_pair: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Refined features, {task: (B, C, H, W)}, from the pairs' messages as `combine` returns them."""
        return self.aggregator(features, self._by_target(by_pair, features))

    def _message(self, name: str, inputs: ExchangeInputs, rows: Sequence[int], weight: Tensor | None = None) -> Tensor:
        """The messages of a block on some of its pairs, (B, rows, d, H, W), times each pair's weight, (rows,)."""
        if name not in self.recompute or not torch.is_grad_enabled():
            return self._weighted_message(name, inputs, rows, weight)
        self.block(name).prepare(inputs, rows)  # shared with other blocks, whose backward passes need it too
        modules = [self.block(name), *([self.norms[_key(name)]] if self.normalize_messages else [])]
        message = checkpoint(
            self._weighted_message, name, inputs, rows, weight, use_reentrant=False,
            context_fn=lambda: (nullcontext(), frozen_statistics(*modules)),  # statistics are counted once
        )  # fmt: skip
        assert isinstance(message, Tensor)
        return message

    def _weighted_message(
        self, name: str, inputs: ExchangeInputs, rows: Sequence[int], weight: Tensor | None
    ) -> Tensor:
        message: Tensor = self.blocks[_key(name)](inputs, rows)
        self._check_message(name, message, inputs.features, len(rows))
        if self.normalize_messages:
            # weights are not negative, so that weighing before the ReLU is the same and needs no pass of its own
            return F.relu(self.norms[_key(name)](message, rows, weight))
        return message if weight is None else message * weight.to(message.dtype).view(1, -1, 1, 1, 1)

    def _weight(self, name: str, on: Sequence[int], weights: Tensor) -> Tensor:
        """A block's column of the weights, for some pairs: (pairs,)."""
        return pick(weights[:, self.block_names.index(name)], on)

    def _by_target(self, by_pair: Mapping[int, Tensor], features: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """The messages of each target in the order of its sources, zeros where nothing was computed for a source;
        an empty list where nothing was computed for the target at all.
        """
        collected: dict[str, list[Tensor]] = {}
        for target in self.tasks:
            indices = [self.pairs.index((target, source)) for source in self.sources[target]]
            if all(i in by_pair for i in indices):
                collected[target] = [by_pair[i] for i in indices]
                continue
            like = features[target]
            zeros = like.new_zeros(like.shape[0], self.message_channels, *like.shape[2:])
            received = any(i in by_pair for i in indices)
            collected[target] = [by_pair.get(i, zeros) for i in indices] if received else []
        return collected

    def extract(self, architecture: Architecture) -> "Exchange":
        """The exchange of one architecture with this supernet's weights: the same outputs in eval mode.

        Messages are normalised as in the supernet, whatever the rule of the architecture.

        Raises SpaceError for an architecture that this exchange does not hold.
        """
        if set(architecture.tasks) != set(self.tasks):
            raise SpaceError(f"the architecture has tasks {list(architecture.tasks)}: expected {list(self.tasks)}")
        plan = replace(architecture, normalize_messages=self.normalize_messages)
        with torch.random.fork_rng(devices=[]):  # the initial weights are all replaced
            single = Exchange(plan, self.channels, affine=self.affine, dropout=0.0, own_features=self.own_features)
        like = next(self.parameters(), None)
        if like is not None:
            single = single.to(like.device, like.dtype)
        with torch.no_grad():
            for name, served in single.served.items():
                rows = [self._row(name, single.pairs[i]) for i in served]
                for own_row, row in enumerate(rows):
                    single.block(name).load_pair(own_row, self.block(name).pair_state(row))
                if self.normalize_messages:
                    norm = self.norms[_key(name)].state_dict()
                    single.norms[_key(name)].load_state_dict({key: pick(value, rows) for key, value in norm.items()})
            single.aggregator.load_sources(self.aggregator)
        return single.train(self.training)

    def _row(self, name: str, pair: Pair) -> int:
        """The index of a pair among those that a block serves. Raises SpaceError if it does not serve the pair."""
        index = self.pairs.index(pair)
        if index not in self.served.get(name, ()):
            raise unknown_name(f"block on {pair[0]} <- {pair[1]}", name, ("none", *self.served))
        return self.served[name].index(index)

    def block(self, name: str) -> ExchangeBlock:
        """The module of a block, for all the pairs that it serves."""
        block = self.blocks[_key(name)]
        assert isinstance(block, ExchangeBlock)
        return block

    def _check(self, features: Mapping[str, Tensor], regions: Mapping[str, Tensor] | None) -> None:
        for task in self.tasks:
            if task not in features:
                raise SpaceError(
                    f"no features for {task}: found {', '.join(features)}, expected {', '.join(self.tasks)}"
                )
        shape = features[self.tasks[0]].shape
        for task in self.tasks:
            given = tuple(features[task].shape)
            if len(given) != 4 or given != shape or given[1] != self.channels:
                expected = (shape[0], self.channels, *shape[2:])
                raise SpaceError(f"features of {task} have shape {given}: expected {expected}, the same for all tasks")
        for task in self.region_tasks():
            if regions is None or task not in regions:
                raise SpaceError(f"no regions for {task}: a label block needs them as {{task: (B, R, H, W) logits}}")
            if regions[task].shape[2:] != shape[2:]:
                raise SpaceError(
                    f"regions of {task} have size {tuple(regions[task].shape[2:])}: expected {tuple(shape[2:])}"
                )

    def _check_message(self, name: str, message: Tensor, features: Mapping[str, Tensor], count: int) -> None:
        like = features[self.tasks[0]]
        expected = (like.shape[0], count, self.message_channels, *like.shape[2:])
        if tuple(message.shape) != expected:
            returned = (message.shape[0], *message.shape[2:])
            raise SpaceError(f"block '{name}' returned {tuple(returned)}: expected {(expected[0], *expected[2:])}")


def _key(name: str) -> str:
    """A block's name as a module name, where dots are not allowed."""
    return name.replace(".", "/")
