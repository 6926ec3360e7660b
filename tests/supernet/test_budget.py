"""A budget on the exchange: what blocks cost, the best choice that fits, searches that keep it."""

import csv
import itertools
import json
import random

import pytest
import torch

from analysis.measures.costs import resources
from search_spaces import BLOCKS, Architecture, SearchSpace
from supernet.cost.budget import Budget, choose
from supernet.cost.lagrange import LagrangeMultiplier
from supernet.cost.table import cost_table
from supernet.records.costs import MEASURES, Costs, CostTable
from supernet.score_test.posterior import PairPosterior
from supernet.selection import OPEN, Selection
from supernet.strategies import evidence as evidence_strategy
from supernet.strategies.gumbel import GumbelCallback
from tests.support.commands import assert_one_line, search
from tests.support.mixed import MIXED, PIXELS, REGIONS, SETTINGS, TASKS, C, D, architecture


def space(aggregator="atrc", tasks=TASKS, blocks=tuple(BLOCKS)):
    return SearchSpace(tasks, blocks, aggregator)


@pytest.fixture(scope="module")
def table():
    return cost_table(space(), C, (8, 8), REGIONS)


def test_rows_follow_the_published_formulas(table):
    """SPEC, with the message's d channels of the fusing convolution in each row, and its norm's parameters."""
    row = table.rows["semseg", "depth"]
    fuse = C * D
    expected = {
        "none": 0,
        "global": PIXELS * (3 * C * D + 4 * D * D + D + fuse),
        "padnet_linear": PIXELS * (C * D + fuse),
        "padnet_conv": PIXELS * (9 * C * C + C * D + fuse),
        "padnet_gate": PIXELS * (18 * C * C + C * D + fuse),
        "s_label": PIXELS * (C * D + D * D + 40 * (C + 2 * D) + fuse) + 40 * (2 * C * D + D * D),
        "t_label": PIXELS * (C * D + D * D + 15 * (C + 2 * D) + fuse) + 15 * (2 * C * D + D * D),
    }
    assert {name: row[name].multiply_adds for name in expected} == expected
    assert row["padnet_linear"].parameters == C * D + 2 * D + fuse  # with the norm behind it
    assert row["global"].parameters == 3 * C * D + 2 * D * D + 12 * D + fuse
    assert table.base.multiply_adds == len(TASKS) * PIXELS * C * C  # 1x1 convolutions without any message
    assert {cost.multiply_adds for cost in table.overheads.values()} == {PIXELS * C * C}
    assert set(table.rows["depth", "depth"]) == set(space().legal(("depth", "depth")))


@pytest.mark.parametrize("aggregator", ["atrc", "mteb"])
def test_sums_are_what_resources_counts(aggregator, table):
    found = table if aggregator == "atrc" else cost_table(space(aggregator), C, (8, 8), REGIONS)
    few = {"semseg": {"depth": "s_label"}, "depth": {"edge": "xtam", "depth": "local"}}
    for rows in ({}, few, MIXED) if aggregator == "atrc" else (few,):
        plan = architecture(aggregator, **rows)
        counted = resources(plan, SETTINGS).exchange
        sums = {measure: found.costs(measure).total(plan.exchanges) for measure in MEASURES[:2]}
        assert sums["parameters"] == counted.parameters
        if rows is MIXED:  # five pairs there share two sets of prototypes, which counts for each here
            shared = PIXELS * C * (2 * REGIONS["edge"] + REGIONS["depth"])
            assert sums["multiply_adds"] == counted.multiply_adds + shared
        else:
            assert sums["multiply_adds"] == counted.multiply_adds


def test_costs_csv_keeps_the_table_and_latency_is_measured(tmp_path):
    small = space(tasks=("semseg", "depth"), blocks=("none", "global", "padnet_gate"))
    found = cost_table(small, C, (8, 8), REGIONS, torch.device("cpu"))
    found.write(tmp_path / "costs.csv")
    assert CostTable.read(tmp_path / "costs.csv") == found
    assert found.base.latency > 0 and found.rows["semseg", "depth"]["padnet_gate"].latency > 0


def random_case(draw):
    tasks, blocks = ["a", "b"][: draw.randint(1, 2)], ["none", "x", "y", "z"][: draw.randint(2, 4)]
    pairs = [(t, s) for t in tasks for s in tasks]
    rows = {p: {n: 0 if n == "none" else draw.choice([0, 1, 2, 3, 5.5, 8]) for n in blocks} for p in pairs}
    costs = Costs(rows, draw.choice([0, 4]), {task: draw.choice([0, 3]) for task in tasks})
    values = {p: {n: draw.choice([draw.gauss(0, 1), 1.0]) for n in blocks} for p in pairs}
    if draw.random() < 0.5:  # a decided pair
        values[pairs[0]] = {"x": values[pairs[0]]["x"]}
    return costs, values


def test_choices_are_the_best_within_the_budget():
    """Against all choices, one by one, in random small cases."""
    draw, impossible = random.Random(0), 0
    for _ in range(300):
        costs, values = random_case(draw)
        budget = draw.uniform(costs.base - 1, 30)
        every = [dict(zip(values, names)) for names in itertools.product(*values.values())]
        fitting = [plan for plan in every if costs.total(plan) <= budget]
        if not fitting:
            impossible += 1
            with pytest.raises(ValueError, match="no choice costs"):
                choose(values, costs, budget)
            continue
        found = choose(values, costs, budget)
        worth = [sum(values[pair][name] for pair, name in plan.items()) for plan in (found, *fitting)]
        assert costs.total(found) <= budget
        assert worth[0] == pytest.approx(max(worth[1:]))
    assert 0 < impossible < 150


def test_a_choice_that_fits_is_left_alone_and_many_pairs_are_no_problem():
    draw = random.Random(1)
    tasks = [f"t{i}" for i in range(6)]
    names = ["none", *"abcdefgh"]
    pairs = [(t, s) for t in tasks for s in tasks]
    rows = {p: {n: 0.0 if n == "none" else draw.uniform(1, 20) for n in names} for p in pairs}
    values = {p: {n: draw.gauss(0, 1) for n in names} for p in pairs}
    costs = Costs(rows, 7.0, dict.fromkeys(tasks, 2.0))
    best = {p: max(blocks, key=blocks.get) for p, blocks in values.items()}
    assert choose(values, costs, costs.total(best)) == best
    half = choose(values, costs, costs.total(best) / 2)
    assert costs.total(half) <= costs.total(best) / 2
    assert sum(values[p][half[p]] for p in pairs) > 0.6 * sum(values[p][best[p]] for p in pairs)


def test_the_expected_cost_is_the_mean_over_architectures(table):
    small = space(tasks=("semseg", "depth"), blocks=("none", "global", "padnet_linear"))
    budget = Budget(small, table.costs("parameters"), 1.0)
    p = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    mean = 0.0
    for chosen in itertools.product(range(3), repeat=4):
        chance = torch.stack([p[i, k] for i, k in enumerate(chosen)]).prod().item()
        mean += chance * budget.costs.total({pair: small.blocks[k] for pair, k in zip(small.pairs, chosen)})
    assert budget.expected(p).item() == pytest.approx(mean, rel=1e-5)


def test_the_multiplier_brings_the_expected_cost_to_the_budget_and_falls_when_it_may(table):
    small = space(blocks=("none", "global", "padnet_gate"))
    selection, costs = Selection(small), table.costs("multiply_adds")
    even = Budget(small, costs, 1.0).expected(selection.probabilities()).item()
    multiplier = LagrangeMultiplier(Budget(small, costs, 0.6 * even), selection, 0.05)

    def step():
        multiplier.begin_step()
        multiplier.penalty().backward()
        multiplier.end_step()

    for _ in range(100):
        step()
    assert multiplier.figures()["cost_share"] == pytest.approx(1, abs=0.1)
    assert selection.logits.grad is None and (selection.logits == 0).all()
    with torch.no_grad():
        selection.logits[:, 0] += 5
    needed = multiplier.figures()["multiplier"]
    for _ in range(20):
        step()
    assert multiplier.figures()["multiplier"] < 0.5 * needed


def test_pairs_are_fixed_only_while_the_budget_can_be_kept(table):
    small = space(blocks=("none", "global", "padnet_gate"))
    selection, costs = Selection(small), table.costs("multiply_adds")
    gate = small.blocks.index("padnet_gate")
    with torch.no_grad():
        selection.logits[:, gate] = 5
        selection.logits[3] = torch.tensor([5.0, 0.0, 0.0])
    one = costs.base + costs.overhead("semseg") + costs.rows["semseg", "depth"]["padnet_gate"]
    selection.fix_affordable(0.3, Budget(small, costs, 1.2 * one).keeps)
    fixed = selection.fixed.tolist()
    assert fixed.count(gate) == 1 and fixed[3] == 0 and fixed.count(OPEN) == 9 - 2


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    folder = tmp_path_factory.mktemp("budget") / "run"
    assert search("--output", folder, "--training.iterations=4").returncode == 0
    return folder


def exchange_cost(folder, measure):
    """From the table and the architecture that the run wrote."""
    costs = CostTable.read(folder / "costs.csv").costs(measure)
    return costs.total(Architecture.load(folder / "architecture.yaml").exchanges)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_searches_keep_half_of_what_they_would_take(free, tmp_path, seed):
    half = exchange_cost(free, "multiply_adds") / 2
    extra = [f"--seed={seed}", f"--search.budget={half}", "--training.iterations=4"]
    done = search("--output", tmp_path / "run", *extra)
    assert done.returncode == 0, done.stderr
    assert exchange_cost(tmp_path / "run", "multiply_adds") <= half
    cost = json.loads((tmp_path / "run/metrics.json").read_text())["exchange_cost"]
    assert cost == {
        "measure": "multiply_adds",
        "value": exchange_cost(tmp_path / "run", "multiply_adds"),
        "budget": half,
    }
    assert "cost_share" in done.stdout and "of a budget of" in done.stdout
    with (tmp_path / "run/costs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["block"] for row in rows if row["source"]} == {"none", *(r["block"] for r in rows)} - {"any"}
    assert all(float(row["latency"]) > 0 for row in rows if row["block"] == "padnet_gate")


def test_a_search_by_evidence_keeps_it_too(free, tmp_path, monkeypatch):
    """Where the posterior calls for an exchange on every pair."""

    def certain(evidence, *_):
        good = {pair: dict.fromkeys(found.candidates, 0.1) | {"global": 0.9} for pair, found in evidence.items()}
        return {
            pair: PairPosterior("global", 0.81, True, 3.0, 0.9, 2.2, chances, 0.5) for pair, chances in good.items()
        }

    monkeypatch.setattr(evidence_strategy, "infer_posterior", certain)
    costs = CostTable.read(free / "costs.csv").costs("multiply_adds")
    two = costs.base + 2 * costs.overhead("semseg") + 2 * costs.rows["semseg", "depth"]["global"]
    run = tmp_path / "run"
    done = search("--output", run, "--search.strategy=evidence", f"--search.budget={two}", "--training.iterations=2")
    assert done.returncode == 0, done.stderr
    assert exchange_cost(run, "multiply_adds") <= two
    found = list(Architecture.load(run / "architecture.yaml").exchanges.values())
    assert found.count("global") == 2 and found.count("none") == 2
    with (run / "choices.csv").open() as file:
        assert sorted((row["block"], row["decided"]) for row in csv.DictReader(file)) == [
            *[("global", "true")] * 2,
            *[("none", "false")] * 2,
        ]


def test_a_budget_of_latency_and_one_of_parameters(free, tmp_path):
    costs = CostTable.read(free / "costs.csv")
    # latency is measured anew, on a busy machine perhaps
    budgets = {"parameters": 2 * costs.base.parameters, "latency": 100 * costs.base.latency}
    for measure, budget in budgets.items():
        run = tmp_path / measure
        extra = [f"--search.cost={measure}", f"--search.budget={budget}", "--training.iterations=1"]
        assert search("--output", run, *extra).returncode == 0
        assert exchange_cost(run, measure) <= budget


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--search.budget=5"], ["search.budget is 5", "cheapest", "12288", "multiply_adds"]),
        (["--search.budget=0"], ["search.budget", "positive"]),
        (["--search.cost=paramters"], ["nearest: 'parameters'"]),
        (["--search.pareto=-1"], ["search.pareto"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, parts):
    assert_one_line(search("--output", tmp_path / "run", *arguments), parts)
    assert not (tmp_path / "run").exists()


def test_stopped_and_resumed_keeps_the_multiplier_and_the_costs(tmp_path, monkeypatch):
    extra = ["--search.budget=60000", "--training.checkpoint_every=2"]
    assert search("--output", tmp_path / "once", *extra).returncode == 0
    after_step = GumbelCallback.after_step

    def crash(self, done):
        after_step(self, done)
        if done == 5:
            raise RuntimeError("the lights went out")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="lights"):
        patch.setattr(GumbelCallback, "after_step", crash)
        search("--output", tmp_path / "parts", *extra)
    costs = (tmp_path / "parts/costs.csv").read_bytes()
    assert search("--output", tmp_path / "parts", *extra, "--resume").returncode == 0
    for name in ("architecture.yaml", "selection.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    assert (tmp_path / "parts/costs.csv").read_bytes() == costs  # latency was not measured again
    found = [torch.load(tmp_path / run / "checkpoints/last.pt")["callback"]["multiplier"] for run in ("parts", "once")]
    assert found[0] == found[1] > 0.1
