"""Bytes that a step of the supernet keeps for its backward pass, holds at most and moves, counted on the meta device.

python -m benchmarks.step_cost --output runs/benchmarks

As on a GPU, which is not needed. `unfused` is the same step with attention whose widths no fused kernel takes: torch
then multiplies out all logits.
"""

import argparse
import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.output import write_results
from benchmarks.supernet_step import Bench
from multitask.training.step_cost import StepCost, count_step, meta_inputs, task_losses
from search_spaces import SPACES, SearchSpace
from search_spaces.blocks import attention
from search_spaces.blocks.layers import counting_for
from supernet.cost.memory import Fixed

GB = 1e9


@contextmanager
def unfused() -> Iterator[None]:
    """Attention of unpadded widths, all logits multiplied out."""

    def padded(maps: Tensor) -> Tensor:
        return maps

    def kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        logits = (query * scale) @ key.mT
        return (logits if mask is None else logits + mask).softmax(-1) @ value

    former = attention.padded, attention._kernel
    attention.padded, attention._kernel = padded, kernel
    try:
        yield
    finally:
        attention.padded, attention._kernel = former


def step(options: argparse.Namespace, space: str, precision: str, recompute: tuple[str, ...] = ()) -> StepCost:
    bench = Bench(options)
    tasks = bench.tasks(options.tasks)
    exchange = bench.supernet(SearchSpace(tuple(tasks), SPACES[space]), recompute=recompute).exchange
    network = bench.network(tasks, exchange)
    network.exchange = Fixed(exchange, exchange.served)
    twin = copy.deepcopy(network).to("meta").train()
    inputs = meta_inputs(options.batch_size, *options.size)
    with counting_for(options.kind):
        return count_step(twin, task_losses(tasks), inputs, options.kind, precision, blame=options.places > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for step_cost.json")
    parser.add_argument("--size", type=int, nargs=2, default=[425, 560], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--backbone", default="hrnet_w18_small_v2", help="a timm model")
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--spaces", nargs="+", default=["full", "atrc"], choices=tuple(SPACES))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=("fp32", "bf16"))
    parser.add_argument("--recompute", nargs="*", default=[], help="blocks")
    parser.add_argument("--kind", default="cuda", choices=("cuda", "cpu"), help="whose forms are counted")
    parser.add_argument("--places", type=int, default=0, help="lines that keep most, to be listed")
    options = parser.parse_args()
    options.device, options.precision = "cpu", "fp32"
    rows = []
    print(f"{'':26} {'kept':>7} {'peak':>7} {'moved':>7}  GB")
    for space in options.spaces:
        for precision in options.precisions:
            for form in ("unfused", "fused") if options.kind == "cuda" else ("",):
                with unfused() if form == "unfused" else torch.enable_grad():
                    cost = step(options, space, precision, tuple(options.recompute))
                kept, peak, moved = (size / GB for size in (cost.kept, cost.peak, cost.moved))
                print(f"{space:8} {precision:8} {form:8} {kept:7.1f} {peak:7.1f} {moved:7.0f}", flush=True)
                for place, size in cost.places.most_common(options.places):
                    print(f"    {size / GB:6.2f}  {place}")
                figures = {"kept": cost.kept, "peak": cost.peak, "moved": cost.moved, "state": cost.state}
                rows.append({"space": space, "precision": precision, "form": form, **figures})
    write_results(options.output, "step_cost", options, rows)


if __name__ == "__main__":
    main()
