"""What the presets of configs/papers take on one GPU, by estimate: the lines at their heads.

python -m benchmarks.presets [nyud_hrnet18 ...]

Nothing is trained. Parameters and multiply-adds are counted on the meta device. The memory is that of a step at the
preset's batch size, counted call by call (multitask/training/step_cost.py) in the forms that a GPU takes. Time is
projected: a step takes three times the multiply-adds of its forward pass, two operations each, at a throughput that is
assumed.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from experiment.config import Config
from multitask.cost import multiply_adds, parameter_count
from multitask.data import FILES
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.tasks import Task, build_tasks
from multitask.training.step_cost import task_losses
from retrain.baselines import baseline
from search_spaces import Exchange, SearchSpace
from supernet.cost.memory import Conditions, Fixed, step_peak

FOLDER = Path(__file__).parents[1] / "configs" / "papers"
THROUGHPUT = 10e12  # operations a second that a GPU sustains, as assumed


def tasks_of(config: Config) -> dict[str, Task]:
    """The tasks of a preset's full-size data, of which nothing is read."""
    return build_tasks(config.data.tasks, config.data, len(FILES[config.data.name].class_names(config.data)))


def network_of(config: Config, name: str = "multi_task") -> MultiTaskNetwork:
    """The network of a baseline's name on the meta device; `search` is the supernet with all its candidates."""
    settings, tasks = replace(config.network, pretrained=False), tasks_of(config)
    space = SearchSpace.from_settings(config.space, tuple(tasks))
    with torch.device("meta"):
        if name != "search":
            return baseline(name, space, config.seed).build(settings, tasks)
        exchange = Exchange(space, feature_channels(settings))
        supernet = Fixed(exchange, exchange.served)
        return MultiTaskNetwork(settings, tasks, supernet, exchange.region_tasks())


def models_of(text: str) -> list[str]:
    """What the commands at a preset's head train, `search` and baselines by name, without an architecture's file."""
    found = []
    for line in text.splitlines():
        if line.startswith("#   python search.py"):
            found.append("search")
        elif line.startswith("#   python retrain.py") and "--baseline " in line:
            found.append(line.split("--baseline ")[1].split()[0])
    return found


def describe(config: Config, names: Sequence[str]) -> list[str]:
    """The lines: of the multi-task network, then the memory of whatever exchanges features."""
    network = network_of(config)
    work = multiply_adds(network, config.data.height, config.data.width)
    steps = config.training.iterations * config.training.batch_size
    hours = 3 * 2 * work * steps / THROUGHPUT / 3600
    memory = [f"{_gigabytes(network, config):.1f} GiB (multi_task)"]
    for name in dict.fromkeys(names):
        if name == "search" or ":" in name:
            memory.append(f"{_gigabytes(network_of(config, name), config):.1f} GiB ({name})")
    parameters, rate = parameter_count(network) / 1e6, THROUGHPUT / 1e12
    return [
        f"# Estimated by `python -m benchmarks.presets`, not measured: multi_task has {parameters:.2f} M parameters",
        f"# and {work / 1e9:.1f} G multiply-adds an image, so {hours:.1f} hours on a GPU of {rate:.0f} TFLOP/s;",
        f"# memory of a step {', '.join(memory)}.",
    ]


def _gigabytes(network: nn.Module, config: Config) -> float:
    assert isinstance(network, MultiTaskNetwork)
    conditions = Conditions.of(config, torch.device("cuda"))
    return step_peak(network.train(), task_losses(network.tasks, config.training.auxiliary_weight), conditions) / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="presets, by default all")
    options = parser.parse_args()
    for path in sorted(FOLDER.glob("*.yaml")):
        if not options.names or path.stem in options.names:
            print(
                path.stem,
                *describe(Config.load(path), models_of(path.read_text(encoding="utf-8"))),
                sep="\n",
                flush=True,
            )


if __name__ == "__main__":
    main()
