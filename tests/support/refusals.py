"""The promise about bad input: exit code 2, one line of at most 300 characters, nothing left behind."""

import contextlib
import io

from experiment.command import LONGEST, exit_code


def refusal(command):
    """The one line of a command that is refused; any other end fails."""
    code, errors = ending(command)
    assert code == 2, (code, errors)
    return one_line(errors)


def ending(command):
    """Exit code and stderr of a command, which must not raise."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exit_code(command)
    return code, err.getvalue()


def one_line(errors):
    lines = errors.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), errors
    assert len(lines[0]) <= LONGEST, lines[0]
    return lines[0]
