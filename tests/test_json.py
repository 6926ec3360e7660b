"""Files that are called JSON are JSON, which knows no NaN and no infinity."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    p for name in ("multitask", "supernet", "retrain", "analysis", "benchmarks") for p in (ROOT / name).rglob("*.py")
]


def dumps(tree):
    """Calls of json.dump and json.dumps."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dump", "json.dumps"):
            yield node


WRITERS = [p for p in FILES if "json.dump" in p.read_text() and p.stem != "checkpoints"]  # its seal is no JSON file


@pytest.mark.parametrize("path", WRITERS, ids=lambda p: p.stem)
def test_every_writer_refuses_nan(path):
    calls = list(dumps(ast.parse(path.read_text())))
    assert calls
    for call in calls:
        values = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert values.get("allow_nan") == "False", f"{path}:{call.lineno}"
