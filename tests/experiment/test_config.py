"""The configuration: files, overrides, and the groups that check themselves."""

from dataclasses import fields, is_dataclass

import pytest
import yaml

from experiment.config import Config
from experiment.config.parsing import config_parser, known_keys, parse_config
from experiment.config.search import READ_TOO, STRATEGIES, unread
from experiment.errors import InputError
from tests.support.commands import CONFIG
from tests.support.errors import fails


def parsed(*arguments):
    return parse_config(config_parser(Config, "search.py", ""), Config, ["--config", str(CONFIG), *arguments])[0]


def test_a_resolved_file_loads_as_it_was(tmp_path):
    config = parsed("--search.strategy=gumbel", "--search.gumbel.fix_gap=0.5", "--data.scale_range=[0.9, 1.1]")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    assert Config.load(tmp_path / "config.yaml") == config
    (tmp_path / "empty.yaml").write_text("{}")
    assert Config.load(tmp_path / "empty.yaml") == Config()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("training: {iteration: 4}", ["training.iteration", "nearest: 'training.iterations'"]),
        ("search: {gumbel: {fix_gab: 1}}", ["search.gumbel.fix_gab", "nearest: 'search.gumbel.fix_gap'"]),
        ("training: 4", ["'training'", "4", "expected a group of keys"]),
        ("search: {gumbel: 4}", ["'search.gumbel'", "4", "expected a group of keys"]),
        ("search: {gumbel: {fix_gap: 7}}", ["search.gumbel.fix_gap is 7", "file.yaml"]),
        ("training: {iterations: many}", ["iterations", "many", "file.yaml"]),
        ("seed: -1", ["seed is -1", "expected at least 0"]),
        ("seed: 100000000000000000000000", ["seed is 1"]),
        ("device: gpu", ["unknown device 'gpu'", "nearest"]),
        ("precision: fp16", ["precision is fp16", "fp32 or bf16", "scaled losses"]),
        ("search: {strategy: gumbal}", ["unknown search.strategy 'gumbal'", "nearest: 'gumbel'"]),
        ("search: {strategy: darts, budget: 5}", ["search.budget is 5", "darts"]),
        ("search: {strategy: tpe, noise_null: true}", ["search.noise_null", "tpe"]),
        ("search: {confidence: 1.5}", ["search.confidence is 1.5"]),
        ("loss_weights: {weights: {depth: -1}}", ["loss_weights.weights.depth is -1"]),
        ("loss_weights: {trials: 3}\ndata: {tasks: [depth]}", ["depth is the only task"]),
        ("loss_weights: {low: .nan}", ["loss_weights.low is nan", "finite"]),
        ("- 1", ["holds list", "expected groups"]),
        ("a: [", ["not valid YAML"]),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, text, parts):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    fails(lambda: Config.load(path), *parts, kind=InputError)


def test_groups_of_other_strategies_are_not_read_in_a_file(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("search: {strategy: darts, gumbel: {fix_gap: 0.5}}")
    assert Config.load(path).search.gumbel.fix_gap == 0.5


def test_every_strategy_refuses_overrides_of_every_other_group():
    for strategy in STRATEGIES:
        for key in known_keys(Config):
            group, _, rest = key.partition(".")
            name = rest.partition(".")[0]
            if group == "search" and name in STRATEGIES:
                reads = name in (strategy, *READ_TOO.get(strategy, ()))
                assert (unread(strategy, [key]) is None) == reads, (strategy, key)
            elif group != "search":
                assert unread(strategy, [key]) is None


def test_every_value_is_a_known_key_and_no_group_is():
    keys = known_keys(Config)
    assert len(keys) == len(set(keys))
    for item in fields(Config):
        assert (item.name in keys) != is_dataclass(item.default_factory), item.name


def test_another_backbone_drops_the_files_options():
    """They are keyword arguments of the backbone beside which they stand."""
    options = parsed().network.backbone_options
    assert options and parsed(f"--network.backbone={parsed().network.backbone}").network.backbone_options == options
    other = parsed("--network.backbone=resnet50").network
    assert other.backbone == "resnet50" and other.backbone_options == {}
    both = parsed("--network.backbone=resnet50", "--network.backbone_options={output_stride: 16}").network
    assert both.backbone_options == {"output_stride": 16}


def test_tasks_left_out_keep_their_settings_without_an_error():
    from multitask.data import open_dataset
    from multitask.training.loss_weighting import loss_weights

    config = parsed("--data.tasks=[depth, normals]")
    assert "semseg" in config.loss_weights.weights
    dataset = open_dataset(config.data)
    assert loss_weights(dataset.tasks, config.loss_weights) == {"depth": 2, "normals": 2}


def test_a_key_that_python_keeps_for_itself(tmp_path):
    """search.from, in a file, on the command line and in config.yaml."""
    path = tmp_path / "file.yaml"
    path.write_text("search: {strategy: score, from: runs/none}")
    config = Config.load(path)
    assert config.search.from_ == "runs/none"
    whole = config.to_dict()
    assert whole["search"]["from"] == "runs/none" and "from_" not in whole["search"]
    path.write_text(yaml.safe_dump(whole))
    assert Config.load(path) == config
    given = parsed("--search.strategy=score", "--search.from=runs/other").search
    assert given.from_ == "runs/other"
