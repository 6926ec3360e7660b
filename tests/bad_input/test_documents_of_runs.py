"""Architectures, metrics and a search's own documents with one fault each: refused in one line, nothing written."""

import json
from collections import Counter

import pytest
import yaml

from analysis.__main__ import main
from analysis.commands.report.search_files import read_metrics, read_weights
from retrain.race.record import read_race
from search_spaces import Architecture
from tests.support.refusals import ending, one_line, refusal
from tests.support.results import entry, metrics, write_seed
from tests.support.wrong_values import cuts, faulty

ARCHITECTURE = {
    "version": 2,
    "tasks": ["semseg", "depth"],
    "aggregator": "atrc",
    "normalize_messages": True,
    "exchanges": {
        "semseg": {"semseg": "t_label", "depth": "xtam"},
        "depth": {"semseg": "none", "depth": "global"},
    },
    "provenance": {},
}
GENOTYPE = {"semseg": {"semseg": 3, "depth": 1}, "depth": {"semseg": 0, "depth": 2}}
METRICS = metrics(
    model="found",
    seed=0,
    train_seconds=3.0,
    peak_memory_bytes=5,
    loss_weights={"depth": 1.0},
    prior={"depth": {"rmse": entry(1.0, False)}},
)
SEARCHED = {
    "tasks": {"depth": {"rmse": entry(1.0, False)}},
    "prior": {"depth": {"rmse": entry(1.5, False)}},
    "split": "val",
    "train_seconds": 3.0,
    "exchange_cost": {"measure": "multiply_adds", "value": 10, "budget": 20},
}
WEIGHTS = {
    "weights": {"semseg": 1.0, "depth": 2.0},
    "provenance": {
        "trials": 2,
        "iterations": 8,
        "pruned": 0,
        "best_trial": 1,
        "delta_m": 0.5,
        "importances": {"depth": 0.5},
    },
}
ARM = {
    "name": "found",
    "aliases": ["none"],
    "seeds": 2,
    "fresh": True,
    "delta_m": 1.0,
    "low": 0.0,
    "high": 2.0,
    "multiply_adds": 5.0,
    "ended": "won",
}
RACE = {
    "version": 1,
    "verdict": "it gains",
    "winner": "found",
    "search": "runs/a",
    "arms": [ARM],
    "trainings": 3,
    "seconds": 9.0,
    "retrainings": 3.0,
    "deviation": 0.1,
    "freedom": 3,
    "remarks": [],
}
# {place: the faults that a reader forgives there}: absent and null are alike, a text is a text
ABSENT = ("null", "missing")
TEXT = (*ABSENT, "text", "empty text")
FORGIVEN = {
    "architecture": {
        ("tasks",): ABSENT,
        ("aggregator",): ("missing",),
        ("normalize_messages",): ("true", *ABSENT),
        ("provenance",): (*ABSENT, "empty mapping", "mapping"),
    },
    "metrics": {
        ("version",): ("missing",),
        ("dataset",): TEXT,  # with a fingerprint the name means nothing
        ("model",): TEXT,
        **{(key,): ABSENT for key in ("split", "fingerprint", "parameters", "multiply_adds", "peak_memory_bytes")},
        ("train_seconds",): ABSENT,
        ("seed",): (*ABSENT, "negative"),
        ("loss_weights",): (*ABSENT, "empty mapping", "mapping"),
        ("loss_weights", "depth"): ABSENT,
        ("prior",): (*ABSENT, "empty mapping"),
        ("prior", "depth"): ("missing",),
        **{(*place, "value"): ("negative",) for place in (("tasks", "depth", "rmse"), ("tasks", "semseg", "mean_iou"))},
        ("prior", "depth", "rmse", "value"): ("negative",),
        ("prior", "depth", "rmse", "higher_is_better"): ("true",),
        ("tasks", "semseg", "mean_iou", "higher_is_better"): ("true",),
    },
}


NEVER = ("nan", "minus inf", "400 digits", "out of range", "list", "list in lists")  # what no value of these may be
STRANGE = (
    b"",
    b"\xff\xfe",
    b"\0" * 40,
    b"{" * 5000,
    b'{"exchanges": ' + b"[" * 5000,
    b"\x89PNG\r\n\x1a\n",
    b"- a\n" * 10,
    b"1" * 5000,
    b"0x" + b"f" * 9000,
    b"exchanges: {}\nversion: 0x" + b"f" * 9000,
    b"&a [*a]",
    b"!!python/x {}",
)


def unread(kind, place):
    """What no reader looks at: a metric that is not the primary one."""
    return kind == "metrics" and place[:3] == ("tasks", "semseg", "pixel_accuracy")


def forgiven(kind, place, fault):
    return fault in FORGIVEN.get(kind, {}).get(place, ()) or (place[-1:] == ("primary",) and fault == "true")


def check(content, kind, write, command):
    """Every fault of a document ends a command in one line, but for those that are forgiven."""
    ends = Counter()
    for place, fault, document in faulty(content):
        if unread(kind, place):
            continue
        write(document)
        code, errors = ending(command)
        assert code == (0 if forgiven(kind, place, fault) else 2), (place, fault, code, errors)
        ends[code] += 1
        if code:
            one_line(errors)
    return ends


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_architectures(tmp_path, suffix):
    path = tmp_path / f"architecture.{suffix}"
    dump = yaml.safe_dump if suffix == "yaml" else json.dumps
    ends = check(
        ARCHITECTURE,
        "architecture",
        lambda document: path.write_text(dump(document)),
        lambda: main(["proportions", str(path)]),
    )
    assert ends[2] > 100
    assert list(tmp_path.iterdir()) == [path]


def test_genotypes(tmp_path):
    path = tmp_path / "genotype.json"
    for place, fault, document in faulty(GENOTYPE):
        path.write_text(json.dumps(document))
        line = refusal(lambda: main(["proportions", str(path)]))
        assert "genotype.json" in line or "expected" in line, (place, fault)


def test_architectures_that_are_cut_or_no_text(tmp_path):
    path = tmp_path / "architecture.json"
    for text in cuts(json.dumps(ARCHITECTURE), 20):
        path.write_text(text)
        assert "architecture.json" in refusal(lambda: main(["proportions", str(path)]))
    for data in STRANGE:
        for name in ("architecture.json", "architecture.yaml"):
            (tmp_path / name).write_bytes(data)
            assert name in refusal(lambda name=name: main(["proportions", str(tmp_path / name)])), data[:20]


def test_metrics(tmp_path):
    base, other = (write_seed(tmp_path / name, METRICS) for name in ("base", "other"))
    ends = check(
        METRICS,
        "metrics",
        lambda document: (other / "metrics.json").write_text(json.dumps(document)),
        lambda: main(["compare", "--baseline", str(base), str(other), "--output", str(tmp_path / "table")]),
    )
    assert ends[2] > 200


def test_metrics_that_are_refused_leave_nothing(tmp_path):
    base, other = (write_seed(tmp_path / name, METRICS) for name in ("base", "other"))
    strange = ("NaN", "1e400", "[" * 5000, '{"tasks": ' * 5000, "\0", '{"tasks": {}, "tasks": {}}')
    for text in (*cuts(json.dumps(METRICS), 20), *strange):
        (other / "metrics.json").write_text(text)
        for command in (["compare", "--baseline", base, other], ["compare", "--baseline", other, base]):
            line = refusal(lambda c=command: main([*map(str, c), "--output", str(tmp_path / "table")]))
            assert "metrics.json" in line
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("content", "read"),
    [(SEARCHED, read_metrics), (WEIGHTS, read_weights), (RACE, lambda path: read_race(path.parent))],
    ids=["metrics", "loss weights", "race"],
)
def test_what_a_report_shows(tmp_path, content, read):
    """Here a fault may be a right value too: then what is read is what was written."""
    path = tmp_path / "race.json"
    refused = 0
    for place, fault, document in faulty(content):
        path.write_text(json.dumps(document))
        code, errors = ending(lambda: read(path))
        if code:
            assert "race.json" in one_line(errors)
            refused += 1
        else:
            assert place and fault not in NEVER, (place, fault)
    assert refused > 60


def test_an_architecture_is_read_where_it_is_right(tmp_path):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(ARCHITECTURE))
    (tmp_path / "g.json").write_text(json.dumps(GENOTYPE))
    assert Architecture.load(tmp_path / "a.yaml").exchanges["semseg", "depth"] == "xtam"
    assert Architecture.load(tmp_path / "g.json").exchanges["depth", "depth"] == "local"
