"""Every key of the configuration with values that it cannot have, generated from the dataclasses."""

from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache

import pytest

from experiment.config import Config
from experiment.config.parsing import config_parser, load, parse_config
from tests.support.configurations import groups_of, keys_of, kinds, nested, takes_null, value_of
from tests.support.refusals import ending, one_line, refusal

KEYS = keys_of(Config)
SIGNED = tuple(f"search.{strategy}.entropy_{end}" for strategy in ("guided", "gumbel") for end in ("start", "end"))
VALUES = {
    "null": "null",
    "nan": ".nan",
    "inf": ".inf",
    "minus inf": "-.inf",
    "huge": "1" + "0" * 40,
    "negative": "-1",
    "list": "[1]",
    "mapping": "{a: 1}",
    "list of nan": "[.nan, 1]",
    "mapping to inf": "{depth: .inf}",
}


def fits(key, name):
    """Whether a key may have this value; None where that depends on what is built of it, not on the key."""
    hint = KEYS[key]
    if name == "null":
        return takes_null(hint)
    if name == "negative":
        return key in SIGNED
    if name == "list":
        return hint == list[int]
    if name == "mapping":
        return None if dict in kinds(hint) else False
    return False


@cache
def alone(name):
    """A configuration of one group: files are read by the same code, but six times as fast."""
    item = next(item for item in fields(Config) if item.name == name)
    group = item.default_factory
    return make_dataclass("Alone", [(name, group, field(default_factory=group))]) if is_dataclass(group) else Config


@pytest.mark.parametrize("key", KEYS)
def test_a_value_that_no_key_can_have_is_refused(key, tmp_path):
    path = tmp_path / "file.yaml"
    config = alone(key.partition(".")[0])
    for name, text in VALUES.items():
        path.write_text(nested(key, text))
        code, errors = ending(lambda: load(config, path))
        expected = fits(key, name)
        if expected is None and code == 0:
            continue
        assert code == (0 if expected else 2), (name, code, errors)
        if code == 2:
            line = one_line(errors)
            assert key.rpartition(".")[2] in line and "file.yaml" in line, (name, line)


@pytest.mark.parametrize("key", KEYS)
def test_a_blank_key_has_its_default(key, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(nested(key, ""))
    config = alone(key.partition(".")[0])
    assert value_of(load(config, path), key) == value_of(config(), key)


@pytest.mark.parametrize("group", groups_of(Config))
def test_a_blank_group_has_its_defaults_and_a_value_is_none(group, tmp_path):
    path = tmp_path / "file.yaml"
    config = alone(group.partition(".")[0])
    path.write_text(nested(group, ""))
    assert load(config, path) == config()
    for text in ("1", "text", "[1]", "null", ".nan"):
        path.write_text(nested(group, text))
        line = refusal(lambda: load(config, path))
        assert group in line and "expected a group of keys" in line


def parsed(path, *arguments):
    return parse_config(config_parser(Config, "search.py", ""), Config, ["--config", str(path), *arguments])[0]


@pytest.mark.parametrize(
    ("text", "arguments", "parts"),
    [
        ("training: {iterations: -5}", [], ["iterations is -5", "file.yaml"]),
        ("training: {iterations: -5}", ["--seed=1"], ["iterations is -5", "file.yaml"]),
        ("training: {iterations: many}", ["--training.iterations=1"], ["many", "file.yaml"]),
        ("seed: 1", ["--training.iterations=-5"], ["iterations is -5", "command line"]),
        ("seed: 1", ["--training.iterations=many"], ["many", "command line"]),
        ("seed: 1", ["--training.iterations="], ["training.iterations", "command line"]),
        ("seed: 1", ["--training.iterations=null"], ["training.iterations", "command line"]),
        ("seed: 1", ["--data.scale_range=[1, .inf]"], ["data.scale_range is inf", "command line"]),
        ("search: {budget: 5}", ["--search.strategy=darts"], ["search.budget is 5", "command line"]),
        ("seed: 1", ["--loss_weights.weights={depth: 1, depth: 2}"], ["loss_weights.weights", "command line"]),
        ("seed: 1", ["--seed=1", "--seed=1"], ["--seed is given 2 times"]),
        ("seed: 1", ["--config", "other.yaml"], ["--config is given 2 times"]),
        ("seed: 1", ["--seed", "1", "--seed=2"], ["--seed is given 2 times"]),
        ("training: {iterations: 5}\nseed: 1\ntraining: {batch_size: 4}", [], ["'training' stands twice", "file.yaml"]),
    ],
)
def test_a_wrong_value_is_blamed_on_where_it_stands(text, arguments, parts, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    line = refusal(lambda: parsed(path, *arguments))
    for part in parts:
        assert part in line, line
    assert ("file.yaml" in line) == ("file.yaml" in parts), line
