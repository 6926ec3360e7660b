"""A run: a folder that a command wrote, complete enough to be read, resumed and compared."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from experiment.config import Config
from experiment.documents import parse_json, parse_yaml
from experiment.errors import InputError
from experiment.files import is_temporary, remove_leftovers, write_atomic
from experiment.lock import LOCK, FolderLock, check_unlocked
from experiment.processes import leads

CONFIG, RECORD = "config.yaml", "run.json"
VERSION = 1  # of run.json
SEARCH, RETRAINING = "search", "retraining"  # kinds


@dataclass(frozen=True)
class Identity:
    """What a run is, kept in its run.json and in its checkpoints.

    id: of its kind, its configuration and its model; two runs of one id compute the same. part: the folder of a
    training inside the run, empty for the run's own.
    """

    kind: str
    id: str
    part: str = ""


class Run:
    """Opens a run's folder, for this process alone until `close`. Every file is written whole or not at all.

    Of several processes of one command, the one that leads opens and writes it; in the others nothing is read, checked
    or written.

    kind: of command. model: what beside the configuration determines the run, as plain values.

    Raises InputError if the folder already holds something and `resume` is false, if it holds no run of this kind, a
    damaged one, or one of another configuration, or if another process has it open. Nothing is written then.
    """

    def __init__(
        self,
        folder: str | Path,
        config: Mapping[str, Any],
        resume: bool,
        kind: str = SEARCH,
        model: Mapping[str, Any] | None = None,
        *,
        within: "Run | None" = None,
    ):
        self.folder = Path(folder)
        self._lock: FolderLock | None = None
        text = yaml.safe_dump(dict(config), sort_keys=False)
        content = yaml.safe_load(text)
        if within is None:
            self.identity = Identity(kind, _digest([kind, content, model]))
        else:
            self.identity = replace(within.identity, part=str(self.folder.relative_to(within.folder)))
        if not leads():
            return
        self._check(content, resume, within is None)
        made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if within is None:
                self._open(content, resume)
            if not self.path(CONFIG).is_file():
                self.write_text(CONFIG, text)
            if within is None and not self.path(RECORD).is_file():
                record = {"version": VERSION, "kind": self.identity.kind, "id": self.identity.id}
                self.write_json(RECORD, record)
        except BaseException as error:
            self.close()
            if made:
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
            if isinstance(error, OSError):
                raise InputError(f"--output '{self.folder}' cannot be written: {error.strerror}") from error
            raise

    def _open(self, content: Any, resume: bool) -> None:
        self._lock = FolderLock(self.folder)
        self._check(content, resume, True)  # again: another process may have come first
        remove_leftovers(self.folder)
        if self.path(RECORD).is_file():
            self.identity = read_identity(self.folder)

    def _check(self, content: Any, resume: bool, whole: bool) -> None:
        """Raises InputError unless the folder can be opened so. whole: not a part of another run."""
        held = _files_in(self.folder)
        if whole and self._lock is None:
            check_unlocked(self.folder)
        if not held:
            return
        if not resume:
            raise in_use(self.folder)
        if whole and held != {CONFIG}:  # that alone is what a process leaves that was killed at its very start
            found = read_identity(self.folder)
            if found.kind != self.identity.kind:
                raise InputError(
                    f"--resume in '{self.folder}': it holds a {found.kind}, expected a {self.identity.kind}"
                )
        if whole or CONFIG in held:
            difference = config_difference(read_config(self.path(CONFIG)), content)
            if difference:
                raise InputError(f"--resume in '{self.folder}': {difference}; expected the configuration it began with")

    def part(self, name: str, config: Mapping[str, Any]) -> "Run":
        """A training of its own inside this run, in a folder of its own; resumed if it is there."""
        return Run(self.path(name), config, True, within=self)

    def path(self, name: str) -> Path:
        return self.folder / name

    def write_text(self, name: str, text: str) -> None:
        write_atomic(self.path(name), text)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Raises InputError for a number that is not finite, which JSON does not know."""
        try:
            text = json.dumps(content, indent=1, allow_nan=False)
        except ValueError as error:
            raise InputError(
                f"'{self.path(name)}' is not written: it would hold a number that is not finite"
            ) from error
        self.write_text(name, text + "\n")

    @property
    def finished(self) -> bool:
        """Whether metrics.json is there and whole; a damaged one is named, and will be written anew."""
        path = self.path("metrics.json")
        if not path.is_file():
            return False
        try:
            content = read_json(path)
        except InputError as error:
            print(f"{error}; it is written anew")
            return False
        return "tasks" in content

    def close(self) -> None:
        """Lets other processes open the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_unused(folder: Path) -> None:
    """Raises InputError as `Run` does for a folder that already holds something; for commands that load torch later."""
    if leads() and _files_in(folder):
        check_unlocked(folder)
        raise in_use(folder)


def _files_in(folder: Path) -> set[str]:
    """The names of what a run's folder holds. Raises InputError for one that cannot be read."""
    check_folder(folder)
    try:
        held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise InputError(f"--output '{folder}' cannot be read: {error.strerror}") from error
    return {name for name in held if name != LOCK and not is_temporary(name)}


def in_use(folder: Path, way: str = "--resume to go on") -> InputError:
    """way: what else than an empty folder is expected."""
    return InputError(f"--output '{folder}' is in use: expected an empty folder, or {way}")


def check_empty(folder: Path) -> None:
    """Raises InputError for the --output of a command that goes on with nothing, if it already holds something."""
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise in_use(folder, "a path that does not exist yet")


def read_identity(folder: Path) -> Identity:
    """Of the run in a folder. Raises InputError if there is none."""
    path = folder / RECORD
    if not path.is_file():
        raise InputError(f"'{folder}' is no run that can be resumed: expected {RECORD} in it, which every run has")
    content = read_json(path)
    kind, name = content.get("kind"), content.get("id")
    if content.get("version") != VERSION or not isinstance(kind, str) or not isinstance(name, str):
        raise InputError(f"'{path}' is damaged: expected version {VERSION}, kind and id")
    return Identity(kind, name)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a run. Raises InputError if it is damaged."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is damaged: expected JSON") from error
    if not isinstance(content, dict):
        raise InputError(f"'{path}' is damaged: expected a JSON object")
    return content


def read_config(path: Path) -> dict[str, Any]:
    """A run's config.yaml as plain values. Raises InputError if it is damaged."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is damaged: expected the configuration that the run began with") from error
    if not isinstance(content, dict):
        state = "empty" if content is None else "damaged"
        raise InputError(f"'{path}' is {state}: expected the configuration that the run began with")
    return content


def check_folder(folder: Path) -> None:
    """Raises InputError for an --output that is a file, or with a name that this process cannot write in UTF-8, as
    TensorBoard and torch do.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"--output '{folder}' is not text in UTF-8 here: expected a UTF-8 locale, such as LC_ALL=C.UTF-8"
        ) from error
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output '{folder}' is a file: expected a folder, or a path that does not exist yet")


def config_difference(old: Any, new: Any) -> str:
    """`first_difference` of a run's configuration and the present one, or of the same part of both."""
    return first_difference(old, new, defaults=Config().to_dict())


def first_difference(old: Any, new: Any, path: str = "", defaults: Any = None) -> str:
    """Where two configurations differ first, as one phrase; empty if they do not.

    defaults: of the keys of a configuration. One that `old` lacks did not exist then, and may only have its default.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        known = defaults if isinstance(defaults, dict) else {}
        for key in dict.fromkeys((*old, *new)):
            name, default = f"{path}.{key}" if path else str(key), known.get(key)
            if key in old or key not in known:
                found = first_difference(old.get(key), new.get(key), name, default)
            elif isinstance(default, dict) and default:  # a group of keys
                found = first_difference({}, new[key], name, default)
            else:
                found = "" if new[key] == default else f"{name} was not yet a key and is now {new[key]}, not {default}"
            if found:
                return found
        return ""
    return "" if old == new else f"{path} was {old} and is now {new}"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
