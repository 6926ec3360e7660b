"""A search problem whose truth is known: which pairs carry a message, how strong it is, and which block can pass it.

Four tasks, each with an image of its own, so that only the exchange can carry anything from one to another. A label is
the sum of an own part that its task's image shows, of messages from some sources, and of noise. A message is

- local: a plane, tilted at random and zero on average over the image, hidden under a wave that cancels over windows of
  about nine pixels; the message is the 9x9 neighbourhood mean. Right: local.
- image: one value per image, hidden under a wave that cancels over the whole image only. Right: whatever reads the
  whole image, so global, t_label, s_label; xtam's attention may.
- echo: the target's own part, which the target sees by itself. Right: none, though a network may come to rely on it.

An image is a fixed invertible mixture of its hidden maps, so that each task's encoder has something to learn. Half of
the noise is smooth: as in real labels, neighbouring errors are alike, and an image is worth few independent pixels.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import Exchange, SearchSpace
from search_spaces.blocks import Pair
from supernet.draws import Draw

TASKS = ("a", "b", "c", "d")
RIGHT = {
    "local": ("local",),
    "image": ("global", "t_label", "s_label", "xtam"),
    "echo": ("none",),
    "none": ("none",),
}
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)  # variance of a message; own part and noise together have 1
CHANNELS, SIZE, REGIONS, HIDDEN = 16, 10, 4, 8
OWN, NOISE = 0.3, 0.7
ECHOES = 2  # pairs at most
FILLER = 3  # the hidden map that holds an echo, if the source has one


@dataclass(frozen=True)
class Plant:
    """The message of a pair: its kind (local, image, echo or none) and its variance in the target's label."""

    kind: str = "none"
    strength: float = 0.0

    @property
    def right(self) -> tuple[str, ...]:
        return RIGHT[self.kind]


@dataclass(frozen=True)
class Images:
    """inputs {task: (N, HIDDEN, H, W)}; labels {task: (N, 1, H, W)}; regions {task: (N, H, W)}, integers."""

    inputs: dict[str, Tensor]
    labels: dict[str, Tensor]
    regions: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.labels[TASKS[0]])

    def __getitem__(self, index: Tensor | slice) -> "Images":
        return Images(*({t: x[index] for t, x in part.items()} for part in (self.inputs, self.labels, self.regions)))


class Problem:
    """Each strength but one once with each kind on a pair of different tasks, drawn by the seed; four pairs are empty.

    The strength that is left out goes round with the seed, so that five problems hold each strength four times.
    """

    def __init__(self, seed: int, strengths: tuple[float, ...] = STRENGTHS):
        self.seed = seed
        plants = [
            Plant(kind, strength)
            for shift, kind in enumerate(("local", "image"))
            for place, strength in enumerate(strengths)
            if place != (seed + 2 * shift) % len(strengths)
        ]
        crossing = [(t, s) for t in TASKS for s in TASKS if t != s]
        plants += [Plant()] * (len(crossing) - len(plants))
        random.Random(seed).shuffle(plants)
        self.plants: dict[Pair, Plant] = {(t, t): Plant() for t in TASKS} | dict(zip(crossing, plants, strict=True))
        echoing: set[str] = set()  # a source has room for one echo
        for pair in crossing:
            if self.plants[pair] == Plant() and pair[1] not in echoing and len(echoing) < ECHOES:
                self.plants[pair] = Plant("echo")
                echoing.add(pair[1])
        draw = torch.Generator().manual_seed(seed)
        self.mixtures = {t: torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=draw))[0] for t in TASKS}

    def images(self, count: int, split: int) -> Images:
        """`count` images; another `split` gives others of the same problem."""
        draw = torch.Generator().manual_seed(1000 * self.seed + split)
        hidden = {t: hidden_maps(count, draw) for t in TASKS}
        for (target, source), plant in self.plants.items():
            if plant.kind == "echo":
                hidden[source][:, FILLER] = hidden[target][:, 0]
        inputs = {t: torch.einsum("ij,njhw->nihw", self.mixtures[t], h) for t, h in hidden.items()}
        labels, regions = {}, {}
        for t in TASKS:
            label = OWN**0.5 * hidden[t][:, :1] + noise(count, draw)
            for s in TASKS:
                plant = self.plants[t, s]
                if plant.strength:
                    label = label + plant.strength**0.5 * message(plant.kind, hidden[s])
            labels[t] = label
            regions[t] = hidden[t][:, HIDDEN - REGIONS :].argmax(1)
        return Images(inputs, labels, regions)


def smooth(count: int, channels: int, draw: torch.Generator) -> Tensor:
    """Noise of variance 1 that varies over a quarter of the image, (count, channels, H, W)."""
    coarse = torch.randn(count, channels, 5, 5, generator=draw)
    maps = F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=True)
    return maps / 0.7


def noise(count: int, draw: torch.Generator) -> Tensor:
    white = torch.randn(count, 1, SIZE, SIZE, generator=draw)
    return (NOISE / 2) ** 0.5 * (white + smooth(count, 1, draw))


def hidden_maps(count: int, draw: torch.Generator) -> Tensor:
    """(count, HIDDEN, H, W): own part, local, image, a filler, and a smooth map per region."""
    own = smooth(count, 1, draw)
    tilt = torch.randn(2, count, 1, 1, 1, generator=draw)
    axis = torch.linspace(-1, 1, SIZE)
    near = 0.33 * (tilt[0] * axis[:, None] + tilt[1] * axis) + wave(count, 2, draw)
    image = 0.3 * torch.randn(count, 1, 1, 1, generator=draw) + 2 * wave(count, 1, draw)
    filler = torch.randn(count, 1, SIZE, SIZE, generator=draw)
    return torch.cat([own, near, image, filler, smooth(count, REGIONS, draw)], 1)


def wave(count: int, periods: int, draw: torch.Generator) -> Tensor:
    """Along each axis of the image that many, at random phases."""
    axis = torch.arange(SIZE) * (2 * torch.pi * periods / SIZE)
    phase = 2 * torch.pi * torch.rand(2, count, 1, 1, 1, generator=draw)
    return torch.sin(axis[:, None] + phase[0]) + torch.sin(axis + phase[1])


def message(kind: str, hidden: Tensor) -> Tensor:
    """The message of a source with these hidden maps, with variance 1, (N, 1, H, W)."""
    if kind == "image":
        return hidden[:, 2:3].mean((2, 3), keepdim=True).expand(-1, -1, SIZE, SIZE) / 0.3
    near = F.avg_pool2d(hidden[:, 1:2], 9, stride=1, padding=4)
    return near / 0.1409  # its standard deviation, borders included


class PlantedNetwork(nn.Module):
    """A pointwise encoder per task, an auxiliary region head, any exchange, and a 1x1 readout per task."""

    def __init__(self, exchange: nn.Module):
        super().__init__()
        self.encoders = nn.ModuleDict(
            {
                t: nn.Sequential(
                    nn.Conv2d(HIDDEN, 2 * CHANNELS, 1, bias=False),
                    nn.BatchNorm2d(2 * CHANNELS),
                    nn.ReLU(),
                    nn.Conv2d(2 * CHANNELS, CHANNELS, 1, bias=False),
                    nn.BatchNorm2d(CHANNELS),
                    nn.ReLU(),
                )
                for t in TASKS
            }
        )
        self.auxiliary = nn.ModuleDict({t: nn.Conv2d(CHANNELS, REGIONS, 1) for t in TASKS})
        self.exchange = exchange
        self.readouts = nn.ModuleDict({t: nn.Conv2d(CHANNELS, 1, 1) for t in TASKS})

    def encode(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Features {task: (B, C, H, W)} and region logits {task: (B, R, H, W)}."""
        features = {t: self.encoders[t](x) for t, x in inputs.items()}
        return features, {t: self.auxiliary[t](x.detach()) for t, x in features.items()}

    def hidden(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the encoders' last layers read, {task: (B, 2 C, H, W)}."""
        return {t: self.encoders[t][:3](x) for t, x in inputs.items()}  # type: ignore[index]

    def losses(self, images: Images, refined: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Squared error per image, {task: (B,)}."""
        return {t: (self.readouts[t](refined[t]) - images.labels[t]).square().mean((1, 2, 3)) for t in TASKS}

    def forward(self, images: Images, draw: Draw | None = None) -> Tensor:
        """The training loss: the tasks' mean squared errors and the auxiliary cross-entropies. `draw` is for an
        exchange over a space that has no selection of its own.
        """
        features, regions = self.encode(images.inputs)
        given = {} if draw is None else {"weights": draw.weights, "active": draw.active}
        losses = self.losses(images, self.exchange(features, regions, **given))
        auxiliary = torch.stack([F.cross_entropy(regions[t], images.regions[t]) for t in TASKS])
        return torch.stack([loss.mean() for loss in losses.values()]).sum() + 0.1 * auxiliary.sum()


def planted_space(blocks: tuple[str, ...], aggregator: str = "atrc") -> SearchSpace:
    return SearchSpace(TASKS, blocks, aggregator=aggregator, normalize_messages=True)


def planted_network(space: SearchSpace) -> PlantedNetwork:
    return PlantedNetwork(Exchange(space, CHANNELS))
