"""Delta_m: published tables through the command, signs, spread, and what must not be compared."""

import csv
import io
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from analysis.__main__ import main
from analysis.measures.bootstrap import bootstrap_interval
from analysis.measures.recipe import GROUPS, IGNORED, MUST_MATCH, SHOULD_MATCH, keys
from experiment.config import Config
from multitask.metrics.delta_m import contributions, delta_m
from tests.support import wrong_values
from tests.support.results import entry, metrics, refusal, write_run, write_seed

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared" / "published_tables.json"
HIGHER = {"semseg": True, "depth": False}
CONFIG = {
    "data": {"height": 96, "width": 128, "empty_classes": "skip"},
    "network": {"backbone": "resnet18", "backbone_options": {"stem_width": 16}, "channels": None},
    "training": {"iterations": 300},
}


@pytest.fixture
def baseline(tmp_path):
    seeds = (metrics(0.38, 0.62, model="single_task"), metrics(0.42, 0.58, model="single_task"))
    return write_run(tmp_path / "single_task", *seeds, config=CONFIG)


@pytest.fixture
def found(tmp_path):
    seeds = (metrics(0.44, 0.57), metrics(0.40, 0.63), metrics(0.45, 0.54))
    return write_run(tmp_path / "found", *seeds, config=CONFIG)


def compare(capsys, baseline, *models, form="json"):
    """stdout, parsed where it is JSON."""
    main(["compare", "--baseline", str(baseline), *map(str, models), "--format", form])
    text = capsys.readouterr().out
    return json.loads(text) if form == "json" else text


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"the published tables are not at {PUBLISHED.name} beside the tree")
@pytest.mark.parametrize("table, rows", [("1", 13), ("2", 5)])
def test_published_rows(tmp_path, table, rows):
    published = [row for row in json.loads(PUBLISHED.read_text())["rows"] if row["table"] == table]
    assert len(published) == rows
    folders = {}
    for i, row in enumerate(published):
        tasks = {n: {n: entry(m["value"], m["direction"] == "higher")} for n, m in row["metrics"].items()}
        content = metrics(model=row["model"], dataset="NYUD-v2", tasks=tasks)
        folders[row["model"]] = write_run(tmp_path / f"row_{i}", content)
    command = [sys.executable, "-m", "analysis", "compare", "--format", "json"]
    command += ["--baseline", folders[published[0]["baseline"]], *folders.values()]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    models = json.loads(printed)["models"]
    assert [model["model"] for model in models] == [row["model"] for row in published]
    for model, row in zip(models, published, strict=True):
        assert model["delta_m"] == pytest.approx(row["delta_m"], abs=0.0125), row["model"]


@pytest.mark.parametrize(
    "model, expected",
    [
        ({"semseg": 0.44, "depth": 0.6}, {"semseg": 5, "depth": 0}),  # 10 % more of what should be high
        ({"semseg": 0.4, "depth": 0.66}, {"semseg": 0, "depth": -5}),  # 10 % more of what should be low
        ({"semseg": 0.36, "depth": 0.54}, {"semseg": -5, "depth": 5}),
        ({"semseg": 0.4, "depth": 0.6}, {"semseg": 0, "depth": 0}),
    ],
)
def test_positive_is_better(model, expected):
    reference = {"semseg": 0.4, "depth": 0.6}
    assert contributions(model, reference, HIGHER) == pytest.approx(expected)
    assert delta_m(model, reference, HIGHER) == pytest.approx(sum(expected.values()))


def test_seeds_are_averaged_before_the_formula(tmp_path, capsys):
    """The mean of the seeds' own Delta_m would be (+100 - 33) / 2."""
    task = {"depth": {"rmse": entry(1.0, True)}}, {"depth": {"rmse": entry(3.0, True)}}
    base = write_run(tmp_path / "base", *(metrics(tasks=tasks) for tasks in task))
    model = write_run(tmp_path / "model", metrics(tasks={"depth": {"rmse": entry(2.0, True)}}))
    assert compare(capsys, base, model)["models"][0]["delta_m"] == pytest.approx(0)


def test_json_holds_the_contract(baseline, found, capsys):
    printed = compare(capsys, baseline, found)
    assert printed["baseline"] == "single_task"
    (row,) = printed["models"]
    semseg, depth = (0.44, 0.40, 0.45), (0.57, 0.63, 0.54)
    deltas = [50 * ((s - 0.4) / 0.4 - (d - 0.6) / 0.6) for s, d in zip(semseg, depth, strict=True)]
    assert (row["model"], row["seeds"]) == ("found", 3)  # its files give no name: the folder's
    assert row["delta_m"] == pytest.approx(statistics.mean(deltas))
    assert row["delta_m_std"] == pytest.approx(statistics.stdev(deltas))
    assert row["delta_m_interval"][0] < row["delta_m"] < row["delta_m_interval"][1]
    assert (row["parameters"], row["multiply_adds"]) == (2_000_000, 3 * 10**9)
    assert row["tasks"]["depth"] == {
        "metric": "rmse",
        "mean": pytest.approx(0.58),
        "std": pytest.approx(statistics.stdev(depth)),
        "higher_is_better": False,
        "delta_m_percent_contribution": pytest.approx(50 * 0.02 / 0.6),
    }
    assert sum(task["delta_m_percent_contribution"] for task in row["tasks"].values()) == pytest.approx(row["delta_m"])
    assert printed["baseline_model"]["delta_m"] == 0


def test_formats_hold_the_same_numbers(baseline, found, capsys):
    printed = compare(capsys, baseline, found)
    rows = [printed["baseline_model"], printed["models"][0]]
    lines = list(csv.DictReader(io.StringIO(compare(capsys, baseline, found, form="csv"))))
    assert [line["model"] for line in lines] == ["single_task", "found"]
    for line, row in zip(lines, rows, strict=True):
        assert float(line["delta_m"]) == row["delta_m"]
        assert float(line["depth.rmse.mean"]) == row["tasks"]["depth"]["mean"]
        low, high = row["delta_m_interval"] or ("", "")
        assert (line["delta_m_low"], line["delta_m_high"]) == (str(low), str(high))

    text = compare(capsys, baseline, found, form="markdown")
    printed_rows = [{}, {}]  # three tables, each with the model in its first column
    for table in text.split("\n\n")[1:4]:
        first, _, *body = table.splitlines()
        header, *cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (first, *body)]
        for values, line in zip(printed_rows, cells, strict=True):
            values |= dict(zip(header, line, strict=True))
    for values, row in zip(printed_rows, rows, strict=True):
        mean, std = values["Delta_m % ↑"].split(" ± ")
        assert float(mean) == pytest.approx(row["delta_m"], abs=0.005)
        assert float(std) == pytest.approx(row["delta_m_std"], abs=0.005)
        assert float(values["depth rmse ↓"].split()[0]) == pytest.approx(row["tasks"]["depth"]["mean"], abs=5e-5)
        assert values["parameters"] == "2.00 M" and values["multiply-adds"] == "3.00 G"
        task = row["tasks"]["depth"]["delta_m_percent_contribution"]
        assert float(values["depth points"]) == pytest.approx(task, abs=0.005)
    assert printed_rows[0]["model"] == "single_task (baseline)"


def test_table_fits_100_columns_and_keeps_the_order_given(tmp_path, capsys):
    names = ("semseg", "depth", "normals", "edge", "human_parts", "saliency")
    runs = []
    for i, name in enumerate(("single_task", "worse", "better")):
        tasks = {task: {"mean_iou": entry(0.5 + (0, -0.1, 0.1)[i], True)} for task in names}
        runs.append(write_run(tmp_path / name, metrics(tasks=tasks), metrics(tasks=tasks)))
    text = compare(capsys, *runs, form="table")
    body = text.partition("\n\n")[2].partition("warning")[0]
    assert max(map(len, text.splitlines())) <= 100
    assert [line.split()[0] for line in body.splitlines()[:4]] == ["model", "single_task", "worse", "better"]
    assert all(body.count(name) >= 2 for name in names)
    assert "-20.00" in body and "+20.00" in body and "mean_iou ↑" in body


def test_a_folder_with_metrics_is_one_seed(baseline, tmp_path, capsys):
    write_seed(tmp_path / "alone", metrics())
    row = compare(capsys, baseline, tmp_path / "alone")["models"][0]
    assert (row["model"], row["seeds"], row["delta_m_std"], row["delta_m_interval"]) == ("alone", 1, None, None)


def test_models_of_one_name_are_distinguished(baseline, tmp_path, capsys):
    runs = [write_run(tmp_path / name, metrics(model="found"), metrics(model="found")) for name in ("a", "b")]
    text = compare(capsys, baseline, *runs, form="markdown")
    assert f"found ({runs[0]})" in text and f"found ({runs[1]})" in text


def change(*path, value):
    """A metrics.json with one value replaced, added, or (None) removed."""
    return wrong_values.changed(metrics(), path, wrong_values.MISSING if value is None else value)


@pytest.mark.parametrize(
    "content, config, named",
    [
        (metrics(dataset="nyud", fingerprint=None), CONFIG, ("dataset", "nyud", "scenes")),
        (metrics(fingerprint="0a1c"), CONFIG, ("images and labels of the split", "0a1c", "0a1b")),
        (metrics(split="val"), None, ("split", "val", "test")),
        (change("tasks", "depth", value=None), CONFIG, ("tasks", "semseg", "depth, semseg")),
        (change("tasks", "edge", value={"ods_f": entry(0.7, True)}), CONFIG, ("tasks", "depth, edge, semseg")),
        (
            change("tasks", "depth", value={"abs_rel": entry(0.1, False)}),
            CONFIG,
            ("primary metric of depth", "abs_rel", "rmse"),
        ),
        (
            change("tasks", "depth", "rmse", "higher_is_better", value=True),
            CONFIG,
            ("direction of depth", "higher", "lower"),
        ),
        (metrics(), CONFIG | {"data": {"height": 192, "width": 128}}, ("data.height", "192", "96")),
        (metrics(), CONFIG | {"data": {"height": 96, "width": 256}}, ("data.width", "256", "128")),
        (metrics(), CONFIG | {"data": {"empty_classes": "zero"}}, ("data.empty_classes", "zero", "skip")),
        (metrics(), CONFIG | {"network": {"backbone": "resnet34"}}, ("network.backbone", "resnet34", "resnet18")),
        (metrics(), CONFIG | {"network": {"backbone_options": {}}}, ("network.backbone_options", "16")),
        (metrics(), CONFIG | {"network": {"channels": 48}}, ("network.channels", "48", "None")),
        (change("tasks", "depth", "rmse", "primary", value=False), CONFIG, ("0 metrics of depth as primary",)),
        (change("tasks", "depth", "rmse", "value", value=float("nan")), CONFIG, ("depth rmse is nan",)),
        (metrics(version=2), CONFIG, ("version 2", "expected 1")),
        (metrics(tasks={}), CONFIG, ("has no tasks",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_differs_is_refused(baseline, tmp_path, capsys, content, config, named):
    """Also in a later seed."""
    model = write_run(tmp_path / "model", metrics(), content, config=None)
    if config is not None:
        (model / "seed_1" / "config.yaml").write_text(yaml.safe_dump(config))
    line = refusal(capsys, "compare", "--baseline", baseline, model)
    assert all(word in line for word in (*named, "seed_1"))


def test_a_data_folder_may_have_another_name_if_its_images_are_the_same(baseline, tmp_path, capsys):
    model = write_run(tmp_path / "model", metrics(dataset="moved"), config=CONFIG)
    assert compare(capsys, baseline, model)["models"][0]["delta_m"] == 0


def test_runs_without_a_fingerprint_are_named(baseline, tmp_path, capsys):
    old = write_run(tmp_path / "old", metrics(fingerprint=None), config=CONFIG)
    main(["compare", "--baseline", str(baseline), str(old), "--format", "json"])
    assert "warning: no fingerprint of the images in old," in capsys.readouterr().err


def test_copies_are_no_seeds_and_no_models(baseline, tmp_path, capsys):
    copies = write_run(tmp_path / "copies", metrics(seed=4), metrics(seed=5), metrics(seed=4))
    line = refusal(capsys, "compare", "--baseline", baseline, copies)
    assert "seed_0' and" in line and "seed_2' both have seed 4" in line
    assert "both have seed 4" in refusal(capsys, "compare", "--baseline", copies, baseline)
    model = write_run(tmp_path / "model", metrics(seed=0))
    line = refusal(capsys, "compare", "--baseline", baseline, model, tmp_path / "other" / ".." / "model")
    assert "given twice" in line
    assert "both have seed" not in compare(capsys, baseline, model, form="table")  # other models may share a seed


def undefined(reason="no valid pixel"):
    """metrics.json of a split without a label of depth."""
    return change("tasks", "depth", value={"rmse": entry(None, False) | {"undefined": reason}})


def test_a_task_without_a_value_is_left_out_with_a_line(tmp_path, capsys):
    base = write_run(tmp_path / "base", undefined(), config=CONFIG)
    content = undefined()
    content["tasks"]["semseg"]["mean_iou"]["value"] = 0.44
    model = write_run(tmp_path / "model", content, config=CONFIG)
    (row,) = compare(capsys, base, model)["models"]
    assert row["delta_m"] == pytest.approx(10) and list(row["tasks"]) == ["semseg"]
    text = compare(capsys, base, model, form="table")
    assert "warning: depth is left out: its metrics have no value (no valid pixel)" in text.splitlines()
    whole = write_run(tmp_path / "whole", metrics(), config=CONFIG)
    line = refusal(capsys, "compare", "--baseline", base, whole)
    assert "tasks without a value: none against depth" in line
    content["tasks"] = {"depth": content["tasks"]["depth"]}
    nothing = write_run(tmp_path / "nothing", content)
    assert "no metric has a value: depth (no valid pixel)" in refusal(capsys, "compare", "--baseline", base, nothing)


LEARNED = (
    ("training.learning_rate", 0.5),
    ("training.optimizer", "adamw"),
    ("training.weight_decay", 0.5),
    ("training.clip_norm", None),
    ("training.validate_every", 7),
    ("training.prior_start", False),
    ("loss_weights.weights", {"depth": 9.0}),
    ("loss_weights.method", "uncertainty"),
    ("data.scale_range", [0.9, 1.0]),
    ("data.photometric", False),
    ("data.edge_positive_weight", 0.9),
    ("network.pretrained", True),
    ("network.backbone_rate", 0.1),
    ("precision", "bf16"),
)


def changed(key, value):
    content = Config().to_dict()
    group, _, name = key.partition(".")
    if name:
        content[group][name] = value
    else:
        content[group] = value
    return content


@pytest.mark.parametrize("key, value", LEARNED)
def test_every_difference_of_the_recipe_is_a_warning(tmp_path, capsys, key, value):
    runs = [tmp_path / "base", tmp_path / "model"]
    for folder, config in zip(runs, (Config().to_dict(), changed(key, value)), strict=True):
        write_run(folder, *(metrics(seed=k, loss_weights={"semseg": 1.0}) for k in range(5)), config=config)
    warnings = [line for line in compare(capsys, *runs, form="table").splitlines() if line.startswith("warning")]
    (line,) = warnings
    assert line.startswith(f"warning: model has {key} {value}, the baseline ")
    (runs[1] / "seed_2" / "config.yaml").write_text(yaml.safe_dump(Config().to_dict()))
    (line,) = [line for line in compare(capsys, *runs, form="table").splitlines() if line.startswith("warning")]
    assert line.startswith(f"warning: model (seed_0, seed_1, seed_3, seed_4) has {key} {value}")


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path, capsys):
    runs = [tmp_path / name for name in ("base", "model")]
    for folder, rate in zip(runs, (0.01, 0.02), strict=True):
        write_run(folder, metrics(model="multi_task"), config=changed("training.learning_rate", rate))
    text = compare(capsys, *runs, form="table")
    assert f"warning: multi_task ({runs[1]}) has training.learning_rate 0.02, the baseline 0.01" in text.splitlines()


def test_weights_from_a_file_are_compared_by_their_values(tmp_path, capsys):
    runs = [tmp_path / name for name in ("base", "same", "other")]
    for folder, weight, file in zip(runs, (2.0, 2.0, 3.0), (None, "a/w.yaml", "b/w.yaml"), strict=True):
        seeds = [metrics(seed=k, loss_weights={"semseg": 1.0, "depth": weight}) for k in range(5)]
        write_run(folder, *seeds, config=changed("loss_weights.file", file))
    warnings = [line for line in compare(capsys, *runs, form="table").splitlines() if line.startswith("warning")]
    (line,) = warnings
    assert line.startswith("warning: other has loss weights {'semseg': 1.0, 'depth': 3.0}, the baseline ")


def test_each_key_of_the_configuration_is_refused_compared_or_known_to_change_nothing():
    every = {key for key in keys(Config) if key.partition(".")[0] in GROUPS}
    known = set(MUST_MATCH) | set(SHOULD_MATCH)
    assert {key for key, _ in LEARNED} <= set(SHOULD_MATCH)
    assert every - known == set(IGNORED) and not set(MUST_MATCH) & set(SHOULD_MATCH)
    assert known <= every


def test_without_config_the_metrics_decide(baseline, tmp_path, capsys):
    model = write_run(tmp_path / "model", metrics(0.5))
    assert compare(capsys, baseline, model)["models"][0]["delta_m"] > 0


def test_zero_baseline_is_refused(found, tmp_path, capsys):
    base = write_run(tmp_path / "base", metrics(0.4), metrics(0.0))
    line = refusal(capsys, "compare", "--baseline", base, found)
    assert "semseg mean_iou is 0" in line and "divides" in line


def test_a_missing_baseline_is_answered_with_its_command(found, tmp_path, capsys):
    base = tmp_path / "base"
    config = found / "seed_0" / "config.yaml"
    command = f"python retrain.py --config {config} --baseline single_task --output {base} --seeds 0 1 2"
    assert refusal(capsys, "compare", "--baseline", base, found).rstrip().endswith(command)
    (base / "seed_0").mkdir(parents=True)
    assert refusal(capsys, "compare", "--baseline", base, found).rstrip().endswith(f"{command} --resume")
    bare = write_run(tmp_path / "bare", metrics())
    line = refusal(capsys, "compare", "--baseline", base, bare)
    assert "--config CONFIG --baseline single_task" in line and "--seeds 0 1 --resume" in line


def test_unfinished_seeds_are_left_out_and_named(baseline, found, capsys):
    (found / "seed_3").mkdir()
    (found / "seed_2" / "metrics.json").unlink()
    main(["compare", "--baseline", str(baseline), str(found), "--format", "json"])
    captured = capsys.readouterr()
    assert json.loads(captured.out)["models"][0]["seeds"] == 2
    assert [line for line in captured.err.splitlines() if "unfinished" in line] == [
        f"note: '{found / name}' has no metrics.json: left out as unfinished" for name in ("seed_2", "seed_3")
    ]


def test_a_model_without_finished_seed_is_refused(baseline, tmp_path, capsys):
    (tmp_path / "model" / "seed_0").mkdir(parents=True)
    assert "has no finished seed" in refusal(capsys, "compare", "--baseline", baseline, tmp_path / "model")
    assert "is no folder" in refusal(capsys, "compare", "--baseline", baseline, tmp_path / "nowhere")


@pytest.mark.parametrize("broken", ["{", "[]", "{}"])
def test_a_malformed_file_is_one_line(baseline, tmp_path, capsys, broken):
    folder = write_seed(tmp_path / "model" / "seed_0", metrics())
    (folder / "metrics.json").write_text(broken)
    assert "metrics.json" in refusal(capsys, "compare", "--baseline", baseline, tmp_path / "model")


def test_warnings_stand_below_a_table_and_beside_data(baseline, found, tmp_path, capsys):
    alone = write_run(tmp_path / "alone", metrics(), config=CONFIG | {"training": {"iterations": 600}})
    expected = (
        "warning: the baseline has fewer seeds (2) than some model (3)",
        "warning: only one seed of alone",
        "warning: with few seeds",
        "warning: alone has training.iterations 600, the baseline 300",
    )
    for form in ("table", "json", "csv"):
        main(["compare", "--baseline", str(baseline), str(found), str(alone), "--format", form])
        captured = capsys.readouterr()
        text, other = (captured.out, captured.err) if form == "table" else (captured.err, captured.out)
        assert [line[: len(start)] for line, start in zip(text.splitlines()[-4:], expected, strict=True)] == [*expected]
        assert "warning:" not in other


def test_enough_seeds_need_no_warning(tmp_path, capsys):
    runs = [write_run(tmp_path / name, *(metrics(0.4 + k / 100) for k in range(5))) for name in ("a", "b")]
    main(["compare", "--baseline", *map(str, runs)])
    captured = capsys.readouterr()
    assert "warning" not in captured.out + captured.err


def seeds_around(mean, spread, count):
    """Values symmetrical about the mean."""
    return [{"semseg": mean + spread * offset} for offset in np.linspace(-1, 1, count)]


def test_bootstrap_interval_is_symmetrical_contains_the_mean_and_shrinks():
    widths = []
    for count in (4, 16, 64):
        model, reference = seeds_around(1.1, 0.05, count), seeds_around(1.0, 0.001, count)
        low, high = bootstrap_interval(model, reference, {"semseg": True})
        assert low < 10 < high
        assert (high - 10) == pytest.approx(10 - low, rel=0.1)
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1] > 1.5 * 1.5 * widths[2]


def test_bootstrap_interval_of_a_known_case():
    """Many seeds: 1.96 standard errors, of model and baseline together, to each side."""
    draw = np.random.default_rng(0)
    model, reference = draw.normal(1.1, 0.02, 400), draw.normal(1.0, 0.03, 400)
    low, high = bootstrap_interval([{"t": v} for v in model], [{"t": v} for v in reference], {"t": False})
    ratio = model.mean() / reference.mean()
    error = 100 * ratio * np.sqrt((model.var() / model.mean() ** 2 + reference.var() / reference.mean() ** 2) / 400)
    centre = 100 * (1 - ratio)
    assert (low, high) == pytest.approx((centre - 1.96 * error, centre + 1.96 * error), abs=0.1 * error)


def test_bootstrap_takes_the_tasks_of_a_seed_together():
    """Two tasks that always move against each other leave Delta_m alone."""
    model = [{"a": 1 + x, "b": 1 - x} for x in (-0.3, -0.1, 0.1, 0.3)]
    reference = [{"a": 1.0, "b": 1.0}] * 4
    assert bootstrap_interval(model, reference, {"a": True, "b": True}) == pytest.approx((0, 0), abs=1e-9)


def test_bootstrap_repeats_itself_and_needs_two_seeds_a_side():
    many, one = seeds_around(1, 0.1, 3), seeds_around(1, 0.1, 1)
    assert bootstrap_interval(many, many, {"semseg": True}) == bootstrap_interval(many, many, {"semseg": True})
    assert bootstrap_interval(many, one, {"semseg": True}) is None
    assert bootstrap_interval(one, many, {"semseg": True}) is None


@pytest.mark.parametrize(
    "argv, named",
    [
        (["compar"], "nearest: 'compare'"),
        ([], "COMMAND"),
        (["compare", "--baselin", "a", "b"], "unknown option '--baselin': expected one of"),
        (["compare", "--baseline", "a", "b", "--format", "jso"], "nearest: 'json'"),
        (["compare", "--baseline", "a"], "MODEL_DIR"),
        (["compare", "-x", "--baseline", "a", "b"], "-x"),
    ],
)
def test_bad_usage_is_one_line(capsys, argv, named):
    assert named in refusal(capsys, *argv)


def test_bad_usage_of_the_real_command():
    done = subprocess.run([sys.executable, "-m", "analysis", "compar"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == "" and re.fullmatch(r"error: unknown command 'compar': .*'compare'\n", done.stderr)


@pytest.mark.parametrize(
    ("twice", "given"),
    [
        ("--baseline", ("--baseline", "a", "--baseline", "b")),
        ("--baseline", ("--baseline=a", "--baseline", "b")),
        ("--format", ("--baseline=a", "--format=csv", "--format=json")),
    ],
)
def test_an_option_is_given_once(capsys, twice, given):
    assert f"{twice} is given 2 times" in refusal(capsys, "compare", *given, "model")
