"""Tables on the screen and JSON in a file, for all benchmarks."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.measure import Cost


def print_table(title: str, costs: Mapping[str, Cost]) -> None:
    """Seconds and bytes of each side, and as a share of the first side's."""
    first = next(iter(costs.values()))
    width = max(len(name) for name in costs)
    print(f"\n{title}\n{'':{width}}   seconds   ratio        GB   ratio")
    for name, cost in costs.items():
        ratio, share = cost.seconds / first.seconds, cost.bytes / first.bytes if first.bytes else float("nan")
        print(f"{name:{width}} {cost.seconds:9.4f} {ratio:7.3f} {cost.bytes / 1e9:9.3f} {share:7.3f}", flush=True)


def write(
    folder: Path | None, name: str, options: argparse.Namespace, results: Mapping[str, Mapping[str, Cost]]
) -> None:
    """folder/name.json: the options, the machine, and every figure."""
    parts = {part: {side: asdict(cost) for side, cost in costs.items()} for part, costs in results.items()}
    write_results(folder, name, options, parts)


def write_results(folder: Path | None, name: str, options: argparse.Namespace, results: object) -> None:
    """As `write`, of figures of any kind that JSON holds."""
    content = {
        "options": {key: value for key, value in vars(options).items() if key != "output"},
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "results": results,
    }
    write_json(folder, name, content)


def write_json(folder: Path | None, name: str, content: object) -> None:
    """folder/name.json; nothing without a folder."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
