"""The table of strategies against sums by hand."""

import csv
import json
import statistics

import pytest

from analysis.__main__ import main
from experiment.command import exit_code
from experiment.errors import InputError
from search_spaces import Architecture
from tests.support.results import metrics, write_run, write_seed

TASKS = ("semseg", "depth")
PAIRS = [(target, source) for target in TASKS for source in TASKS]
FIRST, SECOND = ("local", "local", "global", "global"), ("local", "global", "global", "global")
PRIOR = metrics(0.2, 1.2)["tasks"]


def architecture(blocks):
    return Architecture(TASKS, dict(zip(PAIRS, blocks, strict=True)))


def config(strategy, seed, **groups):
    groups = {"search": {}, "data": {}, "training": {}, **groups}
    return {**groups, "search": {"strategy": strategy, "samples": 50, **groups["search"]}, "seed": seed}


def write_search(folder, blocks, content, settings):
    architecture(blocks).save(folder / "architecture.yaml")
    write_seed(folder, {**content, "model": "supernet", "prior": PRIOR, "split": "val"}, settings)
    return str(folder)


@pytest.fixture
def runs(tmp_path):
    """Two seeds of gumbel, one of darts."""
    costs = [(100.0, 10.0, 10**9), (130.0, 20.0, 2 * 10**9), (50.0, 0.0, 3 * 10**9)]
    costs = [{"train_seconds": a, "choice_seconds": b, "peak_memory_bytes": c} for a, b, c in costs]
    return [
        write_search(tmp_path / "one", FIRST, metrics(0.4, 0.6, **costs[0]), config("gumbel", 0)),
        write_search(tmp_path / "two", SECOND, metrics(0.3, 0.6, **costs[1]), config("gumbel", 1)),
        write_search(tmp_path / "three", SECOND, metrics(0.2, 1.2, **costs[2]), config("darts", 0)),
    ]


def retrained(folder, blocks, *contents):
    write_run(folder, *contents)
    for k in range(len(contents)):
        architecture(blocks).save(folder / f"seed_{k}" / "architecture.yaml")
    return str(folder)


@pytest.fixture
def baseline(tmp_path):
    """Mean IoU 0.4 and RMSE 0.6 on the test split; 0.25 and 0.8 on validation."""
    seeds = [metrics(0.4, 0.6, validation={"tasks": metrics(value, 0.8)["tasks"]}) for value in (0.2, 0.3)]
    return str(write_run(tmp_path / "single", *seeds))


def printed(capsys, *arguments):
    main(["strategies", *arguments])
    return capsys.readouterr()


def table(capsys, *arguments):
    result = json.loads(printed(capsys, *arguments, "--format", "json").out)
    return {row["strategy"]: row for row in result["strategies"]}


def test_a_row_a_strategy_by_hand(runs, capsys):
    rows = table(capsys, *runs)
    assert list(rows) == ["gumbel", "darts"]
    gumbel, darts = rows.values()
    assert (gumbel["runs"], gumbel["seconds"], gumbel["peak_memory_bytes"]) == (2, (110 + 150) / 2, 2 * 10**9)
    # against the prior: (+100 % and +50 %) / 2, and (+50 % and +50 %) / 2
    assert gumbel["validation_delta_m"] == pytest.approx((75 + 50) / 2)
    assert gumbel["validation_delta_m_std"] == pytest.approx(statistics.stdev((75, 50)))
    # alike on 3 of 4 pairs; chance: local 1/2 * 1/4, global 1/2 * 3/4
    assert gumbel["agreement_percent"] == pytest.approx(75) and gumbel["kappa"] == pytest.approx(0.5, abs=1e-6)
    assert (darts["runs"], darts["seconds"], darts["validation_delta_m"]) == (1, 50, 0)
    assert darts["kappa"] is None and darts["validation_delta_m_std"] is None and darts["retrained_delta_m"] is None


def test_retrained_networks_find_their_searches(tmp_path, runs, baseline, capsys):
    models = [
        retrained(tmp_path / "r1", FIRST, metrics(0.44, 0.6), metrics(0.48, 0.6)),  # +15 % and 0 on average
        retrained(tmp_path / "r2", SECOND, metrics(0.4, 0.3)),  # 0 and +50 %
    ]
    rows = table(capsys, *runs, "--retrained", *models, "--baseline", baseline)
    assert rows["gumbel"]["retrained_delta_m"] == pytest.approx((7.5 + 25) / 2)
    assert rows["darts"]["retrained_delta_m"] == pytest.approx(25) and rows["darts"]["retrained_runs"] == 1
    # validation is now against the baseline's: 0.4 and 0.3 of 0.25, 0.6 of 0.8
    assert rows["gumbel"]["validation_delta_m"] == pytest.approx(((60 + 25) / 2 + (20 + 25) / 2) / 2)
    text = printed(capsys, *runs, "--retrained", models[0], "--baseline", baseline).out
    assert "+7.50 (1 of 2)" in text


def test_formats_hold_the_same(runs, tmp_path, capsys):
    rows = table(capsys, *runs)
    result = csv.DictReader(printed(capsys, *runs, "--format", "csv").out.splitlines())
    assert [row["seconds"] for row in result] == [str(row["seconds"]) for row in rows.values()]
    text = printed(capsys, *runs, "--output", str(tmp_path / "out")).out
    assert "+62.50 ± 17.68" in text and "130 s" in text and "75.0 %" in text and "the training prior" in text
    assert len((tmp_path / "out" / "strategies.csv").read_text().splitlines()) == 3
    assert printed(capsys, *runs, "--format", "markdown").out.count("\n| ") == 4


def test_other_settings_are_named(tmp_path, runs, capsys):
    longer = config("gdas", 0, training={"iterations": 9}, search={"samples": 3})
    other = write_search(tmp_path / "four", FIRST, metrics(), longer)
    assert "training.iterations" in printed(capsys, *runs, other).out
    errors = printed(capsys, *runs, other, "--format", "csv").err  # remarks stand beside data
    assert errors.count("\n") == 1 and "training.iterations" in errors and "search.samples" in errors
    copy = write_search(tmp_path / "five", FIRST, metrics(), config("darts", 0))
    assert "2 runs of darts have seed 0" in printed(capsys, *runs, copy).out
    larger = write_search(tmp_path / "six", FIRST, metrics(), config("gdas", 0, data={"height": 480}))
    with pytest.raises(InputError, match=r"differ in data\.height"):
        main(["strategies", *runs, larger])


def test_bad_input_is_one_line(tmp_path, runs, baseline, capsys):
    stray = retrained(tmp_path / "r3", ("none",) * 4, metrics())
    assert "no search chose" in printed(capsys, *runs, "--retrained", stray, "--baseline", baseline).out
    unfinished = tmp_path / "seven"
    architecture(FIRST).save(unfinished / "architecture.yaml")
    (tmp_path / "file").write_text("")
    network = tmp_path / "eight"
    architecture(FIRST).save(network / "architecture.yaml")
    write_seed(network, metrics(model="found"), config("gumbel", 0))
    for arguments in (
        [str(unfinished)],
        [str(network)],
        [*runs, "--retrained", stray],
        [*runs, "--baseline", str(tmp_path / "nothing")],
        [*runs, "--output", str(tmp_path / "file")],
        [*runs, "--formt", "csv"],
    ):
        assert exit_code(lambda a=arguments: main(["strategies", *a])) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and not captured.out
