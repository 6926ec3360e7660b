"""Reads the run folders that searches and retrainings wrote.

python -m analysis compare --baseline runs/single_task runs/multi_task runs/found
"""

import sys
from collections.abc import Sequence
from types import ModuleType

from analysis.arguments import Parser
from analysis.commands import (
    agreement,
    compare,
    importance,
    papers,
    proportions,
    ranking,
    report,
    resources,
    strategies,
)
from analysis.report.render import write
from experiment.command import exit_code
from experiment.processes import refuse_several_processes

# a subcommand is a module with add_arguments(parser) and run(arguments), and a line here; `run` returns a Result, or
# None where it has written its own output
COMMANDS: dict[str, ModuleType] = {
    "compare": compare,
    "proportions": proportions,
    "agreement": agreement,
    "resources": resources,
    "importance": importance,
    "ranking": ranking,
    "strategies": strategies,
    "papers": papers,
    "report": report,
}


def main(argv: Sequence[str] | None = None, program: str = "python -m analysis") -> None:
    """Runs one subcommand. Raises InputError for anything that cannot be used."""
    parser = Parser(program, __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        text = module.__doc__ or ""
        module.add_arguments(commands.add_parser(name, description=text, help=text.splitlines()[0]))
    arguments = parser.parse_args(argv)
    refuse_several_processes(f"{program} {arguments.command}")
    result = COMMANDS[arguments.command].run(arguments)
    if result is not None:
        write(result, arguments.command, arguments.format, arguments.output)


if __name__ == "__main__":
    sys.exit(exit_code(main))
