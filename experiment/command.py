"""What the commands share: exit codes and one-line errors."""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from types import FrameType

from experiment.errors import InputError
from experiment.interruption import Interrupted
from experiment.processes import rank, silent_unless_first

LONGEST = 300  # characters of an error's line
PAUSE = 3.0  # seconds in which the first of several processes can report an error that all have
NO_KERNELS = "no kernel image is available"  # of a torch that was built for other GPUs
# of torch's RuntimeErrors; the last two of CUDA's libraries, which ask for memory of their own
OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
)


def exit_code(command: Callable[[], None]) -> int:
    """Runs a command: 0 done; 2 bad input, or a machine that refuses a file or memory, in one line on stderr; 130
    interrupted by Ctrl-C or SIGTERM. No process that the command started outlives it. Of several processes that
    torchrun started, the first prints, and any one an error that it alone has.
    """
    # libraries' remarks about each other are nothing that a user can act on
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(lightning|torch)")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal without arrows still gets its table, and a log its lines as they come
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere Python refuses handlers
    former = signal.signal(signal.SIGTERM, _interrupt) if in_main else None
    hook, threading.excepthook = threading.excepthook, _hand_over
    try:
        with silent_unless_first():
            command()
        sys.stdout.flush()
        return 0
    except Interrupted as stop:
        return _stopped(f"interrupted: {stop}")
    except KeyboardInterrupt:
        return _stopped("interrupted")
    except BrokenPipeError:  # the reader of our output has left, and the work may not be done
        _drop_output()
        return 1
    except InputError as error:
        return _refuse(str(error).removesuffix(error.command), error.command)
    except OSError as error:
        return _refuse(_cause(error))
    except MemoryError:
        return _refuse("out of memory: expected a smaller batch, image or network")
    except RuntimeError as error:
        if NO_KERNELS in str(error):
            return _refuse(
                f"torch has no code for this GPU ({NO_KERNELS}): expected another build of it, or --device cpu"
            )
        if not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        return _refuse(f"out of memory: {str(error).splitlines()[0]}")  # further ones are advice to debug CUDA
    finally:
        threading.excepthook = hook
        _end_processes(in_main)
        if former is not None:
            signal.signal(signal.SIGTERM, former)


def _stopped(line: str) -> int:
    if rank() == 0:
        print(line, file=sys.stderr)
    return 130


def _refuse(text: str, command: str = "") -> int:
    line = "error: " + " ".join(text.split())
    if len(line) > LONGEST:  # its beginning names the value, its end the file
        line = f"{line[: LONGEST * 2 // 3]} ... {line[-(LONGEST // 3 - 5) :]}"
    if rank() > 0:
        # an error of all is the first's to report; once that one ends, torchrun ends this one
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(PAUSE)
        line = f"process {rank()}: {line}"
    print(*filter(None, (line, command)), file=sys.stderr)
    return 2


def _cause(error: OSError) -> str:
    """What the system says, and the file."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"'{os.fsdecode(error.filename)}': {reason}"
    line = traceback.extract_tb(error.__traceback__)[-1].line or ""
    if "print(" in line or "stdout" in line:
        _drop_output()
        return f"standard output cannot be written: {reason}"
    return reason


def _hand_over(found: threading.ExceptHookArgs) -> None:
    """A thread that could not write, such as TensorBoard's, hands its error to the one that it writes for."""
    if not issubclass(found.exc_type, OSError):
        threading.__excepthook__(found)


def _drop_output() -> None:
    """What standard output still holds goes nowhere, so that Python does not fail on it at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_processes(in_main: bool) -> None:
    """Kills what still runs: a data worker ignores SIGTERM, and Python would wait for it for ever."""
    children = multiprocessing.active_children()
    if not children:
        return
    # torch's handler would raise an error for every worker that it sees dying
    former = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if in_main else None
    for child in children:
        child.kill()
    for child in children:
        child.join()
    if former is not None:
        signal.signal(signal.SIGCHLD, former)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
