"""What a retraining prints at its end: each task's metric over the seeds, and the next command."""

import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiment.calls import call
from experiment.errors import InputError
from experiment.run import config_difference, read_config, read_json
from multitask.tasks import Task

BASELINES = ("uniform:none", "multi_task", "single_task")  # the first that is there is compared with
NONE = "uniform:none"
GROUPS = ("data", "network", "training")  # of the configuration


def over_seeds(name: str, folders: Sequence[Path], tasks: Mapping[str, Task]) -> str:
    """Mean and sample standard deviation of the primary metrics on test, of the seeds in `folders`."""
    found = [read_json(folder / "metrics.json")["tasks"] for folder in folders]
    lines = [f"{name}, test split: mean ± standard deviation over {len(found)} seeds"]
    for task in tasks.values():
        values = [metrics[task.name][task.primary]["value"] for metrics in found]
        if None not in values:
            spread = f"{statistics.fmean(values):8.4f} ± {statistics.stdev(values):.4f}"
            lines.append(f"  {task.name:<12} {task.primary:<11} {spread}")
    return "\n".join(lines)


def next_command(name: str, output: Path, seeds: Sequence[int]) -> str:
    """The comparison with a baseline beside the run, of the same data, network and training; without one, the command
    that trains it.
    """
    trained = read_config(output / f"seed_{seeds[0]}" / "config.yaml")
    found = {path.parent: _model(path, trained) for path in sorted(output.parent.glob("*/seed_*"))}
    models = {str(folder): model for folder, model in found.items() if model}
    own = str(output)
    rivals = [baseline for baseline in BASELINES if baseline != name and baseline in models.values()]
    if rivals:
        against = next(folder for folder, model in models.items() if model == rivals[0])
        return f"next: {call('compare')} --baseline {shlex.quote(against)} {shlex.quote(own)}"
    if name in BASELINES:
        return f"next: {call('compare')} --baseline {shlex.quote(own)} FOUND"
    config, folder = output / f"seed_{seeds[0]}" / "config.yaml", output.with_name("no_exchange")
    return (
        f"next: {call('retrain')} --config {shlex.quote(str(config))} --baseline {NONE} "
        f"--output {shlex.quote(str(folder))} --seeds {' '.join(map(str, seeds))}"
    )


def _model(seed: Path, trained: Mapping[str, Any]) -> str | None:
    """The model of a finished training, unless it was trained otherwise, or its files are damaged."""
    try:
        if not (seed / "metrics.json").is_file():
            return None
        config = read_config(seed / "config.yaml")
        name: str = read_json(seed / "model.json")["model"]
    except (InputError, KeyError):
        return None
    old, new = ({group: content.get(group) for group in GROUPS} for content in (config, trained))
    return None if config_difference(old, new) else name
