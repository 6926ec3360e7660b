"""Accuracy against cost with shared weights: the front, its files, resuming."""

import csv
import itertools
import math
import random
import signal

import pytest

from benchmarks import shared_scores
from experiment.interruption import Interrupted
from search_spaces import Architecture, SearchSpace
from supernet.cost.pareto import Exploration, front
from supernet.records.costs import Costs
from supernet.records.samples import Sample
from tests.support.commands import search

SPACE = SearchSpace(("semseg", "depth", "edge"), ("none", "global", "local", "xtam"))
BLOCK_COST = {"none": 0.0, "global": 1.0, "local": 2.5, "xtam": 4.0}
COSTS = Costs({pair: {name: BLOCK_COST[name] for name in SPACE.legal(pair)} for pair in SPACE.pairs}, base=3.0)


def worth(architecture):
    """Blocks help, more or less, but not always."""
    draw = random.Random(1)
    gains = {(pair, name): draw.gauss(BLOCK_COST[name] ** 0.5, 0.5) for pair in SPACE.pairs for name in SPACE.blocks}
    return sum(gains[item] for item in architecture.exchanges.items() if item[1] != "none")


def explore(folder, evaluate=worth, count=60, seed=0):
    exploration = Exploration(SPACE, COSTS, "multiply_adds", evaluate, count, seed, folder, {"space": "custom"})
    return exploration.run(Architecture.random(SPACE, 5), budget=20)


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def beats(one, other):
    """By the definition: no worse in both, better in one."""
    (cost, score), (cost_, score_) = ((float(row["cost"]), float(row["score"])) for row in (one, other))
    return cost <= cost_ and score >= score_ and (cost, score) != (cost_, score_)


def assert_front(folder):
    samples, found = rows(folder / "samples.csv"), rows(folder / "front.csv")
    unbeaten = [row for row in samples if not any(beats(other, row) for other in samples)]
    assert {(row["cost"], row["score"]) for row in found} == {(row["cost"], row["score"]) for row in unbeaten}
    assert not any(beats(one, other) for one, other in itertools.permutations(found, 2))
    return samples, found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_front_is_not_beaten_and_all_files_agree(tmp_path, seed, capsys):
    explore(tmp_path, seed=seed)
    samples, found = assert_front(tmp_path)
    assert len(samples) == 60 and len({tuple(row.values())[3:] for row in samples}) == 60
    assert len(found) >= 5
    for i, row in enumerate(found):
        plan = Architecture.load(tmp_path / f"architecture_{i:02d}.yaml")
        assert plan == Architecture.load(tmp_path / f"samples/architecture_{int(row['number']):03d}.yaml")
        assert COSTS.total(plan.exchanges) == float(row["cost"]) and worth(plan) == float(row["score"])
        assert plan.provenance["source"] == f"pareto_{int(row['number']):03d}"
    assert (tmp_path / "front.png").stat().st_size > 5000
    assert "the front of 60 architectures" in capsys.readouterr().out


def test_the_exploration_finds_more_than_chance_does(tmp_path):
    def area(points):
        """Between front and (largest cost, 0), by the front's steps."""
        points = sorted((float(row["cost"]), float(row["score"])) for row in points)
        ends = [cost for cost, _ in points[1:]] + [40.0]
        return sum(score * (end - cost) for (cost, score), end in zip(points, ends))

    explored = random_ones = 0.0
    for seed in range(4):
        explore(tmp_path / str(seed), count=120, seed=seed)
        plans = [Architecture.random(SPACE, 1000 * seed + i) for i in range(120)]
        chance = [
            Sample(i, worth(plan), plan.exchanges, {"cost": COSTS.total(plan.exchanges)})
            for i, plan in enumerate(plans)
        ]
        drawn = [{**s.values, "score": s.score} for s in front(chance)]
        explored += area(rows(tmp_path / str(seed) / "front.csv"))
        random_ones += area(drawn)
    assert explored > 1.02 * random_ones


def test_stopped_and_resumed_is_the_same_and_evaluates_nothing_twice(tmp_path):
    explore(tmp_path / "whole", count=40)
    calls = []

    def until(limit):
        def evaluate(architecture):
            calls.append(tuple(architecture.exchanges.values()))
            if len(calls) == limit:
                signal.raise_signal(signal.SIGTERM)
            return worth(architecture)

        return evaluate

    for limit in (7, 29):
        with pytest.raises(Interrupted, match=f"after {limit} architectures"):
            explore(tmp_path / "parts", until(limit), 40)
    explore(tmp_path / "parts", until(math.inf), 40)
    assert len(calls) == len(set(calls)) == 40
    for path in sorted((tmp_path / "whole").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes(), path


def test_a_small_space_is_explored_whole(tmp_path):
    small = SearchSpace(("semseg",), ("none", "global", "local"))
    costs = Costs({("semseg", "semseg"): {"none": 0, "global": 1, "local": 2}})
    Exploration(small, costs, "parameters", lambda plan: 0.0, 50, 0, tmp_path, {}).run(
        Architecture.uniform(("semseg",), "local")
    )
    assert len(rows(tmp_path / "samples.csv")) == 3
    assert [row["semseg <- semseg"] for row in rows(tmp_path / "front.csv")] == ["none"]


def test_a_search_explores_and_ends_as_it_would_have(tmp_path):
    explored, plain = tmp_path / "explored", tmp_path / "plain"
    assert search("--output", plain).returncode == 0
    done = search("--output", explored, "--search.pareto=12")
    assert done.returncode == 0, done.stderr
    samples, _ = assert_front(explored / "pareto")
    assert len(samples) == 12 and "the front of 12 architectures" in done.stdout
    chosen = Architecture.load(explored / "architecture.yaml")
    assert chosen == Architecture.load(explored / "pareto/samples/architecture_000.yaml")
    assert chosen == Architecture.load(plain / "architecture.yaml")
    values = [path.joinpath("metrics.json").read_text().split('"prior"')[0] for path in (explored, plain)]
    assert values[0] == values[1]  # the weights and their statistics were left as they were

    assert_scored_alike(explored, tmp_path / "again")

    # as if it had been stopped while it explored
    (explored / "metrics.json").unlink()
    before = (explored / "pareto/samples.csv").read_text()
    kept = "".join(before.splitlines(keepends=True)[:6])
    (explored / "pareto/samples.csv").write_text(kept)
    assert search("--output", explored, "--search.pareto=12", "--resume").returncode == 0
    assert (explored / "pareto/samples.csv").read_text() == before


def assert_scored_alike(explored, again):
    """benchmarks.shared_scores gives the architectures of a finished search what --search.pareto gave them."""
    files = sorted((explored / "pareto/samples").iterdir())[:4]
    shared_scores.main([str(explored), "--architectures", *map(str, files), "--output", str(again)])
    for row, sample in zip(rows(again / "pareto/samples.csv"), rows(explored / "pareto/samples.csv")[:4], strict=True):
        assert float(row.pop("score")) == pytest.approx(float(sample.pop("score")), abs=1e-6) and row == sample


def test_scores_of_a_search_that_trains_two_supernets(tmp_path):
    done = search("--output", tmp_path / "run", "--search.strategy=evidence", "--search.pareto=4")
    assert done.returncode == 0, done.stderr
    assert_scored_alike(tmp_path / "run", tmp_path / "again")
