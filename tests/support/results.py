"""Run folders written by hand, and the analysis commands that read them."""

import json

import yaml

from analysis.__main__ import main
from experiment.command import exit_code
from search_spaces import Architecture

CHOICES = "target,source,block,effect,effect_low,effect_high,probability,decided"


def entry(value, higher, primary=True):
    return {"value": value, "higher_is_better": higher, "primary": primary}


def metrics(semseg=0.4, depth=0.6, **content):
    """The content of a metrics.json of two tasks."""
    tasks = {
        "semseg": {"pixel_accuracy": entry(0.9, True, False), "mean_iou": entry(semseg, True)},
        "depth": {"rmse": entry(depth, False)},
    }
    facts = {
        "version": 1,
        "dataset": "scenes",
        "split": "test",
        "fingerprint": "0a1b",
        "parameters": 2_000_000,
        "multiply_adds": 3 * 10**9,
    }
    return {**facts, "tasks": tasks, **content}


def write_seed(folder, content, config=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    if config is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def write_run(folder, *seeds, config=None):
    """A retrain run of one content a seed."""
    for k, content in enumerate(seeds):
        write_seed(folder / f"seed_{k}", content, config)
    return folder


def write_choices(run, exchanges, undecided=(), effect=("", "", ""), probability=None):
    """choices.csv as a search writes it; probability: {pair: text}, empty for the others."""
    rows = [
        ",".join((*pair, block, *effect, (probability or {}).get(pair, ""), str(pair not in undecided).lower()))
        for pair, block in exchanges.items()
    ]
    (run / "choices.csv").write_text("\n".join([CHOICES, *rows, ""]))


def write_architecture(folder, exchanges, tasks=("a", "b"), **arguments):
    """A folder that holds architecture.yaml only, as text."""
    Architecture(tasks, exchanges, **arguments).save(folder / "architecture.yaml")
    return str(folder)


def analyse(capsys, *argv):
    """stdout and stderr of a command."""
    main([str(argument) for argument in argv])
    return capsys.readouterr()


def refusal(capsys, *argv):
    """The one line on stderr of a command that ends with code 2."""
    assert exit_code(lambda: main([str(argument) for argument in argv])) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err
