"""Writing a file so that no reader ever sees half of it, and no kill or power failure leaves half of it."""

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiment.processes import leads

TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")  # .NAME.PROCESS.tmp


@contextmanager
def replacing(path: str | Path, former: Path | None = None) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place once it is written, or vanishes if that fails.

    Its content is on the disk before it takes that place. former: the place that the replaced file gets, if any.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path):
            yield temporary
            sync(temporary)
        if former is not None and path.exists():
            path.replace(former)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """The system's errors in the block name the file that is written, also a full disk's, which name none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def write_atomic(path: str | Path, text: str) -> None:
    """Writes the text whole or not at all. Of several processes, the one that leads writes."""
    if not leads():
        return
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(name: str) -> bool:
    return TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of processes that were killed, in all of the folder."""
    for path in folder.rglob(".*.tmp"):
        match = TEMPORARY.fullmatch(path.name)
        if match and (int(match[1]) == os.getpid() or not process_exists(int(match[1]))):
            with contextlib.suppress(OSError):
                path.unlink()


def process_exists(process: int) -> bool:
    """On this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
