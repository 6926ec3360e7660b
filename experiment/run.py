"""A run: a folder that a command wrote, complete enough to be read, resumed and compared."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from experiment.errors import InputError
from experiment.files import write_atomic


class Run:
    """Opens a run's folder. Every file is written whole or not at all.

    Raises InputError if the folder already holds something and `resume` is false, or if what it holds was
    made with another configuration.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], resume: bool):
        self.folder = Path(folder)
        text = yaml.safe_dump(dict(config), sort_keys=False)
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(
                f"--output '{self.folder}' is a file: expected a folder, or a path that does not exist yet"
            )
        held = self.folder.is_dir() and any(self.folder.iterdir())
        if held and not resume:
            raise InputError(f"--output '{self.folder}' is in use: expected an empty folder, or --resume to go on")
        stored = self.folder / "config.yaml"
        if held and stored.is_file():
            difference = first_difference(yaml.safe_load(stored.read_text()), yaml.safe_load(text))
            if difference:
                raise InputError(f"--resume in '{self.folder}': {difference}; expected the configuration it began with")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.write_text("config.yaml", text)
        except OSError as error:
            raise InputError(f"--output '{self.folder}' cannot be written: {error.strerror}") from error

    def path(self, name: str) -> Path:
        return self.folder / name

    def write_text(self, name: str, text: str) -> None:
        write_atomic(self.path(name), text)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.write_text(name, json.dumps(content, indent=1) + "\n")

    @property
    def finished(self) -> bool:
        return self.path("metrics.json").is_file()


def first_difference(old: Any, new: Any, path: str = "") -> str:
    """Where two configurations differ first, as one phrase; empty if they do not."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            found = first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
            if found:
                return found
        return ""
    return "" if old == new else f"{path} was {old} and is now {new}"
