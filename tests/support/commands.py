"""search.py on a tiny problem, in this process or in one of its own."""

import contextlib
import csv
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from search import main

ROOT = Path(__file__).parents[2]
SHORT = [
    "--training.iterations=8",
    "--training.batch_size=2",
    "--data.height=32",
    "--data.width=48",
    "--data.train_images=6",
    "--data.validation_images=3",
    "--data.workers=0",
    "--network.channels=8",
    "--network.backbone_options={channels: [4, 8, 16, 32], stem_type: deep, stem_width: 2, layers: [1, 1, 1, 1]}",
    "--search.recalibration_batches=1",
    "--data.tasks=[semseg, depth]",
    "--loss_weights.weights={}",
]
GUMBEL = "--search.strategy=gumbel"  # the quickest; tests of other strategies name theirs


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


CONFIG = ROOT / "configs/scenes.yaml"


def short(*arguments, defaults=(*SHORT, GUMBEL)):
    """A command's options, those of a tiny problem before the given ones; the last --key=value of each key counts."""
    options = [*defaults, *map(str, arguments)]
    last = {option.partition("=")[0]: option for option in options if option.startswith("--")}
    return [option for option in options if last.get(option.partition("=")[0], option) is option]


def search(*arguments, config=CONFIG):
    """Runs the command in this process: (exit code, stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(["--config", str(config), *short(*arguments)])
        except SystemExit as stop:  # --help
            code = stop.code
    return Done(code, out.getvalue(), err.getvalue())


def process(*arguments, **environment):
    """Starts the command as its own process."""
    line = [sys.executable, str(ROOT / "search.py"), "--config", str(CONFIG), *short(*arguments)]
    env = {**os.environ, **environment}
    # a session of its own, so that a signal can be sent to the whole group as a terminal or a scheduler does
    pipe = subprocess.PIPE
    return subprocess.Popen(line, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def rows(folder):
    with (folder / "selection.csv").open() as file:
        return list(csv.DictReader(file))


def assert_one_line(done, parts):
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for part in parts:
        assert part in lines[0], (part, lines[0])
