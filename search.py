"""Searches how the tasks of a dense-prediction network should exchange features.

python search.py --config configs/demo.yaml --output runs/demo
"""

import sys
from collections.abc import Sequence

from experiment.command import config_parser, exit_code, parse_config
from experiment.config import Config
from experiment.errors import InputError
from multitask.data import check_data
from search_spaces import SpaceError
from supernet.search import search


def run(arguments: Sequence[str]) -> None:
    parser = config_parser(Config, "search.py", __doc__)
    parser.add_argument("--output", metavar="DIR", help="folder of the run (required)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that --output holds")
    parser.add_argument("--check-data", action="store_true", help="list missing or malformed data files, and stop")
    config, options = parse_config(parser, Config, arguments)
    if options.check_data:
        problems = check_data(config.data)
        print("\n".join([*problems, f"{len(problems)} problems"]))
        if problems:
            raise InputError(f"{len(problems)} data files are missing or malformed, listed above")
        return
    if options.output is None:
        raise InputError("--output is missing: expected a folder for the run")
    search(config, options.output, options.resume)


def main(arguments: Sequence[str]) -> int:
    """The exit code; see the contract in `experiment.command.exit_code`."""
    return exit_code(lambda: run(arguments), (InputError, SpaceError))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
