"""Permutation importance of the messages inside a trained network.

Breiman, Random Forests, Machine Learning 2001, section 10, applied to a pair of tasks: its source (features and label
regions) is taken from another image, while the target, all other pairs and all weights stay as they are. The drop of
the metrics measures the image-specific information in the message.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from multitask.data import Dataset
from multitask.data.samples import plain_batch
from multitask.metrics import values_of
from multitask.network import MultiTaskNetwork, shrink
from multitask.tasks import Task
from multitask.training.evaluation import primary_values
from search_spaces import Architecture, Exchange
from search_spaces.scales import pairs_of
from supernet.records.pairs import Pair

LIMIT = 2_000_000_000  # bytes of features and labels that are remembered
OTHER = "another image's source"  # stands for a task

# of B images: ("features", task): (B, C, h, w); ("regions", task): (B, R, h, w) logits; ("valid", ""): (B, 1, h, w);
# ("labels", task): (B, c, H, W); ("masks", task): (B, 1, H, W)
Maps = dict[tuple[str, str], Tensor]


def derangement(count: int, draw: random.Random) -> list[int]:
    """A random order in which nothing keeps its place, each equally likely; needs two or more."""
    while True:  # e times on average
        order = draw.sample(range(count), count)
        if all(place != image for place, image in enumerate(order)):
            return order


class Trunk:
    """What reaches the exchange from the images of a dataset, and their labels.

    Computed once and remembered in the CPU's memory while it fits into `limit` bytes, otherwise computed anew.
    """

    def __init__(
        self, network: MultiTaskNetwork, dataset: Dataset, batches: Sequence[Sequence[int]], device: torch.device,
        limit: float = LIMIT,
    ):  # fmt: skip
        self.network, self.dataset, self.device = network, dataset, device
        self.kept: Maps | None = None
        parts = [_on_cpu(self._compute(batches[0]))]
        size = sum(maps.nbytes for maps in parts[0].values()) * sum(map(len, batches)) / len(batches[0])
        if size <= limit:
            parts += [_on_cpu(self._compute(batch)) for batch in batches[1:]]
            self.kept = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def __call__(self, images: Sequence[int]) -> Maps:
        if self.kept is None:
            return self._compute(images)
        return {key: maps[list(images)].to(self.device) for key, maps in self.kept.items()}

    def _compute(self, images: Sequence[int]) -> Maps:
        batch = plain_batch(default_collate([self.dataset[i] for i in images]), self.device)
        features, regions = self.network.features(batch.image)
        valid = shrink(batch.valid, features)
        assert valid is not None
        groups = {
            "features": features,
            "regions": regions,
            "valid": {"": valid},
            "labels": batch.labels,
            "masks": batch.masks,
        }
        return {(kind, task): maps for kind, group in groups.items() for task, maps in group.items()}


def _on_cpu(maps: Maps) -> Maps:
    return {key: values.cpu() for key, values in maps.items()}


def of(kind: str, maps: Maps) -> dict[str, Tensor]:
    """{task: its maps}."""
    return {task: values for (group, task), values in maps.items() if group == kind}


class Message:
    """The message of one pair of an exchange, whose source may show other images than its target."""

    def __init__(self, exchange: Exchange, pair: Pair, device: torch.device):
        assert isinstance(exchange.plan, Architecture)
        self.name = exchange.plan.exchanges[pair]
        self.block = exchange.block(self.name)
        self.row = exchange.served[self.name].index(exchange.pairs.index(pair))
        self.target, self.source = self.block.pairs[self.row]  # the pair, or the target's own features twice
        # the pair by itself, with a source of another name: that way a task's own features may differ from it too
        tasks = (self.target, OTHER)
        exchanges = dict.fromkeys(pairs_of(tasks), "none") | {tasks: self.name}
        alone = Architecture(tasks, exchanges, exchange.plan.aggregator, normalize_messages=False)
        self.alone = Exchange(alone, exchange.channels, affine=exchange.affine)
        self.alone.block(self.name).load_state_dict(self.block.pair_state(self.row))
        self.alone.to(device).eval()
        self.alone.block(self.name).register_forward_hook(self._catch)
        self.caught: Tensor

    def _catch(self, block: nn.Module, arguments: Any, messages: Tensor) -> None:
        self.caught = messages[:, 0]

    def __call__(self, own: Maps, other: Maps) -> Tensor:
        """(B, d, h, w), before any norm behind the block: the target from `own` images, the source from `other`."""
        ends = ((self.target, own, self.target), (OTHER, other, self.source))
        features = {name: maps["features", task] for name, maps, task in ends}
        regions = {name: maps["regions", task] for name, maps, task in ends if ("regions", task) in maps}
        self.alone(features, regions)  # without a mask: images that are evaluated have no padding
        return self.caught

    @contextmanager
    def replaced_by(self, message: Tensor) -> Iterator[None]:
        """Within, the exchange takes this message of the pair for its own."""

        def replace(block: nn.Module, arguments: tuple[Any, Sequence[int]], messages: Tensor) -> Tensor:
            changed = messages.clone()
            changed[:, list(arguments[1]).index(self.row)] = message
            return changed

        handle = self.block.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()


class Shuffling:
    """The primary metric of each task, with all messages as they are or with one pair's source shuffled.

    A pair changes its target's predictions only, so nothing else is computed.
    """

    def __init__(
        self, network: MultiTaskNetwork, tasks: Mapping[str, Task], dataset: Dataset, count: int, batch_size: int,
        device: torch.device, limit: float = LIMIT,
    ):  # fmt: skip
        assert isinstance(network.exchange, Exchange) and isinstance(network.exchange.plan, Architecture)
        self.network, self.exchange = network.to(device).eval(), network.exchange
        self.tasks, self.device = tasks, device
        self.batches = [range(i, min(i + batch_size, count)) for i in range(0, count, batch_size)]
        with torch.inference_mode():
            self.trunk = Trunk(network, dataset, self.batches, device, limit)

    def reference(self) -> dict[str, float]:
        """{task: its primary metric}, nothing shuffled."""
        return {task: self._metric(task) for task in self.tasks}

    def shuffled(self, pair: Pair, orders: Sequence[Sequence[int]]) -> Iterator[float]:
        """The target's primary metric for each order; the target's i-th image meets the source's order[i]-th."""
        message = Message(self.exchange, pair, self.device)
        for order in orders:
            yield self._metric(pair[0], message, order)

    @torch.inference_mode()
    def _metric(self, target: str, message: Message | None = None, order: Sequence[int] = ()) -> float:
        task, metric = self.tasks[target], self.tasks[target].meter().to(self.device)
        active = {
            name: [i for i in served if self.exchange.pairs[i][0] == target]
            for name, served in self.exchange.served.items()
        }
        for images in self.batches:
            own = self.trunk(images)
            inputs = (of("features", own), of("regions", own), own["valid", ""])
            if message is None:
                refined = self.exchange(*inputs, active=active)[target]
            else:
                with message.replaced_by(message(own, self.trunk([order[i] for i in images]))):
                    refined = self.exchange(*inputs, active=active)[target]
            label, mask = own["labels", target], own["masks", target]
            logits = self.network.predict({target: refined}, mask.shape[2:])[target]
            metric.update(task.decode(logits), label, mask)
        return primary_values(values_of({target: metric}), {target: task})[target]
