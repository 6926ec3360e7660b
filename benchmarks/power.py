"""Power, false positive rate and calibration of search rules on planted problems of known strengths.

python -m benchmarks.power --first 100 --seeds 10 --rules gumbel gumbel_open null evidence --output runs/benchmarks
python -m benchmarks.power --first 100 --seeds 3 --rules strength --output runs/benchmarks
python -m benchmarks.power --figures docs/log/power.json --output docs/log

`strength` retrains networks with the right blocks, with and without a pair, and reports how much its target gains.
Every search is written to power.jsonl as it ends, and a later call with more seeds or rules adds to what is there;
power.json sums up, and the last command draws the figures from it.

Rules are compared twice: by what they choose, beside their false positive rate, and at equal false positive rates:
pairs are ranked by the rule's own score, and a threshold lets 10 % of the empty pairs through, whatever the rule
chooses itself. The rules run in a training loop of their own (benchmarks/rules.py), not through search.py.
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.planted import CHANNELS, RIGHT, STRENGTHS, TASKS, PlantedNetwork, Problem, planted_space
from benchmarks.rules import RULES, crossing, fit
from search_spaces import Architecture, Exchange
from search_spaces.blocks import Pair

BLOCKS = ("none", "global", "local", "t_label", "padnet_gate")
IMAGES = 1024  # for a rule to divide as it likes
# about equal seconds, but for score, whose blocks have to find a message by gradient descent
STEPS = {"gumbel": 600, "gumbel_open": 600, "null": 600, "random": 0, "evidence": 340, "score": 1600}
MATCHED = 0.1  # share of the empty pairs that a threshold lets through
WANTED = 0.8  # detection
KINDS = ("local", "image")
BINS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97, 1.01)  # of the stated probability
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
    """Retrained gain of each pair with a message, right block against none, in % of its target's error."""
    problem = Problem(seed)
    images, test = problem.images(IMAGES, 0), problem.images(TEST_IMAGES, 1)
    right = {pair: ONE_OF[plant.kind] for pair, plant in problem.plants.items()}

    def errors(exchanges: dict[Pair, str]) -> dict[str, float]:
        torch.manual_seed(seed)
        exchange = Exchange(Architecture(TASKS, exchanges, normalize_messages=True), CHANNELS, dropout=0.0)
        network = PlantedNetwork(exchange)
        fit(network, images, RETRAIN_STEPS, seed, lambda _, batch: network(batch).backward())
        network.eval()
        with torch.no_grad():
            losses = network.losses(test, network.exchange(*network.encode(test.inputs)))
        return {task: float(loss.mean()) for task, loss in losses.items()}

    complete = errors(right)
    sources_of = {t: [s for s in TASKS if problem.plants[t, s].strength] for t in TASKS}
    rows = []
    for place in range(len(TASKS) - 1):  # a retraining drops one pair of every target, since targets do not interfere
        dropped = [(t, sources[place]) for t, sources in sources_of.items() if place < len(sources)]
        less = errors({**right, **dict.fromkeys(dropped, "none")}) if dropped else {}
        for pair in dropped:
            delta = 100 * (1 - complete[pair[0]] / less[pair[0]])
            rows.append(
                {"rule": "strength", "seed": seed, "pair": pair, **asdict(problem.plants[pair]), "delta": delta}
            )
    return rows


def threshold(rows: Sequence[Row]) -> float:
    """The score above which no more than `MATCHED` of the empty pairs lie."""
    empty = sorted((row["score"] for row in rows if not row["strength"]), reverse=True)
    return float(empty[int(MATCHED * len(empty))])


def detection(rows: Sequence[Row], above: float | None = None) -> dict[str, dict[float, list[int]]]:
    """[pairs given a right block, pairs] by kind and strength: as chosen, or by all scores above a threshold."""
    counts: dict[str, dict[float, list[int]]] = {}
    for kind in (*KINDS, "both"):
        for s in STRENGTHS:
            pairs = [row for row in rows if row["strength"] == s and kind in (row["kind"], "both")]
            if above is None:
                hits = [row["right"] for row in pairs]
            else:
                hits = [row["score"] > above and row["candidate"] in RIGHT[row["kind"]] for row in pairs]
            counts.setdefault(kind, {})[s] = [sum(hits), len(hits)]
    return counts


def needed(power: dict[float, list[int]]) -> float | None:
    """The strength from which on detection stays at `WANTED` or more, linear in log strength; None if there is none."""
    known = [(s, hits / pairs) for s, (hits, pairs) in power.items() if pairs]
    enough = len(known)
    while enough and known[enough - 1][1] >= WANTED:
        enough -= 1
    if enough == len(known):
        return None
    if not enough:
        return known[0][0]  # or less
    (low, below), (high, above) = known[enough - 1 : enough + 1]
    return math.exp(math.log(low) + (WANTED - below) / (above - below) * math.log(high / low))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Of one rule: detection as chosen and at equal false positive rates, false positives, seconds, and calibration."""
    ways = {"chosen": detection(rows), "matched": detection(rows, threshold(rows))}
    found: dict[str, Any] = {
        "searches": len({row["seed"] for row in rows}),
        "steps": rows[0]["steps"],
        "seconds": mean(row["seconds"] for row in rows),
        "evaluation_seconds": mean(row["evaluation_seconds"] for row in rows),
        "false_positives": {
            kind: [sum(not row["right"] for row in pairs), len(pairs)]
            for kind in ("none", "echo")
            for pairs in [[row for row in rows if row["kind"] == kind]]
        },
        "detection": ways,
        "needed": {way: {kind: needed(power) for kind, power in of_kind.items()} for way, of_kind in ways.items()},
    }
    if rows[0]["probability"] is not None:
        found["calibration"] = calibration(rows)
    return found


def chance() -> dict[str, Any]:
    """Of random choice, in closed form: counts out of one pair."""
    right = {kind: len(set(RIGHT[kind]) & set(BLOCKS)) for kind in KINDS}
    chosen = {kind: right[kind] / len(BLOCKS) for kind in KINDS}
    matched = {kind: MATCHED * right[kind] / (len(BLOCKS) - 1) for kind in KINDS}
    positives = 1 - 1 / len(BLOCKS)
    ways = {
        way: {
            kind: {s: [level, 1] for s in STRENGTHS}
            for kind, level in {**of_kind, "both": mean(of_kind.values())}.items()
        }
        for way, of_kind in (("chosen", chosen), ("matched", matched))
    }
    return {"false_positives": {"none": [positives, 1], "echo": [positives, 1]}, "detection": ways}


def calibration(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Mean stated probability and share of right choices, by bins of the stated probability."""
    bins = []
    for low, high in itertools.pairwise(BINS):
        within = [row for row in rows if low <= row["probability"] < high]
        if within:
            stated, right = mean(row["probability"] for row in within), mean(row["right"] for row in within)
            bins.append({"low": low, "pairs": len(within), "stated": stated, "right": right})
    return bins


def table(results: dict[str, dict[str, Any]]) -> str:
    head = " ".join(f"{100 * s:g}%".rjust(6) for s in STRENGTHS)
    lines = [f"{'rule':<12} {'n':>3} {'s':>4} {'FP none':>8} {'echo':>6}  {'':13} {head}  80 % at"]
    for rule, one in results.items():
        positives = ["/".join(f"{x:g}" for x in pair) for pair in one["false_positives"].values()]
        for way, of_kind in one["detection"].items():
            for kind, power in of_kind.items():
                cells = " ".join("/".join(f"{x:.3g}" for x in pair).rjust(6) for pair in power.values())
                at = one.get("needed", {}).get(way, {}).get(kind)
                reached = "-" if at is None else f"{100 * at:.2g} %"
                run = f"{rule:<12} {one.get('searches', 0):>3} {one.get('seconds', 0):>4.0f}"
                lines.append(f"{run} {positives[0]:>8} {positives[1]:>6}  {way:<7} {kind:<5} {cells}  {reached}")
    return "\n".join(lines)


def strengths(rows: Sequence[Row]) -> dict[str, dict[float, dict[str, float]]]:
    """Retrained gain in % of the target's error, mean and standard error, by kind and strength."""
    found: dict[str, dict[float, dict[str, float]]] = {}
    for kind in KINDS:
        for s in STRENGTHS:
            deltas = [row["delta"] for row in rows if (row["kind"], row["strength"]) == (kind, s)]
            if len(deltas) > 1:
                error = stdev(deltas) / len(deltas) ** 0.5
                found.setdefault(kind, {})[s] = {"delta": mean(deltas), "error": error, "pairs": len(deltas)}
    return found


NAMES = {
    "gumbel": "ATRC's search",
    "gumbel_open": "the same, never fixing",
    "null": "noise for gradients",
    "random": "random choice",
    "evidence": "held-out evidence",
    "score": "trained probes",
}
COLOURS = {"gumbel": "C1", "gumbel_open": "C5", "null": "C7", "random": "C8", "evidence": "C0", "score": "C2"}


def power_figure(content: dict[str, Any], path: Path) -> None:
    """Detection as chosen and at equal false positive rates, over the strength, and the false positive rates."""
    from matplotlib.figure import Figure

    chart = Figure(figsize=(13, 4.6), layout="constrained")
    chosen, matched, positives = chart.subplots(1, 3, width_ratios=(3, 3, 2))
    labels = [f"{100 * s:g}" for s in STRENGTHS]
    if content["strength"]:
        gains = [[content["strength"].get(kind, {}).get(str(s), {}).get("delta") for kind in KINDS] for s in STRENGTHS]
        labels = [
            f"{x}\n" + "\n".join("?" if g is None else f"{g:.1f}" for g in both) for x, both in zip(labels, gains)
        ]
    for axes, way, title in (
        (chosen, "chosen", "As the rule chooses"),
        (matched, "matched", f"At {100 * MATCHED:.0f} % false positives"),
    ):
        for rule, one in content["rules"].items():
            curve = [100 * hits / pairs for hits, pairs in one["detection"][way]["both"].values()]
            style = "o-" if rule in ("gumbel", "gumbel_open", "evidence") else "--"
            axes.plot([100 * s for s in STRENGTHS], curve, style, color=COLOURS[rule], label=NAMES[rule])
        axes.axhline(100 * WANTED, color="grey", linewidth=0.5)
        axes.set(title=title, xscale="log", ylim=(0, 102), ylabel="pairs given a right block, %")
        axes.set_xticks([100 * s for s in STRENGTHS], labels)
        axes.set_xticks([], minor=True)
        axes.set_xlabel(
            "strength, % of the label's variance"
            + ("\n(below: error saved by retraining, %, local, image)" if content["strength"] else "")
        )
    chosen.legend(fontsize=8)
    for place, (rule, one) in enumerate(content["rules"].items()):
        for kind, shift, hatch in (("none", -0.2, ""), ("echo", 0.2, "//")):
            hits, pairs = one["false_positives"][kind]
            positives.bar(
                place + shift, 100 * hits / pairs, 0.38, color=COLOURS[rule], hatch=hatch, alpha=1 if shift < 0 else 0.5
            )
    positives.set_xticks(
        range(len(content["rules"])), [NAMES[rule] for rule in content["rules"]], rotation=35, ha="right"
    )
    positives.axhline(100 * MATCHED, color="grey", linewidth=0.5)
    positives.set(title="False positive rate as chosen", ylim=(0, 102), ylabel="empty pairs (hatched: echoes), %")
    chart.savefig(path, dpi=130)


def calibration_figure(content: dict[str, Any], path: Path) -> None:
    """The stated probability against the share of right choices, with counts."""
    from matplotlib.figure import Figure

    chart = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = chart.subplots()
    axes.plot([0, 1], [0, 1], ":", color="grey")
    for rule, one in content["rules"].items():
        bins = one.get("calibration", [])
        if not bins:
            continue
        stated, right, pairs = ([b[key] for b in bins] for key in ("stated", "right", "pairs"))
        error = [(p * (1 - p) / n) ** 0.5 for p, n in zip(right, pairs)]
        axes.errorbar(stated, right, error, fmt="o-", color=COLOURS[rule], capsize=3)
        for x, y, n in zip(stated, right, pairs):
            axes.annotate(str(n), (x, y), xytext=(6, -10), textcoords="offset points", fontsize=8)
    axes.set(xlabel="stated probability", ylabel="share of right choices", xlim=(0, 1.03), ylim=(0, 1.05))
    chart.savefig(path, dpi=130)


def figures(content: dict[str, Any], folder: Path) -> None:
    power_figure(content, folder / "power.png")
    calibration_figure(content, folder / "calibration.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="problems, counted from --first")
    parser.add_argument("--first", type=int, default=0, help="the first problem's seed")
    parser.add_argument("--rules", nargs="+", default=["gumbel", "gumbel_open", "null", "evidence"])
    parser.add_argument("--steps", type=int, help="of training, instead of each rule's own number")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--figures", type=Path, help="draw the figures from this power.json, and nothing else")
    options = parser.parse_args()
    if options.figures:
        content = json.loads(options.figures.read_text(encoding="utf-8"))
        show(content)
        figures(content, options.output)
        return
    unknown = [rule for rule in options.rules if rule not in (*RULES, "strength")]
    if unknown:
        parser.error(f"unknown rule '{unknown[0]}': expected one of {', '.join((*RULES, 'strength'))}")
    options.output.mkdir(parents=True, exist_ok=True)
    record = options.output / "power.jsonl"
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.exists() else []
    done = {(row["rule"], row["seed"]) for row in rows}
    for seed in range(options.first, options.first + options.seeds):
        for rule in options.rules:
            if (rule, seed) in done:
                continue
            began = time.perf_counter()
            new = strength(seed) if rule == "strength" else search(rule, seed, options.steps or STEPS[rule])
            with record.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in new)
            rows += new
            print(f"{rule} on problem {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    by_rule = {rule: [row for row in rows if row["rule"] == rule] for rule in RULES}
    results = {rule: summary(found) for rule, found in by_rule.items() if found}
    results.setdefault("random", chance())
    content = {"rules": results, "strength": strengths([row for row in rows if row["rule"] == "strength"])}
    content = json.loads(json.dumps(content, allow_nan=False))  # as read from the file: keys are strings
    (options.output / "power.json").write_text(
        json.dumps(content, allow_nan=False, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    show(content)
    figures(content, options.output)


def show(content: dict[str, Any]) -> None:
    print(table(content["rules"]))
    for rule, one in content["rules"].items():
        for b in one.get("calibration", []):
            print(f"{rule}: {b['pairs']:>3} pairs, stated {b['stated']:.2f}, right {b['right']:.2f}")
    for kind, levels in content["strength"].items():
        for s, gain in levels.items():
            print(
                f"{kind} {100 * float(s):g} %: retrained gain {gain['delta']:.2f} +- {gain['error']:.2f} % of the error"
            )


if __name__ == "__main__":
    main()
