"""One process per folder: an advisory lock that ends with the process that holds it, however that ends."""

import contextlib
import fcntl
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO

from experiment.errors import InputError

LOCK = ".lock"  # the locked file, which names the process; without a process it means nothing


class InUse(InputError):
    """Another process has the folder open."""


class FolderLock:
    """Held from its making to `release`, or to the end of the process. Raises InUse if another process holds it.

    A POSIX record lock: it also works on NFS, and child processes, such as data workers that outlive a killed training
    by seconds, do not inherit it. Within one process it keeps nobody out.
    """

    def __init__(self, folder: Path):
        self.path = folder / LOCK
        self._file: IO[str] | None = self._acquire()

    def _acquire(self) -> IO[str]:
        while True:
            file = self.path.open("a+", encoding="utf-8")
            if not _lock(file, self.path.parent):
                holder = _holder(file)
                file.close()
                raise _in_use(self.path.parent, holder)
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                break
            file.close()  # its last holder has just removed the file that we opened
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n")
        file.flush()
        return file

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def check_unlocked(folder: Path) -> None:
    """Raises InUse if another process holds the folder's lock; writes nothing."""
    try:
        file = (folder / LOCK).open("r+", encoding="utf-8")
    except OSError:  # most often there is none
        return
    with file:
        if not _lock(file, folder):
            raise _in_use(folder, _holder(file))


def _lock(file: IO[str], folder: Path) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # a file system without locks
        print(f"warning: '{folder}' cannot be locked ({error.strerror}): use it by one process only", file=sys.stderr)
    return True


def _holder(file: IO[str]) -> str:
    """The holder as `process N`, which it writes just after it has the lock."""
    for _ in range(20):
        file.seek(0)
        process, _, host = file.read().strip().partition(" ")
        if process:
            return f"process {process}" if host == socket.gethostname() else f"process {process} on {host}"
        time.sleep(0.05)
    return "another process"


def _in_use(folder: Path, holder: str) -> InUse:
    return InUse(f"'{folder}' is in use by {holder}: expected a folder that no other process writes to")
