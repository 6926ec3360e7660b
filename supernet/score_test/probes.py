"""What is each message worth to a trained network? Measured by probes that are trained beside it, each alone.

The network is frozen. Every candidate (target, source, block) gets a fresh block and a readout of its own, a 1x1
convolution that starts at zero:

    refined + readout(message)  ->  the target's frozen head  ->  the target's loss

All candidates are trained in one pass; their blocks and readouts share nothing, since each has its own loss. A source
that is trained with an exchange comes to serve the target too, which a frozen one can't. So the blocks of a pair read
the source's features plus a 1x1 convolution, which starts at zero, of the map that these features were made from: the
source's last layer, adapted to the target.

Whatever is added to an unfinished network lowers its loss, another look at its own features too. So every block is also
trained on the target's own features in the source's place, adapted likewise, and a message is worth what its probe
saves *beyond* that control. A pair of a task with itself is compared with an ordinary convolution instead.

Dozens of predictions at the image's size would cost more than the network. The loss is taken at the features' size, on
one pixel of each cell: another one at each step of training, the middle one in tests.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiment.progress import track
from multitask.data import Batch
from multitask.data.samples import Image, plain_batch
from multitask.network import MultiTaskNetwork, Outputs, enlarge, shrink
from multitask.processes import rolled
from multitask.tasks import Task
from multitask.training.trainer import Trainer
from search_spaces import SearchSpace
from search_spaces.aggregators import AGGREGATORS
from search_spaces.blocks import ExchangeInputs, Pair, build_block, legal_on
from search_spaces.blocks.base import region_weights
from search_spaces.blocks.layers import PairBatchNorm, PairConv, PairConvNorm, frozen_statistics
from search_spaces.seeds import initial_weights
from supernet.score_test.warm_start import Look, start_readouts

Maps = Mapping[str, Tensor]  # of each task, (B, channels, H, W)

ORDINARY = "convolution"  # the control of blocks on a task's own features
WARM = 256  # images that readouts start from
MIDDLE = (0.5, 0.5)  # of a cell


@dataclass(frozen=True)
class Probe:
    """source None: the target's own features, a control."""

    target: str
    source: str | None
    block: str


def probes_of(space: SearchSpace) -> tuple[Probe, ...]:
    """The candidates of all pairs of different tasks, and the controls."""
    probes = []
    for target in space.tasks:
        blocks = [name for name in space.blocks if name != "none"]
        probes += [Probe(target, None, name) for name in (ORDINARY, *blocks)]
        for source in space.tasks:
            if source != target:
                probes += [Probe(target, source, name) for name in blocks if legal_on(name, (target, source))]
    return tuple(probes)


class ProbeBank(nn.Module):
    """The blocks, norms and readouts of many probes, of which those of a target follow each other; those of one block
    are computed together.

    shared: S, channels of the maps that features are made from; None leaves the features of sources as they are.
    """

    def __init__(
        self, space: SearchSpace, probes: Sequence[Probe], channels: int, seed: int, shared: int | None = None
    ):
        super().__init__()
        self.probes, self.normalize = tuple(probes), bool(space.normalize_messages)
        width = AGGREGATORS[space.aggregator].message_channels(channels)
        self.blocks, self.norms = nn.ModuleDict(), nn.ModuleDict()
        self.rows: dict[str, list[int]] = {}
        for name in dict.fromkeys(probe.block for probe in probes):
            rows = self.rows[name] = [i for i, probe in enumerate(probes) if probe.block == name]
            pairs = [_pair(probes[i]) for i in rows]
            with initial_weights(seed, name):
                if name == ORDINARY:
                    self.blocks[_key(name)] = _Ordinary(pairs, channels, width)
                else:
                    self.blocks[_key(name)] = build_block(name, pairs, channels, width, affine=False)
            self.norms[_key(name)] = PairBatchNorm(len(rows), width, affine=False)
        self.reads = tuple(dict.fromkeys((probe.target, probe.source) for probe in probes))
        self.adaptation = None if shared is None else PairConv(len(self.reads), shared, channels)
        if self.adaptation is not None:
            nn.init.zeros_(self.adaptation.weight)
        self.readout = PairConv(len(probes), width, channels, bias=True)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)  # type: ignore[arg-type]

    @property
    def targets(self) -> list[str]:
        """Those that have probes."""
        return list(dict.fromkeys(probe.target for probe in self.probes))

    def rows_of(self, target: str) -> list[int]:
        """The target's probes."""
        return [i for i, probe in enumerate(self.probes) if probe.target == target]

    def read(self, messages: Tensor) -> Tensor:
        """What each probe adds to its target's refined features, (B, probes, d, H, W) -> (B, probes, C, H, W); see
        `messages`.
        """
        return self.readout(messages, range(len(self.probes)))

    def messages(
        self,
        features: Maps,
        regions: Maps,
        valid: Tensor | None = None,
        null: bool = False,
        shared: Maps | None = None,
    ) -> Tensor:
        """What each probe's readout reads, (B, probes, d, H, W).

        null: sources are of the batch's next image, which says nothing of this one. shared: of each task, the map that
        its features are made from, (B, S, H, W), of a bank that adapts them.
        """
        weights = {task: region_weights(logits, valid) for task, logits in regions.items()}
        inputs = self._inputs(features, weights, null, shared)
        messages: list[Tensor] = [torch.empty(0)] * len(self.probes)
        for name, rows in self.rows.items():
            message = self.blocks[_key(name)](inputs, range(len(rows)))
            if self.normalize:
                message = F.relu(self.norms[_key(name)](message, range(len(rows))))
            for i, one in zip(rows, message.unbind(1), strict=True):
                messages[i] = one
        return torch.stack(messages, 1)

    def _inputs(self, features: Maps, regions: Maps, null: bool, shared: Maps | None) -> ExchangeInputs:
        """Each task by its own name, as a target, and by another one for whatever reads it."""
        tasks = [target if source is None else source for target, source in self.reads]
        changes: Sequence[Tensor | float] = [0.0] * len(tasks)
        if self.adaptation is not None and shared is not None:
            changes = self.adaptation.from_tasks(shared, tasks, range(len(tasks))).unbind(1)
        maps, weights = dict(features), dict(regions)
        for (target, source), task, change in zip(self.reads, tasks, changes, strict=True):
            name, other = _name(target, source), null and source is not None
            own = features[task] + change
            maps[name] = rolled(own) if other else own
            if task in regions:
                weights[name] = rolled(regions[task]) if other else regions[task]
        return ExchangeInputs(maps, weights)


class _Ordinary(nn.Module):
    """A 3x3 convolution of what the control reads."""

    def __init__(self, pairs: Sequence[Pair], channels: int, width: int):
        super().__init__()
        self.names = [name for _, name in pairs]
        self.layer = PairConvNorm(len(pairs), channels, width, 3, affine=False)

    def forward(self, inputs: ExchangeInputs, active: Sequence[int]) -> Tensor:
        return self.layer.from_tasks(inputs.features, [self.names[i] for i in active], active)


class ProbedNetwork(nn.Module):
    """A frozen network with the probes beside it. Only the probes are its parameters.

    null: see `ProbeBank.messages`. auxiliary: heads to be trained beside the probes, {task: head}, for a network whose
    own are untrained.
    """

    def __init__(
        self,
        network: MultiTaskNetwork,
        bank: ProbeBank,
        null: bool = False,
        auxiliary: nn.ModuleDict | None = None,
    ):
        super().__init__()
        self.frozen = (network,)  # in a tuple, so that it is no submodule
        self.bank, self.null, self.auxiliary = bank, null, auxiliary
        if auxiliary is not None:
            network.auxiliary_heads = auxiliary

    def forward(self, image: Image, valid: Tensor) -> Outputs:
        """Predictions of every probe of a target, the network's own first, at the features' size:
        {target: (1 + probes, B, channels, h, w)}, of targets with probes; auxiliary predictions, at the image's size,
        where their heads are trained.
        """
        regions, refined, messages = self._exchange(image, valid)
        auxiliary = {} if self.auxiliary is None else enlarge(regions, valid.shape[2:])
        # split rather than picked, whose way back adds up maps of all probes for each target
        counts = [len(self.bank.rows_of(target)) for target in self.bank.targets]
        added = self.bank.read(messages).transpose(0, 1).split(counts)
        predictions = {}
        for target, own in zip(self.bank.targets, added, strict=True):
            maps = refined[target]
            predictions[target] = self._predict(target, torch.cat([maps[None], maps + own]))
        return Outputs(predictions, auxiliary)

    @torch.no_grad()
    def look(self, image: Image, valid: Tensor, losses: Callable[[str, Tensor], Tensor]) -> Look:
        """What the readouts' first weights are computed from; losses: see `Look`, of the heads' raw outputs."""
        _, refined, messages = self._exchange(image, valid)
        return Look(messages, refined, lambda target, maps: losses(target, self._predict(target, maps)))

    def _exchange(self, image: Image, valid: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """The logits of the label regions, with their graph where heads are trained; the refined features; the messages
        of all probes.
        """
        network = self.frozen[0]
        with torch.set_grad_enabled(self.auxiliary is not None and torch.is_grad_enabled()):
            (features, shared, _), logits = network.decode(image)
        regions = {task: maps.detach() for task, maps in logits.items()}
        with torch.no_grad():
            refined = network.refine(features, regions, valid)
        of_task = dict.fromkeys(features, shared) if isinstance(shared, Tensor) else shared
        return logits, refined, self.bank.messages(features, regions, shrink(valid, features), self.null, of_task)

    def _predict(self, target: str, maps: Tensor) -> Tensor:
        """The target's raw outputs at the features' size, (K, B, C, h, w) -> (K, B, channels, h, w)."""
        raw = self.frozen[0].predict({target: maps.flatten(0, 1)}, maps.shape[3:])[target]
        return raw.unflatten(0, maps.shape[:2])


class ProbeTrainer(Trainer):
    """Trains probes by the sum of their losses, and auxiliary heads by their own."""

    def start(self) -> None:
        """The readouts' weights, in closed form from up to WARM images."""
        network, images = self.network, self.recipe.dataset.splits["train"]
        assert isinstance(network, ProbedNetwork)
        network.train()
        batches = max(2, min(WARM, len(images)) // self.settings.batch_size)
        fitted = max(1, 3 * batches // 4)
        rows = {target: network.bank.rows_of(target) for target in network.bank.targets}
        with frozen_statistics(network):
            start_readouts(network.bank.readout, rows, self._looks(0, fitted), self._looks(fitted, batches))

    def _looks(self, first: int, last: int) -> Iterator[Look]:
        """Of the batches of some steps, without augmentation."""
        network = self.network
        assert isinstance(network, ProbedNetwork)
        loader = self.loader(self.recipe.dataset.splits["train"], first, last)
        for sample in track(loader, self.phase("first weights"), unit="batch", delay=0.0):
            batch = plain_batch(sample, self.device)

            def losses(target: str, raw: Tensor, batch: Batch = batch) -> Tensor:
                return probe_losses({target: self.tasks[target]}, {target: raw}, batch)[target]

            yield network.look(batch.image, batch.valid, losses)

    def losses(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        losses = {}
        where = torch.rand(2, generator=self.generator).tolist()
        for name, predictions in outputs.predictions.items():
            probes = predictions[1:]
            losses[name] = len(probes) * self.tasks[name].loss(*per_probe(probes, batch, name, where))
        for name, logits in outputs.auxiliary.items():
            loss = self.tasks[name].region_loss(logits, batch.labels[name], batch.masks[name])
            losses[name] = losses[name] + loss if name in losses else loss
        return losses


def probe_losses(tasks: Mapping[str, Task], predictions: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The loss of every probe on every image, the network's own first: {target: (1 + probes, B)}, of the targets of
    `predictions`.
    """
    losses = {}
    for name, stacked in predictions.items():
        each = tasks[name].image_losses(*per_probe(stacked, batch, name, MIDDLE))
        losses[name] = each.unflatten(0, stacked.shape[:2])
    return losses


def one_pixel(maps: Tensor, size: Sequence[int], where: Sequence[float]) -> Tensor:
    """One pixel of each of h x w cells: (..., H, W) -> (..., h, w).

    where: which one, down and across, as a share of the cell, at least 0 and below 1.
    """
    for dim, count, share in zip((-2, -1), size, where, strict=True):
        length = maps.shape[dim]
        cell = torch.arange(count, dtype=torch.double, device=maps.device)
        maps = maps.index_select(dim, ((cell + share) * length / count).long().clamp_max(length - 1))
    return maps


def per_probe(predictions: Tensor, batch: Batch, task: str, where: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions of many probes, (K, B, ...), and the labels and masks of each, one pixel a cell: (K * B, ...)."""
    count, size = len(predictions), predictions.shape[3:]
    label, mask = (one_pixel(maps, size, where) for maps in (batch.labels[task], batch.masks[task]))
    return (
        predictions.flatten(0, 1),
        label.repeat(count, *[1] * (label.dim() - 1)),
        mask.repeat(count, *[1] * (mask.dim() - 1)),
    )


def _name(target: str, source: str | None) -> str:
    """Of the features that a pair's blocks, or a target's controls, read."""
    return f"{target if source is None else source} read by {'itself' if source is None else target}"


def _pair(probe: Probe) -> Pair:
    return probe.target, _name(probe.target, probe.source)


def _key(name: str) -> str:
    """A module's name may hold no dots."""
    return name.replace(".", "/")
