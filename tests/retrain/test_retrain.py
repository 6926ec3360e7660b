"""Training from scratch: models, baselines, seeds, files, resuming, bad input."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from experiment.config import DataSettings, SpaceSettings
from experiment.errors import InputError
from multitask.data.samples import plain_batch
from multitask.network import feature_channels
from multitask.tasks import build_tasks
from multitask.tasks.depth import Depth
from multitask.training import trainer
from multitask.training.evaluation import evaluate, score
from retrain.baselines import baseline
from retrain.loading import load_trained, read_config
from retrain.model import Model
from search_spaces import Architecture, Exchange, SearchSpace
from tests.support.networks import small_network
from tests.support.retraining import TASKS, metrics, retrain, write_architecture
from tests.support.training import training

SETTINGS = small_network()


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    return write_architecture(tmp_path_factory.mktemp("found"))


def test_found_architecture_over_two_seeds(architecture, tmp_path):
    code, printed, errors = retrain("--architecture", architecture, "--output", tmp_path / "run", "--seeds", 0, 3)
    assert code == 0, errors
    for seed in (0, 3):
        folder = tmp_path / "run" / f"seed_{seed}"
        for name in ("config.yaml", "architecture.yaml", "metrics.json", "checkpoints/last.pt", "checkpoints/best.pt"):
            assert (folder / name).is_file(), name
        assert list(folder.glob("events.out.tfevents*"))
        found = metrics(folder)
        assert (found["model"], found["seed"], found["split"]) == ("found", seed, "test")
        assert set(found["tasks"]) == set(found["last"]["tasks"]) == set(found["prior"]) == set(TASKS)
        assert Architecture.load(folder / "architecture.yaml") == Architecture.load(architecture)
    assert metrics(tmp_path / "run/seed_0")["tasks"] != metrics(tmp_path / "run/seed_3")["tasks"]
    assert "mean ± standard deviation over 2 seeds" in printed and printed.splitlines()[-1].startswith("next: ")

    before = (tmp_path / "run/seed_0/metrics.json").read_bytes()
    code, _, errors = retrain("--architecture", architecture, "--output", tmp_path / "run", "--seeds", 0)
    assert code == 2 and "in use" in errors and "--resume" in errors
    code, printed, _ = retrain("--architecture", architecture, "--output", tmp_path / "run", "--seeds", 0, "--resume")
    assert code == 0 and "is finished" in printed
    assert (tmp_path / "run/seed_0/metrics.json").read_bytes() == before


@pytest.mark.parametrize("options", [["--architecture"], ["--baseline", "single_task"]], ids=lambda options: options[0])
def test_the_losses_of_the_test_split_are_those_of_single_images(options, architecture, tmp_path):
    given = [*options, architecture] if options == ["--architecture"] else options
    code, _, errors = retrain(*given, "--output", tmp_path / "run", "--data.test_images=3")
    assert code == 0, errors
    trained, found = load_trained(tmp_path / "run/seed_0"), metrics(tmp_path / "run/seed_0")
    sums, counts = dict.fromkeys(TASKS, 0.0), dict.fromkeys(TASKS, 0)
    for sample in trained.dataset.splits["test"]:
        batch = plain_batch(default_collate([sample]), torch.device("cpu"))
        with torch.no_grad():
            predictions = trained.network(batch.image, batch.valid).predictions
        for name, task in trained.dataset.tasks.items():
            sums[name] += float(task.loss(predictions[name], batch.labels[name], batch.masks[name]))
            counts[name] += bool(batch.masks[name].any())
    assert found["losses"] == {name: pytest.approx(sums[name] / counts[name], rel=1e-4) for name in TASKS}


def test_a_loss_that_an_image_does_not_define_is_left_out(monkeypatch, tmp_path):
    """A user's own, such as a mean over what the image lacks: the training is good all the same."""
    monkeypatch.setattr(Depth, "image_losses", lambda *_: torch.full((2,), math.nan))
    code, _, errors = retrain("--baseline", "multi_task", "--output", tmp_path / "run", "--data.test_images=2")
    assert code == 0, errors
    losses = metrics(tmp_path / "run/seed_0")["losses"]
    assert losses["depth"] is None and losses["semseg"] > 0


SENSORS = ["--data.name=sensors", "--network.encoders=per_task"]


@pytest.mark.parametrize("options", [[], SENSORS])
def test_same_seed_same_result_and_resuming_equals_never_having_stopped(options, architecture, tmp_path, monkeypatch):
    arguments = ["--architecture", architecture, "--training.checkpoint_every=3", *options]
    assert retrain(*arguments, "--output", tmp_path / "whole")[0] == 0
    save, saves = trainer.save_checkpoint, []

    def stop_later(run, state, name="last"):
        save(run, state, name)
        saves.append(name)
        if len(saves) == 1:  # after step 3 of 8
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "save_checkpoint", stop_later)
    assert retrain(*arguments, "--output", tmp_path / "half")[0] == 130
    monkeypatch.undo()
    assert not (tmp_path / "half/seed_0/metrics.json").exists()
    assert retrain(*arguments, "--output", tmp_path / "half", "--resume")[0] == 0
    one, two = metrics(tmp_path / "whole/seed_0"), metrics(tmp_path / "half/seed_0")
    assert one["tasks"] == two["tasks"] and one["last"] == two["last"] and one["best_step"] == two["best_step"]


def test_single_task_trains_one_network_per_task(tmp_path):
    code, _, errors = retrain(
        "--baseline", "single_task", "--output", tmp_path / "single", "--training.validate_every=4"
    )
    assert code == 0, errors
    folder = tmp_path / "single/seed_0"
    found = metrics(folder)
    assert found["model"] == "single_task" and set(found["tasks"]) == set(TASKS)
    assert all((folder / task / "checkpoints/best.pt").is_file() for task in TASKS)
    tasks = build_tasks(TASKS, DataSettings(), 15)
    sizes = [sum(p.numel() for p in Model("one").build(small_network(), {n: t}).parameters()) for n, t in tasks.items()]
    assert found["parameters"] == sum(sizes)


@pytest.mark.parametrize("name", ["multi_task", "uniform:padnet_gate", "random"])
def test_baselines_run(name, tmp_path):
    code, _, errors = retrain("--baseline", name, "--output", tmp_path / "run")
    assert code == 0, errors
    assert metrics(tmp_path / "run/seed_0")["model"] == name
    assert (tmp_path / "run/seed_0/architecture.yaml").is_file() == (name != "multi_task")


def test_uniform_and_random_architectures():
    space = SearchSpace.from_settings(SpaceSettings(), TASKS)
    gate = baseline("uniform:padnet_gate", space, 0).architecture
    assert gate.exchanges["semseg", "depth"] == "padnet_gate" and gate.exchanges["depth", "depth"] == "none"
    assert baseline("random", space, 1).architecture == baseline("random", space, 1).architecture
    drawn = {tuple(baseline("random", space, seed).architecture.exchanges.values()) for seed in range(8)}
    assert len(drawn) > 4


@pytest.mark.parametrize("version", [1, 2])
def test_the_architecture_file_determines_the_module(version, tmp_path):
    """In `full` messages are normalised, also those of an architecture of local contexts alone."""
    space = SearchSpace.from_settings(SpaceSettings(name="full"), TASKS)
    file = tmp_path / "a.yaml"
    local = Architecture.from_space(space, dict.fromkeys(space.pairs, "local"), {"space": "full", "source": "search"})
    local.save(file)
    if version == 1:
        lines = [line for line in file.read_text().splitlines(True) if not line.startswith("normalize_messages")]
        file.write_text("".join(lines).replace("version: 2", "version: 1"))
    assert retrain("--architecture", file, "--output", tmp_path / "run")[0] == 0
    folder = tmp_path / "run/seed_0"
    network = torch.load(folder / "checkpoints/best.pt", weights_only=True)["network"]
    weights = {k.removeprefix("exchange."): v for k, v in network.items() if k.startswith("exchange.")}
    assert any(key.startswith("norms.local.") for key in weights)
    channels = feature_channels(read_config(folder).network)
    for written in (file, folder / "architecture.yaml"):
        Exchange(Architecture.load(written), channels).load_state_dict(weights)


def test_architectures_of_a_space_differ_in_blocks_only():
    """Whatever the blocks of a baseline, its messages are normalised by the rule of the space."""
    for name, rule in (("full", True), ("atrc", False)):
        space = SearchSpace.from_settings(SpaceSettings(name=name), TASKS)
        for kind in ("uniform:local", "uniform:xtam", "uniform:none", "random"):
            assert baseline(kind, space, 0).architecture.normalize_messages is rule


def test_architectures_of_one_seed_start_from_the_same_weights():
    """Two architectures: every parameter of an equal name, and of an equal block on an equal pair, bit for bit."""
    tasks = build_tasks(TASKS, DataSettings(), 5)
    space = SearchSpace.from_settings(SpaceSettings(name="full"), TASKS)
    local = dict.fromkeys(space.pairs, "local")
    others = [local, local | {("depth", "semseg"): "none"}, local | {("depth", "semseg"): "xtam"}]
    first, *networks = (
        Model("one", Architecture.from_space(space, exchanges)).build(SETTINGS, tasks, seed=4) for exchanges in others
    )
    block = first.exchange.block("local")
    for network in networks:
        state = network.state_dict()
        for key, value in first.state_dict().items():
            if key in state and state[key].shape == value.shape:
                assert torch.equal(state[key], value), key
            else:
                assert key.startswith(("exchange.blocks.local.", "exchange.norms.local.", "exchange.aggregator.")), key
        other = network.exchange.block("local")
        for row, pair in enumerate(other.pairs):
            same = block.pair_state(block.pairs.index(pair))
            for key, value in other.pair_state(row).items():
                assert torch.equal(value, same[key]), (pair, key)


def test_the_retrained_network_has_no_trace_of_the_supernet(architecture):
    tasks = build_tasks(TASKS, DataSettings(), 5)
    network = Model("found", Architecture.load(architecture)).build(SETTINGS, tasks)
    assert set(network.exchange.blocks) == {"xtam", "s_label", "global"}
    assert set(network.auxiliary_heads) == {"semseg"}  # depth <- semseg reads semseg's regions, nothing else is read
    assert network.exchange.block("global").value.norm.weight is not None
    assert network.exchange.aggregator.dropout.p == 0.05
    assert not any("logits" in name for name, _ in network.exchange.named_parameters())
    assert Model("multi_task").build(SETTINGS, tasks).exchange is None


def test_score_is_delta_m_to_first_order():
    tasks = build_tasks(TASKS, DataSettings(), 5)
    base = {"semseg": {"mean_iou": 0.4}, "depth": {"rmse": 1.0}}
    better = {"semseg": {"mean_iou": 0.404}, "depth": {"rmse": 0.98}}
    delta = ((0.404 - 0.4) / 0.4 - (0.98 - 1.0) / 1.0) / 2
    assert score(better, tasks) - score(base, tasks) == pytest.approx(delta, rel=0.02)
    assert math.isfinite(score({"semseg": {"mean_iou": 0.0}, "depth": {"rmse": 1.0}}, tasks))


def test_a_network_of_one_task_sees_the_crops_of_one_of_all(tmp_path):
    whole = training(tmp_path, "all")
    alone = training(tmp_path, "one", only=["depth"])
    assert list(alone.tasks) == ["depth"]
    sample = {
        k: v
        for k, v in torch.utils.data.default_collate([whole.recipe.dataset.splits["train"][i] for i in (0, 1)]).items()
    }
    # crops are chosen by semseg, which only one of the two learns
    sample["labels"]["semseg"][:, :, :, 8:] = 0
    one, two = (run.augment(sample, torch.device("cpu")) for run in (whole, alone))
    assert torch.equal(one.image, two.image)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--baseline", "multitask"], ["'multitask'", "nearest: 'multi_task'"]),
        (["--baseline", "uniform:xtamm"], ["'xtamm'", "nearest: 'xtam'"]),
        (["--baseline", "multi_task", "--seeds", "0", "0"], ["--seeds"]),
        (["--baseline", "multi_task", "--seeds", "one"], ["seeds", "one"]),
        (["--architecture", "nowhere.yaml"], ["nowhere.yaml"]),
        ([], ["--architecture FILE or --baseline NAME"]),
        (["--baseline", "multi_task", "--network.backbone=resnet20"], ["nearest: 'resnet"]),
        (["--baseline", "multi_task", "--network.pretrained=absent.pth"], ["network.pretrained", "no such file"]),
        (["--baseline", "multi_task", "--network.channels=1"], ["network.channels"]),
        (["--baseline", "multi_task", "--loss_weights.weights={dept: 1}"], ["nearest: 'depth'"]),
        (["--baseline", "random", "--architecture", "x"], ["either"]),
        (["--baseline", "multi_task", "--data.name=sensors"], ["network.encoders is shared", "expected per_task"]),
        (["--baseline", "multi_task", "--network.encoders=pertask"], ["nearest: 'per_task'"]),
        (["--baseline", "multi_task", "--data.sensors.tasks={depth: rnge}"], ["nearest: 'range'"]),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, arguments, parts):
    code, _, errors = retrain("--output", tmp_path / "run", *arguments)
    lines = errors.strip().splitlines()
    assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), errors
    assert all(part in lines[0] for part in parts), lines[0]
    assert not (tmp_path / "run").exists()


def test_an_architecture_for_other_tasks_is_refused(architecture, tmp_path):
    code, _, errors = retrain(
        "--architecture", architecture, "--output", tmp_path / "run", "--data.tasks=[depth, edge]"
    )
    assert code == 2 and "is for the tasks ['semseg', 'depth']" in errors


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("single_task", []),
        ("uniform:t_label", []),
        ("own:s_label", []),
        ("single_task", SENSORS),
        ("uniform:t_label", SENSORS),
    ],
)
def test_a_trained_network_comes_back_and_scores_as_reported(name, options, tmp_path):
    assert retrain("--baseline", name, "--output", tmp_path / "run", *options)[0] == 0
    folder = tmp_path / "run/seed_0"
    trained = load_trained(folder)
    tasks = trained.dataset.tasks
    values = evaluate(trained.network, trained.dataset.splits["test"], tasks, 2, 0, torch.device("cpu"))
    for task, reported in metrics(folder)["tasks"].items():
        assert values[task] == pytest.approx({key: entry["value"] for key, entry in reported.items()}, rel=1e-6)


def test_own_features_are_the_uniform_architecture_without_another_task(tmp_path):
    """The cost of uniform:BLOCK and its initial weights; no file that would pass for uniform:BLOCK."""
    found = {}
    for name in ("uniform:padnet_gate", "own:padnet_gate"):
        folder = tmp_path / name.partition(":")[0]
        code, _, errors = retrain("--baseline", name, "--output", folder, "--training.iterations=1")
        assert code == 0, errors
        found[name] = metrics(folder / "seed_0")
    uniform, own = found.values()
    assert own["model"] == "own:padnet_gate"
    assert (own["parameters"], own["multiply_adds"]) == (uniform["parameters"], uniform["multiply_adds"])
    assert not (tmp_path / "own/seed_0/architecture.yaml").exists()
    again = ["--output", tmp_path / "own", "--resume", "--baseline"]
    assert retrain(*again, "own:padnet_gate", "--training.iterations=1")[0] == 0
    code, _, errors = retrain(*again, "own:global", "--training.iterations=1")
    assert code == 2 and "holds own:padnet_gate" in errors
    exchange = load_trained(tmp_path / "own/seed_0").network.exchange
    assert exchange.own_features and exchange.block("padnet_gate").pairs == (("semseg", "semseg"), ("depth", "depth"))


def test_loading_from_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"is no run: expected a config\.yaml"):
        load_trained(tmp_path)


def test_a_run_is_of_one_model(architecture, tmp_path):
    assert retrain("--baseline", "multi_task", "--output", tmp_path / "run")[0] == 0
    for arguments in (["--baseline", "single_task", "--seeds", 1], ["--architecture", architecture, "--resume"]):
        code, _, errors = retrain("--output", tmp_path / "run", *arguments)
        assert code == 2 and "holds multi_task: expected another folder" in errors, errors
    assert not (tmp_path / "run/seed_1").exists()
    assert retrain("--architecture", architecture, "--output", tmp_path / "found")[0] == 0
    other = Architecture.load(architecture)
    other.exchanges["depth", "depth"] = "local"
    for changed in (other, replace(Architecture.load(architecture), aggregator="pad")):
        changed.save(tmp_path / "other.yaml")
        code, _, errors = retrain("--architecture", tmp_path / "other.yaml", "--output", tmp_path / "found", "--resume")
        assert code == 2 and "holds another architecture" in errors, errors
    assert Architecture.load(tmp_path / "found/seed_0/architecture.yaml") == Architecture.load(architecture)


def test_without_seeds_the_configurations_seed_is_taken(tmp_path):
    assert retrain("--baseline", "multi_task", "--output", tmp_path / "run", "--seed=4")[0] == 0
    assert metrics(tmp_path / "run/seed_4")["seed"] == 4


def test_an_output_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    code, _, errors = retrain("--baseline", "multi_task", "--output", tmp_path / "file")
    assert code == 2 and "cannot be written" in errors and len(errors.splitlines()) == 1
