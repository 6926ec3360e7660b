"""Searches on built-in rooms, retrains what was found and no exchange, compares them and writes a report; minutes on
two CPU cores.

Two trainings run at a time, in processes forked from this one, which has loaded the packages and rendered the rooms.
Called again, it goes on where it stopped.
"""

import multiprocessing
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from analysis.arguments import Parser
from experiment.command import exit_code
from experiment.config import Config
from experiment.config.shipped import find_config
from experiment.errors import InputError
from experiment.interruption import Interrupted
from experiment.processes import refuse_several_processes
from experiment.progress import BEAT, share_terminal

STAGES = 5
STEPS, IMAGES = 240, 1200  # of configs/demo.yaml's 300 and 1600
SEEDS = (0, 1)
STOPPED = 130  # the exit code of a training that was interrupted

Job = Callable[[], Any]


def main(program: str, arguments: Sequence[str]) -> int:
    """Returns the exit code; see `experiment.command.exit_code`."""
    return exit_code(lambda: run(program, arguments))


def run(program: str, arguments: Sequence[str]) -> None:
    """Raises InputError where a stage fails, and Interrupted when it is stopped."""
    parser = Parser(program, __doc__)
    parser.add_argument("--output", metavar="DIR", default="runs/demo", help="folder of the search (runs/demo)")
    output = Path(parser.parse_args(arguments).output)
    refuse_several_processes(program)
    began = time.monotonic()
    sensors, camera = problems()
    folders = {name: output.with_name(f"{output.name}_{name}") for name in ("one_camera", "found", "no_exchange")}
    print("loading torch", flush=True)
    from multitask.data import open_dataset
    from multitask.data.scenes import SPLITS, Scenes, render_ahead
    from retrain.retraining import retrain
    from supernet.search import search

    seeds = [folders[name] / f"seed_{seed}" for name in ("found", "no_exchange") for seed in SEEDS]
    _stage(1, "rendering rooms")
    splits = open_dataset(camera.data).splits
    rooms = [split for split in (splits[name] for name in SPLITS) if isinstance(split, Scenes)]
    if all((folder / "metrics.json").is_file() for folder in (output, folders["one_camera"], *seeds)):
        print("not needed: all runs are finished")
    else:
        render_ahead(rooms, 2)
        print(f"{sum(map(len, rooms))} rooms of {camera.data.height} x {camera.data.width} pixels")

    _stage(2, "searching: a sensor for each task, and one camera for all")
    _together(
        output,
        {
            "sensors": lambda: search(sensors, str(output), True, hints=False),
            "one camera": lambda: search(camera, str(folders["one_camera"]), True, hints=False),
        },
    )
    _print_choice(output, "sensors")
    _print_choice(folders["one_camera"], "one camera")

    _stage(3, f"retraining what was found and no exchange, {len(SEEDS)} seeds each")
    file = str(output / "architecture.yaml")
    _together(
        output,
        {
            "found": lambda: retrain(sensors, file, None, str(folders["found"]), SEEDS, True, hints=False),
            "no exchange": lambda: retrain(
                sensors, None, "uniform:none", str(folders["no_exchange"]), SEEDS, True, hints=False
            ),
        },
    )
    _print_metrics(folders["found"])

    _stage(4, "comparing")
    from analysis.commands import compare
    from analysis.report.render import write

    models = [str(folders["no_exchange"]), str(folders["found"])]
    chosen = Parser("compare")
    compare.add_arguments(chosen)
    write(compare.run(chosen.parse_args(["--baseline", *models])), "compare", "table", None)

    _stage(5, "the report")
    from analysis.commands import report

    page = output / "report.html"
    drawn = Parser("report")
    report.add_arguments(drawn)
    report.run(drawn.parse_args([str(output), "--baseline", models[0], "--found", models[1], "--output", str(page)]))
    width = shutil.get_terminal_size().columns
    print("\n" + textwrap.fill(f"{_verdict(output, models)}.", width))
    print(textwrap.fill(f"{_counterpart(folders['one_camera'])}.", width))
    print(f"{(time.monotonic() - began) / 60:.1f} minutes; open {page}")


def problems() -> tuple[Config, Config]:
    """Each task with a sensor and an encoder of its own; and all tasks with one camera and one encoder."""
    config = Config.load(find_config("demo"))
    config = replace(
        config,
        data=replace(config.data, train_images=IMAGES),
        training=replace(config.training, iterations=STEPS, checkpoint_every=STEPS // 4),
    )
    camera = replace(
        config, data=replace(config.data, name="scenes"), network=replace(config.network, encoders="shared")
    )
    return config, camera


def _stage(number: int, text: str) -> None:
    print(f"\n{number} of {STAGES}: {text}", flush=True)


def _together(output: Path, jobs: dict[str, Job]) -> None:
    """Runs jobs side by side; what each prints goes to a log. Without a terminal its last line is shown at times.

    Raises InputError for one that fails, after the others were stopped.
    """
    logs = {name: output.with_name(f"{output.name}_logs") / f"{name.replace(' ', '_')}.log" for name in jobs}
    fork = multiprocessing.get_context("fork")  # the rendered rooms and the loaded packages are shared
    threads = max(1, len(os.sched_getaffinity(0)) // len(jobs)) if hasattr(os, "sched_getaffinity") else 1
    running: dict[str, BaseProcess] = {}
    for row, (name, job) in enumerate(jobs.items()):
        logs[name].parent.mkdir(parents=True, exist_ok=True)
        running[name] = fork.Process(target=_work, args=(job, row, name, logs[name], threads))
        running[name].start()
    try:
        _wait(running, logs)
    finally:
        for process in running.values():
            process.terminate()  # it then saves a checkpoint
        for process in running.values():
            process.join()
    print("\n" * (len(jobs) - 1) if sys.stderr.isatty() else "", end="")
    for name, process in running.items():  # those that ended by themselves
        if process.exitcode not in (0, STOPPED):
            raise InputError(f"{name} failed; what it printed is in '{logs[name]}'")
    if any(process.exitcode == STOPPED for process in running.values()):
        raise Interrupted("the same command goes on")


def _work(job: Job, row: int, name: str, log: Path, threads: int) -> None:
    """In a process of its own."""
    import torch

    from search_spaces import SpaceError

    def command() -> None:
        try:
            job()
        except SpaceError as error:
            raise InputError(str(error)) from error

    torch.set_num_threads(threads)
    share_terminal(row, name)
    with log.open("a", buffering=1, encoding="utf-8") as sys.stdout:
        code = exit_code(command)
    sys.exit(code)


def _wait(running: dict[str, BaseProcess], logs: dict[str, Path]) -> None:
    """Until all have ended, or one has failed."""
    shown = time.monotonic()
    while any(process.is_alive() for process in running.values()):
        next(process for process in running.values() if process.is_alive()).join(0.2)
        if any(process.exitcode for process in running.values()):
            return
        if not sys.stderr.isatty() and time.monotonic() - shown > BEAT:
            shown = time.monotonic()
            for name, process in running.items():
                lines = logs[name].read_text(encoding="utf-8").splitlines()
                if process.is_alive() and lines:
                    print(lines[-1], flush=True)


def _print_choice(folder: Path, name: str) -> None:
    from analysis.measures.runs import load_architecture
    from analysis.measures.searches import choices_of
    from supernet.records.choices import CHOICES
    from supernet.summary import effects_sentence

    architecture = load_architecture(folder / "architecture.yaml")
    print(f"{name}:\n{architecture.table()}")
    print(
        effects_sentence(choices_of(folder / CHOICES, architecture), Config.load(folder / "config.yaml").search.worth)
    )


def _print_metrics(found: Path) -> None:
    """The first seed beside the constant prediction."""
    from analysis.measures.runs import read_model

    for seed in read_model(found).seeds[:1]:
        print(f"found, seed {seed.seed}, test split, beside the constant prediction:")
        for task, metric in seed.tasks.items():
            better = "higher" if metric.higher_is_better else "lower"
            constant = seed.prior[task].value
            print(f"  {task:<12} {metric.metric:<11} {metric.value:8.4f}   {constant:8.4f}   ({better} is better)")


def _verdict(folder: Path, models: list[str]) -> str:
    from analysis.measures.comparison import compare
    from analysis.measures.runs import load_architecture
    from analysis.measures.searches import choices_of
    from analysis.measures.verdict import verdict
    from supernet.records.choices import CHOICES

    comparison = compare(models[0], models[1:])
    architecture = load_architecture(folder / "architecture.yaml")
    return verdict(comparison, comparison.rows[0], choices_of(folder / CHOICES, architecture))


def _counterpart(folder: Path) -> str:
    from analysis.measures.runs import load_architecture
    from analysis.measures.verdict import choice_alone

    architecture = load_architecture(folder / "architecture.yaml")
    return f"where all tasks share one camera and one encoder, {choice_alone(architecture)}"
