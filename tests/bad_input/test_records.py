"""The files of a search run with one fault each: refused in one line."""

import pytest

from search_spaces import SearchSpace
from supernet.records.choices import Choice, read_choices, write_choices
from supernet.records.costs import Cost, CostTable
from supernet.records.effects import MeasuredEffect, read_effects, write_effects
from supernet.records.samples import Sample, read_samples, write_samples
from supernet.records.selection_history import SelectionRecord, read_history
from supernet.records.trials import TrialRecord, read_trials, write_trials
from tests.support.refusals import ending, one_line, refusal

SPACE = SearchSpace(("a", "b"), ("none", "global"))
BLOCKS = dict.fromkeys(SPACE.pairs, "none")
CELLS = ("", "text", "nan", "inf", "-inf", "1e999", "1" * 400, "-1", "0.5", "\0", "[1]")
# texts, which are compared with the architecture later
NAMES = ("target", "source", "block", *(f"{t} <- {s}" for t, s in SPACE.pairs))
# {column: the cells that are right there}
RIGHT = {
    "choices": {"probability": ("", "0.5"), "effect": ("-1", "0.5"), "effect_low": ("-1", "0.5")},
    "effects": {
        **dict.fromkeys(("measured", "effect", "effect_low"), ("-1", "0.5")),
        "effect_high": ("0.5",),
        "error": ("0.5",),
        "probability": ("0.5",),
    },
    "costs": {"multiply_adds": ("-1",), "parameters": ("-1",), "latency": ("-1", "0.5")},
    "samples": {"number": ("-1",), "score": ("-1", "0.5", "nan"), "cost": ("-1", "0.5", "nan")},
    "selection": {"probability": ("0.5",)},
    "trials": {
        "trial": ("-1",),
        "steps": ("-1",),
        "delta_m": ("", "-1", "0.5"),
        "a": ("-1", "0.5"),
        "b": ("-1", "0.5"),
    },
}


def choices(path):
    write_choices(path, {pair: Choice("none", 0.75, True, 1.5, (-2.0, 2.5)) for pair in SPACE.pairs})
    return read_choices


def effects(path):
    write_effects(path, {(pair, "global"): MeasuredEffect(1.5, 0.25, 1.25, 0.5, 2.0, 0.75) for pair in SPACE.pairs})
    return read_effects


def costs(path):
    rows = {pair: {"none": Cost(), "global": Cost(5, 6, 0.25)} for pair in SPACE.pairs}
    CostTable(Cost(10, 3, 0.125), dict.fromkeys(SPACE.tasks, Cost(5, 1)), rows).write(path)
    return CostTable.read


def samples(path):
    write_samples(path, [Sample(number, 1.25, BLOCKS, {"cost": 7.0}) for number in range(3)])
    return lambda path: read_samples(path, ("cost",), SPACE.pairs)


def selection(path):
    record = SelectionRecord(path, SPACE, 0)
    record.add_even()
    record.add(5, [[0.25, 0.75]] * len(SPACE.pairs))
    return read_history


def trials(path):
    weights = {"a": 1.0, "b": 2.0}
    write_trials(path, [TrialRecord(0, "complete", 5, 1.5, weights), TrialRecord(1, "pruned", 2, None, weights)], "ab")
    return read_trials


WRITERS = {
    "choices": choices,
    "costs": costs,
    "effects": effects,
    "samples": samples,
    "selection": selection,
    "trials": trials,
}
every_file = pytest.mark.parametrize("name", WRITERS)


@every_file
def test_a_cell_that_is_no_value_of_its_column(tmp_path, name):
    path = tmp_path / f"{name}.csv"
    read = WRITERS[name](path)
    header, *lines = (line.split(",") for line in path.read_text().splitlines())
    for column, title in enumerate(header):
        for cell in CELLS:
            path.write_text("\n".join(map(",".join, (header, *lines[:-1], with_cell(lines[-1], column, cell), [""]))))
            code, errors = ending(lambda: read(path))
            right = cell in RIGHT[name].get(title, ())
            assert code == 0 if right else code == 2 or title in NAMES, (title, cell, errors)
            if code:
                assert path.name in one_line(errors)


def with_cell(line, column, cell):
    return [*line[:column], cell, *line[column + 1 :]]


@every_file
def test_lines_and_columns_that_are_too_many_or_too_few(tmp_path, name):
    path = tmp_path / f"{name}.csv"
    read = WRITERS[name](path)
    text = path.read_text()
    header, *lines = text.splitlines()
    faults = {
        "empty": "",
        "no header": "\n".join([*lines, ""]),
        "another header": text.replace(header, header.upper()),
        "a column twice": "\n".join(f"{line},{line.split(',')[-1]}" for line in text.splitlines()) + "\n",
        "a column less": "\n".join(line.partition(",")[2] for line in text.splitlines()) + "\n",
        "a cell less": text.replace(lines[0], lines[0].rpartition(",")[0]),
        "a cell more": text.replace(lines[0], f"{lines[0]},1"),
        "a line twice": f"{text}{lines[0]}\n",
        "a blank line": f"{header}\n\n{lines[0]}\n",
        "an open quote": text.replace(lines[0], f'"{lines[0]}'),
        "a cell without an end": f"{header}\n{'1' * 200_000}\n",
        "semicolons": text.replace(",", ";"),
        "no text": b"\xff\xfe" + text.encode("utf-16-le"),
        "binary": bytes(range(256)) * 4,
    }
    for fault, content in faults.items():
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        code, errors = ending(lambda: read(path))
        assert code == 2, (fault, errors)
        assert path.name in one_line(errors), fault


@every_file
def test_a_folder_and_no_file(tmp_path, name):
    path = tmp_path / f"{name}.csv"
    read = WRITERS[name](path)
    path.unlink()
    assert path.name in refusal(lambda: read(path))
    path.mkdir()
    assert path.name in refusal(lambda: read(path))


@pytest.mark.parametrize("name", ["choices", "costs", "effects", "samples", "trials"])
def test_a_file_that_was_cut_is_never_read_as_whole(tmp_path, name):
    """But for its last character or two, which may be the last number's last digits."""
    path = tmp_path / f"{name}.csv"
    read = WRITERS[name](path)
    text = path.read_text()
    whole = read(path)
    for k in range(0, len(text) - 8, max(1, len(text) // 60)):
        path.write_text(text[:k])
        code, errors = ending(lambda: read(path))
        if code:
            assert path.name in one_line(errors)
        else:
            assert read(path) != whole


def test_a_running_search_is_read_up_to_its_last_whole_line(tmp_path):
    path = tmp_path / "selection.csv"
    selection(path)
    text = path.read_text()
    header, first = text.index("\n") + 1, text.index("\n5,")
    for k in range(header, len(text)):
        path.write_text(text[:k])
        if k <= text.index("\n", header):
            assert "holds no step" in refusal(lambda: read_history(path))
        elif k > first:
            steps = read_history(path).steps
            assert steps == (0,), (k, steps)
