"""Branched encoders: the tree and its file, how encoders are cut into units, and both ends of the scale."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from experiment.config import DataSettings, NetworkSettings
from experiment.errors import InputError
from multitask.backbones.branched import BranchedEncoder
from multitask.backbones.timm_encoder import TimmEncoder
from multitask.branching import Branching, branching_of, with_branches
from multitask.cost import multiply_adds, parameter_count
from multitask.network import MultiTaskNetwork, check_network
from multitask.tasks import build_tasks
from tests.support.errors import fails
from tests.support.networks import small_network
from tests.support.pages import ROOT, fenced
from tests.support.training import SMALL, training

TASKS = ("semseg", "depth", "edge", "normals")
# the example of the public code: the copies that four tasks take of six units
EXAMPLE = [[0, 0, 0, 0], [2, 2, 2, 2], [1, 1, 2, 2], [0, 0, 2, 3], [0, 1, 2, 3], [1, 1, 3, 3]]
# GFLOPs of the 17 units of MobileNetV2 at 512 x 512, of the public code
GFLOPS = (0.105, 0.305, 0.269, 0.162, 0.115, 0.115, 0.079, 0.108, 0.108, 0.108, 0.133, 0.237, 0.237, 0.313, 0.647,
          0.647, 0.961)  # fmt: skip
PAIR = ("semseg", "depth")


def test_copies_become_a_tree_of_successive_refinements():
    tree = Branching.from_copies(TASKS, EXAMPLE)
    assert tree.branches() == [1, 1, 2, 3, 4, 4]
    assert tree.units[2] == (("semseg", "depth"), ("edge", "normals"))
    assert tree.units[3] == (("semseg", "depth"), ("edge",), ("normals",))
    assert tree.of(["normals", "edge"]).units[2:4] == ((("normals", "edge"),), (("normals",), ("edge",)))
    assert tree.table().splitlines()[0] == "  units 1 to 2    semseg + depth + edge + normals"


def test_a_tree_is_read_as_it_was_written(tmp_path):
    tree = Branching.from_copies(TASKS, EXAMPLE, "resnet18", {"seed": 0})
    tree.save(tmp_path / "branching.yaml")
    read = Branching.load(tmp_path / "branching.yaml")
    assert read == tree and read.provenance == {"seed": 0}
    (tmp_path / "branch_config.json").write_text(json.dumps({"config": EXAMPLE}))
    assert Branching.load(tmp_path / "branch_config.json", TASKS) == replace(tree, backbone=None)


def test_the_documented_file_is_read(tmp_path):
    (tmp_path / "branching.yaml").write_text(fenced((ROOT / "docs/branching.md").read_text(), "yaml")[0])
    assert Branching.load(tmp_path / "branching.yaml").branches() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("{version: 1, tasks: [a, b], branching: []}", ["no unit"]),
        ("{version: 1, tasks: [a, b], branching: [[[a]]]}", ["unit 1", "[['a']]", "every task in one group"]),
        ("{version: 1, tasks: [a, b], branching: [[[a, b], []]]}", ["unit 1", "every task in one group"]),
        ("{version: 1, tasks: [a, b], branching: [[[a], [b]], [[a, b]]]}", ["unit 2 joins a and b", "refines"]),
        ("{version: 1, tasks: [a, b], branching: [[[a, c]]]}", ["unknown task in unit 1 'c'", "nearest"]),
        ("{version: 1, tasks: [a, b], branching: [[a, b]]}", ["its groups of tasks"]),
        ("{version: 1, tasks: [a, a], branching: [[[a]]]}", ["['a', 'a']", "different names"]),
        ("{version: 1, tasks: 3, branching: [[[a]]]}", ["tasks is 3"]),
        ("{version: 2, tasks: [a], branching: [[[a]]]}", ["version 2", "expected 1"]),
        ("{version: 1, tasks: [a], backbone: 3, branching: [[[a]]]}", ["backbone"]),
        ("{version: 1, task: [a]}", ["unknown key", "'task'", "nearest: 'tasks'"]),
        ("[1]", ["holds list"]),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, parts):
    path = tmp_path / "branching.yaml"
    path.write_text(text)
    fails(lambda: Branching.load(path), "branching.yaml", *parts, kind=InputError)


def test_settings_hold_the_tree_and_refuse_another_backbone_or_other_tasks(tmp_path):
    path = tmp_path / "branching.yaml"
    tree = Branching.separate(PAIR, 4, "resnet18")
    tree.save(path)
    settings = with_branches(small_network(branches=str(path)), PAIR)
    assert settings.branches == tree.to_lists() and with_branches(settings, PAIR) == settings
    found = branching_of(settings, PAIR)
    assert found is not None and found.units == tree.units
    for changes, tasks, part in (
        ({"branches": str(path), "backbone": "resnet50"}, PAIR, "network.backbone resnet18: found resnet50"),
        ({"branches": str(path)}, ("semseg",), r"is for the tasks \['semseg', 'depth'\]: the configuration has"),
        ({"branches": str(tmp_path / "none.yaml")}, PAIR, "no such file"),
    ):
        with pytest.raises(InputError, match=part):
            with_branches(small_network(**changes), tasks)
    with pytest.raises(InputError, match=r"expected network\.encoders shared, found per_task"):
        small_network(branches=tree.to_lists(), encoders="per_task")


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("resnet18", {"channels": (4, 8, 16, 32)}, 8),
        ("test_efficientnet", {}, 5),
        ("test_convnext", {}, 4),
        ("test_resnet", {"output_stride": 16}, 4),
    ],
)
@pytest.mark.parametrize("finest", [2, 4])
def test_units_one_after_another_are_the_encoder(name, options, count, finest):
    torch.manual_seed(0)
    encoder = TimmEncoder(name, options, finest=finest).eval()
    image = torch.randn(2, 3, 37, 50)
    with torch.no_grad():
        whole = encoder(image)
        parts = encoder.split()
        features = parts.stem(image)[-1]
        for unit in parts.units:
            before = features.clone()
            after = unit(features)
            assert torch.equal(features, before), "another branch reads it too"
            features = after
        tree = Branching(PAIR, ((PAIR,),) * 2 + ((("semseg",), ("depth",)),) * (count - 2))
        branched = BranchedEncoder(encoder, tree, name).eval()(image)
    assert branched.keys() == set(PAIR)
    for maps in branched.values():
        assert all(torch.equal(one, other) for one, other in zip(maps, whole, strict=True))


def test_mobilenet_has_the_units_of_the_paper():
    """Two operations for each weight of a convolution and output."""
    with torch.device("meta"):
        stem, units, _ = TimmEncoder("mobilenetv2_100", {"output_stride": 16}).eval().split()
        features = stem(torch.empty(1, 3, 512, 512))[-1]
    assert len(units) == len(GFLOPS)
    for unit, published in zip(units, GFLOPS):
        with counted(unit, lambda conv: 2 * conv.weight[0].numel()) as counts:
            features = unit(features)
        assert round(sum(counts) / 1e9, 3) == published


@contextmanager
def counted(network, each):
    """While open, every convolution adds the outputs that it computes, times `each`, to a list: a naive count."""
    counts: list[int] = []
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [c.register_forward_hook(lambda conv, _, out: counts.append(out.numel() * each(conv))) for c in convs]
    yield counts
    for hook in hooks:
        hook.remove()


def tasks_of(names):
    return build_tasks(list(names), DataSettings(), 5)


def outputs_of(network):
    torch.manual_seed(1)
    with torch.no_grad():
        return network.eval()(torch.randn(2, 3, 45, 67)).predictions


DECODERS = ("concat", "deeplab_joint")


@pytest.mark.parametrize("decoder", DECODERS)
def test_all_shared_is_the_multi_task_network(decoder):
    tasks, settings = tasks_of(PAIR), small_network(decoder=decoder)
    plain = MultiTaskNetwork(settings, tasks, seed=3)
    shared = MultiTaskNetwork(replace(settings, branches=Branching.shared(PAIR, 4).to_lists()), tasks, seed=3)
    assert parameter_count(shared) == parameter_count(plain)
    assert multiply_adds(shared, 48, 64) == multiply_adds(plain, 48, 64)
    expected = outputs_of(plain)
    for name, prediction in outputs_of(shared).items():
        assert torch.equal(prediction, expected[name])


@pytest.mark.parametrize("decoder", DECODERS)
def test_all_separate_is_the_single_task_networks_but_for_the_stem(decoder):
    tasks, settings = tasks_of(PAIR), small_network(decoder=decoder)
    branched = MultiTaskNetwork(replace(settings, branches=Branching.separate(PAIR, 4).to_lists()), tasks, seed=3)
    found, parameters = outputs_of(branched), 0
    for name in PAIR:
        single = MultiTaskNetwork(settings, {name: tasks[name]}, seed=3)
        parameters += parameter_count(single)
        assert torch.equal(found[name], outputs_of(single)[name])
        alone = MultiTaskNetwork(branched.settings, {name: tasks[name]}, seed=3)  # as single_task builds it
        assert parameter_count(alone) == parameter_count(single)
    stem = branched.encoder.stem
    assert parameter_count(branched) == parameters - parameter_count(stem)


def test_a_branched_network_costs_what_its_convolutions_compute():
    tasks = tasks_of(TASKS)
    tree = Branching.from_copies(TASKS, EXAMPLE[2:])
    assert tree.branches() == [2, 3, 4, 4]
    network = MultiTaskNetwork(small_network(branches=tree.to_lists()), tasks)
    with counted(network, lambda conv: conv.weight[0].numel()) as counts, torch.no_grad():
        network.eval()(torch.randn(1, 3, 48, 64))
    bottlenecks = 4 * 9 * (4 + 8 + 16 + 32) * 8 * (12 * 16)  # one wide convolution each, without a module's hook
    assert multiply_adds(network, 48, 64) == sum(counts) + bottlenecks
    once = MultiTaskNetwork(small_network(), tasks).encoder.split().units
    units = sum(parameter_count(unit) * count for unit, count in zip(once, tree.branches()))
    assert parameter_count(network.encoder) == parameter_count(network.encoder.stem) + units


def test_all_shared_trains_as_the_multi_task_network(tmp_path):
    shared = replace(SMALL, branches=Branching.shared(PAIR, 4).to_lists())
    plain, branched = (
        training(tmp_path, name, build=lambda tasks, s=settings: MultiTaskNetwork(s, tasks), iterations=3)
        for name, settings in (("plain", SMALL), ("branched", shared))
    )
    for trainer in (plain, branched):
        trainer.fit()
    for one, other in zip(plain.network.state_dict().values(), branched.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["test_vit", "vgg11"])
def test_what_cannot_be_split_is_said(name):
    settings = NetworkSettings(backbone=name, branches=Branching.shared(PAIR, 4).to_lists())
    with pytest.raises(InputError, match=f"network.backbone '{name}' cannot be split into units"):
        check_network(settings, tasks_of(PAIR), 64, 64)
    other = small_network(branches=Branching.shared(PAIR, 3).to_lists())
    with pytest.raises(InputError, match=r"network\.branches has 3 units: expected 4, as network\.backbone"):
        check_network(other, tasks_of(PAIR), 64, 64)
