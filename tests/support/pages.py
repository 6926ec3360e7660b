"""The code blocks of documentation pages, and their commands run at a tiny size."""

import contextlib
import io
import re
import shlex
from pathlib import Path

from analysis.__main__ import main as analysis_main
from crosstalk.__main__ import main as crosstalk_main
from retrain.command import main as retrain_main
from supernet.command import main as search_main

ROOT = Path(__file__).parents[2]
TINY = [
    "--training.iterations=4",
    "--training.batch_size=2",
    "--data.height=32",
    "--data.width=48",
    "--data.train_images=8",
    "--data.validation_images=3",
    "--data.test_images=3",
    "--data.workers=0",
    "--network.channels=8",
    "--search.recalibration_batches=1",
]
TWO_TASKS = ["--data.tasks=[semseg, depth]", "--loss_weights.weights={}"]
FEWER = {  # what a command names and would make it long: options that are added to it
    "--search.pareto": ["--search.pareto=4"],
    "--loss_weights.trials": ["--loss_weights.trials=2", "--loss_weights.validations=1"],
    "tpe": ["--search.tpe.samples=2"],
}


def fenced(text: str, language: str = "") -> list[str]:
    """A page's code blocks in one language."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for marked, block in blocks if marked == language]


def commands(text: str) -> list[list[str]]:
    """Every command line that starts with python or crosstalk in a page's plain code blocks."""
    lines = [line for block in fenced(text) for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(("python ", "crosstalk "))]


def run(line: list[str], data: Path | None = None) -> str:
    """Runs a command line at a tiny size, with `data` in place of ROOT, in this process; what it printed."""
    arguments = [str(data) if a == "ROOT" else a.replace("configs/", f"{ROOT}/configs/") for a in line[2:]]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if line[0] == "crosstalk":
            assert crosstalk_main(line[1:]) == 0, shlex.join(line)
        elif line[1] == "-m":
            assert line[2] == "analysis"
            analysis_main(line[3:])
        else:
            main = {"search.py": search_main, "retrain.py": retrain_main}[line[1]]
            fewer = [option for name, options in FEWER.items() if name in line for option in options]
            own_tasks = "--data.tasks" in line and ":" in line[line.index("--data.tasks") + 1]
            tasks = TWO_TASKS[1:] if own_tasks else TWO_TASKS
            assert main(_with(arguments, [*TINY, *tasks, *fewer])) == 0, shlex.join(line)
    return printed.getvalue()


def _with(arguments: list[str], options: list[str]) -> list[str]:
    """The arguments with these --key=value options, in place of their own --key value where they have it."""
    for option in options:
        key = option.partition("=")[0]
        if key in arguments:
            place = arguments.index(key)
            arguments = [*arguments[:place], *arguments[place + 2 :]]
    return [*arguments, *options]
