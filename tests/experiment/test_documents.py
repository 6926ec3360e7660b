"""YAML and JSON as people write them, read by the project's two twins."""

import ast
import json
from pathlib import Path

import pytest

import experiment.documents
import search_spaces.documents
from experiment.errors import InputError
from search_spaces import SpaceError

ROOT = Path(__file__).parents[2]


def read(path):
    """What both readers return: the content, or the error's line."""
    found = []
    for twin in (read_configuration, read_architecture):
        try:
            found.append(twin(path))
        except (InputError, SpaceError) as error:
            found.append(str(error))
    return found


def read_configuration(path):
    return (experiment.documents.read_json if path.suffix == ".json" else experiment.documents.read_yaml)(path)


def read_architecture(path):
    return search_spaces.documents.read_document(path)


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.yaml", "a: 1\nb: {c: 2}\na: 3", "the key 'a' stands twice, line 3"),
        ("a.yaml", "b: {c: 2, 'c': 4}", "the key 'c' stands twice, line 1"),
        ("a.yaml", "a: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("a.yaml", "a: " + "[" * 5000, "nested more than 50 deep"),
        ("a.yaml", "a: &x [1, *x]", "more than 100000 values"),
        ("a.yaml", "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, 12)), "100000"),
        ("a.yaml", "a: *nobody", "found undefined alias"),
        ("a.yaml", "? [a]\n: 1", "unhashable"),
        ("a.yaml", "a: !!python/object:os.system 1", "could not determine a constructor"),
        ("a.yaml", "a: \x00", "special characters are not allowed"),
        ("a.yaml", "a: " + "9" * 5000, "4300 digits"),
        ("a.json", '{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        ("a.json", '{"b": {"a": 1, "a": 3}}', "the key 'a' stands twice"),
        ("a.json", "[" * 100_000, "nested too deep"),
        ("a.json", "", "Expecting value"),
    ],
)
def test_what_is_refused_is_one_line_that_names_the_file(tmp_path, name, text, part):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    for line in read(path):
        assert isinstance(line, str) and "\n" not in line
        assert part in line and f"'{path}'" in line


def test_what_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    (tmp_path / "folder.yaml").mkdir()
    for name, part in (("latin", "UTF-8"), ("folder", "Is a directory"), ("nobody", "no")):
        for line in read(tmp_path / f"{name}.yaml"):
            assert part in line and f"{name}.yaml" in line and "\n" not in line
    long = tmp_path / ("x" * 400 + ".yaml")
    assert all("File name too long" in line for line in read(long))


def test_a_blank_key_is_absent_and_null_is_not(tmp_path):
    (tmp_path / "a.yaml").write_text("a:\nb: {c: , d: null}\ne: ~\nf: ''\ng: [1, 2]\n", encoding="utf-8")
    for content in read(tmp_path / "a.yaml"):
        assert content == {"b": {"d": None}, "e": None, "f": "", "g": [1, 2]}


def test_numbers_and_dates_are_what_they_look_like(tmp_path):
    (tmp_path / "a.yaml").write_text("[1.5e+2, 1, 1.5, .inf, 2026-11-26, v1e3, 0x10]", encoding="utf-8")
    for content in read(tmp_path / "a.yaml"):
        assert content == [150.0, 1, 1.5, float("inf"), "2026-11-26", "v1e3", 16]


def test_aliases_and_merges_may_be_used(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: *x\n", encoding="utf-8")
    for content in read(tmp_path / "a.yaml"):
        assert content == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}, "e": {"b": 1, "c": 2}}


def test_json_is_read_as_the_standard_library_does(tmp_path):
    content = {"a": [1, 2.5, None, True, "é"], "b": {"a": {}}}
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert read(tmp_path / "a.json") == [content, content]


def test_every_text_file_is_opened_as_utf8():
    """Whatever the locale; reading and writing without an encoding follows it."""
    found = []
    for package in ("experiment", "search_spaces", "multitask", "supernet", "retrain", "analysis", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _is_text(node):
                    found += [f"{path}:{node.lineno}"] * all(word.arg != "encoding" for word in node.keywords)
    assert found == []


def _is_text(call):
    """Whether a call is open, Path.open, Path.read_text or Path.write_text of a text file."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "read_text":
        return True
    if name == "write_text":
        return len(call.args) == 1  # a run's own has the file's name too
    if name != "open" or ast.unparse(call.func) in ("Image.open", "os.open"):
        return False
    modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    return not any(isinstance(mode, str) and "b" in mode for mode in modes)
