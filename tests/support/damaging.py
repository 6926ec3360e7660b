"""Damages the checkpoints of stopped runs and resumes: the result is the same, or one line names the file.

python -m tests.support.damaging --damages 200
"""

import argparse
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from tests.support.forked import run
from tests.support.killing import differences

TWO_STEPS = ["--training.checkpoint_every=1", "--training.iterations=3"]
SEARCH = [*TWO_STEPS, "--space.blocks=[none, global, xtam]"]
GUMBEL = ("search", ["--search.strategy=gumbel", *SEARCH])
# {name: (script, arguments, checkpoints until it is killed)}
RUNS = {
    "gumbel": (*GUMBEL, 2),
    "another seed": (GUMBEL[0], [*GUMBEL[1], "--seed=1"], 2),
    "evidence": ("search", ["--search.strategy=evidence", *SEARCH, "--training.iterations=4"], 4),
    "multi_task": ("retrain", ["--baseline=multi_task", *TWO_STEPS, "--training.validate_every=1"], 4),
}


class Stopped:
    """Runs that were killed between two checkpoints, and what they come to when they are resumed unharmed."""

    def __init__(self, folder, names=tuple(RUNS)):
        self.folder, self.names = folder, names
        for name in names:
            script, arguments, kill_after = RUNS[name]
            killed = run(script, [*arguments, "--output", folder / name], folder / "log", kill_after)
            assert killed.returncode == -9, killed
            shutil.copytree(folder / name, folder / f"{name} whole")
            done = run(script, [*arguments, "--output", folder / f"{name} whole", "--resume"], folder / "log")
            assert done.returncode == 0, done.stderr

    def checkpoints(self):
        return [path for name in self.names for path in sorted((self.folder / name).rglob("*.pt"))]

    def damage(self, kind, draw):
        """Damages one checkpoint of a copy and resumes it: (what was done, its end, what differs from the whole)."""
        path = draw.choice(self.checkpoints())
        name = path.relative_to(self.folder).parts[0]
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder / name, copy)
        target = copy / path.relative_to(self.folder / name)
        data = path.read_bytes()
        if kind == "flip":
            place = draw.randrange(len(data))
            target.write_bytes(data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :])
            what = f"byte {place} flipped"
        elif kind == "cut":
            size = draw.choice([0, draw.randrange(len(data)), len(data) - 1])
            target.write_bytes(data[:size])
            what = f"cut to {size} bytes"
        else:
            other = draw.choice([one for one in self.checkpoints() if one != path])
            shutil.copy(other, target)
            what = f"replaced by {other.relative_to(self.folder)}"
        script, arguments, _ = RUNS[name]
        done = run(script, [*arguments, "--output", copy, "--resume"], self.folder / "log")
        found = differences(self.folder / f"{name} whole", copy) if done.returncode == 0 else []
        return f"{path.relative_to(self.folder)} {what}", done, found


def verdict(done, found):
    """How a damaged run ended; what begins with WRONG must not be."""
    if done.returncode == 2:
        lines = done.stderr.splitlines()
        right = len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) <= 300 and ".pt'" in lines[0]
        return "refused in one line" if right else f"WRONG: {done.stderr}"
    if done.returncode or found:
        return f"WRONG: exit code {done.returncode}, differs in {found}: {done.stderr}"
    # one that was not needed is not read: previous ones, and swaps among equals
    return "same result, said so" if ".pt'" in done.stdout else "same result, not read"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, began, counts = random.Random(options.seed), time.monotonic(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        stopped = Stopped(Path(folder))
        for k in range(options.damages):
            kind = ("flip", "cut", "swap")[k % 3]
            what, done, found = stopped.damage(kind, draw)
            outcome = verdict(done, found)
            counts[f"{kind}: {outcome.partition(':')[0]}"] += 1
            if (k + 1) % 10 == 0:
                print(f"{k + 1} damages", flush=True)
            if outcome.startswith("WRONG"):
                print(f"{what}: {outcome}", flush=True)
    print(f"{options.damages} damages, {time.monotonic() - began:.0f} s")
    for outcome, count in sorted(counts.items()):
        print(f"  {outcome}: {count}")


if __name__ == "__main__":
    main()
