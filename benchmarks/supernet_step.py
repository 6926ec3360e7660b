"""A step of the supernet, forward and backward: pairs batched against one small module per pair.

python -m benchmarks.supernet_step --output runs/benchmarks
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.measure import Cost, in_turn
from benchmarks.naive import NaiveExchange, NaiveSupernet
from benchmarks.output import print_table, write
from benchmarks.supernets import gumbel_supernet
from experiment.config import DataSettings, NetworkSettings
from multitask.network import MultiTaskNetwork, exchange_channels, feature_channels
from multitask.tasks import TASKS, Task, build_tasks
from search_spaces import Architecture, Exchange, ScaledExchange, SearchSpace
from search_spaces.space import SPACES
from supernet.samplers.relaxed import GumbelSampler
from supernet.supernet import Supernet

CLASSES = 40  # of NYUD-v2
ORDER = ("semseg", "depth", "normals", "edge", "human_parts", "saliency")
Call = Callable[[], object]


class _Given(nn.Module):
    """Stands in for an encoder: gives the same maps for every image."""

    def __init__(self, maps: list[Tensor]):
        super().__init__()
        self.maps = maps

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.maps


class Bench:
    """Networks on one device over random images, all with the same widths."""

    def __init__(self, options: argparse.Namespace):
        self.device = torch.device(options.device)
        self.size: list[int] = options.size
        self.batch: int = options.batch_size
        self.settings = NetworkSettings(backbone=options.backbone)
        self.channels = feature_channels(self.settings)
        self.precision: str = options.precision

    def tasks(self, count: int) -> dict[str, Task]:
        assert set(ORDER) == set(TASKS)
        return build_tasks(list(ORDER[:count]), DataSettings(), CLASSES)

    def network(self, tasks: dict[str, Task], exchange: nn.Module | None, decoder: str = "concat") -> MultiTaskNetwork:
        inner = getattr(exchange, "exchange", exchange)
        auxiliary = inner.region_tasks() if isinstance(inner, Exchange | ScaledExchange | NaiveExchange) else ()
        settings = replace(self.settings, decoder=decoder)
        return MultiTaskNetwork(settings, tasks, exchange, auxiliary).to(self.device).train()

    def supernet(self, space: SearchSpace, single_path: bool = False, recompute: Sequence[str] = ()) -> Supernet:
        return gumbel_supernet(space, self.channels, None, single_path, recompute)

    def single(self, space: SearchSpace, block: str, itself: str = "none") -> Exchange:
        """Block wherever it is legal, else another from a task to itself, as retraining would build it."""
        uniform = Architecture.uniform(space.tasks, block)
        exchanges = {pair: itself if name == "none" else name for pair, name in uniform.exchanges.items()}
        return Exchange(Architecture.from_space(space, exchanges), self.channels)

    @contextmanager
    def cast(self) -> Iterator[None]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            yield

    def head_step(self, network: MultiTaskNetwork) -> Call:
        """Everything between the encoder and the upsampling of the predictions."""
        image = torch.randn(self.batch, 3, *self.size, device=self.device)
        with torch.no_grad():
            maps = [m.requires_grad_() for m in network.encoder(image)]
        network.encoder = _Given(maps)

        def step() -> None:
            with self.cast():
                features, regions = network.features(image)
                refined = network.refine(features, regions)
                outputs = network.predict(refined, maps[0].shape[2:])
            self._backward([*outputs.values(), *regions.values()], network, maps)

        return step

    def whole_step(self, network: MultiTaskNetwork) -> Call:
        image = torch.randn(self.batch, 3, *self.size, device=self.device)

        def step() -> None:
            with self.cast():
                outputs = network(image)
            self._backward([*outputs.predictions.values(), *outputs.auxiliary.values()], network)

        return step

    def _backward(self, outputs: list[Tensor], network: nn.Module, maps: Sequence[Tensor] = ()) -> None:
        network.zero_grad(set_to_none=True)
        for given in maps:
            given.grad = None
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for supernet_step.json")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, nargs=2, default=[128, 160], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--backbone", default="hrnet_w18_small_v2", help="a timm model")
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 3, 4, 5, 6])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS), help="parts of the benchmark")
    options = parser.parse_args()
    bench = Bench(options)
    print(
        f"forward + backward, batch {options.batch_size}, {options.size[0]}x{options.size[1]}, C = {bench.channels}, "
        f"{bench.device}, {options.precision}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    results: dict[str, dict[str, Cost]] = {}
    for name in options.only:
        sides = PARTS[name](bench, options)
        results[name] = in_turn(sides, options.rounds, bench.device)
        print_table(name, results[name])
    write(options.output, "supernet_step", options, results)


def against_naive(bench: Bench, options: argparse.Namespace) -> dict[str, Call]:
    """Exchange with head, 4 tasks: the first side is the yardstick."""
    tasks = bench.tasks(4)
    sides: dict[str, Call] = {}
    for name in ("atrc", "full"):
        space = SearchSpace(tuple(tasks), SPACES[name])
        naive = NaiveSupernet(space, bench.channels)
        sides[f"naive, {name}"] = bench.head_step(bench.network(tasks, naive))
        sides[f"batched, {name}"] = bench.head_step(bench.network(tasks, bench.supernet(space)))
    return sides


def over_tasks(bench: Bench, options: argparse.Namespace) -> dict[str, Call]:
    """Exchange with head in the atrc space, for more and more tasks."""
    return _over_tasks(bench, options.tasks, bench.head_step)


def whole_over_tasks(bench: Bench, options: argparse.Namespace) -> dict[str, Call]:
    """The whole network in the atrc space, for more and more tasks."""
    return _over_tasks(bench, options.tasks, bench.whole_step)


def _over_tasks(bench: Bench, counts: list[int], step: Callable[[MultiTaskNetwork], Call]) -> dict[str, Call]:
    sides: dict[str, Call] = {}
    for count in counts:
        tasks = bench.tasks(count)
        space = SearchSpace(tuple(tasks), SPACES["atrc"])
        sides[f"{count} tasks"] = step(bench.network(tasks, bench.supernet(space)))
    return sides


def against_single(bench: Bench, options: argparse.Namespace) -> dict[str, Call]:
    """The whole network, 4 tasks, full space: one architecture, the supernet, the supernet half decided."""
    tasks = bench.tasks(4)
    space = SearchSpace(tuple(tasks), SPACES["full"])
    sides: dict[str, Call] = {"multi_task": bench.whole_step(bench.network(tasks, None))}
    for block in space.blocks[1:]:
        sides[f"uniform:{block}"] = bench.whole_step(bench.network(tasks, bench.single(space, block)))
    # xtam is not legal from a task to itself; t_label there brings all the auxiliary heads
    sides["xtam, itself t_label"] = bench.whole_step(bench.network(tasks, bench.single(space, "xtam", "t_label")))
    native = SearchSpace(tuple(tasks), SPACES["atrc"])
    sides["supernet, atrc"] = bench.whole_step(bench.network(tasks, bench.supernet(native)))
    sides["supernet"] = bench.whole_step(bench.network(tasks, bench.supernet(space)))
    half = bench.supernet(space)
    assert isinstance(half.sampler, GumbelSampler)
    # every other pair decided, for the blocks in turn
    for i in range(0, len(space.pairs), 2):
        legal = space.legal(space.pairs[i])
        half.sampler.selection.fixed[i] = space.blocks.index(legal[i // 2 % len(legal)])
    half.sampler.selection.refresh()
    sides["supernet, half of the pairs fixed"] = bench.whole_step(bench.network(tasks, half))
    return sides


def spaces(bench: Bench, options: argparse.Namespace) -> dict[str, Call]:
    """The whole network, 4 tasks: other candidates than full's; and the decoder fpm, at one scale and at two."""
    tasks = bench.tasks(4)
    sides: dict[str, Call] = {}
    for name in ("full", "modern", "all"):
        space = SearchSpace(tuple(tasks), SPACES[name])
        sides[name] = bench.whole_step(bench.network(tasks, bench.supernet(space)))
    for name in ("full", "modern"):
        for scales in ((), (0, 1)):
            space = SearchSpace(tuple(tasks), SPACES[name], scales=scales)
            channels = exchange_channels(replace(bench.settings, decoder="fpm"), scales)
            network = bench.network(tasks, gumbel_supernet(space, channels), "fpm")
            where = "scales 0 and 1" if scales else "behind the decoder"
            sides[f"{name}, fpm, {where}"] = bench.whole_step(network)
    return sides


def smaller(bench: Bench, options: argparse.Namespace) -> dict[str, Call]:
    """The ways out when memory is short: the whole network, 4 tasks, full space."""
    tasks = bench.tasks(4)
    space = SearchSpace(tuple(tasks), SPACES["full"])
    ways = {
        "supernet": bench.supernet(space),
        "recompute local, xtam": bench.supernet(space, recompute=("local", "xtam")),
        "recompute all": bench.supernet(space, recompute=space.blocks[1:]),
        "single_path": bench.supernet(space, True),
    }
    return {name: bench.whole_step(bench.network(tasks, supernet)) for name, supernet in ways.items()}


PARTS = {
    "naive": against_naive,
    "tasks": over_tasks,
    "whole_tasks": whole_over_tasks,
    "single": against_single,
    "spaces": spaces,
    "smaller": smaller,
}

if __name__ == "__main__":
    main()
