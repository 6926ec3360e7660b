"""Permutation importance: what is shuffled and what is not, on networks whose answer is known; the command."""

import csv
import io
import json
import random

import pytest
import torch
from PIL import Image
from torch import nn

from analysis.measures.shuffling import Message, Shuffling, derangement
from experiment.config import DataSettings
from experiment.run import read_identity
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from multitask.training.checkpoints import read_checkpoint, write_sealed
from multitask.training.evaluation import evaluate
from retrain.loading import load_trained
from search_spaces import Architecture, Exchange
from tests.support.networks import small_network
from tests.support.results import analyse
from tests.support.results import refusal as refused
from tests.support.retraining import TASKS, metrics, retrain, write_architecture

CPU = torch.device("cpu")
SIZE, COUNT = (32, 48), 5
BLOCKS = ("global", "local", "t_label", "s_label", "xtam", "padnet_gate", "padnet_linear", f"{__name__}:Own")


class Own(nn.Module):
    """A user's simple block, which reads the regions of both ends."""

    regions = ("target", "source")

    def __init__(self, channels, message_channels):
        super().__init__()
        self.project = nn.Conv2d(channels, message_channels, 1)

    def forward(self, target, source, target_regions, source_regions):
        scale = (1 + target_regions.amax((1, 2)) + source_regions.amax((1, 2)))[:, None, None, None]
        return self.project(source - target) * scale


class Images:
    """Noise, labelled by what a network predicts from it: its metrics are perfect until something is shuffled."""

    def __init__(self, network, tasks):
        generator = torch.Generator().manual_seed(1)
        noise = torch.randint(256, (COUNT, 3, 4, 6), generator=generator, dtype=torch.uint8)
        self.images = nn.functional.interpolate(noise.float(), size=SIZE).to(torch.uint8)
        self.tasks = {name: torch.zeros(COUNT, task.label_channels, *SIZE) for name, task in tasks.items()}
        for i in range(COUNT):
            image = self[i]["image"][None].float() / 255
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            with torch.no_grad():
                predictions = network((image - mean) / std).predictions
            for name, task in tasks.items():
                self.tasks[name][i] = task.decode(predictions[name])[0]

    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        masks = {name: torch.ones(1, *SIZE, dtype=torch.bool) for name in self.tasks}
        return {"image": self.images[i], "labels": {n: v[i] for n, v in self.tasks.items()}, "masks": masks}


def shuffling(aggregator="pad", change=None, own_features=False, **arguments):
    """Of a random network with the given exchanges, {"target_source": block}."""
    rows = {(t, s): arguments.pop(f"{t}_{s}", "none") for t in TASKS for s in TASKS}
    torch.manual_seed(0)
    tasks = build_tasks(TASKS, DataSettings(), 5)
    exchange = Exchange(Architecture(TASKS, rows, aggregator), 8, own_features=own_features)
    settings = small_network()
    network = MultiTaskNetwork(settings, tasks, exchange, exchange.region_tasks()).eval()
    for head in network.heads.values():
        nn.init.normal_(head.weight)  # initial predictions are too faint to distinguish images
    network.initialize_heads({"depth": torch.full((1,), 20.0)})  # negative depths would all be cut to one value
    for module in network.modules():
        if getattr(module, "weight", None) is not None and "Norm" in type(module).__name__:
            nn.init.ones_(module.weight)  # the atrc aggregator begins without its messages
    for block in exchange.blocks.values():
        if hasattr(block, "alpha"):
            nn.init.ones_(block.alpha)
    if change is not None:
        change(exchange)
    return Shuffling(network, tasks, Images(network, tasks), COUNT, 2, CPU, **arguments)


ORDER = [1, 2, 3, 4, 0]


def test_no_image_keeps_its_place():
    for count in range(2, 9):
        for seed in range(20):
            order = derangement(count, random.Random(seed))
            assert sorted(order) == list(range(count)) and all(i != image for i, image in enumerate(order))
    draw = random.Random(0)
    assert {tuple(derangement(4, draw)) for _ in range(400)} == {
        (1, 0, 3, 2), (1, 2, 3, 0), (1, 3, 0, 2), (2, 0, 3, 1), (2, 3, 0, 1), (2, 3, 1, 0), (3, 0, 1, 2),
        (3, 2, 0, 1), (3, 2, 1, 0),
    }  # fmt: skip


def test_unshuffled_metrics_are_those_of_an_evaluation():
    found = shuffling(depth_semseg="t_label", depth_depth="local", semseg_depth="xtam")
    dataset = found.trunk.dataset
    dataset.tasks = {name: labels.flip(3) for name, labels in dataset.tasks.items()}  # not perfect any more
    found = Shuffling(found.network, found.tasks, dataset, COUNT, 2, CPU)
    values = evaluate(found.network, dataset, found.tasks, 2, 0, CPU)
    assert found.reference() == {"semseg": values["semseg"]["mean_iou"], "depth": values["depth"]["rmse"]}


@pytest.mark.parametrize("aggregator", ["atrc", "mteb", "pad"])
def test_an_ignored_message_scores_exactly_0_and_one_that_is_used_more(aggregator):
    def ignore(exchange):
        """depth <- semseg, the first source of depth, is given no weight."""
        with torch.no_grad():
            exchange.aggregator.fuse["depth"][0].weight[:, : exchange.message_channels] = 0

    pairs = {"depth_semseg": "padnet_linear", "depth_depth": "local"}
    if aggregator != "pad":  # which has no weights
        ignoring = shuffling(aggregator, ignore, **pairs)
        assert list(ignoring.shuffled(("depth", "semseg"), [ORDER])) == [ignoring.reference()["depth"]]
        (shuffled,) = ignoring.shuffled(("depth", "depth"), [ORDER])
        assert shuffled > ignoring.reference()["depth"] + 1e-3
    using = shuffling(aggregator, **pairs)
    assert using.reference()["depth"] < 1e-6
    (shuffled,) = using.shuffled(("depth", "semseg"), [ORDER])
    assert shuffled > 1e-3


@pytest.mark.parametrize("block", BLOCKS)
def test_the_source_comes_from_another_image_and_the_target_does_not(block):
    """With one message only, shuffling it is to run the exchange on the target's and another image's features."""
    found = shuffling(depth_semseg=block)
    own = found.trunk(range(COUNT))
    other = found.trunk(ORDER)
    features = {"depth": own["features", "depth"], "semseg": other["features", "semseg"]}
    regions = {t: m["regions", t] for t, m in (("depth", own), ("semseg", other)) if ("regions", t) in own}
    caught = []
    handle = found.exchange.block(block).register_forward_hook(lambda module, inputs, output: caught.append(output))
    with torch.inference_mode():
        found.exchange(features, regions)
        handle.remove()
        message = Message(found.exchange, ("depth", "semseg"), CPU)(own, other)
    assert torch.allclose(caught[0][:, 0], message, atol=1e-6)
    (shuffled,) = found.shuffled(("depth", "semseg"), [ORDER])
    assert shuffled > found.reference()["depth"]


@pytest.mark.parametrize("block", ["global", "local", "t_label", "padnet_linear"])
def test_nothing_changes_where_every_image_keeps_its_source(block):
    """On a task's own features too, which then play both ends; and beside other messages of the same block."""
    found = shuffling(depth_depth=block, depth_semseg=block, semseg_semseg=block)
    for pair in (("depth", "depth"), ("depth", "semseg")):
        (same,), (other,) = found.shuffled(pair, [range(COUNT)]), found.shuffled(pair, [ORDER])
        assert same == pytest.approx(found.reference()["depth"], abs=1e-5)
        assert other > 10 * same + 1e-5


def test_own_features_of_another_image():
    """Where every block reads the target's own features, those of the other task make no difference."""
    found = shuffling(own_features=True, depth_semseg="padnet_linear", depth_depth="padnet_linear")
    for pair in (("depth", "semseg"), ("depth", "depth")):
        (same,), (other,) = found.shuffled(pair, [range(COUNT)]), found.shuffled(pair, [ORDER])
        assert same == pytest.approx(found.reference()["depth"], abs=1e-5) and other > 10 * same + 1e-5


def test_without_memory_all_is_computed_anew():
    pairs = {"depth_semseg": "t_label", "semseg_depth": "global"}
    kept, anew = shuffling(**pairs), shuffling(**pairs, limit=0)
    assert kept.trunk.kept is not None and anew.trunk.kept is None
    for pair in (("depth", "semseg"), ("semseg", "depth")):
        assert list(kept.shuffled(pair, [ORDER])) == pytest.approx(list(anew.shuffled(pair, [ORDER])), rel=1e-5)


@pytest.fixture(scope="module")
def seed_folder(tmp_path_factory):
    """A seed whose messages have been scaled up: after a few steps they are too weak to move a metric."""
    run = tmp_path_factory.mktemp("importance") / "run"
    architecture = write_architecture(tmp_path_factory.mktemp("found"))
    code, _, errors = retrain("--architecture", architecture, "--output", run, "--data.test_images=6")
    assert code == 0, errors
    path = run / "seed_0/checkpoints/best.pt"
    identity = read_identity(run / "seed_0")
    state = read_checkpoint(path, identity, "best")
    for name, weight in state["network"].items():
        if name.startswith("exchange.aggregator.fuse") and name.endswith("1.weight"):
            weight.fill_(5)
        elif name.startswith("exchange.norms") and name.endswith("running_mean"):
            weight.fill_(-1)  # after a few steps the statistics do not fit: the ReLU would cut whole messages
        elif name.startswith("heads."):
            weight.mul_(10)
        if name == "heads.depth.bias":
            weight.fill_(4)  # negative depths would all be cut to one value
    write_sealed(path, state, identity, "best")
    return run / "seed_0"


def printed(capsys, *argv):
    return analyse(capsys, "importance", *argv)


def test_command(seed_folder, tmp_path, capsys):
    output = printed(capsys, seed_folder, "--repeats", 2, "--format", "json", "--output", tmp_path / "out")
    found = json.loads(output.out)
    assert "importance  step 6/6" in output.err  # three pairs have a message
    trained = load_trained(seed_folder)
    values = evaluate(trained.network, trained.dataset.splits["test"], trained.dataset.tasks, 2, 0, CPU)
    assert found["reference"] == {
        "semseg": {"mean_iou": pytest.approx(values["semseg"]["mean_iou"], rel=1e-5)},
        "depth": {"rmse": pytest.approx(values["depth"]["rmse"], rel=1e-5)},
    }
    assert found["importance"]["semseg"]["semseg"] == {"block": "none", "mean": 0, "std": 0, "drops": [0, 0]}
    entry = found["importance"]["depth"]["semseg"]
    assert entry["mean"] == pytest.approx(sum(entry["drops"]) / 2) and len(set(entry["drops"])) == 2

    assert json.loads((tmp_path / "out/importance.json").read_text()) == found
    text = printed(capsys, seed_folder, "--repeats", 2, "--format", "csv").out
    assert text == (tmp_path / "out/importance.csv").read_text()  # the same seed, the same numbers
    for line in csv.DictReader(io.StringIO(text)):
        assert float(line["mean"]) == found["importance"][line["target"]][line["source"]]["mean"]
    with Image.open(tmp_path / "out/importance.png") as figure:
        assert min(figure.size) > 300

    table = printed(capsys, seed_folder, "--repeats", 2).out.splitlines()
    assert f"{entry['mean']:+.2f} ± {entry['std']:.2f}" in table[-1] and " none" in table[-2]
    other = json.loads(printed(capsys, seed_folder, "--repeats", 1, "--seed", 1, "--format", "json").out)
    assert other["importance"]["depth"]["semseg"]["drops"] != entry["drops"][:1]
    assert other["importance"]["depth"]["semseg"]["std"] is None


def test_the_baseline_divides(seed_folder, tmp_path, capsys):
    arguments = [seed_folder, "--repeats", 1, "--format", "json"]
    own = json.loads(printed(capsys, *arguments).out)
    content = metrics(seed_folder)
    for name, metric, factor in (("semseg", "mean_iou", 2), ("depth", "rmse", 4)):
        content["tasks"][name][metric]["value"] = factor * own["reference"][name][metric]
    (tmp_path / "single").mkdir()
    (tmp_path / "single/metrics.json").write_text(json.dumps(content))
    against = json.loads(printed(capsys, *arguments, "--baseline", tmp_path / "single").out)
    for source in TASKS:
        drop = own["importance"]["depth"][source]["mean"]
        assert abs(drop) > 1e-3
        assert against["importance"]["depth"][source]["mean"] == pytest.approx(drop / 4)


def test_refusals(seed_folder, tmp_path, capsys):
    def refusal(*argv):
        return refused(capsys, "importance", *argv)

    assert "seed_0" in refusal(seed_folder.parent)
    assert "is no run" in refusal(tmp_path)
    assert "nearest: 'test'" in refusal(seed_folder, "--split", "tests")
    assert "expected 2 to 6" in refusal(seed_folder, "--images", 1)
    assert "expected 2 to 6" in refusal(seed_folder, "--images", 7)
    assert "--repeats is 0" in refusal(seed_folder, "--repeats", 0)
    assert "nowhere" in refusal(seed_folder, "--baseline", tmp_path / "nowhere")
    assert "is a file" in refusal(seed_folder, "--output", seed_folder / "metrics.json")
    assert retrain("--baseline", "multi_task", "--output", tmp_path / "plain")[0] == 0
    assert "has no exchange" in refusal(tmp_path / "plain/seed_0")
