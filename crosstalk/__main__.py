"""All commands under one name: `crosstalk COMMAND`, or `python -m crosstalk COMMAND` where it is not installed."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from analysis.arguments import Parser
from crosstalk import __version__
from experiment.calls import called_by
from experiment.command import exit_code
from experiment.errors import unknown
from experiment.processes import refuse_several_processes

# {command: what it does}, so that a list of them needs no torch
TRAINING = {
    "search": "how the tasks should exchange features",
    "retrain": "a network from scratch, over seeds, or a race of several",
    "demo": "both on built-in rooms, with a report, in minutes",
}
DEPLOYMENT = {
    "predict": "every task on photos of any size",
    "export": "a retrained network for other programs (torch.export, ONNX)",
}
READING = {
    "compare": "models with a baseline on Delta_m",
    "proportions": "of each block in architectures",
    "agreement": "of repeated searches",
    "importance": "of each exchange of a retrained network",
    "ranking": "of architectures by shared weights and by retraining",
    "resources": "parameters and multiply-adds of architectures",
    "papers": "resources of the networks that papers compare",
    "strategies": "of search: cost, score and agreement",
    "report": "a search and what came of it on one page",
}
COMMANDS = TRAINING | DEPLOYMENT | READING


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code, see `experiment.command.exit_code`."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    program = "python -m crosstalk" if Path(sys.argv[0]).name == "__main__.py" else "crosstalk"
    name, rest = (given[0], given[1:]) if given else ("--help", [])
    if name in ("-h", "--help"):
        print(_overview(program))
        return 0
    if name == "--version":
        print(f"crosstalk {__version__}")
        return 0
    with called_by(program):
        if name not in COMMANDS:
            return exit_code(lambda: _refuse(name))
        return _command(name, program)(rest)


def _overview(program: str) -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join([f"usage: {program} COMMAND ..., {program} COMMAND --help, {program} --version", "", *lines])


def _refuse(name: str) -> None:
    raise unknown("command", name, COMMANDS)


def _command(name: str, program: str) -> Callable[[Sequence[str]], int]:
    if name == "search":
        from supernet.command import main as command
    elif name == "retrain":
        from retrain.command import main as command
    elif name in DEPLOYMENT:
        return lambda rest: exit_code(lambda: _deploy(name, f"{program} {name}", rest))
    elif name == "demo":
        from crosstalk.demo import main as demonstrate

        return lambda rest: demonstrate(f"{program} demo", rest)
    else:
        from analysis.__main__ import main as read

        return lambda rest: exit_code(lambda: read([name, *rest], program))
    return command


def _deploy(name: str, program: str, arguments: Sequence[str]) -> None:
    module = import_module(f"deployment.commands.{name}")
    parser = Parser(program, module.__doc__)
    module.add_arguments(parser)
    refuse_several_processes(program)
    module.run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
