"""Progress: a bar that fits its terminal, and lines of a plain log that never stay away for long."""

import io
import sys

import pytest

from experiment import progress
from experiment.progress import Progress, track

FIGURES = {"loss": 1.23456, "undecided": 3.0, "temperature": 0.5, "images/s": 123.456, "GB": 1.25}
METRICS = ", ".join(f"{name} mean_iou 0.1234 (constant 0.0123)" for name in ("semseg", "depth", "normals"))


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Stands for a clock that only the test moves."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(progress, "_printed", self.now)


def open_terminal(monkeypatch):
    """Not a fixture, since pytest sets the streams anew when a test begins."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", "80")
    return shown


def test_a_terminal_has_a_bar_with_its_eta(monkeypatch):
    terminal = open_terminal(monkeypatch)
    bar = Progress(4, label="seed_0")
    for step in (1, 2):
        bar.advance()
        bar.log(step, {"loss": 1.5})
    bar.bar.refresh()
    bar.close()
    assert "seed_0  50%|" in terminal.getvalue() and "2/4 " in terminal.getvalue()
    assert "<" in terminal.getvalue() and "loss 1.5" in terminal.getvalue()


@pytest.mark.parametrize("label", ["", "demo_single_task/seed_0 normals", "a" * 70])
def test_no_line_is_wider_than_the_terminal(monkeypatch, label):
    terminal = open_terminal(monkeypatch)
    bar = Progress(40000, label=label)
    for step in range(1, 4):
        bar.advance()
        bar.log(step, FIGURES)
        bar.bar.refresh()
    bar.note(f"validation, step 3: {METRICS}")
    bar.close()
    lines = terminal.getvalue().replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(METRICS.split()) in " ".join(" ".join(lines).split())


def test_figures_are_shown_whole_or_not_at_all(monkeypatch):
    terminal = open_terminal(monkeypatch)
    bar = Progress(300, label="demo_found/seed_0")
    bar.advance()
    bar.log(1, FIGURES)
    bar.bar.refresh()
    last = terminal.getvalue().replace("\r", "\n").splitlines()[-1].rstrip()
    bar.close()
    assert last.endswith((", loss 1.235", ", undecided 3", ", temperature 0.5"))


def test_one_slow_step_hardly_moves_the_eta(monkeypatch):
    open_terminal(monkeypatch)
    bar = Progress(1000)
    now = bar.bar._time()
    bar.bar._time = lambda: now
    for _ in range(50):
        now += 1
        bar.advance()
    before = bar.bar.format_dict["rate"]
    now += 10
    bar.advance()
    assert bar.bar.format_dict["rate"] == pytest.approx(before, rel=0.25)
    bar.close()


def test_a_plain_log_has_a_line_for_the_figures(monkeypatch, capsys):
    Clock(monkeypatch)
    lines = Progress(4, label="seed_0")
    lines.advance()
    lines.log(1, {"loss": 1.5, "undecided": 3.0})
    lines.note("validation")
    lines.close()
    assert capsys.readouterr().out == "seed_0  step 1/4  loss 1.5  undecided 3  ETA 00:00\nseed_0  validation\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_plain_log_has_a_line_every_half_a_minute(monkeypatch, capsys, quiet):
    clock, last, longest = Clock(monkeypatch), 1000.0, 0.0
    for phase in range(3):
        lines = Progress(100, label=f"phase {phase}", quiet=quiet)
        for _ in range(20 if phase == 1 else 4):  # 4 steps are over before a line is due
            clock.now += 3
            lines.advance()
            if capsys.readouterr().out:
                longest, last = max(longest, clock.now - last), clock.now
        lines.close()
    assert 0 < longest <= 30


def test_a_line_between_two_logs_repeats_the_figures(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    lines = Progress(10, label="probes 1 of 2")
    lines.log(2, {"loss": 0.5})
    capsys.readouterr()
    clock.now += 20
    lines.advance()
    assert capsys.readouterr().out == "probes 1 of 2  step 3/10  loss 0.5  ETA 00:46\n"


def test_a_short_phase_says_nothing(capsys):
    assert list(track(range(3), "reading")) == [0, 1, 2]
    assert list(track(iter("ab"), "reading", total=2)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_long_phase_is_named(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    for _ in track(range(4), "testing", unit="batch"):
        clock.now += 10
    assert capsys.readouterr().out == "testing  batch 2/4  ETA 00:20\n"
