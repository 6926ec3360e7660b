"""The values of a document that somebody may have edited, each checked for its kind when it is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment.documents import read_json, read_yaml
from experiment.errors import InputError

LARGEST = 1e30  # of a number, whose square and ratios are finite too


@dataclass(frozen=True)
class Facts:
    """A mapping of a file; `place` names it inside the file. What is absent or null is None, or empty.

    Every method raises InputError for a value of another kind.
    """

    path: Path
    content: dict[str, Any]
    place: str = ""

    def text(self, key: str) -> str | None:
        value = self.content.get(key)
        return value if value is None or isinstance(value, str) else self._wrong(key, "a text")

    def number(self, key: str) -> float | None:
        value = self.content.get(key)
        return value if value is None or is_number(value) else self._wrong(key, "a finite number")

    def amount(self, key: str) -> float | None:
        value = self.number(key)
        return value if value is None or value >= 0 else self._wrong(key, "a number of 0 or more")

    def integer(self, key: str) -> int | None:
        value = self.content.get(key)
        right = value is None or (isinstance(value, int) and is_number(value))
        return value if right else self._wrong(key, "an integer")

    def flag(self, key: str) -> bool:
        value = self.content.get(key)
        return value if isinstance(value, bool) else self._wrong(key, "true or false")

    def inside(self, key: str) -> "Facts":
        value = self.content.get(key)
        if not (value is None or isinstance(value, dict)):
            self._wrong(key, "a mapping")
        return Facts(self.path, value or {}, f"{self.place}{key} ")

    def parts(self) -> Iterator[tuple[str, "Facts"]]:
        """Each key with the mapping below it."""
        for key in self.content:
            yield key, self.inside(key)

    def _wrong(self, key: str, expected: str) -> Any:
        raise InputError(f"'{self.path}': {self.place}{key} is {self.content.get(key)!r}: expected {expected}")


def read_facts(path: Path) -> Facts:
    """Of a YAML or JSON file. Raises InputError if it cannot be read or is no mapping."""
    content = (read_json if path.suffix == ".json" else read_yaml)(path)
    if not isinstance(content, dict):
        raise InputError(f"'{path}' holds {type(content).__name__}: expected a mapping")
    return Facts(path, content)


def is_number(value: Any) -> bool:
    """Whether a document's value is a number to compute with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
