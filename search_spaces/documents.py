"""YAML and JSON files as people write them: a key stands once, a blank one counts as absent, nesting is shallow.

`experiment/documents.py` reads the configuration by the same rules; this package imports nothing of the project.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import SpaceError

DEEPEST = 50  # levels of lists and mappings
MOST = 100_000  # values of a document, those behind an alias counted each time
NULL = "tag:yaml.org,2002:null"


def read_document(path: Path) -> Any:
    """The content of a .json file, or else a YAML file. Raises SpaceError if it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_mapping)
        return yaml.load(text, StrictLoader)
    except FileNotFoundError as error:
        raise SpaceError(f"no architecture file at '{path}'") from error
    except OSError as error:
        raise SpaceError(f"'{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpaceError(f"'{path}' is not text in UTF-8") from error
    except RecursionError as error:
        raise SpaceError(f"'{path}' cannot be parsed: it is nested too deep") from error
    except (ValueError, yaml.YAMLError) as error:
        raise SpaceError(f"'{path}' cannot be parsed: {_reason(error)}") from error


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
