"""The files of a search run: written and read back, refused when malformed, without loading torch."""

import subprocess
import sys

import pytest

from experiment.errors import InputError
from search_spaces import SearchSpace
from supernet.records.choices import Choice, read_choices, write_choices
from supernet.records.costs import Cost, CostTable
from supernet.records.rows import read_rows
from supernet.records.samples import Sample, read_samples, write_samples
from supernet.records.selection_history import SelectionRecord, read_history
from supernet.records.trials import TrialRecord, read_trials, write_trials

PAIRS = (("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"))


def test_reading_and_writing_needs_no_torch():
    code = (
        "import sys\n"
        "from supernet.records import choices, costs, samples, selection_history, trials\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_choices_have_the_columns_that_others_rely_on(tmp_path):
    choices = {
        ("a", "a"): Choice("none"),
        ("a", "b"): Choice("local", 0.25, False),
        ("b", "a"): Choice("xtam", 1.0, True, 2.5, (-1.0, 4.25)),
    }
    write_choices(tmp_path / "choices.csv", choices)
    assert (tmp_path / "choices.csv").read_text().splitlines() == [
        "target,source,block,effect,effect_low,effect_high,probability,decided",
        "a,a,none,,,,,true",
        "a,b,local,,,,0.2500,false",
        "b,a,xtam,2.5000,-1.0000,4.2500,1.0000,true",
    ]
    assert read_choices(tmp_path / "choices.csv") == choices


def test_choices_contradict_nothing():
    for arguments in ({"probability": 1.01}, {"effect": 1.0}, {"effect": 5.0, "interval": (1.0, 4.0)}):
        with pytest.raises(ValueError, match=r"expected|outside"):
            Choice("local", **arguments)


def test_costs_add_up(tmp_path):
    rows = {pair: {"none": Cost(), "local": Cost(100, 7, 0.5)} for pair in PAIRS}
    table = CostTable(Cost(10, 3, 0.25), dict.fromkeys("ab", Cost(5, 1)), rows)
    table.write(tmp_path / "costs.csv")
    assert CostTable.read(tmp_path / "costs.csv") == table
    two = dict(zip(PAIRS, ("local", "local", "none", "none")))
    assert table.total(two) == Cost(10 + 5 + 200, 3 + 1 + 14, 0.25 + 1.0)
    three = two | {("b", "a"): "local"}
    assert table.total(three) - table.total(two) == Cost(5 + 100, 1 + 7, 0.5)
    assert table.costs("parameters").total(three) == table.total(three).parameters
    with pytest.raises(InputError, match="no row for xtam on a <- a"):
        table.total({("a", "a"): "xtam"})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: text.replace("b,,any,5,1,0.0\n", ""), "incomplete"),
        (lambda text: text.replace("b,,any,5,", "b,,any,6,"), "differ"),
        (lambda text: text.replace("a,b,local,100", "a,b,local,many"), "line 8"),
        (lambda text: text.replace("latency", "seconds"), "expected target,source,block,multiply_adds"),
    ],
)
def test_malformed_costs_are_refused(tmp_path, change, message):
    rows = {pair: {"none": Cost(), "local": Cost(100, 7, 0.5)} for pair in PAIRS}
    CostTable(Cost(10, 3, 0.25), dict.fromkeys("ab", Cost(5, 1)), rows).write(tmp_path / "costs.csv")
    text = (tmp_path / "costs.csv").read_text()
    assert change(text) != text
    (tmp_path / "costs.csv").write_text(change(text))
    with pytest.raises(InputError, match=message):
        CostTable.read(tmp_path / "costs.csv")


def test_samples_come_back_exactly(tmp_path):
    exchanges = dict(zip(PAIRS, ("local", "none", "xtam", "none")))
    samples = [Sample(i, i / 3, exchanges, {"cost": i / 7}) for i in range(3)]
    write_samples(tmp_path / "samples.csv", samples)
    header = (tmp_path / "samples.csv").read_text().splitlines()[0]
    assert header == "number,score,cost,a <- a,a <- b,b <- a,b <- b"
    assert read_samples(tmp_path / "samples.csv", ("cost",), PAIRS) == samples
    for values, pairs in ((("time",), PAIRS), (("cost",), PAIRS[:3])):
        with pytest.raises(InputError, match="expected the columns number, score"):
            read_samples(tmp_path / "samples.csv", values, pairs)


def test_trials_come_back(tmp_path):
    weights = {"a": 1.0, "b": 0.5}
    trials = [TrialRecord(0, "complete", 10, -1.5, weights), TrialRecord(1, "pruned", 3, None, weights)]
    write_trials(tmp_path / "trials.csv", trials, ["a", "b"])
    assert read_trials(tmp_path / "trials.csv") == trials


def test_a_resumed_history_drops_what_came_after_the_checkpoint(tmp_path):
    space = SearchSpace(("a", "b"), ("none", "global"))
    path, likely = tmp_path / "selection.csv", [[0.25, 0.75]] * 4
    record = SelectionRecord(path, space, 0)
    record.add_even()
    for step in (5, 10):
        record.add(step, likely)
    whole = path.read_text()
    with path.open("a") as file:
        file.write("10,a,")  # killed while it wrote
    again = SelectionRecord(path, space, 5)
    again.add(5, likely)  # is in the file already
    again.add(10, likely)
    assert path.read_text() == whole
    history = read_history(path)
    assert history.steps == (0, 5, 10)
    assert history.probabilities["a", "b"] == {"none": [0.5, 0.25, 0.25], "global": [0.5, 0.75, 0.75]}


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    for name, content in (("none", None), ("empty", ""), ("bytes", b"\xff\xfe\x00")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InputError) as caught:
            read_rows(path, ("x",), dict)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
