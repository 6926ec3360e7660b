"""Checkpoints in a run folder, checkpoints/NAME.pt: sealed, synced, and the one before kept as NAME.previous.pt.

A checkpoint is what torch.save writes, which torch.load reads, and one more line at its end, the seal: JSON with the
identity of its run, the checkpoint's name and step, and the SHA-256 of all that stands before. A damaged checkpoint, or
one of another run, is never read.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch

from experiment.errors import InputError
from experiment.files import replacing
from experiment.processes import leads
from experiment.run import Identity, Run
from multitask.processes import from_first

FORMAT = "crosstalk checkpoint 1"
LONGEST = 4096  # bytes of a seal
BLOCK = 1 << 20  # bytes read at a time


class DamagedCheckpoint(InputError):
    """A checkpoint that is missing, damaged or of another run."""


def save_checkpoint(run: Run, state: Mapping[str, Any], name: str = "last") -> None:
    """Replaces the checkpoint once the new one is whole on the disk; the former becomes NAME.previous.pt.

    Of several processes, the one that leads saves.
    """
    if not leads():
        return
    path = checkpoint_path(run.folder, name)
    with replacing(path, former=previous(path)) as temporary:
        write_sealed(temporary, state, run.identity, name)
        read_seal(temporary, run.identity, name)


def load_checkpoint(run: Run, name: str = "last", step: int | None = None) -> dict[str, Any] | None:
    """The checkpoint's content on the CPU, or None if there is none; of several processes, the first reads it for all.

    Names a damaged one and takes the one before. step: of the checkpoint that is wanted, if only one will do. Raises
    DamagedCheckpoint if none can be used.
    """

    def load() -> dict[str, Any] | None:
        path = find_checkpoint(run, name, step)
        return None if path is None else _load(path)

    return from_first(load)


def find_checkpoint(run: Run, name: str, step: int | None = None) -> Path | None:
    """The file that `load_checkpoint` reads."""
    path = checkpoint_path(run.folder, name)
    if not path.exists() and not previous(path).exists():
        if step is not None:
            raise DamagedCheckpoint(f"'{path}' is missing: expected the checkpoint of step {step}")
        return None
    try:
        read_seal(path, run.identity, name, step)
        return path
    except DamagedCheckpoint as error:
        problem = error
    try:
        found = read_seal(previous(path), run.identity, name, step)
    except DamagedCheckpoint:
        raise DamagedCheckpoint(f"{problem}; and no earlier one can be used") from None
    print(f"{problem}; {previous(path).name} of step {found} is used", flush=True)
    return previous(path)


def read_checkpoint(path: Path, identity: Identity, name: str, step: int | None = None) -> dict[str, Any]:
    """The content of one file, on the CPU. Raises DamagedCheckpoint if it cannot be used."""
    read_seal(path, identity, name, step)
    return _load(path)


def checkpoint_path(folder: Path, name: str) -> Path:
    return folder / "checkpoints" / f"{name}.pt"


def previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}.previous.pt")


def write_sealed(path: Path, state: Mapping[str, Any], identity: Identity, name: str) -> None:
    with path.open("wb") as file:
        hashed = _Hashed(file)
        try:
            torch.save(dict(state), hashed)  # type: ignore[arg-type]  # needs write and flush alone
        except RuntimeError as error:  # torch raises its own where a write has failed
            raise hashed.error or error from None
        seal = {"format": FORMAT, **asdict(identity), "name": name, "step": state.get("step")}
        file.write(b"\n" + json.dumps({**seal, "sha256": _finish(hashed.sha256, seal)}).encode() + b"\n")


def read_seal(path: Path, identity: Identity, name: str, step: int | None = None) -> int | None:
    """Reads the whole file and compares its checksum; the step of the checkpoint, if it has one.

    Raises DamagedCheckpoint if it is missing, damaged, or not of this identity, name and step.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LONGEST))
            line = file.read().rpartition(b"\n{")[2]
            content = size - len(line) - 2
            file.seek(0)
            sha256 = hashlib.sha256()
            while left := content - file.tell():
                if left < 0 or not (block := file.read(min(left, BLOCK))):
                    break
                sha256.update(block)
    except FileNotFoundError:
        raise DamagedCheckpoint(f"'{path}' is missing") from None
    except OSError as error:
        raise DamagedCheckpoint(f"'{path}' cannot be read ({error.strerror})") from error
    try:
        seal = json.loads(b"{" + line)
        whole = json.dumps(seal).encode() + b"\n" == b"{" + line  # the line has no checksum of its own
        whole &= seal.pop("sha256") == _finish(sha256, seal)
        whole &= seal.pop("format") == FORMAT
    except (ValueError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise DamagedCheckpoint(f"'{path}' is damaged (its checksum does not fit its content)")
    found = seal.pop("step")
    if seal != {**asdict(identity), "name": name}:
        of = seal["name"] if seal["name"] != name else seal["part"] or "another run"
        raise DamagedCheckpoint(f"'{path}' is a checkpoint of something else ({of})")
    if step is not None and found != step:
        raise DamagedCheckpoint(f"'{path}' is of step {found}, expected step {step}")
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its content is as it was written: by another version of torch
        raise DamagedCheckpoint(f"'{path}' cannot be loaded by torch {torch.__version__}") from error


def _finish(sha256: "hashlib._Hash", seal: Mapping[str, Any]) -> str:
    sha256.update(json.dumps(seal, sort_keys=True).encode())
    return sha256.hexdigest()


class _Hashed:
    """A file to write to that computes the checksum of what passes."""

    def __init__(self, file: IO[bytes]):
        self.file, self.sha256 = file, hashlib.sha256()
        self.error: OSError | None = None  # of a write that failed

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()
