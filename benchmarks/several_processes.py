"""Training in one process of one thread against two processes of one thread each, by torchrun with gloo.

python -m benchmarks.several_processes

Needs as many idle cores as processes; the two are measured in turn. Prints images per second of the wall clock, and CPU
seconds that an image takes in all processes together, which other load changes less: two processes are faster by at
most 2 x (CPU seconds in one process) / (CPU seconds in two).
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

BATCH, LOG_EVERY = 8, 4


def run(processes: int, steps: int, arguments: Sequence[str]) -> tuple[list[float], float]:
    """The images per second of a search's log lines, and the CPU seconds that it took."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        start = [sys.executable, *(launcher if processes > 1 else []), "search.py"]
        line = [*start, *arguments, f"--training.iterations={steps}", "--output", f"{folder}/run"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(line, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [float(found) for found in re.findall(r"images/s (\S+)", done.stdout)], seconds


def cost(processes: int, steps: int, arguments: Sequence[str]) -> tuple[float, float]:
    """Images per second, the median of all log lines but the first; CPU seconds an image, start and end left out."""
    _, fewer = run(processes, LOG_EVERY, arguments)
    paces, seconds = run(processes, steps, arguments)
    return median(paces[1:]), (seconds - fewer) / ((steps - LOG_EVERY) * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--strategy", default="gumbel")
    options = parser.parse_args()
    arguments = ["--config", options.config, f"--search.strategy={options.strategy}", "--data.workers=0"]
    arguments += [f"--training.batch_size={BATCH}", f"--training.log_every={LOG_EVERY}", "--data.train_images=32"]
    arguments += ["--data.validation_images=4", "--search.recalibration_batches=1", "--training.prior_start=false"]
    found: dict[int, list[tuple[float, float]]] = {1: [], options.processes: []}
    for _ in range(options.rounds):
        for count, costs in found.items():
            costs.append(cost(count, options.steps, arguments))
    for count, costs in found.items():
        pace, seconds = (median(values) for values in zip(*costs, strict=True))
        rounds = ", ".join(f"{one:.2f} ({cpu:.2f})" for one, cpu in costs)
        name = f"{count} process{'' if count == 1 else 'es'}"
        print(f"{name}: {pace:.2f} images/s, {seconds:.2f} CPU s an image (rounds: {rounds})")
    (one, cpu), (several, cpus) = (tuple(map(median, zip(*costs, strict=True))) for costs in found.values())
    most = options.processes * cpu / cpus
    print(f"{several / one:.2f} times the speed of one process, at most {most:.2f} by CPU time", end="; ")
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
