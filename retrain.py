"""Trains an architecture or a baseline from scratch, over several seeds, and reports it on the test split.

python retrain.py --config configs/demo.yaml --architecture runs/demo/architecture.yaml --output runs/demo_found
python retrain.py --config configs/demo.yaml --baseline single_task --output runs/demo_single_task --seeds 0 1
"""

import sys
from collections.abc import Sequence

from experiment.command import config_parser, exit_code, parse_config
from experiment.config import Config
from experiment.errors import InputError
from multitask.data import open_dataset
from multitask.training.hardware import Hardware
from retrain.models import baseline, found
from retrain.retraining import Recipe, retrain
from search_spaces import SearchSpace, SpaceError


def run(arguments: Sequence[str]) -> None:
    parser = config_parser(Config, "retrain.py", __doc__)
    parser.add_argument("--architecture", metavar="FILE", help="architecture.yaml of a search")
    parser.add_argument("--baseline", metavar="NAME", help="single_task, multi_task, uniform:BLOCK or random")
    parser.add_argument("--output", metavar="DIR", help="folder of the run (required)")
    parser.add_argument("--seeds", type=int, nargs="+", help="one network per seed; by default the configuration's")
    parser.add_argument("--resume", action="store_true", help="go on with the run that --output holds")
    config, options = parse_config(parser, Config, arguments)
    if (options.architecture is None) == (options.baseline is None):
        raise InputError("expected either --architecture FILE or --baseline NAME")
    if options.output is None:
        raise InputError("--output is missing: expected a folder for the run")
    seeds = [config.seed] if options.seeds is None else options.seeds
    source = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(source.tasks))
    fabric = Hardware(config.device, config.precision).fabric()
    recipe = Recipe(config.data, config.network, config.training, config.loss_weights, fabric, config.to_dict())
    if options.architecture is not None:
        model = found(options.architecture, tuple(source.tasks))
        retrain(lambda seed: model, source, recipe, seeds, options.output, options.resume)
    else:
        baseline(options.baseline, space, 0)  # a wrong name ends here, before anything is written
        retrain(
            lambda seed: baseline(options.baseline, space, seed),
            source, recipe, seeds, options.output, options.resume,
        )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """The exit code; see the contract in `experiment.command.exit_code`."""
    return exit_code(lambda: run(arguments), (InputError, SpaceError))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
