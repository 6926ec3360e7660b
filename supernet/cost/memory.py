"""An estimate of the memory that a search needs, printed before each of its phases, and ways out where it is too much.

A phase is counted call by call on the meta device (multitask/training/step_cost.py), with the forms of the device that
will train. What tensors hold is met to 1 %. A process on a CPU takes PROCESS beside it, and its C library keeps freed
blocks, which saves time: HEAP times as much at most. Where that might not fit, they are given back at once, and the
process takes what is printed within 15 % (docs/log/performance.md).
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from experiment.allocator import give_back
from experiment.config import Config
from multitask import processes
from multitask.cost import free_memory, step_memory
from multitask.network import MultiTaskNetwork, Outputs
from multitask.training.step_cost import count_step, meta_inputs, task_losses
from search_spaces import Exchange, ScaledExchange
from search_spaces.blocks.layers import counting_for
from supernet.supernet import Supernet

ROOM = 0.15  # left free where search.recompute is chosen
AUTO = "auto"  # as search.recompute: as little as fits
# bytes by the type of device: code read from the libraries' files 43 MB, what these keep 7 to 12, gaps in the heap
PROCESS = {"cpu": 60 * 10**6}
HEAP = 2
SMALL = 0.05  # of the free memory: of steps that take less, nothing is counted in detail, which takes seconds

Active = Mapping[str, Sequence[int]]  # {block: numbers of the pairs on which it is computed}


@dataclass(frozen=True)
class Conditions:
    """What a step's memory depends on beside the network. kind: the type of the device; moments: see `count_step`."""

    batch_size: int
    height: int
    width: int
    kind: str = "cpu"
    precision: str = "fp32"
    moments: int = 2
    auxiliary_weight: float = 1.0

    @classmethod
    def of(cls, config: Config, device: torch.device) -> "Conditions":
        training, data = config.training, config.data
        moments = 1 if training.optimizer == "sgd" else 2
        images = -(-training.batch_size // processes.count())  # of the largest share
        shape = (images, data.height, data.width)
        return cls(*shape, device.type, config.precision, moments, training.auxiliary_weight)


class Fixed(nn.Module):
    """The supernet's exchange with a given set of blocks to compute, without any draw."""

    def __init__(self, exchange: Exchange | ScaledExchange, active: Active):
        super().__init__()
        self.exchange, self.active, self.scales = exchange, active, exchange.scales
        self.weights = nn.Parameter(torch.ones(len(exchange.pairs), len(exchange.block_names)))

    def forward(self, features: Mapping[Any, Any], regions: Mapping[Any, Any], valid: Any = None) -> dict[Any, Any]:
        refined: dict[Any, Any] = self.exchange(features, regions, valid, self.weights, self.active)
        return refined


def largest_path(
    network: MultiTaskNetwork, conditions: Conditions, single_path: bool | None = None
) -> tuple[int, Active]:
    """What a step computes at most, and about its bytes, from a forward pass alone. single_path: whether a step
    computes one block on each pair; by default as the network has it.
    """
    supernet = network.exchange
    assert isinstance(supernet, Supernet)
    served = supernet.exchange.served
    single = supernet.sampler.single_path if single_path is None else single_path
    sizes: list[tuple[int, Active]] = []
    for active in [{name: on} for name, on in served.items()] if single else [served]:
        with _fixed(network, active):
            sizes.append((step_memory(network, conditions.batch_size, conditions.height, conditions.width), active))
    return max(sizes, key=lambda path: path[0])


def search_memory(
    network: MultiTaskNetwork,
    conditions: Conditions,
    recompute: Sequence[str] | None = None,
    active: Active | None = None,
) -> int:
    """Bytes of a training step.

    recompute: as if it were set; by default as the network has it. active: what is computed; by default `largest_path`.
    """
    with _fixed(network, largest_path(network, conditions)[1] if active is None else active):
        twin = copy.deepcopy(network).to("meta").train()
    if recompute is not None:
        assert isinstance(twin.exchange, Fixed)
        twin.exchange.exchange.recompute = tuple(recompute)
    return step_peak(twin, task_losses(network.tasks, conditions.auxiliary_weight), conditions)


def step_peak(
    twin: nn.Module, loss: Callable[[Outputs], Tensor], conditions: Conditions, beside: Sequence[nn.Module] = ()
) -> int:
    """Bytes that a step holds at most; twin, beside: see `count_step`."""
    c = conditions
    inputs = meta_inputs(c.batch_size, c.height, c.width)
    with counting_for(c.kind):
        return count_step(twin, loss, inputs, c.kind, c.precision, c.moments, beside).peak


def settle(network: MultiTaskNetwork, conditions: Conditions, device: torch.device) -> str:
    """Sets what `search.recompute` leaves to it, and says in one line what a step needs and whether that fits."""
    supernet = network.exchange
    assert isinstance(supernet, Supernet)
    exchange, free = supernet.exchange, free_memory(device)
    room = free - PROCESS.get(conditions.kind, 0)
    automatic = exchange.recompute == (AUTO,)
    if automatic:
        exchange.recompute = ()
    rough, active = largest_path(network, conditions)
    most = 3 * rough
    if most < SMALL * free:
        return f"a step needs less than {max(most, 1e8) / 1e9:.1f} GB of {free / 1e9:.1f} GB free"
    need = search_memory(network, conditions, active=active)
    if automatic:
        for blocks in _stages(exchange):
            if need * (1 + ROOM) <= room:
                break
            exchange.recompute, need = blocks, search_memory(network, conditions, blocks, active)
    recomputed = f", recomputing {', '.join(exchange.recompute)}" if automatic and exchange.recompute else ""
    remedies = remedies_of(network, conditions, need, room, active) if need > room else []
    return describe(need, free, "a step", conditions.kind, remedies) + recomputed


def remedies_of(
    network: MultiTaskNetwork, conditions: Conditions, need: int, free: int, active: Active | None = None
) -> list[str]:
    """The settings of which each alone would make a step fit, as options. free: bytes for tensors; active: see
    `search_memory`.
    """
    supernet = network.exchange
    assert isinstance(supernet, Supernet)
    found = []
    half = search_memory(network, replace(conditions, batch_size=max(1, conditions.batch_size // 2)), active=active)
    slope = (need - half) / max(1, conditions.batch_size - conditions.batch_size // 2)
    size = int((free - (need - conditions.batch_size * slope)) // slope) if slope > 0 else 0
    if 1 <= size < conditions.batch_size:
        found.append(f"--training.batch_size {size}")
    half_precision = replace(conditions, precision="bf16")
    if conditions.precision == "fp32" and search_memory(network, half_precision, active=active) <= free:
        found.append("--precision bf16")
    for blocks in _stages(supernet.exchange):
        if search_memory(network, conditions, blocks, active) <= free:
            found.append(f"--search.recompute '[{', '.join(blocks)}]'")
            break
    if not supernet.sampler.single_path:
        _, single = largest_path(network, conditions, single_path=True)
        if search_memory(network, conditions, active=single) <= free:
            found.append("--search.strategy gumbel --search.gumbel.sampling single_path")
    return found


def describe(need: int, free: int, phase: str, kind: str, remedies: Sequence[str] = ()) -> str:
    """One line, with how far it may be off on this kind of device, and ways out where it will not fit. need: bytes of
    tensors. On a CPU whose memory is short, glibc gives back from now on what is freed.
    """
    need += PROCESS.get(kind, 0)
    off = ""
    if kind == "cpu":
        short = need * HEAP > free and give_back()
        off = "within 15 %: freed memory is given back, which costs time" if short else "on a CPU, up to twice as much"
    line = f"{phase} needs about {need / 1e9:.1f} GB of {free / 1e9:.1f} GB free{off and f' ({off})'}"
    if need <= free:
        return line
    way = f"each of these alone fits: {'; '.join(remedies)}" if remedies else "no single setting makes it fit"
    return f"warning: {line}: {way}"


def _stages(exchange: Exchange | ScaledExchange) -> list[tuple[str, ...]]:
    """Blocks to recompute, those that keep most for what they cost first."""
    first = tuple(name for name in exchange.served if name in ("local", "xtam"))
    return [blocks for blocks in (first, tuple(exchange.served)) if blocks]


@contextmanager
def _fixed(network: MultiTaskNetwork, active: Active) -> Iterator[None]:
    """While open, the network computes these blocks on these pairs."""
    supernet = network.exchange
    assert isinstance(supernet, Supernet)
    network.exchange = Fixed(supernet.exchange, active)
    try:
        yield
    finally:
        network.exchange = supernet
