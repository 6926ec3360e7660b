"""What an exported file computes: a whole network, or its exchange alone."""

import copy
from keyword import iskeyword
from typing import TypeVar

import torch
from torch import Tensor, nn

from deployment.predictor import Predictor
from experiment.errors import InputError
from multitask.network import MultiTaskNetwork, feature_size
from search_spaces import Exchange

M = TypeVar("M", bound=nn.Module)


class WholeNetwork(nn.Module):
    """Images (B, 3, H, W) in 0..1, one for all tasks or one for each in their order -> each task's scores."""

    def __init__(self, predictor: Predictor, half: bool = False):
        super().__init__()
        self.predictor = _copied(predictor)
        self.half_precision = half
        if half:
            self.predictor.half()
        self.stride = predictor.stride
        self.outputs = list(predictor.tasks)
        self.inputs = [f"image_{name}" for name in self.outputs] if predictor.images else ["image"]

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        given = tuple(image.half() for image in images) if self.half_precision else images
        tasks = self.predictor.tasks
        raw = self.predictor(dict(zip(tasks, given, strict=True)) if self.predictor.images else given[0])
        return tuple(task.scores(raw[name]) for name, task in tasks.items())

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Noise."""
        draw = torch.Generator().manual_seed(batch)
        return tuple(torch.rand(batch, 3, height, width, generator=draw) for _ in self.inputs)


class ExchangeAlone(nn.Module):
    """Each task's features (B, C, H, W), then the label regions that blocks read, (B, R, H, W) -> refined features."""

    def __init__(self, predictor: Predictor, half: bool = False):
        super().__init__()
        network = predictor.network
        if not isinstance(network, MultiTaskNetwork) or not isinstance(network.exchange, Exchange):
            raise InputError("--exchange-only: this network has no exchange of blocks: expected one of an architecture")
        self.exchange = _copied(network.exchange)
        # features come in such steps: a block that pools them to a half may take even sizes alone
        self.stride = feature_size(network.settings, predictor.stride, predictor.stride)[0]
        self.half_precision = half
        if half:
            self.exchange.half()
        self.counts = {name: predictor.tasks[name].region_count for name in self.exchange.region_tasks()}
        self.inputs = [f"features_{name}" for name in self.exchange.tasks] + [f"regions_{name}" for name in self.counts]
        self.outputs = [f"refined_{name}" for name in self.exchange.tasks]

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        given = tuple(one.half() for one in maps) if self.half_precision else maps
        tasks = self.exchange.tasks
        refined = self.exchange(dict(zip(tasks, given)), dict(zip(self.counts, given[len(tasks) :])))
        return tuple(refined[name].float() for name in tasks)

    def example(self, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Noise."""
        draw = torch.Generator().manual_seed(batch)
        channels = [*[self.exchange.channels] * len(self.exchange.tasks), *self.counts.values()]
        return tuple(torch.randn(batch, count, height, width, generator=draw) for count in channels)


Exportable = WholeNetwork | ExchangeAlone


class _Renamed(nn.ModuleDict):
    """Modules under names that are attributes in Python code, found by their own names."""

    def __getitem__(self, key: str) -> nn.Module:
        return super().__getitem__(_attribute(key))


def _attribute(name: str) -> str:
    return f"{name}_" if iskeyword(name) else name


def _copied(module: M) -> M:
    """A copy for export, which writes names of modules as code, where the block `global` has another name."""
    copied = copy.deepcopy(module)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ModuleDict) and any(map(iskeyword, child)):
                setattr(parent, name, _Renamed({_attribute(key): value for key, value in child.items()}))
    return copied
