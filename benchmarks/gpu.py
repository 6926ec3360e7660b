"""What a GPU does with this project, in one command of less than ten minutes.

python -m benchmarks.gpu --output runs/gpu

1. A step of single networks and of the supernet, at full size, in fp32 and bf16: seconds, memory, and the share of the
   time in which the GPU computes.
2. The same step of the supernet without each of the forms that were chosen for GPUs.
3. Where the host waits for the GPU in searches by every strategy (torch.cuda.set_sync_debug_mode).
4. Whether two runs of one seed, and a run that was interrupted and resumed, end alike.

A part that fails, or takes longer than its share of the ten minutes, is named, and the others go on. Without a GPU:
--device cpu --size 64 80 --batch_size 2. docs/distributed.md says what is printed.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from unittest import mock

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile, supported_activities

from benchmarks.measure import in_turn
from benchmarks.output import print_table, write_results
from benchmarks.step_cost import unfused
from benchmarks.supernet_step import Bench
from multitask import resizing
from search_spaces import SPACES, SearchSpace
from search_spaces.blocks import attention
from supernet.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
LONGEST = 60  # seconds of one search
LIMITS = {"steps": 100, "without forms": 60, "waits": 140, "runs alike": 120}  # seconds of a part, 580 in all
PROFILED = 5  # steps
TINY = (
    "--training.iterations=6", "--training.log_every=100", "--training.checkpoint_every=2", "--data.train_images=16",
    "--data.validation_images=4", "--data.height=32", "--data.width=48", "--data.workers=0", "--network.channels=8",
    "--network.backbone_options={channels: [4, 8, 16, 32], stem_type: deep, stem_width: 2, layers: [1, 1, 1, 1]}",
    "--data.tasks=[semseg, depth]", "--loss_weights.weights={}", "--search.recalibration_batches=1",
    "--space.blocks=[none, global, local, t_label, xtam]",
)  # fmt: skip
SAMPLING = ("random", "evolution", "tpe")  # evaluate samples, of which two are enough here
WAIT = re.compile(r"called a synchronizing CUDA operation")
SAME = ("architecture.yaml", "selection.csv")


def steps(options: argparse.Namespace, precision: str) -> dict[str, dict[str, float]]:
    """{network: seconds, bytes and share of busy time} of whole steps."""
    bench = _bench(options, precision)
    tasks = bench.tasks(options.tasks)
    sides: dict[str, Callable[[], object]] = {"multi_task": bench.whole_step(bench.network(tasks, None))}
    for name in ("atrc", "full"):
        space = SearchSpace(tuple(tasks), SPACES[name])
        sides[f"supernet, {name}"] = bench.whole_step(bench.network(tasks, bench.supernet(space)))
    space = SearchSpace(tuple(tasks), SPACES["full"])
    for block in ("global", "local", "xtam"):
        sides[f"uniform:{block}"] = bench.whole_step(bench.network(tasks, bench.single(space, block)))
    single = bench.supernet(space, True)
    sides["supernet, full, single path"] = bench.whole_step(bench.network(tasks, single))
    costs = in_turn(sides, options.rounds, bench.device)
    print_table(f"whole step, {precision}", costs)
    found: dict[str, dict[str, float]] = {}
    for name, call in sides.items():
        share = busy_share(call, bench.device)
        found[name] = {"seconds": costs[name].seconds, "bytes": costs[name].bytes, "busy": share}
    print("share of the time in which the GPU computes: " + ", ".join(f"{n} {f['busy']:.2f}" for n, f in found.items()))
    return found


def busy_share(call: Callable[[], object], device: torch.device) -> float:
    """Kernels' time over wall time; 0 where torch's profiler sees no kernels, as without a GPU."""
    if device.type != "cuda" or ProfilerActivity.CUDA not in supported_activities():
        return 0.0
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(PROFILED):
            call()
        torch.cuda.synchronize()
        wall = time.perf_counter() - began
    return sum(event.device_time_total for event in seen.events()) / 1e6 / wall


@contextmanager
def interpolated() -> Iterator[None]:
    """Bilinear resizing by F.interpolate, whose deterministic form on CUDA is slow."""

    def resize(maps: torch.Tensor, size: list[int]) -> torch.Tensor:
        return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)

    with mock.patch.object(resizing, "by_products", resize):
        yield


WITHOUT: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "as it is": nullcontext,
    "F.interpolate": interpolated,
    "unpadded attention": unfused,
    "attention in any order": partial(mock.patch.object, attention, "in_order", lambda attended: attended),
}


def without_forms(options: argparse.Namespace, precision: str) -> dict[str, dict[str, float]]:
    """The supernet's step without each form; a form that does not fit in memory is left out."""
    bench = _bench(options, precision)
    tasks = bench.tasks(options.tasks)
    space = SearchSpace(tuple(tasks), SPACES["full"])
    step = bench.whole_step(bench.network(tasks, bench.supernet(space)))
    found: dict[str, dict[str, float]] = {}
    for name, form in WITHOUT.items():
        torch.use_deterministic_algorithms(True, warn_only=True)  # a backward pass that ends by an error may change it
        with form():
            try:
                cost = in_turn({name: step}, options.rounds, bench.device)[name]
            except torch.OutOfMemoryError:
                print(f"{name}: out of memory")
                continue
        found[name] = {"seconds": cost.seconds, "bytes": cost.bytes}
        print(f"{name:20} {precision} {cost.seconds:8.4f} s {cost.bytes / 1e9:7.2f} GB", flush=True)
    torch.use_deterministic_algorithms(False)
    return found


def waits(options: argparse.Namespace) -> dict[str, dict[str, int]]:
    """{strategy: {line of code: waits}} of a tiny search, start and end included."""
    found: dict[str, dict[str, int]] = {}
    for strategy in STRATEGIES:
        few = [f"--search.{strategy}.samples=2"] if strategy in SAMPLING else []
        done = _search(options, f"waits_{strategy}", f"--search.strategy={strategy}", *few, debug=True)
        places: Counter[str] = Counter()
        for line in done.splitlines():
            if WAIT.search(line):
                places[line.split(": UserWarning")[0].removeprefix(f"{ROOT}/")] += 1
        found[strategy] = dict(places.most_common())
        print(f"{strategy:10} {sum(places.values()):4} waits  {dict(places.most_common(3))}", flush=True)
    return found


def runs_alike(options: argparse.Namespace) -> dict[str, bool]:
    """Of the default strategy and of gumbel: whether a second run, and a resumed one, write the same files."""
    found: dict[str, bool] = {}
    for strategy in ("score", "gumbel"):
        chosen = f"--search.strategy={strategy}"
        for name in ("first", "second"):
            _search(options, f"{strategy}_{name}", chosen)
        _search(options, f"{strategy}_resumed", chosen, interrupt=True)
        _search(options, f"{strategy}_resumed", chosen, "--resume")
        for name in ("second", "resumed"):
            same = all(
                _run(options, f"{strategy}_first").joinpath(file).read_bytes()
                == _run(options, f"{strategy}_{name}").joinpath(file).read_bytes()
                for file in SAME
            )
            found[f"{strategy}, {name}"] = same
            print(f"{strategy}, {name}: {'the same' if same else 'DIFFERENT'} {' and '.join(SAME)}", flush=True)
    return found


def _bench(options: argparse.Namespace, precision: str) -> Bench:
    return Bench(argparse.Namespace(**{**vars(options), "precision": precision}))


def _run(options: argparse.Namespace, name: str) -> Path:
    folder: Path = options.output / "searches" / name
    return folder


def _search(
    options: argparse.Namespace, name: str, *arguments: str, debug: bool = False, interrupt: bool = False
) -> str:
    """A tiny search; what it printed. debug: with a warning at each wait. interrupt: by SIGINT after its first
    checkpoint.
    """
    command = ["--config", "configs/scenes.yaml", f"--output={_run(options, name)}", f"--device={options.device}"]
    code = "import sys, torch, warnings; warnings.simplefilter('always'); "
    if debug and options.device == "cuda":
        code += "torch.cuda.set_sync_debug_mode('warn'); "
        code += "warnings.filterwarnings = lambda *_, **__: None; "  # commands leave out warnings in torch's own lines
    code += "from search import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *command, *TINY, *arguments],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": "."},
    ) as process:  # fmt: skip
        try:
            printed = _output(options, name, process, interrupt)
        except BaseException:  # of a part whose time is up, too
            process.kill()
            raise
    if process.returncode not in ((0, 130) if interrupt else (0,)):
        raise RuntimeError(f"a search of {name} ended with {process.returncode}: {printed[-500:]}")
    return printed


def _output(options: argparse.Namespace, name: str, process: "subprocess.Popen[str]", interrupt: bool) -> str:
    if interrupt:
        ends = time.monotonic() + LONGEST
        while not list(_run(options, name).rglob("last.pt")) and process.poll() is None and time.monotonic() < ends:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=LONGEST)[0]
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"a search of {name} took more than {LONGEST} s") from None


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in what takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds} s")

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for gpu.json and the searches; new or empty")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--size", type=int, nargs=2, default=[425, 560], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--backbone", default="hrnet_w18_small_v2", help="a timm model")
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.output.exists() and any(options.output.iterdir()):
        parser.error(f"'{options.output}' is not empty: expected a new folder")
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(f"{device}, torch {torch.__version__}, {options.size[0]}x{options.size[1]}, batch {options.batch_size}")
    parts: dict[str, Callable[[], object]] = {}
    for precision in options.precisions:
        parts[f"steps, {precision}"] = partial(steps, options, precision)
        parts[f"without forms, {precision}"] = partial(without_forms, options, precision)
    parts["waits"] = partial(waits, options)
    parts["runs alike"] = partial(runs_alike, options)
    results: dict[str, object] = {"device": device}
    for name, part in parts.items():
        began = time.monotonic()
        try:
            with bounded(LIMITS[name.split(",")[0]]):
                results[name] = part()
        except Exception as error:  # the other parts are worth their time all the same
            results[name] = {"failed": f"{type(error).__name__}: {error}"}
            print(f"{name} failed: {error}", file=sys.stderr)
        if options.device == "cuda":
            torch.cuda.empty_cache()
        print(f"({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
        write_results(options.output, "gpu", options, results)
    print(options.output / "gpu.json")


if __name__ == "__main__":
    main()
