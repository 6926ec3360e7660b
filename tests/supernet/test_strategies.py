"""The strategies beside the single-level search: on two levels, and by samples that share a supernet's weights."""

import csv
import json
import os
import signal
import sys
import time
from functools import partial

import pytest
import torch

from experiment.config import (
    Config,
    DataSettings,
    GdasSettings,
    SearchSettings,
)
from experiment.config.parsing import config_parser, parse_config
from experiment.config.search import STRATEGIES as SETTINGS
from experiment.interruption import Interrupted
from experiment.run import Run
from multitask.data import open_dataset
from multitask.data.loader import training_loader
from multitask.network import MultiTaskNetwork, shrink
from multitask.tasks import build_tasks
from multitask.training.callback import Callback
from multitask.training.hardware import Hardware
from multitask.training.loss_weighting import loss_weights
from multitask.training.step_cost import task_losses
from search_spaces import SPACES, Architecture, Exchange, SearchSpace
from supernet.context import SearchContext
from supernet.cost.memory import Conditions, search_memory, step_peak
from supernet.records.pairs import pair_name
from supernet.samplers.fair_paths import FairPaths
from supernet.samplers.relaxed import GumbelSampler, SoftmaxSampler
from supernet.search_split import split_training
from supernet.selection import Selection
from supernet.strategies import STRATEGIES, sampled
from supernet.strategies.bilevel import BilevelCallback
from supernet.supernet import Supernet
from supernet.testing import check_strategy
from tests.support.commands import SHORT, assert_one_line, process, rows, search, short
from tests.support.networks import small_network
from tests.support.supernets import gumbel_supernet

NAMES = ("darts", "gdas", "random", "evolution", "tpe")
SAMPLED = ("random", "evolution", "tpe")


def few(name: str, samples: int) -> list[str]:
    return [f"--search.{name}.samples={samples}"] if name in SAMPLED else []


def context_of(folder, *arguments, resume=False):
    """What the command gives to its strategy."""
    parser = config_parser(Config, "search.py", "")
    config, _ = parse_config(parser, Config, ["--config", "configs/scenes.yaml", *short(*arguments, defaults=SHORT)])
    dataset = open_dataset(config.data)
    space = SearchSpace.from_settings(config.space, tuple(dataset.tasks))
    weights = loss_weights(dataset.tasks, config.loss_weights)
    run = Run(folder, config.to_dict(), resume)
    return SearchContext(config, dataset, space, weights, Hardware("cpu").fabric(), run)


def prepare(folder, name, *arguments):
    """(trainer, callback, supernet) of a bilevel search, nothing being trained yet."""
    context = context_of(folder, f"--search.strategy={name}", *arguments)
    settings = getattr(context.config.search, name)
    kind = SoftmaxSampler if name == "darts" else partial(GumbelSampler, single_path=True)
    sampler = kind(Selection(context.space), torch.Generator().manual_seed(1))
    kept, out = split_training(context.dataset, settings.validation_fraction)
    callback = BilevelCallback(sampler, settings, context.config.search, context.config.training.iterations, out)
    network = context.supernet(sampler)
    callback.trainer = context.trainer(network, callback, images=kept)
    return callback.trainer, callback, network.exchange


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize("name", ["darts", "gdas"])
def test_the_logits_gradient_is_that_of_the_held_out_loss(tmp_path, name):
    trainer, callback, supernet = prepare(tmp_path, name, "--training.clip_norm=null")
    network, selection, generator = trainer.network.train(), supernet.sampler.selection, supernet.sampler.generator
    for fuse in supernet.exchange.aggregator.fuse.values():
        torch.nn.init.ones_(fuse[1].weight)  # otherwise no message has an effect before training
    with torch.no_grad():
        for layer in network.heads.values():
            layer.weight.mul_(100)
        selection.logits.normal_(generator=torch.Generator().manual_seed(5))
    callback.begin(trainer.run, 0)
    draws, crops = generator.get_state(), trainer.generator.get_state()
    before = {key: value.clone() for key, value in network.state_dict().items() if isinstance(value, torch.Tensor)}
    gradients = []
    callback.optimizer.step = lambda: gradients.append(selection.logits.grad.clone())
    callback.after_step(1)
    for key, value in before.items():  # neither weights nor statistics have learnt from these images
        assert torch.equal(value, network.state_dict()[key]) or "num_batches" in key, key
    assert all(parameter.grad is None for parameter in trainer.parameters)

    trainer.generator.set_state(crops)
    generator.set_state(draws)
    loader = training_loader(callback.held_out.images, trainer.settings.batch_size, trainer.seed, 0, 1, 0, False)
    batch = trainer.augment(next(iter(loader)), trainer.device)
    logits = selection.logits.detach().clone().requires_grad_()
    masked = logits.masked_fill(~selection.legal, float("-inf"))
    weights, active = masked.softmax(1), None
    if name == "gdas":
        uniform = torch.rand(logits.shape, generator=generator)
        soft = ((masked - (-uniform.log()).log()) / 10).softmax(1)
        index = soft.argmax(1, keepdim=True)
        weights = torch.zeros_like(soft).scatter(1, index, 1) + soft - soft.detach()
        blocks = selection.space.blocks
        active = {block: [i for i, k in enumerate(index.flatten()) if blocks[k] == block] for block in blocks}
    features, regions = network.features(batch.image)
    refined = supernet.exchange(features, regions, shrink(batch.valid, features), weights, active)
    predictions = network.predict(refined, batch.image.shape[2:])
    loss = 0
    for task, learned in trainer.tasks.items():
        loss = loss + trainer.weights[task] * learned.loss(predictions[task], batch.labels[task], batch.masks[task])
    (expected,) = torch.autograd.grad(loss, logits)
    assert expected.abs().max() > 1e-4  # where rounding does not count
    torch.testing.assert_close(gradients[0], expected, rtol=1e-2, atol=1e-6)


def test_held_out_images_never_train_the_weights(tmp_path):
    trainer, callback, _ = prepare(tmp_path, "darts")
    kept, out = trainer.recipe.dataset.splits["train"].indices, callback.held_out.images.indices
    assert sorted(kept + out) == list(range(6)) and kept and out


def test_gdas_computes_one_block_per_pair_at_the_published_temperatures():
    space = SearchSpace(("semseg", "depth", "edge"), SPACES["full"])
    supernet = gumbel_supernet(space, 8, torch.Generator().manual_seed(0), single_path=True)
    callback = BilevelCallback(supernet.sampler, GdasSettings(), SearchSettings(), 100, None)
    seen = []
    supernet.exchange.forward = lambda features, regions, valid, weights, active: seen.append((weights, active))
    for step in (0, 50, 99):
        callback.before_step(step)
        assert supernet.sampler.temperature == pytest.approx(10 - 9.9 * step / 100)
        supernet({"semseg": torch.zeros(1)}, {})
    for weights, active in seen:
        assert ((weights == 0) | (weights == 1)).all() and (weights.sum(1) == 1).all()
        drawn = [space.blocks[k] for k in weights.argmax(1)]
        assert {name: on for name, on in active.items() if on} == {
            name: [i for i, other in enumerate(drawn) if other == name] for name in drawn
        }
    assert len({str(active) for _, active in seen}) == 3


def test_gdas_needs_hardly_more_memory_than_a_single_network():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 13)
    space = SearchSpace(tuple(tasks), SPACES["full"])
    settings, conditions = small_network(channels=16), Conditions(4, 64, 96)
    needs = {}
    for name in ("darts", "gdas"):
        supernet = gumbel_supernet(space, 16, single_path=name == "gdas")
        network = MultiTaskNetwork(settings, tasks, supernet, supernet.exchange.region_tasks())
        needs[name] = search_memory(network, conditions)
    singles = []
    for block in space.blocks:
        uniform = Architecture.uniform(space.tasks, block, space.aggregator, space.normalize_messages)
        exchange = Exchange(uniform, 16)
        network = MultiTaskNetwork(settings, tasks, exchange, exchange.region_tasks())
        singles.append(step_peak(network.to("meta").train(), task_losses(tasks), conditions))
    assert needs["gdas"] < 0.8 * needs["darts"]
    assert needs["gdas"] < 1.3 * max(singles)


def test_no_block_is_favoured():
    space = SearchSpace(("semseg", "depth", "edge"), SPACES["full"])
    paths = FairPaths(space, torch.Generator().manual_seed(0))
    drawn = [paths.path() for _ in range(84)]  # a multiple of every pair's round
    orders = set()
    for i, pair in enumerate(space.pairs):
        legal = space.legal(pair)
        names = [space.blocks[path[i]] for path in drawn]
        rounds = [tuple(names[k : k + len(legal)]) for k in range(0, len(names), len(legal))]
        assert all(sorted(one) == sorted(legal) for one in rounds), pair
        orders.update(rounds)
    assert len(orders) > 50
    assert len({len(waiting) for waiting in paths.waiting}) == 1  # all rounds end together here
    paths.path()
    state = paths.state_dict()
    other = FairPaths(space, torch.Generator())
    other.load_state_dict(state)
    assert [paths.path() for _ in range(20)] == [other.path() for _ in range(20)]


def test_only_the_drawn_path_learns():
    space = SearchSpace(("semseg", "depth"), SPACES["full"])
    paths = FairPaths(space, torch.Generator())
    paths.path = lambda: [space.blocks.index("global")] * 4
    supernet = Supernet(space, 8, paths).train()
    features = {task: torch.randn(2, 8, 6, 6) for task in space.tasks}
    regions = {task: torch.randn(2, 4, 6, 6) for task in space.tasks}
    torch.stack([maps.square().sum() for maps in supernet(features, regions).values()]).sum().backward()
    learnt = {name.split(".")[2] for name, p in supernet.named_parameters() if p.grad is not None and "blocks" in name}
    assert learnt == {"global"}


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_writes_the_same_run(tmp_path, name):
    done = search("--output", tmp_path / "run", f"--search.strategy={name}", *few(name, 3))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for file in ("config.yaml", "architecture.yaml", "selection.csv", "choices.csv", "metrics.json"):
        assert (tmp_path / "run" / file).is_file(), file
    sums = {}
    for row in rows(tmp_path / "run"):
        key = (row["step"], row["target"], row["source"])
        sums[key] = sums.get(key, 0) + float(row["probability"])
    assert all(total == pytest.approx(1, abs=1e-5) for total in sums.values())
    last = {
        (row["target"], row["source"], row["block"]): float(row["probability"])
        for row in rows(tmp_path / "run")
        if row["step"] == "8"
    }
    exchanges = Architecture.load(tmp_path / "run/architecture.yaml").exchanges
    for pair, block in exchanges.items():
        assert last[*pair, block] == max(value for key, value in last.items() if key[:2] == pair)
    with (tmp_path / "run/choices.csv").open() as file:
        choices = list(csv.DictReader(file))
    assert {(c["target"], c["source"]): c["block"] for c in choices} == exchanges
    assert all(c["decided"] == "true" and c["probability"] == c["effect"] == "" for c in choices)
    assert (tmp_path / "run/samples.csv").is_file() == (name in SAMPLED)


def samples(folder):
    with (folder / "samples.csv").open() as file:
        return list(csv.DictReader(file))


def test_random_search_picks_the_best_of_its_samples(tmp_path):
    """Each sample's metrics are found again by a network of its own, fresh from the checkpoint."""
    arguments = ["--search.strategy=random", "--search.random.samples=4"]
    assert search("--output", tmp_path / "run", *arguments).returncode == 0
    table = samples(tmp_path / "run")
    assert len(table) == 5 and float(table[0]["score"]) == 0
    scores = []
    for row in table:
        context = context_of(tmp_path / "run", *arguments, resume=True)
        network = context.supernet(FairPaths(context.space, torch.Generator()))
        trainer = context.trainer(network)
        trainer.fit()
        exchanges = {pair: row[pair_name(pair)] for pair in context.space.pairs}
        network.exchange = network.exchange.exchange.extract(Architecture.from_space(context.space, exchanges))
        trainer.recalibrate(1)
        values = trainer.validate("val")
        assert values["semseg"]["mean_iou"] == float(row["semseg"])
        assert values["depth"]["rmse"] == float(row["depth"])
        iou, rmse = (float(table[0][task]) for task in ("semseg", "depth"))
        gain = (values["semseg"]["mean_iou"] - iou) / iou + (rmse - values["depth"]["rmse"]) / rmse
        scores.append((50 * gain, exchanges))
        assert float(row["score"]) == pytest.approx(50 * gain, rel=1e-4, abs=1e-5)
    best, exchanges = max(scores[1:], key=lambda pair: pair[0])
    assert Architecture.load(tmp_path / "run/architecture.yaml").exchanges == exchanges
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["selection"] == {"samples": 4, "best_score": pytest.approx(best)}


@pytest.mark.parametrize("name", ["darts", "evolution"])
def test_stopped_and_resumed_equals_never_stopped(tmp_path, monkeypatch, name):
    arguments = [f"--search.strategy={name}", *few(name, 5), "--training.checkpoint_every=3"]
    assert search("--output", tmp_path / "whole", *arguments).returncode == 0
    parts = ["--output", tmp_path / "parts", *arguments]
    with monkeypatch.context() as patch:  # in training, past the last checkpoint
        stop_at(patch, Callback if name == "evolution" else BilevelCallback, "after_step", 5)
        assert search(*parts).returncode == 130
    if name == "evolution":  # among the samples
        with monkeypatch.context() as patch:
            stop_at(patch, sampled, "primary_metrics", 4)
            assert search(*parts, "--resume").returncode == 130
        assert len(samples(tmp_path / "parts")) == 3
    with monkeypatch.context() as patch:
        evaluated = stop_at(patch, sampled, "primary_metrics", 99)
        assert search(*parts, "--resume").returncode == 0
    assert len(evaluated) == (3 if name == "evolution" else 0)  # of the reference and five samples
    files = ["architecture.yaml", "selection.csv", "choices.csv", *(["samples.csv"] if name == "evolution" else [])]
    for file in files:
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    tasks = [json.loads((tmp_path / part / "metrics.json").read_text())["tasks"] for part in ("parts", "whole")]
    assert tasks[0] == tasks[1]


def test_a_stopped_search_leaves_no_workers_behind(tmp_path):
    """They ignore the signal, so that an open loader of held-out images would keep the process waiting for ever."""
    few = ["--training.iterations=400", "--training.checkpoint_every=2", "--data.workers=1"]
    running = process("--output", tmp_path / "run", "--search.strategy=darts", *few)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "run/checkpoints/last.pt").is_file():
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGTERM)
    try:
        _, errors = running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130 and "--resume" in errors and "Traceback" not in errors


def stop_at(patch, owner, method, call):
    """Interrupts at this call of a method or function; the calls are listed."""
    calls, original = [], getattr(owner, method)

    def counting(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise Interrupted("stopped by the test")
        return original(*arguments)

    patch.setattr(owner, method, counting)
    return calls


def test_a_space_smaller_than_the_samples(tmp_path):
    small = ["--space.blocks=[none, xtam]", "--search.strategy=random", "--search.random.samples=20"]
    done = search("--output", tmp_path / "run", *small)
    assert done.returncode == 0, done.stderr
    assert len(samples(tmp_path / "run")) == 4  # two blocks on two pairs, none everywhere being the reference


def test_without_nni_the_others_work_and_its_three_name_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nni", None)
    monkeypatch.delitem(sys.modules, "supernet.strategies.nni_samplers", raising=False)
    for name in SAMPLED:
        assert_one_line(search("--output", tmp_path / name, f"--search.strategy={name}"), [name, "pip install 'nni>="])
        assert not (tmp_path / name).exists()
    assert search("--output", tmp_path / "darts", "--search.strategy=darts").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--search.strategy=dart"], ["'dart'", "nearest: 'darts'", *STRATEGIES]),
        (["--search.strategy=random", "--search.random.samples=0"], ["search.random.samples is 0"]),
        (["--search.strategy=tpe", "--search.noise_null=true"], ["search.noise_null", "tpe"]),
        (
            ["--search.strategy=gdas", "--search.gdas.validation_fraction=0.01"],
            ["validation_fraction is 0.01"],
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, parts):
    assert_one_line(search("--output", tmp_path / "run", *arguments), parts)


@pytest.mark.parametrize("name", STRATEGIES)
def test_conformance(tmp_path, name):
    check_strategy(STRATEGIES[name], tmp_path)


def test_every_strategy_has_its_group_of_settings():
    assert {*STRATEGIES, "branching"} == set(SETTINGS)  # which chooses no blocks
