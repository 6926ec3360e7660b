"""Which search rule finds what is there? Power, false alarms and sureness on planted problems of known strengths.

python -m benchmarks.power --seeds 8 --rules gumbel null random evidence --output runs/benchmarks
python -m benchmarks.power --seeds 4 --rules strength --output runs/benchmarks

`strength` retrains networks with the right blocks, with and without a pair, and says how much its target gains. Every
search is written to power.jsonl as it ends, and a later call with more seeds or rules adds to what is there.
"""

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.planted import CHANNELS, STRENGTHS, TASKS, PlantedNetwork, Problem, planted_space
from benchmarks.rules import RULES, crossing, fit
from search_spaces import Architecture, Exchange
from search_spaces.blocks import Pair

BLOCKS = ("none", "global", "local", "t_label", "padnet_gate")
IMAGES = 512  # for a rule to divide as it likes
STEPS = {"gumbel": 400, "gumbel_slow": 400, "null": 400, "random": 0, "evidence": 400}  # about equal seconds
RETRAIN_STEPS, TEST_IMAGES = 600, 1500
ONE_OF = {"local": "local", "image": "global", "echo": "none", "none": "none"}

Row = dict[str, Any]  # one pair of one search


def search(rule: str, seed: int, steps: int, blocks: Sequence[str] = BLOCKS) -> list[Row]:
    """A rule on a problem, a row per pair."""
    problem = Problem(seed)
    space = planted_space(tuple(blocks))
    outcome = RULES[rule](space, problem.images(IMAGES, 0), seed, steps)
    seconds = outcome.train_seconds + outcome.evaluation_seconds
    common = {"rule": rule, "seed": seed, "steps": outcome.steps, "seconds": seconds}
    common["evaluation_seconds"] = outcome.evaluation_seconds
    rows = []
    for pair in crossing(space):
        plant, choice = problem.plants[pair], outcome.choices[pair]
        right = choice.block in plant.right
        rows.append({**common, "pair": pair, **asdict(plant), **asdict(choice), "right": right})
    return rows


def strength(seed: int) -> list[Row]:
    """By how many % of its error each telling pair improves its target, right block against none, both retrained."""
    problem = Problem(seed)
    images, test = problem.images(IMAGES, 0), problem.images(TEST_IMAGES, 1)
    right = {pair: ONE_OF[plant.kind] for pair, plant in problem.plants.items()}

    def errors(exchanges: dict[Pair, str]) -> dict[str, float]:
        torch.manual_seed(seed)
        exchange = Exchange(Architecture(TASKS, exchanges), CHANNELS, normalize=True, dropout=0.0)
        network = PlantedNetwork(exchange)
        fit(network, images, RETRAIN_STEPS, seed, lambda _, batch: network(batch).backward())
        network.eval()
        with torch.no_grad():
            losses = network.losses(test, network.exchange(*network.encode(test.inputs)))
        return {task: float(loss.mean()) for task, loss in losses.items()}

    complete = errors(right)
    telling = {t: [s for s in TASKS if problem.plants[t, s].strength] for t in TASKS}
    rows = []
    for place in range(len(TASKS) - 1):  # a retraining drops one pair of every target, since targets do not interfere
        dropped = [(t, sources[place]) for t, sources in telling.items() if place < len(sources)]
        less = errors({**right, **dict.fromkeys(dropped, "none")}) if dropped else {}
        for pair in dropped:
            delta = 100 * (1 - complete[pair[0]] / less[pair[0]])
            rows.append(
                {"rule": "strength", "seed": seed, "pair": pair, **asdict(problem.plants[pair]), "delta": delta}
            )
    return rows


def share(values: Iterable[bool]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Of one rule: detection by strength and kind, false alarms, seconds, and sureness against truth."""
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("local", "image", "echo", "none")}
    telling = kinds["local"] + kinds["image"]
    found: dict[str, Any] = {
        "searches": len({row["seed"] for row in rows}),
        "steps": rows[0]["steps"],
        "seconds": mean(row["seconds"] for row in rows),
        "false_alarms": {kind: share(not row["right"] for row in kinds[kind]) for kind in ("none", "echo")},
        "detection": {s: share(row["right"] for row in telling if row["strength"] == s) for s in STRENGTHS},
        "something": {s: share(row["block"] != "none" for row in telling if row["strength"] == s) for s in STRENGTHS},
        "by_kind": {
            kind: {s: share(row["right"] for row in kinds[kind] if row["strength"] == s) for s in STRENGTHS}
            for kind in ("local", "image")
        },
    }
    if rows[0]["sureness"] is not None:
        found["calibration"] = calibration(rows)
    return found


def calibration(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Said against true: mean sureness and share of right choices, by bins of sureness."""
    bins = []
    for low, high in ((0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.97), (0.97, 1.01)):
        within = [row for row in rows if low <= row["sureness"] < high]
        if within:
            said, true = mean(row["sureness"] for row in within), mean(row["right"] for row in within)
            bins.append({"low": low, "pairs": len(within), "said": said, "right": true})
    return bins


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "rule          n  steps   s   FA none/echo   right at " + " ".join(f"{100 * s:g}%".rjust(5) for s in STRENGTHS)
    ]
    for rule, one in results.items():
        alarms = "/".join("-" if x is None else f"{100 * x:.0f}" for x in one["false_alarms"].values())
        power = " ".join(f"{100 * (x or 0):5.0f}" for x in one["detection"].values())
        lines.append(
            f"{rule:<12} {one['searches']:>2} {one['steps']:>6} {one['seconds']:>4.0f} {alarms:>12}            {power}"
        )
    return "\n".join(lines)


def strengths(rows: Sequence[Row]) -> dict[str, dict[float, dict[str, float]]]:
    """Retrained gain in % of the target's error, mean and standard error, by kind and strength."""
    found: dict[str, dict[float, dict[str, float]]] = {}
    for kind in ("local", "image"):
        for s in STRENGTHS:
            deltas = [row["delta"] for row in rows if (row["kind"], row["strength"]) == (kind, s)]
            if len(deltas) > 1:
                error = stdev(deltas) / len(deltas) ** 0.5
                found.setdefault(kind, {})[s] = {"delta": mean(deltas), "error": error, "pairs": len(deltas)}
    return found


def figure(results: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    chart, (power, sure) = plt.subplots(1, 2, figsize=(10, 4))
    for rule, one in results.items():
        alarm = one["false_alarms"]["none"]
        label = f"{rule} (false alarms {100 * alarm:.0f} %)" if alarm is not None else rule
        power.plot([100 * s for s in STRENGTHS], [100 * (x or 0) for x in one["detection"].values()], "o-", label=label)
        if "calibration" in one:
            bins = one["calibration"]
            sure.plot([b["said"] for b in bins], [b["right"] for b in bins], "o-", label=rule)
    power.set(
        xscale="log", xlabel="strength, % of label variance", ylabel="pairs given a right block, %", ylim=(0, 102)
    )
    power.legend(fontsize=8)
    sure.plot([0, 1], [0, 1], ":", color="grey")
    sure.set(xlabel="sureness said", ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    chart.tight_layout()
    chart.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="problems, counted from --first")
    parser.add_argument("--first", type=int, default=0, help="the first problem's seed")
    parser.add_argument("--rules", nargs="+", default=["gumbel", "null", "random", "evidence"])
    parser.add_argument("--steps", type=int, help="of training, instead of each rule's own number")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args()
    unknown = [rule for rule in options.rules if rule not in (*RULES, "strength")]
    if unknown:
        parser.error(f"unknown rule '{unknown[0]}': expected one of {', '.join((*RULES, 'strength'))}")
    options.output.mkdir(parents=True, exist_ok=True)
    record = options.output / "power.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    done = {(row["rule"], row["seed"]) for row in rows}
    for seed in range(options.first, options.first + options.seeds):
        for rule in options.rules:
            if (rule, seed) in done:
                continue
            began = time.perf_counter()
            new = strength(seed) if rule == "strength" else search(rule, seed, options.steps or STEPS[rule])
            with record.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in new)
            rows += new
            print(f"{rule} on problem {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    by_rule = {rule: [row for row in rows if row["rule"] == rule] for rule in RULES}
    results = {rule: summary(found) for rule, found in by_rule.items() if found}
    gains = strengths([row for row in rows if row["rule"] == "strength"])
    (options.output / "power.json").write_text(json.dumps({"rules": results, "strength": gains}, indent=1))
    if results:
        print(table(results))
        figure(results, options.output / "power.png")
    for kind, levels in gains.items():
        for s, gain in levels.items():
            print(f"{kind} {100 * s:g} %: retrained gain {gain['delta']:.2f} +- {gain['error']:.2f} % of the error")


if __name__ == "__main__":
    main()
