"""Trains an architecture or a baseline from scratch, over several seeds, and evaluates it on the test split.

--race SEARCH_RUN compares what a search found with other architectures, until it is clear what gains.

%(prog)s --config configs/demo.yaml --architecture runs/demo/architecture.yaml --output runs/demo_found
%(prog)s --config configs/demo.yaml --baseline single_task --output runs/demo_single_task --seeds 0 1
%(prog)s --config configs/demo.yaml --race runs/demo --output runs/demo_race
"""

from collections.abc import Sequence

from experiment.calls import call
from experiment.command import exit_code
from experiment.config import Config
from experiment.config.parsing import config_parser, parse_config
from experiment.errors import InputError
from experiment.processes import check_processes
from experiment.progress import announce_torch

USAGE = (
    "%(prog)s [--config FILE] (--architecture FILE | --baseline NAME | --race SEARCH_RUN) --output DIR"
    " [--seeds 0 1 2] [--resume] [--any.key VALUE ...]"
)


def run(arguments: Sequence[str]) -> None:
    parser = config_parser(Config, call("retrain"), __doc__ or "", USAGE)
    parser.add_argument("--architecture", metavar="FILE", help="architecture.yaml of a search")
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="such as single_task, multi_task, uniform:BLOCK, own:BLOCK, random, cross_stitch, padnet_a",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the run (required)")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        help="one network per seed; by default the configuration's, of a race race.seeds",
    )
    parser.add_argument("--resume", action="store_true", help="continue the run that --output holds")
    search_run, others = _take("--race", arguments)
    config, options = parse_config(parser, Config, others)
    check_processes()
    if options.config is None:
        print("no --config: keys that are not given have their defaults")
    if [options.architecture, options.baseline, search_run].count(None) != 2:
        raise InputError("expected either --architecture FILE or --baseline NAME, or --race SEARCH_RUN")
    if options.output is None:
        raise InputError("--output is missing: expected a folder for the run")
    announce_torch()
    from search_spaces import SpaceError

    try:
        if search_run is not None:
            from retrain.race.running import race

            race(config, search_run, options.output, options.seeds, options.resume)
            return
        from retrain.retraining import retrain

        seeds = [config.seed] if options.seeds is None else options.seeds
        retrain(config, options.architecture, options.baseline, options.output, seeds, options.resume)
    except SpaceError as error:
        raise InputError(str(error)) from error


def _take(option: str, arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of an option, and the other arguments. The parser would take `--race` for the group of that name."""
    left, value, given = [], None, iter(arguments)
    for argument in given:
        name, equals, rest = argument.partition("=")
        if name == option:
            if value is not None:
                raise InputError(f"{option} is given 2 times: expected it once")
            value = rest if equals else next(given, None)
            if not value or value.startswith("--"):
                raise InputError(f"{option} has no value: expected the folder of a search")
        else:
            left.append(argument)
    return value, left


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code; see `experiment.command.exit_code`."""
    return exit_code(lambda: run(arguments))
