"""Command lines with one fault each, and storages that are none: refused in one line, no folder made."""

import random
import sqlite3

import pytest

from analysis.__main__ import main as analysis
from search import main as search
from supernet.loss_weights.shared_study import SharedStudy, open_database, open_storage
from tests.support.commands import CONFIG
from tests.support.refusals import ending, one_line, refusal
from tests.support.retraining import main as retrain

DRAWN = 20  # command lines of each command


def code_of(main):
    """Commands that return their code, and one that raises, alike."""
    return lambda arguments: ending(lambda: main(arguments)) if main is analysis else _captured(main, arguments)


def _captured(main, arguments):
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, err.getvalue()


KEYS = ("--seed", "--data.tasks", "--training.iterations", "--search.strategy", "--loss_weights.weights", "--output")
WORDS = (
    "-1",
    "nan",
    "1e400",
    "[",
    "{a: ",
    "",
    "--",
    "-",
    "---",
    "=",
    "\x00",
    "é" * 400,
    "'",
    "!!python/x",
    "*a",
    "&a",
    "-x",
)


def wrong_lines(draw, right, option, word):
    """A right command's arguments with one fault."""
    place = draw.randrange(len(right) + 1)
    return draw.choice(
        [
            [*right[:place], word, *right[place:], "--no.such.key=1"],
            [*right, f"--{draw.choice(WORDS)}=1", "--unknown"],
            [*right, *right],
            [*right, option, option],
            [*right, f"{option}=[{word}", f"{option}=1"],
            [*right, f"--seed.{word}=1"],
            [*right, "--seed", word, "--seed", word],
            [*right, "--training=1", "--training.iterations=x"],
        ]
    )


@pytest.mark.parametrize("name", ["search", "retrain", "analysis"])
def test_command_lines(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    right = {
        "search": ["--config", str(CONFIG), "--output", "run"],
        "retrain": ["--config", str(CONFIG), "--output", "run", "--baseline", "multi_task"],
        "analysis": ["compare", "--baseline", "base", "model", "--output", "tables"],
    }[name]
    run = code_of({"search": search, "retrain": retrain, "analysis": analysis}[name])
    draw = random.Random(name)
    lines = [wrong_lines(draw, right, draw.choice(KEYS), draw.choice(WORDS)) for _ in range(DRAWN)]
    lines += [right[:k] for k in range(len(right))]
    lines += [[word] for word in WORDS] + [["--config"], ["--config="], ["--config", "."], ["--config", "no.yaml"]]
    for arguments in lines:
        code, errors = run(arguments)
        assert code == 2, (arguments, code, errors)
        one_line(errors)
    assert list(tmp_path.iterdir()) == []


STORAGES = {
    "study.log": (
        b"garbage\n",
        b"\0" * 50,
        b'{"op_code": \n',
        b'{"op_code": 99, "worker_id": "a"}\n',
        b'{"op_code": 0}\n',
        b"[]\n",
        b'{"op_code": "a"}\n' * 3,
        b"\xff\xfe",
        b'{"op_code": 0, "worker_id": "w", "study_name": 3}\n',
    ),
    "study.db": (
        b"garbage" * 99,
        b"SQLite format 3\0" + bytes(84),
        b"SQLite format 3\0" + b"\xff" * 4080,
        bytes(4096),
        b"\x89PNG",
    ),
}


def begin(storage):
    return SharedStudy(storage, "s", {"a": 1}, 2, ["x"], lambda trial: trial.suggest_float("x", 0, 1))


@pytest.mark.parametrize("name", STORAGES)
def test_storages(tmp_path, name):
    path = tmp_path / name
    for content in STORAGES[name]:
        path.write_bytes(content)
        url = f"sqlite:///{path}" if name.endswith("db") else str(path)
        refusal(lambda url=url: begin(open_storage(url)))
        if name.endswith("db"):
            refusal(lambda: begin(open_database(path)))
        assert path.read_bytes()[: len(content)] == content
        assert list(tmp_path.iterdir()) == [path]


def test_a_database_of_something_else(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("create table studies (a integer)")
    refusal(lambda: begin(open_database(path)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a.txt",
        "://",
        "sqlite://",
        "sqlite:///",
        "x://y",
        "mysql://u:p@h/d",
        "sqlite:////no/such/a.db",
        ".",
        "/",
        "no/a.log",
        "sqlite:///.",
        "\x00.log",
        "x" * 300 + ".log",
        "sqlite:///" + "x" * 300,
        "redis://h",
        "http://[",
    ],
)
def test_places_that_are_no_storage(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    code, errors = ending(lambda: begin(open_storage(text)))
    if text in ("sqlite://", "sqlite:///"):  # a database in memory
        assert code == 0
        return
    assert code == 2, errors
    one_line(errors)
