"""Training in one process of one thread against two processes of one thread each, by torchrun with gloo.

python -m benchmarks.several_processes

Needs as many idle cores as processes; the two are measured in turn. Prints images per second and their ratio.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median


def pace(processes: int, arguments: Sequence[str]) -> float:
    """Images per second of a search: the median of its log lines, without the first."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    with tempfile.TemporaryDirectory() as folder:
        start = [sys.executable, *(launcher if processes > 1 else []), "search.py"]
        line = [*start, *arguments, "--output", f"{folder}/run"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(line, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return median([float(found) for found in re.findall(r"images/s (\S+)", done.stdout)[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--config", default="configs/scenes.yaml")
    parser.add_argument("--strategy", default="gumbel")
    options = parser.parse_args()
    arguments = ["--config", options.config, f"--search.strategy={options.strategy}", "--data.workers=0"]
    arguments += [f"--training.iterations={options.steps}", "--training.log_every=5", "--training.batch_size=8"]
    arguments += ["--data.train_images=64", "--data.validation_images=4", "--search.recalibration_batches=1"]
    found: dict[int, list[float]] = {1: [], options.processes: []}
    for _ in range(options.rounds):
        for count, paces in found.items():
            paces.append(pace(count, arguments))
    one, several = (median(paces) for paces in found.values())
    for count, paces in found.items():
        listed = ", ".join(f"{one_pace:.2f}" for one_pace in paces)
        print(f"{count} process{'' if count == 1 else 'es'}: {median(paces):.2f} images/s (rounds: {listed})")
    print(f"{several / one:.2f} times the speed of one process; load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
