"""The order of architectures under shared weights against their order after retraining."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kendalltau

from analysis.__main__ import main
from analysis.measures.ranking import Point, kendall, ranking
from search_spaces import Architecture
from tests.support.results import metrics, refusal, write_run

TASKS = ("semseg", "depth")
PAIRS = [(t, s) for t in TASKS for s in TASKS]
BLOCKS = ["none", "global", "local", "t_label", "xtam"]


def test_kendall_by_hand_and_against_scipy():
    assert kendall([1, 2, 3, 4], [1, 2, 3, 4]) == 1 and kendall([1, 2, 3], [3, 2, 1]) == -1
    assert kendall([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)  # 5 couples agree, 1 does not
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(2 * 3))  # one couple is tied
    assert kendall([1, 1, 1], [1, 2, 3]) is None
    draw = np.random.default_rng(0)
    for _ in range(20):
        one, other = draw.integers(0, 5, (2, 9)).astype(float)
        assert kendall(one, other) == pytest.approx(kendalltau(one, other).statistic)


def test_the_interval_and_the_agreement_between_seeds():
    draw = np.random.default_rng(0)
    points = [Point(i, i + draw.normal(), {"seed_0": i + 0.0, "seed_1": i + 0.5}) for i in range(12)]
    result = ranking(points, draws=300)
    assert result.interval is not None and result.tau is not None
    assert result.interval[0] < result.tau < result.interval[1] <= 1 and result.between_seeds == 1
    assert result == ranking(points, draws=300)
    covered = 0
    for _ in range(20):
        result = ranking([Point(i, draw.normal(), {"seed_0": draw.normal()}) for i in range(8)], draws=100)
        assert result.interval is not None and result.between_seeds is None
        covered += result.interval[0] <= 0 <= result.interval[1]
    assert covered >= 16


def sample(number):
    """The architectures differ in the block of one pair."""
    return Architecture(TASKS, {pair: "none" if pair[0] == pair[1] else BLOCKS[number] for pair in PAIRS})


@pytest.fixture
def runs(tmp_path):
    """A search that scored five architectures, and four of them retrained with two seeds."""
    folder = tmp_path / "search" / "pareto"
    folder.mkdir(parents=True)
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "score", "cost", *(f"{t} <- {s}" for t, s in PAIRS)])
        writer.writerows([i, -0.1 * i, i, *sample(i).exchanges.values()] for i in range(5))
    models = []
    for i, semseg in enumerate((0.50, 0.44, 0.46, 0.40)):
        values = [metrics(semseg + bonus)["tasks"] for bonus in (0, 0.01)]
        contents = [metrics(0.1 * i, validation={"tasks": tasks}) for tasks in values]
        models.append(write_run(tmp_path / f"model_{i}", *contents))
        for k in range(2):
            sample(i).save(models[-1] / f"seed_{k}" / "architecture.yaml")
    return tmp_path / "search", models


def printed(capsys, search, models, *argv):
    main(["ranking", "--search", str(search), "--models", *map(str, models), *map(str, argv)])
    return capsys.readouterr().out


def test_the_command(runs, tmp_path, capsys):
    search, models = runs
    result = json.loads(printed(capsys, search, models[::-1], "--format", "json", "--output", tmp_path / "out"))
    # 0 > 1 > 2 > 3 with shared weights, 0 > 2 > 1 > 3 on the validation split after retraining
    assert result["kendall_tau"] == pytest.approx(4 / 6) and result["between_seeds"] == 1
    first = result["architectures"][0]
    assert first["architecture"] == 0 and first["shared_weights"] == 0
    assert first["retrained"]["seed_1"] == pytest.approx((math.log(0.51) - math.log(0.6)) / 2)
    lines = (tmp_path / "out/ranking.csv").read_text().splitlines()
    assert len(lines) == 5 and lines[4].startswith("3,-0.3")
    with Image.open(tmp_path / "out/ranking.png") as figure:
        colours = {colour for _, colour in figure.convert("RGB").getcolors(maxcolors=10**6)}
    assert all(tuple(bytes.fromhex(code)) in colours for code in ("1f77b4", "ff7f0e", "2ca02c", "d62728"))

    table = printed(capsys, search, models)
    assert "4 architectures: Kendall's tau +0.67 (95 % interval" in table and "rho +0.80" in table
    body = [line.split() for line in table.splitlines()[-4:]]
    assert [(row[0], row[2], row[-1]) for row in body] == [
        ("000", "1", "1"),
        ("002", "3", "2"),
        ("001", "2", "3"),
        ("003", "4", "4"),
    ]
    assert "| 002 |" in printed(capsys, search, models, "--format", "markdown")
    assert printed(capsys, search, models, "--format", "csv").count("\n") == 5


def test_refusals(runs, tmp_path, capsys):
    search, models = runs

    def refused(*argv):
        return refusal(capsys, "ranking", *argv)

    assert "2 architectures are in common: expected at least 3" in refused("--search", search, "--models", *models[:2])
    assert "--search.pareto" in refused("--search", tmp_path, "--models", *models)
    assert "once more" in refused("--search", search, "--models", *models, models[0])
    assert "holds no finished seed" in refused("--search", search, "--models", tmp_path)
    assert "nearest: '--models'" in refused("--search", search, "--model", *models)
    strange = Architecture(TASKS, dict.fromkeys(PAIRS, "global"))
    for k, model in itertools.product(range(2), models[:2]):
        strange.save(model / f"seed_{k}" / "architecture.yaml")
    assert "left out, as no samples of the search" in refused("--search", search, "--models", *models)
    for seed in models[2].iterdir():
        (seed / "metrics.json").write_text(json.dumps(metrics()))
    assert "has no validation" in refused("--search", search, "--models", models[2])
    (search / "pareto/samples.csv").write_text("number,score\n1,many\n")
    assert "expected the columns number, score, cost" in refused("--search", search, "--models", *models)
