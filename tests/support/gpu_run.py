"""Commands on the pretended GPU, each in a process of its own, with the host's waits counted where they matter."""

import contextlib
import json
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unittest import mock

import torch._dynamo  # noqa: F401  which every dispatch mode needs, once for all processes forked from this one

from benchmarks import gpu as benchmark
from benchmarks.measure import Cost
from multitask.training import evaluation
from multitask.training.common_random import CommonRandomNumbers
from multitask.training.trainer import Trainer
from supernet.cost import table
from supernet.held_out_step import HeldOutStep
from supernet.score_test import held_out
from tests.support.commands import CONFIG, ROOT, short
from tests.support.forked import MAINS
from tests.support.pretended_gpu import PretendedGpu

FAST = (
    "--device=cuda",
    "--training.iterations=3",
    "--training.log_every=100",
    "--data.train_images=8",
    "--data.validation_images=4",
    "--network.channels=4",
)
BENCHMARK = ("--size", "32", "48", "--batch_size=2", "--backbone=test_resnet", "--tasks=2", "--precisions", "fp32")
# forked from a process in which no backward pass was run: autograd counts the devices at the first one
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.support.gpu_run"])
WATCHED = ("supernet", "multitask", "search_spaces", "retrain")  # folders whose lines are blamed


@dataclass
class Found:
    """steps: {label of a training: waits of each step, from the augmentation until the weights are updated}; choices:
    waits of each step of logits on held-out images; evaluated and held_out: waits between two batches of an evaluation,
    and of held-out images.
    """

    code: int | None = None
    problem: str = ""
    mismatches: list[str] = field(default_factory=list)
    steps: dict[str, list[int]] = field(default_factory=dict)
    choices: list[int] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    held_out: list[int] = field(default_factory=list)
    report: list[str] = field(default_factory=list)


def on_gpu(folder: Path, script: str, *options: str) -> Found:
    """Runs search.py or retrain.py with --device cuda on a tiny problem."""
    line = ["--config", str(CONFIG), *short(*FAST, f"--output={Path(folder) / 'run'}", *options)]
    return _found(folder, MAINS[script], line)


def benchmark_on_gpu(folder: Path) -> tuple[Found, str]:
    """Runs benchmarks/gpu.py, each step once and without its searches; what it printed, too."""
    found = _found(folder, _benchmark, [*BENCHMARK, f"--output={Path(folder) / 'run'}"])
    return found, (Path(folder) / "found.log").read_text()


def _found(folder: Path, main: Callable[[list[str]], int], line: list[str]) -> Found:
    result = Path(folder) / "found.json"
    process = SERVER.Process(target=_run, args=(main, line, result))
    process.start()
    process.join()
    return Found(**json.loads(result.read_text()))


def _benchmark(line: list[str]) -> int:
    def once(sides, rounds, device):
        return {name: Cost(1.0, 1) for name, step in sides.items() if step() is None}

    def searched(options, name, *arguments, **how):
        folder = benchmark._run(options, name)
        folder.mkdir(parents=True, exist_ok=True)
        for file in benchmark.SAME:
            (folder / file).write_text(name.partition("_")[0])
        return f"{ROOT}/multitask/one.py:1: UserWarning: called a synchronizing CUDA operation\n"

    with (
        mock.patch.object(benchmark, "in_turn", once),
        mock.patch.object(benchmark, "_search", searched),
        mock.patch.object(sys, "argv", ["gpu", *line]),
    ):
        benchmark.main()
    return 0


def _run(main: Callable[[list[str]], int], line: list[str], result: Path) -> None:
    found = Found()
    log = result.with_suffix(".log")
    with log.open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            with PretendedGpu(tuple(str(ROOT / name) for name in WATCHED), strict=False) as gpu, _counted(gpu, found):
                found.code = main(line)
        except BaseException:
            found.problem = traceback.format_exc()
    found.mismatches = [f"{what} at {place}" for what, place in gpu.mismatches]
    found.report = list(gpu.report(f"{ROOT}/"))
    if found.code:
        found.problem += log.read_text()
    result.write_text(json.dumps(asdict(found)))
    os._exit(0)


@contextlib.contextmanager
def _counted(gpu: PretendedGpu, found: Found) -> Iterator[None]:
    """Notes waits while the program runs. Latencies are not measured."""
    begun = [0]
    begin_step, train_step, take = CommonRandomNumbers.begin_step, Trainer.train_step, HeldOutStep.take

    def begin(self, step):
        begun[0] = gpu.waited
        begin_step(self, step)

    def train(self, batch):
        losses = train_step(self, batch)
        found.steps.setdefault(self.label, []).append(gpu.waited - begun[0])
        return losses

    def choose(self, *arguments):
        before = gpu.waited
        take(self, *arguments)
        found.choices.append(gpu.waited - before)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(CommonRandomNumbers, "begin_step", begin))
        stack.enter_context(mock.patch.object(Trainer, "train_step", train))
        stack.enter_context(mock.patch.object(HeldOutStep, "take", choose))
        stack.enter_context(mock.patch.object(table, "_latencies", lambda modules, *_: dict.fromkeys(modules, 0.0)))
        for module, counts in ((evaluation, found.evaluated), (held_out, found.held_out)):
            loader = mock.Mock(side_effect=_between(gpu, module.evaluation_loader, counts))
            stack.enter_context(mock.patch.object(module, "evaluation_loader", loader))
        yield


def _between(gpu, loader, counts):
    """The loader, noting the waits between one batch and the next."""

    class Batches:
        def __init__(self, *arguments):
            self.batches = loader(*arguments)

        def __len__(self):
            return len(self.batches)

        def __iter__(self):
            for sample in self.batches:
                before = gpu.waited
                yield sample
                counts.append(gpu.waited - before)

    return Batches
