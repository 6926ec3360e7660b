"""Properties of the configuration: what is written is read again, and order means nothing."""

import random

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiment.config import Config
from experiment.config.parsing import load

few = settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
VALUES = {
    "seed": st.integers(0, 2**31),
    "training.iterations": st.integers(1, 10**6),
    "training.learning_rate": st.floats(1e-6, 1.0),
    "training.momentum": st.floats(0, 0.99),
    "data.height": st.integers(1, 64).map(lambda k: 32 * k),
    "data.tasks": st.lists(st.sampled_from(["semseg", "depth", "normals", "edge"]), min_size=1, unique=True),
    "data.root": st.sampled_from(["no", "1e3", "a b", "été", "null", "2026-01-01", "~"]),
    "loss_weights.weights": st.dictionaries(st.sampled_from(["semseg", "depth"]), st.floats(0.01, 100)),
}
contents = st.fixed_dictionaries({}, optional=VALUES)


def grouped(values):
    content = {}
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        (content.setdefault(group, {}) if group else content)[name] = value
    return content


def read(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return load(Config, path)


@few
@given(contents, st.randoms(use_true_random=False))
def test_written_in_any_order_it_is_read_again(tmp_path, values, draw: random.Random):
    config = read(tmp_path / "a.yaml", grouped(values))
    whole = config.to_dict()
    assert read(tmp_path / "b.yaml", whole) == config
    items = list(whole.items())
    draw.shuffle(items)
    turned = {key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in items}
    assert read(tmp_path / "c.yaml", turned) == config
