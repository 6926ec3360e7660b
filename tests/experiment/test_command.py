"""How commands end: exit codes, one line on stderr, standard output that cannot be written."""

import errno
import os
import subprocess
import sys

import pytest

from experiment.command import LONGEST, exit_code
from experiment.errors import InputError
from tests.support.commands import ROOT
from tests.support.refusals import refusal


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a is\n 1:  expected 2"), "error: a is 1: expected 2"),
        (
            OSError(errno.ENOSPC, "No space left", "/runs/a.pt"),
            "error: '/runs/a.pt': No space left",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", b"/runs"), "error: '/runs': Permission denied"),
        (MemoryError(), "error: out of memory: expected a smaller batch, image or network"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "error: out of memory: Default"),
        (
            RuntimeError("CUDA error: out of memory"),
            "error: out of memory: CUDA error: out of memory",
        ),
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device\nSearch for `it'"),
            "error: torch has no code for this GPU",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "error: out of memory: CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
        ),
    ],
)
def test_what_the_machine_or_the_input_refuses_is_one_line(error, line):
    assert refusal(raising(error)).startswith(line)


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()))
    with pytest.raises(RuntimeError):
        exit_code(raising(RuntimeError("mat1 and mat2 shapes cannot be multiplied")))


def test_a_long_line_keeps_its_beginning_its_end_and_its_command(capsys):
    line = refusal(raising(InputError(f"data.root is {'x' * 400}: expected a folder (in 'file.yaml')")))
    assert len(line) == LONGEST and line.startswith("error: data.root is xxx") and line.endswith("(in 'file.yaml')")
    command = f"python retrain.py --config {'y' * 400}"
    assert exit_code(raising(InputError(f"no run {'x' * 400}; this makes it:", command))) == 2
    assert capsys.readouterr().err.endswith(f"this makes it: {command}\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written(tmp_path, unbuffered):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from experiment.command import exit_code\n"
        "sys.exit(exit_code(lambda: print('a table')))\n"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, script], env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("count", ["2", "many"])
def test_a_launcher_of_several_processes_is_refused(monkeypatch, tmp_path, count):
    from tests.support.commands import assert_one_line, search
    from tests.support.retraining import retrain

    monkeypatch.setenv("WORLD_SIZE", count)
    assert_one_line(search("--output", tmp_path / "run"), [f"WORLD_SIZE is {count}", "single process"])
    assert_one_line(retrain("--output", tmp_path / "run", "--baseline", "multi_task"), [f"WORLD_SIZE is {count}"])
    assert not (tmp_path / "run").exists()
