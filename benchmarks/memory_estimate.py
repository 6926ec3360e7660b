"""The estimate of a step's memory against what a process on this machine's CPU takes, for ten configurations: where
freed memory is given back, as a search does where memory is short, and where the C library keeps it.

python -m benchmarks.memory_estimate --output runs/benchmarks

Each in a process of its own, the most that any of its first steps takes. --only 3 5 runs the third and fifth.
"""

import argparse
import multiprocessing
from pathlib import Path

import torch

from benchmarks.measure import peak
from benchmarks.output import write_results
from benchmarks.supernet_step import Bench
from experiment.allocator import give_back
from experiment.errors import InputError
from multitask.network import MultiTaskNetwork
from multitask.training.step_cost import task_losses
from search_spaces import SPACES, SearchSpace
from supernet.cost.memory import PROCESS, Conditions, Fixed, search_memory
from supernet.supernet import Supernet

STEPS = 4  # what the C library keeps grows over the first ones

# backbone, tasks, space, batch size, height, width, precision, blocks to recompute
CONFIGURATIONS = (
    ("resnet18", 2, "atrc", 4, 96, 128, "fp32", ()),
    ("resnet18", 2, "full", 4, 96, 128, "fp32", ()),
    ("resnet18", 3, "atrc", 4, 96, 128, "fp32", ()),
    ("resnet18", 3, "full", 2, 128, 160, "fp32", ()),
    ("resnet18", 2, "full", 4, 96, 128, "fp32", ("local", "xtam")),
    ("resnet18", 2, "full", 4, 96, 128, "fp32", ("global", "local", "t_label", "s_label", "xtam", "padnet_gate")),
    ("resnet18", 3, "padnet", 4, 96, 128, "fp32", ()),
    ("resnet18", 3, "densemtl", 4, 96, 128, "fp32", ()),
    ("hrnet_w18_small_v2", 2, "atrc", 4, 96, 128, "fp32", ()),
    ("hrnet_w18_small_v2", 2, "full", 4, 96, 128, "fp32", ()),
)


def compare(
    configuration: tuple[str, int, str, int, int, int, str, tuple[str, ...]], given_back: bool
) -> tuple[int, int]:
    """Estimated and measured bytes of a step, beside the weights."""
    if given_back and not give_back():
        raise InputError("the C library gives nothing back here: expected glibc with its own limit")
    backbone, count, space, batch, height, width, precision, recompute = configuration
    bench = Bench(
        argparse.Namespace(device="cpu", size=[height, width], batch_size=batch, backbone=backbone, precision=precision)
    )
    tasks = bench.tasks(count)
    supernet = bench.supernet(SearchSpace(tuple(tasks), SPACES[space]), recompute=recompute)
    network: MultiTaskNetwork = bench.network(tasks, supernet)
    estimate = search_memory(network, Conditions(batch, height, width, precision=precision, moments=0))
    state = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    assert isinstance(network.exchange, Supernet)
    network.exchange = Fixed(network.exchange.exchange, network.exchange.exchange.served)
    image, loss = torch.randn(batch, 3, height, width), task_losses(tasks)

    def step() -> None:
        with bench.cast():
            total = loss(network(image))
        total.backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)

    def steps() -> None:
        for _ in range(STEPS):
            step()

    given = image.nbytes + image.nbytes // 12  # images and their validity are there before
    return estimate - state - given + PROCESS["cpu"], peak(steps, bench.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for memory_estimate.json")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of configurations, from 1")
    options = parser.parse_args()
    chosen = [CONFIGURATIONS[number - 1] for number in options.only] if options.only else CONFIGURATIONS
    rows = []
    for configuration in chosen:
        name = " ".join(map(str, configuration))
        for given_back in (True, False):
            with multiprocessing.get_context("fork").Pool(1) as process:
                estimate, measured = process.apply(compare, (configuration, given_back))
            how = "given back" if given_back else "kept"
            share = estimate / measured - 1
            print(
                f"{name}, {how}: estimated {estimate / 1e9:.3f} GB, measured {measured / 1e9:.3f} GB, {share:+.1%}",
                flush=True,
            )
            rows.append({"configuration": name, "freed": how, "estimate": estimate, "measured": measured})
    write_results(options.output, "memory_estimate", options, rows)


if __name__ == "__main__":
    main()
