"""What the commands share: exit codes and one-line errors."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType

from experiment.errors import InputError
from experiment.interruption import Interrupted


def exit_code(command: Callable[[], None]) -> int:
    """Runs a command: 0 done; 2 bad input, in one line on stderr; 130 interrupted by Ctrl-C or SIGTERM."""
    # libraries' remarks about each other are nothing that a user can act on
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(lightning|torch)")
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere Python refuses handlers
    former = signal.signal(signal.SIGTERM, _interrupt) if in_main else None
    try:
        command()
        return 0
    except Interrupted as stop:
        print(f"interrupted: {stop}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left, and the work may not be done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        if former is not None:
            signal.signal(signal.SIGTERM, former)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
