"""A disk that fills up: one line that names the file, the checkpoint before intact, and resuming goes on.

A limit of a file's size stands for the disk's, so that no mount is needed.
"""

import contextlib
import errno
import resource
import signal
import sqlite3

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from experiment.files import write_atomic
from experiment.run import Run
from multitask.training.checkpoints import load_checkpoint, save_checkpoint
from search_spaces import SearchSpace
from supernet.loss_weights import shared_study
from supernet.records.selection_history import SelectionRecord
from tests.support.refusals import refusal


@contextlib.contextmanager
def files_of_at_most(size):
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)


def limited(command, size):
    def run():
        with files_of_at_most(size):
            command()

    return run


@pytest.mark.parametrize("size", [0, 100, 5_000, 30_000])
def test_a_checkpoint(tmp_path, size):
    with Run(tmp_path / "run", {"seed": 0}, False) as run:
        save_checkpoint(run, {"step": 1, "network": {"w": torch.ones(3)}})
        state = {"step": 2, "network": {"w": torch.ones(10_000)}}
        line = refusal(limited(lambda: save_checkpoint(run, state), size))
        assert "checkpoints/last.pt': File too large" in line
        assert [path.name for path in (run.folder / "checkpoints").iterdir()] == ["last.pt"]
        assert load_checkpoint(run)["step"] == 1
        save_checkpoint(run, state)
        assert load_checkpoint(run)["step"] == 2


def test_a_text(tmp_path):
    write_atomic(tmp_path / "a.json", "before")
    assert "a.json': File too large" in refusal(limited(lambda: write_atomic(tmp_path / "a.json", "x" * 100), 10))
    assert (tmp_path / "a.json").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_growing_record(tmp_path):
    space = SearchSpace(("a", "b"), ("none", "global"))
    record = SelectionRecord(tmp_path / "selection.csv", space, 0)
    record.add_even()
    digest, size = record.digest, (tmp_path / "selection.csv").stat().st_size
    rows = [[0.25, 0.75]] * 4
    assert "selection.csv': File too large" in refusal(limited(lambda: record.add(5, rows), size + 20))
    again = SelectionRecord(tmp_path / "selection.csv", space, 1, digest)  # without the half of a row
    assert again.last == 0 and (tmp_path / "selection.csv").stat().st_size == size


def test_events(tmp_path):
    """TensorBoard writes by a thread, whose traceback would be more than a line."""

    def command():
        writer = SummaryWriter(str(tmp_path))
        for step in range(2000):
            writer.add_scalar("loss", 1.0, step)
            writer.flush()

    assert "File too large" in refusal(limited(command, 4_000))


def test_a_study(tmp_path, monkeypatch):
    def full(*arguments, **others):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(shared_study.sqlite3, "connect", full)
    line = refusal(lambda: shared_study.open_database(tmp_path / "loss_weights.db"))
    assert "loss_weights.db' cannot be opened (No space left on device)" in line


def test_the_cause_of_a_storages_error_is_what_counts():
    error = RuntimeError("during the commit")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert shared_study.reason(error) == "OSError: [Errno 28] No space left on device"
