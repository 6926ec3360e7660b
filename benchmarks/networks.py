"""Every baseline, every decoder and every block of a space trained for a few hundred steps: does each learn?

A network learns if, on every task of the test split, it ends better than the constant prediction and than its own
start. Resumable: a finished network is not trained again; DIR/networks.json and DIR/networks.md hold what is finished.

python -m benchmarks.networks --config configs/apartment.yaml --data.root ROOT --space.name modern \
    --training.iterations 200 --training.validate_every 0 --output runs/networks
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.output import write_json
from experiment.config import Config
from experiment.config.parsing import config_parser, parse_config
from experiment.files import write_atomic
from experiment.run import read_json
from multitask.cost import parameter_count
from multitask.data import open_dataset
from multitask.decoders import DECODERS
from multitask.tasks import Task
from multitask.training.evaluation import evaluate
from multitask.training.hardware import Hardware
from multitask.training.recipe import Recipe
from retrain.baselines import baseline, names
from retrain.model import Model
from retrain.retraining import retrain_seed
from search_spaces import SearchSpace

START = "start.json"  # {task: primary metric of the untrained network}, beside a network's metrics.json
CONTROLS = ("uniform", "own", "random")  # baselines of the space's blocks


@dataclass(frozen=True)
class Network:
    """What one row is of: a model, in a configuration that may have another decoder."""

    name: str
    model: Model
    config: Config


def networks(config: Config, space: SearchSpace) -> Iterator[Network]:
    """The baselines that are not of the space's blocks, uniform:BLOCK of each block, and the decoders that no baseline
    has, without exchange. Features have `network.channels`, where that is set, in all of them.
    """
    seen = {config.network.decoder}  # that is multi_task
    for name in names(space):
        if name.partition(":")[0] not in CONTROLS:
            model = baseline(name, space, config.seed)
            if model.branches and config.network.branches is None:
                continue  # a tree is to be searched first
            seen |= {model.decoder} if model.decoder else set()
            yield Network(name, replace(model, decoder=None), with_decoder(config, model.decoder))
    for block in space.blocks:
        yield Network(f"uniform:{block}", baseline(f"uniform:{block}", space, config.seed), config)
    for decoder in DECODERS:
        if decoder not in seen:
            yield Network(f"decoder {decoder}", Model(f"decoder:{decoder}"), with_decoder(config, decoder))


def with_decoder(config: Config, decoder: str | None) -> Config:
    return config if decoder is None else replace(config, network=replace(config.network, decoder=decoder))


def start(network: Network, recipe: Recipe) -> dict[str, float | None]:
    """{task: primary metric} on the test split before the first step."""
    dataset, found = recipe.dataset, dict[str, float | None]()
    groups = [[name] for name in dataset.tasks] if network.model.separate else [list(dataset.tasks)]
    for group in groups:
        tasks = {name: dataset.tasks[name] for name in group}
        built = network.model.build(network.config.network, tasks, network.config.seed)
        if network.config.training.prior_start:
            built.initialize_heads({name: dataset.prior.head_biases()[name] for name in group})
        device = recipe.fabric.device
        values = evaluate(built.to(device), dataset.splits["test"], tasks, recipe.training.batch_size, 0, device)
        found |= {name: values[name][task.primary] for name, task in tasks.items()}
    return found


def train(network: Network, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The row of a network, trained into its folder unless it is finished."""
    config = network.config
    own = replace(recipe, training=config.training)
    retrain_seed(network.model, config, own, config.seed, folder, resume=True)
    if not (folder / START).is_file():
        write_json(folder, Path(START).stem, start(network, own))
    metrics, before = read_json(folder / "metrics.json"), read_json(folder / START)
    tasks = {}
    for name, task in recipe.dataset.tasks.items():
        end, constant = (metrics[part][name][task.primary]["value"] for part in ("tasks", "prior"))
        tasks[name] = {"start": before[name], "end": end, "constant": constant}
    costs = {key: metrics[key] for key in ("parameters", "multiply_adds", "train_seconds")}
    return costs | {
        "tasks": tasks,
        "learns": all(learns(recipe.dataset.tasks[name], row) for name, row in tasks.items()),
    }


def learns(task: Task, row: Mapping[str, float | None]) -> bool:
    """Whether the end is better than the start and the constant prediction, where the labels define a value."""
    sign = 1 if task.metrics[task.primary] else -1
    end = row["end"]
    return end is not None and all(
        sign * end > sign * value for value in (row["start"], row["constant"]) if value is not None
    )


def table(rows: Mapping[str, Mapping[str, Any]], tasks: Mapping[str, Task]) -> str:
    """Markdown: costs, and of each task the metric at the start and at the end."""
    heads = [f"{name} {task.primary}" for name, task in tasks.items()]
    lines = [
        f"| network | parameters | multiply-adds | {' | '.join(heads)} | learns |",
        "|---|" + "---:|" * (3 + len(tasks)),
    ]
    first = next(iter(rows.values()))
    constants = " | ".join(f"{first['tasks'][name]['constant']:.4g}" for name in tasks)
    lines.append(f"| constant prediction | | | {constants} | |")
    for name, row in rows.items():
        cells = [f"{row['tasks'][task]['start']:.4g} -> {row['tasks'][task]['end']:.4g}" for task in tasks]
        costs = f"{row['parameters'] / 1e6:.2f} M | {row['multiply_adds'] / 1e9:.3f} G"
        lines.append(f"| {name} | {costs} | {' | '.join(cells)} | {'yes' if row['learns'] else 'NO'} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = config_parser(Config, "benchmarks.networks", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--output", type=Path, help="folder of trainings, networks.json and networks.md (required)")
    parser.add_argument("--only", nargs="+", help="names of networks; by default all")
    parser.add_argument("--list", action="store_true", help="print names and parameters, and train nothing")
    config, options = parse_config(parser, Config, sys.argv[1:] if argv is None else argv)
    dataset = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    chosen = [one for one in networks(config, space) if options.only is None or one.name in options.only]
    if options.list:
        for one in chosen:
            built = one.model.build(replace(one.config.network, pretrained=False), dataset.tasks)
            print(f"{parameter_count(built):12,d}  {one.name}")
        return
    if options.output is None:
        raise SystemExit("error: --output is missing: expected a folder")
    recipe = Recipe.from_config(config, dataset, Hardware(config.device, config.precision).fabric())
    rows: dict[str, Any] = {}
    for one in chosen:
        rows[one.name] = train(one, recipe, options.output / one.name.replace(":", "_").replace(" ", "_"))
        write_json(options.output, "networks", rows)
        write_atomic(options.output / "networks.md", table(rows, dataset.tasks))
    print(table(rows, dataset.tasks))


if __name__ == "__main__":
    main()
