"""Properties of architectures: what is saved is read again, and order in the file means nothing."""

import random

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces import Architecture
from search_spaces.blocks import BLOCKS, legal_on
from search_spaces.scales import pairs_of

TASKS = st.lists(st.sampled_from(["semseg", "depth", "normals", "no", "1e3", "2026-01-01", "été"]), min_size=1, max_size=4, unique=True)  # fmt: skip  # noqa: E501
few = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip  # noqa: E501


@st.composite
def architectures(draw):
    tasks = tuple(draw(TASKS))
    exchanges = {}
    for pair in pairs_of(tasks):
        exchanges[pair] = draw(st.sampled_from([name for name in BLOCKS if legal_on(name, pair)]))
    aggregator = draw(st.sampled_from(["atrc", "mteb", "pad"]))
    return Architecture(tasks, exchanges, aggregator, draw(st.sampled_from([None, True, False])), {"seed": 3})


@few
@given(architectures())
def test_what_is_saved_is_read_again(tmp_path, architecture):
    architecture.save(tmp_path / "a.yaml")
    found = Architecture.load(tmp_path / "a.yaml")
    assert found == architecture and found.provenance == architecture.provenance


@few
@given(architectures(), st.randoms(use_true_random=False))
def test_the_order_in_the_file_means_nothing(tmp_path, architecture, draw: random.Random):
    def shuffled(mapping):
        items = list(mapping.items())
        draw.shuffle(items)
        return dict(items)

    content = yaml.safe_load(architecture.to_yaml())
    content["exchanges"] = shuffled({target: shuffled(row) for target, row in content["exchanges"].items()})
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(shuffled(content), sort_keys=False), encoding="utf-8")
    assert Architecture.load(tmp_path / "a.yaml") == architecture
