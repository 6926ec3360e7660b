"""A search at several scales: its costs and budget, its files, its resuming, and retraining what it finds."""

import csv
import itertools
import json

import pytest
import torch

from analysis.__main__ import main as analysis
from analysis.measures.costs import resources
from experiment.config import Config, DataSettings, NetworkSettings, SpaceSettings
from experiment.errors import InputError
from multitask.cost import operations, parameter_count
from multitask.network import MultiTaskNetwork, exchange_channels, exchange_size
from multitask.tasks import build_tasks
from search_spaces import Architecture, SearchSpace, build_exchange
from supernet.cost.budget import Budget, choose
from supernet.cost.table import cost_table
from supernet.records.choices import Choice, read_choices, write_choices
from supernet.records.costs import CostTable
from supernet.records.effects import MeasuredEffect, read_effects, write_effects
from tests.support.commands import assert_one_line, search
from tests.support.killing import differences
from tests.support.retraining import retrain

TASKS, SCALES = ("semseg", "depth"), (0, 1)
BLOCKS = ("none", "global", "padnet_linear", "s_label")
CHANNELS, SIZES, REGIONS = {0: 6, 1: 8}, {0: (4, 6), 1: (2, 3)}, {"semseg": 5, "depth": 4}
SPACE = SearchSpace(TASKS, BLOCKS, scales=SCALES)
OPTIONS = ["--network.decoder=fpm", "--space.scales=[0, 2]", "--space.blocks=[none, global, padnet_linear]"]
OPTIONS += ["--training.iterations=4", "--training.checkpoint_every=2"]


@pytest.fixture(scope="module")
def table():
    return cost_table(SPACE, CHANNELS, SIZES, REGIONS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scales") / "run"
    done = search("--output", folder, *OPTIONS)
    assert done.returncode == 0, done.stderr
    return folder


def test_costs_are_those_of_each_scale(table):
    """By the formula of a 1x1 convolution, d C per pixel, with its part d C of the fusing one; and as the module counts
    for architectures in which no prototypes are shared.
    """
    for scale in SCALES:
        pixels, c = SIZES[scale][0] * SIZES[scale][1], CHANNELS[scale]
        row = table.rows[f"semseg@{scale}", f"depth@{scale}"]
        assert row["padnet_linear"].multiply_adds == pixels * 2 * c * (c // 2)
        assert table.overheads[f"depth@{scale}"].multiply_adds == pixels * c * c
    assert table.base.multiply_adds == sum(2 * SIZES[s][0] * SIZES[s][1] * CHANNELS[s] ** 2 for s in SCALES)
    features = {s: {t: torch.empty(1, CHANNELS[s], *SIZES[s], device="meta") for t in TASKS} for s in SCALES}
    regions = {s: {t: torch.empty(1, REGIONS[t], *SIZES[s], device="meta") for t in TASKS} for s in SCALES}
    for exchanges in (
        dict.fromkeys(SPACE.pairs, "none"),
        {pair: "s_label" if pair == ("depth@1", "semseg@1") else "none" for pair in SPACE.pairs},
        {pair: BLOCKS[i % 3] for i, pair in enumerate(SPACE.pairs)},
    ):
        module = build_exchange(Architecture.from_space(SPACE, exchanges), CHANNELS).eval().to("meta")
        total = table.total(exchanges)
        assert total.parameters == parameter_count(module)
        assert total.multiply_adds == operations(module, features, regions)


def test_one_budget_holds_for_all_scales(table):
    """The best of all architectures, one by one; the expected cost is their mean."""
    small = SearchSpace(TASKS[:1], ("none", "global", "padnet_linear"), scales=(0, 1, 2))
    sizes, channels = {**SIZES, 2: (1, 2)}, {**CHANNELS, 2: 4}
    costs = cost_table(small, channels, sizes, REGIONS).costs("multiply_adds")
    values = {p: {"none": 0.0, "global": 1.0 + i, "padnet_linear": 0.8} for i, p in enumerate(small.pairs)}
    every = [dict(zip(small.pairs, names)) for names in itertools.product(small.blocks, repeat=len(small.pairs))]
    for share in (0.3, 0.6, 0.9):
        limit = costs.base + share * (max(map(costs.total, every)) - costs.base)
        worth = [sum(values[p][name] for p, name in plan.items()) for plan in every if costs.total(plan) <= limit]
        found = choose(values, costs, limit)
        assert sum(values[p][name] for p, name in found.items()) == pytest.approx(max(worth))
        assert costs.total(found) <= limit
    p = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    chances = [torch.stack([p[i, small.blocks.index(n)] for i, n in enumerate(plan.values())]).prod() for plan in every]
    mean = sum(float(chance) * costs.total(plan) for chance, plan in zip(chances, every))
    assert Budget(small, costs, 1.0).expected(p).item() == pytest.approx(mean, rel=1e-5)


def test_records_have_a_column_of_scales_only_where_there_are_several(table, tmp_path):
    choices = {pair: Choice("global", 0.9, True, 1.0, (0.5, 1.5)) for pair in SPACE.pairs}
    effects = {(pair, "global"): MeasuredEffect(1.0, 0.5, 0.9, 0.1, 1.6, 0.75) for pair in SPACE.pairs}
    write_choices(tmp_path / "choices.csv", choices)
    write_effects(tmp_path / "effects.csv", effects)
    table.write(tmp_path / "costs.csv")
    assert read_choices(tmp_path / "choices.csv") == choices and read_effects(tmp_path / "effects.csv") == effects
    assert CostTable.read(tmp_path / "costs.csv") == table
    text = (tmp_path / "choices.csv").read_text().splitlines()
    assert text[0].endswith(",decided,scale") and text[5] == "semseg,semseg,global,1.0000,0.5000,1.5000,0.9000,true,1"
    (tmp_path / "choices.csv").write_text("\n".join([text[0], text[5][:-1] + "x"]) + "\n")
    with pytest.raises(InputError, match="scale is 'x': expected a whole number"):
        read_choices(tmp_path / "choices.csv")
    write_choices(tmp_path / "choices.csv", {("semseg", "depth"): Choice("none")})
    assert (
        (tmp_path / "choices.csv").read_text().startswith("target,source,block,effect,effect_low,effect_high,probabi")
    )
    assert "scale" not in (tmp_path / "choices.csv").read_text()


def test_a_run_has_every_pair_at_every_scale(run):
    architecture = Architecture.load(run / "architecture.yaml")
    assert architecture.scales == (0, 2)
    choices = read_choices(run / "choices.csv")
    assert {pair: choice.block for pair, choice in choices.items()} == architecture.exchanges
    with (run / "selection.csv").open() as file:
        rows = list(csv.DictReader(file))
    last = [row for row in rows if row["step"] == "4"]
    assert {row["scale"] for row in last} == {"0", "2"} and len(last) == 2 * 4 * 3
    cost = json.loads((run / "metrics.json").read_text())["exchange_cost"]["value"]
    assert cost == CostTable.read(run / "costs.csv").costs("multiply_adds").total(architecture.exchanges)


def test_stopped_and_resumed_equals_never_stopped(run, tmp_path, monkeypatch):
    """Stopped where all is trained up to step 2 and nothing is evaluated."""
    from multitask.training.trainer import Trainer

    class Stopped(Exception):
        pass

    def step(trainer, batch, train=Trainer.train_step):
        if trainer.step == 3:
            raise Stopped
        return train(trainer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", step)
        with pytest.raises(Stopped):
            search("--output", tmp_path / "run", *OPTIONS)
    assert search("--output", tmp_path / "run", *OPTIONS, "--resume").returncode == 0
    assert differences(run, tmp_path / "run") == []


def test_what_is_found_and_a_baseline_are_retrained_and_analysed(run, tmp_path, capsys):
    options = [*OPTIONS, "--training.iterations=1"]
    for name, model in (
        ("found", ["--architecture", run / "architecture.yaml"]),
        ("uniform", ["--baseline", "uniform:global"]),
    ):
        done = retrain("--output", tmp_path / name, *model, *options)
        assert done.returncode == 0, done.stderr
        held = Architecture.load(tmp_path / name / "seed_0/architecture.yaml")
        assert held.scales == (0, 2)
        metrics = json.loads((tmp_path / name / "seed_0/metrics.json").read_text())
        counted = resources(held, Config.load(tmp_path / name / "seed_0/config.yaml"))
        assert metrics["multiply_adds"] == counted.network.multiply_adds
        assert metrics["parameters"] == counted.network.parameters
        parts = sum(cost.multiply_adds for cost in counted.pairs.values()) + counted.aggregator.multiply_adds
        assert parts == counted.exchange.multiply_adds > 0
    capsys.readouterr()
    analysis(["proportions", str(tmp_path / "uniform"), "--format", "json"])
    shares = json.loads(capsys.readouterr().out)
    assert shares["by_scale"] == {"0": {"global": 1.0}, "2": {"global": 1.0}}
    assert shares["by_pair"]["depth@2"] == {"semseg@2": {"global": 1.0}, "depth@2": {"global": 1.0}}
    analysis(["agreement", str(run), str(tmp_path / "uniform"), "--format", "json"])
    agreed = json.loads(capsys.readouterr().out)
    blocks = read_choices(run / "choices.csv")
    for scale in ("0", "2"):
        same = [choice.block == "global" for pair, choice in blocks.items() if pair[0].endswith(scale)]
        assert agreed[f"scale_{scale}"]["agreement_percent"] == pytest.approx(100 * sum(same) / 4)
    analysis(["report", str(run), "--output", str(tmp_path / "report.html")])
    page = (tmp_path / "report.html").read_text()
    assert "Scale 0" in page and "Scale 2" in page


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--search.strategy=evidence", "--network.decoder=fpm"], ["[0, 2]", "evidence", "gumbel"]),
        (["--network.decoder=concat"], ["[0, 2]", "concat", "fpm"]),
        (["--network.decoder=mti_net"], ["[0, 2]", "mti_net", "fpm"]),
        (["--network.decoder=fpm", "--network.encoders=per_task"], ["[0, 2]", "shared"]),
        (["--network.decoder=fpm", "--space.scales=[0, 9]"], ["[0, 9]", "0 to 3"]),
        (["--network.decoder=fpm", "--space.scales=[]"], ["space.scales is []"]),
    ],
)
def test_what_knows_one_scale_says_so_in_one_line(options, parts, tmp_path):
    done = search("--output", tmp_path / "run", "--space.scales=[0, 2]", *options)
    assert_one_line(done, parts)
    assert not (tmp_path / "run").exists()


def test_scale_0_alone_is_the_exchange_behind_the_decoder():
    for scales, expected in (([0], ()), ([1], (1,)), ([2, 0], (0, 2))):
        assert SearchSpace.from_settings(SpaceSettings(scales=scales), TASKS).scales == expected


def test_the_network_refines_the_scales_before_they_are_joined():
    """Against the decoder's own parts, called one after another."""
    settings = NetworkSettings(backbone="test_resnet", decoder="fpm", channels=8)
    tasks = build_tasks(list(TASKS), DataSettings(), 5)
    architecture = Architecture.uniform(TASKS, "s_label", "mteb", scales=(0, 2))
    exchange = build_exchange(architecture, exchange_channels(settings, (0, 2)), seed=0)
    network = MultiTaskNetwork(settings, tasks, exchange, exchange.region_tasks()).eval()
    image, valid = torch.randn(2, 3, 36, 44), torch.rand(2, 1, 36, 44) > 0.3
    outputs = network(image, valid)
    decoder, maps = network.decoder, network.encoder(image)
    features = dict(enumerate(decoder.pyramids(maps)[0]))
    shared = torch.cat([torch.nn.functional.interpolate(m, maps[0].shape[2:], mode="bilinear") for m in maps], 1)
    logits = {task: network.auxiliary_heads[task](shared) for task in TASKS}
    sizes = exchange_size(settings, 36, 44, (0, 2))
    for scale, part in exchange.by_scale.items():
        own = {t: torch.nn.functional.interpolate(m, sizes[scale], mode="bilinear") for t, m in logits.items()}
        mask = torch.nn.functional.interpolate(valid.float(), sizes[scale]).bool()
        assert features[scale]["depth"].shape[1:] == (part.channels, *sizes[scale])
        features[scale] = part(features[scale], own, mask)
    for task in TASKS:
        scales = [features[scale][task] for scale in features]
        joined = torch.cat(
            [torch.nn.functional.interpolate(m, scales[0].shape[2:], mode="bilinear") for m in scales], 1
        )
        raw = network.heads[task](decoder.parts[task]["join"](joined))
        expected = torch.nn.functional.interpolate(raw, (36, 44), mode="bilinear")
        torch.testing.assert_close(outputs.predictions[task], expected, rtol=1e-4, atol=1e-5)
    assert set(outputs.auxiliary) == set(TASKS)
