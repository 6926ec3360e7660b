"""argparse with one-line InputErrors that name the nearest valid word, and the options that commands share."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from analysis.report.render import FORMATS
from experiment.errors import InputError, unknown


class Parser(argparse.ArgumentParser):
    """A command's parser, also used for its subcommands."""

    def __init__(self, prog: str, description: str | None = None, **others: Any):
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, formatter_class=layout, allow_abbrev=False, **others)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # before argparse does, which reports a missing option where it stands misspelt, and takes the last of repeated
        # ones; a parser that has subcommands leaves the options to theirs
        if args is not None and self._subparsers is None:
            known = [option for action in self._actions for option in action.option_strings]
            given = [argument.partition("=")[0] for argument in args if argument.startswith("--") and len(argument) > 2]
            for name in given:
                if name not in known:
                    raise unknown("option", name, known)
                if given.count(name) > 1:
                    raise InputError(f"{name} is given {given.count(name)} times: expected it once")
        return super().parse_known_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # the one place where argparse compares with `choices`, for options and for subcommands
        if action.choices is not None and value not in action.choices:
            kind = f"value of {action.option_strings[0]}" if action.option_strings else "command"
            raise unknown(kind, value, action.choices)


def add_output_options(parser: argparse.ArgumentParser, figure: str = "") -> None:
    """--format, and --output for the folder of NAME.csv, NAME.json and a figure."""
    name = parser.prog.rpartition(" ")[2]
    files = f"{name}.csv and {name}.json" if not figure else f"{name}.csv, {name}.json and {figure}"
    parser.add_argument("--output", metavar="DIR", type=_folder, help=f"folder for {files}")
    parser.add_argument("--format", choices=FORMATS, default="table", help="table (default), markdown, csv or json")


def _folder(given: str) -> Path:
    """A folder, whether it exists yet or not."""
    folder = Path(given)
    if folder.exists() and not folder.is_dir():
        raise argparse.ArgumentTypeError(f"'{folder}' is a file: expected a folder")
    return folder
