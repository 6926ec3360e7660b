"""YAML and JSON files as people write them: a key stands once, a blank one counts as absent, nesting is shallow."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiment.errors import InputError

DEEPEST = 50  # levels of lists and mappings
MOST = 100_000  # values of a document, those behind an alias counted each time
NULL = "tag:yaml.org,2002:null"


def read_yaml(path: str | Path, shown: str | None = None) -> Any:
    """A YAML file's content. Raises InputError, which names the file as `shown`, if it cannot be used."""
    return _read(Path(path), shown or f"'{path}'", "YAML", parse_yaml)


def read_json(path: str | Path, shown: str | None = None) -> Any:
    """A JSON file's content. Raises InputError as `read_yaml`."""
    return _read(Path(path), shown or f"'{path}'", "JSON", parse_json)


def parse_yaml(text: str) -> Any:
    """Raises ValueError or YAMLError."""
    return yaml.load(text, StrictLoader)


def parse_json(text: str) -> Any:
    """Raises ValueError, or RecursionError for a deeply nested one."""
    return json.loads(text, object_pairs_hook=_mapping)


def _read(path: Path, shown: str, kind: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{shown}: no such file") from error
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not text in UTF-8") from error
    except RecursionError as error:
        raise InputError(f"{shown} is not valid {kind}: it is nested too deep") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{shown} is not valid {kind}: {_reason(error)}") from error


class StrictLoader(yaml.SafeLoader):
    """Refuses keys that stand twice, deep nesting, and aliases that blow up; leaves out keys without a value."""

    def __init__(self, stream: str):
        super().__init__(stream)
        self.depth, self.count = 0, 0
        self.sizes: dict[str | None, int] = {}  # of what stands behind an anchor

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        self.depth, self.count = self.depth + 1, self.count + 1
        if isinstance(event, yaml.AliasEvent) and event.anchor in self.anchors:
            self.count += self.sizes.get(event.anchor, MOST)  # without a size, it holds itself
        if self.depth > DEEPEST or self.count > MOST:
            raise _fault(f"it is nested more than {DEEPEST} deep, or holds more than {MOST} values", event.start_mark)
        before = self.count
        node = super().compose_node(parent, index)
        if getattr(event, "anchor", None) is not None:  # the end of a document has none
            self.sizes.setdefault(event.anchor, self.count - before)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _fault(f"the key '{key.value}' stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        node.value = [(key, value) for key, value in node.value if not _blank(value)]
        return node


def _integer(loader: StrictLoader, node: yaml.ScalarNode) -> int:
    value: int = yaml.SafeLoader.construct_yaml_int(loader, node)
    str(value)  # raises ValueError for a hexadecimal one of more digits than Python writes, which no message could show
    return value


StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
# a date is a text
StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != "tag:yaml.org,2002:timestamp"]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _blank(node: yaml.Node) -> bool:
    """Whether nothing at all was written, not even `null`."""
    return isinstance(node, yaml.ScalarNode) and node.tag == NULL and not node.value


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' stands twice")
    return content


def _fault(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    return " ".join(str(error).split())
