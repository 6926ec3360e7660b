"""Published scores as data of the package, and runs set beside them."""

import json

import pytest

from analysis.measures.published import NAMES, load_table, table_names
from experiment.errors import InputError
from multitask.data.published import PUBLISHED
from multitask.metrics.delta_m import delta_m
from multitask.tasks import TASKS, build_tasks
from tests.support.results import analyse, entry, metrics, refusal, write_run

ATRC = {
    "semseg": (0.389, "mean_iou"),
    "depth": (0.601, "rmse"),
    "normals": (20.48, "mean_angle"),
    "edge": (0.7634, "ods_f"),
}
SINGLE = {
    "semseg": (0.3802, "mean_iou"),
    "depth": (0.6104, "rmse"),
    "normals": (20.94, "mean_angle"),
    "edge": (0.7622, "ods_f"),
}


def run(folder, model, values):
    higher = {"semseg": True, "depth": False, "normals": False, "edge": True}
    tasks = {task: {metric: entry(value, higher[task])} for task, (value, metric) in values.items()}
    return write_run(folder, metrics(model=model, dataset="nyud", tasks=tasks))


@pytest.mark.parametrize("name", table_names())
def test_printed_delta_m_follow_from_the_printed_scores(name):
    table = load_table(name)
    assert table.source and table.rows and (table.dataset in PUBLISHED or name == "ladder")
    checked = 0
    for row in table.rows:
        assert (row.values or row.delta_m is not None) and row.values.keys() <= table.higher.keys()
        if row.delta_m is not None and row.baseline is not None:
            reference = table.baseline.values
            assert delta_m(row.values, reference, table.higher) == pytest.approx(row.delta_m, abs=0.0125), row.model
            checked += 1
    assert checked == {"nyud_hrnet18_modules": 13, "nyud_hrnet18": 5, "vkitti2_densemtl": 2}.get(name, 0)


def test_rows_of_which_only_delta_m_is_known_are_shown(capsys):
    shown = analyse(capsys, "compare", "--published", "pascal_resnet50").out
    line = next(line for line in shown.splitlines() if line.lstrip().startswith("Multi-task, ATRC"))
    assert "+0.95" in line and "n/a" in line
    assert "67.67" in shown and "+4.53" in shown


def test_names_of_the_tables_are_primary_metrics_of_our_tasks():
    from experiment.config import DataSettings

    tasks = build_tasks(list(TASKS), DataSettings(), 3)
    for task, metric, _ in NAMES.values():
        assert tasks[task].primary == metric
    known = {key: tasks[NAMES[key][0]].metrics[NAMES[key][1]] for key in NAMES}
    for name in table_names():
        assert all(known[key] == higher for key, higher in load_table(name).higher.items() if key in known)


def test_a_run_with_the_published_scores_has_the_published_delta_m(tmp_path, capsys):
    own, single = run(tmp_path / "atrc", "atrc", ATRC), run(tmp_path / "single", "single_task", SINGLE)
    for baseline in ([], ["--baseline", single]):
        printed = analyse(capsys, "compare", *baseline, own, "--published", "nyud_hrnet18", "--format", "json").out
        (row,) = [r for r in json.loads(printed)["models"] if r["model"] == "atrc"]
        assert row["delta_m"] == pytest.approx(1.56, abs=0.0125)
        assert row["values"] == pytest.approx({"SemSeg": 38.9, "Depth": 0.601, "Normal": 20.48, "Bound": 76.34})


def test_the_table_shows_both(tmp_path, capsys):
    own = run(tmp_path / "atrc", "mine", ATRC)
    shown = analyse(capsys, "compare", own, "--published", "nyud_hrnet18")
    lines = shown.out.splitlines()
    assert any("MTI-Net +FPM" in line and "published" in line and "39.89" in line and "+2.94" in line for line in lines)
    assert any("mine" in line and "ours" in line and "38.90" in line and "+1.5" in line for line in lines)
    everything = shown.out + shown.err
    assert "source: Bruggemann" in everything and "without --baseline" in everything
    alone = analyse(capsys, "compare", "--published", "pascal_anchors")
    assert "InvPT" in alone.out and "recalled, not read" in alone.out + alone.err


def test_missing_tasks_leave_delta_m_open_and_other_data_is_a_warning(tmp_path, capsys):
    own = write_run(tmp_path / "two", metrics(dataset="scenes", model="two"))
    shown = analyse(capsys, "compare", own, "--published", "nyud_hrnet18")
    line = next(line for line in shown.out.splitlines() if line.lstrip().startswith("two"))
    assert "40.00" in line and "n/a" in line and "+" not in line
    assert "your runs are of scenes, the table is of nyud" in shown.out + shown.err


def test_what_cannot_be_compared(tmp_path, capsys):
    with pytest.raises(InputError, match=r"unknown published table 'nyud_hrnet19'.*nearest: 'nyud_hrnet18'"):
        load_table("nyud_hrnet19")
    assert "has no finished seed" in refusal(capsys, "compare", tmp_path / "none", "--published", "nyud_hrnet18")
    own = write_run(tmp_path / "two", metrics(model="two"))
    assert "has no task of ladder" in refusal(capsys, "compare", own, "--published", "ladder")
    assert "required: --baseline, MODEL_DIR" in refusal(capsys, "compare")
