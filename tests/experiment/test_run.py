"""A run's folder: one process at a time, its kind, its damaged files, what a killed process leaves."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from experiment.config import Config, NetworkSettings, RaceSettings
from experiment.errors import InputError
from experiment.files import replacing
from experiment.lock import LOCK
from experiment.run import RETRAINING, Run
from tests.support.commands import ROOT
from tests.support.refusals import refusal

CONFIG = {"seed": 0, "data": {"height": 96}}
HOLDS = """
import sys, time
from experiment.run import Run
run = Run(sys.argv[1], {"seed": 0, "data": {"height": 96}}, True)
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has tmp_path/run open."""
    line = [sys.executable, "-c", HOLDS, str(tmp_path / "run")]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.wait()


def test_keys_that_an_older_run_lacks_may_only_have_their_defaults(tmp_path):
    older = Config().to_dict()
    del older["race"], older["search"]["score"], older["network"]["branches"]
    Run(tmp_path / "run", older, False).close()
    before = Run(tmp_path / "run", older, True)
    before.close()
    with Run(tmp_path / "run", Config().to_dict(), True) as run:
        assert run.identity == before.identity  # so that its checkpoints fit
    for change, reason in (
        ({"race": RaceSettings(margin=2.0)}, "race.margin was not yet a key and is now 2.0, not 0.5"),
        ({"network": NetworkSettings(branches=[[["a", "b"]]])}, "network.branches was not yet a key and is now"),
        ({"seed": 1}, "seed was 0 and is now 1"),
    ):
        with pytest.raises(InputError, match=f"{reason}.*; expected the configuration it began with"):
            Run(tmp_path / "run", replace(Config(), **change).to_dict(), True)


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("resume", [True, False])
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder, resume):
    before = names(tmp_path / "run")
    with pytest.raises(InputError, match=f"in use by process {holder.pid}: expected"):
        Run(tmp_path / "run", CONFIG, resume)
    assert names(tmp_path / "run") == before
    holder.kill()
    holder.wait()
    Run(tmp_path / "run", CONFIG, True).close()
    assert names(tmp_path / "run") == {"config.yaml", "run.json"}


def test_children_of_a_killed_process_do_not_keep_its_lock(tmp_path):
    """As data workers, which live on for seconds."""
    code = HOLDS.replace("time.sleep(60)", "import os\nif os.fork(): os.kill(os.getpid(), 9)\ntime.sleep(3)")
    line = [sys.executable, "-c", code, str(tmp_path / "run")]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.wait() == -9
    Run(tmp_path / "run", CONFIG, True).close()


def test_parts_of_a_run_and_further_runs_of_the_process_are_not_kept_out(tmp_path):
    with Run(tmp_path / "run", CONFIG, False) as run:
        part = run.part("first", {"seed": 1})
        assert part.identity.id == run.identity.id and part.identity.part == "first"
        assert names(part.folder) == {"config.yaml"}
        Run(tmp_path / "other", CONFIG, False).close()
    assert LOCK not in names(run.folder)


def begin(folder, start, queue):
    start.wait()
    try:
        with Run(folder, CONFIG, False):
            time.sleep(0.3)
        queue.put("done")
    except InputError as error:
        queue.put(str(error))


@pytest.mark.parametrize("repetition", range(3))
def test_of_two_that_start_at_the_same_moment_one_is_refused(tmp_path, repetition):
    fork = multiprocessing.get_context("fork")
    start, queue = fork.Barrier(2), fork.Queue()
    both = [fork.Process(target=begin, args=(tmp_path / "run", start, queue)) for _ in range(2)]
    for process in both:
        process.start()
    outcomes = sorted(queue.get(timeout=30) for _ in both)
    for process in both:
        process.join()
    assert outcomes[1] == "done" and "is in use by process" in outcomes[0], outcomes
    assert names(tmp_path / "run") == {"config.yaml", "run.json"}


@pytest.mark.parametrize("kind", ["search", RETRAINING])
def test_resuming_what_is_no_run_of_the_kind_writes_nothing(tmp_path, kind):
    documents, other = tmp_path / "documents", tmp_path / "other"
    documents.mkdir()
    (documents / "letter.txt").write_text("Dear")
    with pytest.raises(InputError, match=r"no run that can be resumed: expected run\.json"):
        Run(documents, CONFIG, True, kind)
    assert names(documents) == {"letter.txt"}
    Run(other, CONFIG, False, RETRAINING if kind == "search" else "search").close()
    (other / "metrics.json").write_text("{}")
    before = names(other)
    with pytest.raises(InputError, match=f"expected a {kind}"):
        Run(other, CONFIG, True, kind)
    assert names(other) == before


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("config.yaml", "", "is empty"),
        ("config.yaml", "a: [", "is damaged"),
        ("config.yaml", "\x00", "is damaged"),
        ("config.yaml", "- 1", "is damaged"),
        ("config.yaml", None, "cannot be read"),
        ("run.json", "", "is damaged"),
        ("run.json", "[]", "is damaged"),
        ("run.json", "[" * 100_000, "is damaged"),
        ("run.json", '{"version": 9}', "is damaged"),
        ("run.json", None, "no run that can be resumed"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, text, part):
    with Run(tmp_path / "run", CONFIG, False) as run:
        run.write_text("selection.csv", "")
        path = run.path(name)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match=part) as error:
        Run(tmp_path / "run", CONFIG, True)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_metrics_json_is_no_finished_run(tmp_path, capsys):
    with Run(tmp_path / "run", CONFIG, False) as run:
        for text, finished in (("", False), ("{", False), ("[]", False), ("{}", False), ('{"tasks": {}}', True)):
            run.write_text("metrics.json", text)
            assert run.finished == finished
    assert capsys.readouterr().out.count("metrics.json' is damaged") == 3


def test_json_is_never_written_with_numbers_that_it_does_not_know(tmp_path):
    with Run(tmp_path / "run", CONFIG, False) as run:
        run.write_json("metrics.json", {"value": 0.5})
        with pytest.raises(InputError, match=r"metrics\.json' is not written"):
            run.write_json("metrics.json", {"value": float("nan")})
        assert json.loads(run.path("metrics.json").read_text()) == {"value": 0.5}


def test_what_a_killed_process_leaves_is_removed_and_counts_as_nothing(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints").rmdir()
    (folder / f".config.yaml.{gone.pid}.tmp").write_text("se")
    (folder / LOCK).write_text(f"{gone.pid} here")
    with Run(folder, CONFIG, False) as run:  # an empty folder
        (folder / "checkpoints").mkdir()
    dead, alive = f".last.pt.{gone.pid}.tmp", f".report.html.{os.getppid()}.tmp"
    for name in (dead, alive):
        run.write_text(f"checkpoints/{name}", "")
    Run(folder, CONFIG, True).close()
    assert names(folder / "checkpoints") == {alive}


def test_a_file_is_replaced_whole_or_not_at_all_and_the_former_kept(tmp_path):
    path, former = tmp_path / "a", tmp_path / "b"
    for text in ("one", "two"):
        with replacing(path, former) as temporary:
            temporary.write_text(text)
    with pytest.raises(ValueError), replacing(path, former) as temporary:
        temporary.write_text("thr")
        raise ValueError
    assert (path.read_text(), former.read_text()) == ("two", "one") and names(tmp_path) == {"a", "b"}


def test_a_name_that_is_no_text_is_refused_before_anything_is_written(tmp_path):
    """As a non-ASCII one is to a process in the C locale without UTF-8 mode."""
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/r\xffn")
    assert "expected a UTF-8 locale" in refusal(lambda: Run(folder, {"seed": 0}, False))
    assert list(tmp_path.iterdir()) == []
