"""The search for a branching: the supernet against the networks it stands for, and a run that stops and goes on."""

import copy
import json

import pytest
import torch
from torch.nn.functional import one_hot

from experiment.config import Config, DataSettings
from multitask.backbones.branched import BranchedEncoder
from multitask.branching import Branching
from multitask.cost import parameter_count
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from supernet.branching.encoder import BranchingSupernet
from supernet.branching.search import unit_costs
from supernet.records.branching_history import read_branching
from tests.support import forked
from tests.support.commands import assert_one_line, search
from tests.support.naive import randomise
from tests.support.networks import small_network
from tests.support.retraining import metrics, retrain

TASKS = ("semseg", "depth", "edge")
COPIES = [[1, 1, 1], [2, 2, 0], [1, 1, 1], [0, 2, 2]]  # of the four units; the third joins what has parted
COMMAND = [
    "--search.strategy=branching",
    "--search.branching.validation_fraction=0.4",
    "--search.branching.warm_up_fraction=0.3",
    "--training.iterations=6",
    "--training.checkpoint_every=2",
    "--data.train_images=8",
]


def supernet_of(seed=0):
    """A network of three tasks with the supernet as its encoder, all weights and statistics random."""
    tasks = build_tasks(list(TASKS), DataSettings(), 5)
    network = MultiTaskNetwork(small_network(branches=Branching.separate(TASKS, 4).to_lists()), tasks)
    randomise(network, seed)
    network.encoder = BranchingSupernet(network.encoder, torch.Generator().manual_seed(seed))
    return network


def image(*size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def exported(network):
    """The network of the chosen tree as retrain.py builds it, with the supernet's weights."""
    found = network.encoder.extract()
    tree = found.branching
    made = MultiTaskNetwork(small_network(branches=tree.to_lists()), network.tasks)
    made.encoder.load_state_dict(found.state_dict())
    for group in tree.units[-1]:
        for task in group:
            made.decoder[group[0]].parts[task].load_state_dict(network.decoder[task].parts[task].state_dict())
    made.heads.load_state_dict(network.heads.state_dict())
    return made, tree


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_one_hot_supernet_is_the_exported_tree(mode):
    network = supernet_of()
    supernet = network.encoder
    supernet.logits.data = 1e4 * one_hot(torch.tensor(COPIES), 3).float()
    supernet.separate = False
    made, tree = exported(network)
    assert tree.branches() == [1, 2, 2, 3] and supernet.branching("x").units == tree.units
    network.train(mode == "train"), made.train(mode == "train")  # in training the weights are those of the softmax
    with torch.no_grad():
        expected, found = network(image(45, 67)).predictions, made(image(45, 67)).predictions
    for task in TASKS:
        assert torch.allclose(found[task], expected[task], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found["depth"], supernet_of()(image(45, 67)).predictions["depth"], atol=1e-2)


def test_the_warm_up_trains_the_separate_tree():
    network = supernet_of().train()
    separate = copy.deepcopy(network.encoder.encoder)
    assert isinstance(separate, BranchedEncoder) and network.encoder.separate
    for task, maps in network.encoder(image(32, 48)).items():
        for one, other in zip(maps, separate.train()(image(32, 48))[task], strict=True):
            assert torch.equal(one, other)


def test_each_task_mixes_the_copies_by_its_own_weights():
    """One task, unit and copy at a time."""
    supernet = supernet_of().encoder.eval().train()
    supernet.separate, supernet.temperature = False, 2.0
    supernet.logits.data = torch.randn(4, 3, 3)
    weights = copy.deepcopy(supernet).sample()
    twin = copy.deepcopy(supernet.encoder).train()
    with torch.no_grad():
        found = supernet(image(32, 48))
        for t, task in enumerate(TASKS):
            features, maps = twin.stem(image(32, 48))[-1], []
            for unit, mapped, of_unit in zip(twin.units, twin.mapped, weights):
                features = sum(of_unit[t, i] * unit[other](features) for i, other in enumerate(TASKS))
                maps += [features] if mapped else []
            for one, other in zip(found[task], maps, strict=True):
                assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_copies_that_are_alike_give_the_logits_no_gradient():
    torch.manual_seed(0)
    tasks = build_tasks(list(TASKS), DataSettings(), 5)
    network = MultiTaskNetwork(small_network(branches=Branching.separate(TASKS, 4).to_lists()), tasks).train()
    network.encoder = supernet = BranchingSupernet(network.encoder, torch.Generator().manual_seed(0))
    supernet.separate = False

    def gradient():
        supernet.logits.grad = None
        sum(maps.square().sum() for of_task in supernet(image(32, 48)).values() for maps in of_task).backward()
        return supernet.logits.grad.abs().max()

    alike = gradient()
    randomise(supernet.encoder.units[1]["depth"])
    assert gradient() > 1e3 * alike


def test_no_copy_learns_its_scale():
    supernet = supernet_of().encoder
    for unit in supernet.encoder.units:
        for block in unit.values():
            assert not block.bn2.weight.requires_grad and block.bn2.weight.any()
            assert block.bn1.weight.requires_grad and block.conv1.weight.requires_grad


def test_units_cost_what_the_encoder_does():
    costs = unit_costs(small_network(), 48, 64)
    network = MultiTaskNetwork(small_network(branches=Branching.shared(TASKS, 4).to_lists()),
                               build_tasks(list(TASKS), DataSettings(), 5))  # fmt: skip
    assert [cost.parameters for cost in costs] == [
        sum(p.numel() for p in unit.parameters()) for unit in network.encoder.units
    ]


def test_a_search_that_is_killed_goes_on_to_the_same_tree(tmp_path):
    whole = search(*COMMAND, "--output", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    assert "--baseline branching" in whole.stdout and "--search.strategy score" in whole.stdout
    killed = forked.run("search", [*COMMAND, "--output", tmp_path / "killed"], tmp_path / "log", kill_after=2)
    assert killed.returncode == -9
    resumed = search(*COMMAND, "--output", tmp_path / "killed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("branching.yaml", "branching.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    found, again = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed"))
    assert found["tasks"] == again["tasks"] and found["units"] == again["units"]
    rows = read_branching(tmp_path / "whole/branching.csv")
    for step in range(7):
        for unit in range(1, 5):
            total = sum(rows[step, unit, "depth", name] for name in ("semseg", "depth"))
            assert abs(total - 1) < 1e-5
    warm = {p for (step, *_), p in rows.items() if step <= 2}
    assert warm == {0.5} and len({p for (step, *_), p in rows.items() if step == 6}) > 1


def test_the_exchange_is_searched_and_retrained_on_a_frozen_tree(tmp_path):
    tree = Branching(("semseg", "depth"), ((("semseg", "depth"),), *[(("semseg",), ("depth",))] * 3), "resnet18")
    tree.save(tmp_path / "branching.yaml")
    given = [
        f"--network.branches={tmp_path / 'branching.yaml'}",
        "--search.strategy=gumbel",
        "--space.blocks=[none, global]",
        "--training.iterations=2",
        "--training.checkpoint_every=1",
    ]
    assert search(*given, "--output", tmp_path / "whole").returncode == 0
    killed = forked.run("search", [*given, "--output", tmp_path / "killed"], tmp_path / "log", kill_after=1)
    assert killed.returncode == -9
    assert search(*given, "--output", tmp_path / "killed", "--resume").returncode == 0
    for name in ("architecture.yaml", "selection.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    done = retrain("--architecture", tmp_path / "whole/architecture.yaml", *given, "--output", tmp_path / "found")
    assert done.returncode == 0, done.stderr
    plain = MultiTaskNetwork(
        small_network(branches=tree.to_lists()), build_tasks(["semseg", "depth"], DataSettings(), 5)
    )
    assert metrics(tmp_path / "found/seed_0")["parameters"] > parameter_count(plain.encoder)
    config = Config.load(tmp_path / "whole/config.yaml")
    assert config.network.branches == tree.to_lists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--network.backbone=test_vit", "--network.backbone_options={}"], ["'test_vit' cannot be split"]),
        (["--data.tasks=[depth]"], ["data.tasks is ['depth']", "two or more"]),
        (["--network.branches=[[[semseg, depth]]]"], ["network.branches is set", "expected null"]),
        (["--network.backbone_rate=0"], ["network.backbone_rate is 0"]),
        (["--search.branching.resource=exakt"], ["'exakt'", "nearest: 'exact'"]),
        (["--search.branching.warm_up_fraction=1"], ["search.branching.warm_up_fraction is 1"]),
        (["--search.cost=latency"], ["search.cost is latency"]),
        (["--search.pareto=3"], ["search.pareto is 3"]),
        (["--loss_weights.trials=3"], ["loss_weights.trials is 3"]),
        (["--search.branching.validation_fraction=0.01"], ["validation_fraction is 0.01"]),
    ],
)
def test_what_cannot_be_searched_is_one_line(tmp_path, arguments, parts):
    done = search(*COMMAND, *arguments, "--output", tmp_path / "run")
    assert_one_line(done, parts)
    assert not (tmp_path / "run").exists()
