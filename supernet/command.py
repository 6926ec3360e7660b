"""Searches how the tasks of a dense-prediction network should exchange features.

%(prog)s --config configs/demo.yaml --output runs/demo
"""

from collections.abc import Sequence
from pathlib import Path

from experiment.calls import call
from experiment.command import exit_code
from experiment.config import Config
from experiment.config.parsing import config_parser, parse_config
from experiment.errors import InputError
from experiment.processes import check_processes
from experiment.progress import announce_torch
from experiment.run import check_unused

USAGE = "%(prog)s [--config FILE] --output DIR [--resume] [--any.key VALUE ...]"


def run(arguments: Sequence[str]) -> None:
    parser = config_parser(Config, call("search"), __doc__ or "", USAGE)
    parser.add_argument("--output", metavar="DIR", help="folder of the run (required)")
    parser.add_argument("--resume", action="store_true", help="continue the run that --output holds")
    parser.add_argument("--check-data", action="store_true", help="sum up the data, list its problems, and stop")
    config, options = parse_config(parser, Config, arguments)
    check_processes()
    if options.config is None:
        print("no --config: keys that are not given have their defaults")
    if options.output is None and not options.check_data:
        raise InputError("--output is missing: expected a folder for the run")
    if not options.check_data and not options.resume:
        check_unused(Path(options.output))
    announce_torch()
    from search_spaces import SpaceError

    try:
        if options.check_data:
            _check_data(config)
        elif config.search.strategy == "branching":
            from supernet.branching.search import search_branches

            search_branches(config, options.output, options.resume)
        else:
            from supernet.search import search

            search(config, options.output, options.resume)
    except SpaceError as error:
        raise InputError(str(error)) from error


def _check_data(config: Config) -> None:
    from multitask.data import check_data

    report = check_data(config.data)
    count = f"{len(report.problems)} problem{'' if len(report.problems) == 1 else 's'}"
    warnings = [f"warning: {line}" for line in report.warnings]
    print("\n".join([*report.layout, *report.summary, *report.problems, *warnings, count]))
    if report.problems:
        raise InputError(f"the data has {count}, listed above")


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code; see `experiment.command.exit_code`."""
    return exit_code(lambda: run(arguments))
