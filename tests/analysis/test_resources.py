"""Costs of architectures: sums, published formulas, the command."""

import csv
import io
import json

import pytest
import yaml
from PIL import Image

from analysis.commands.resources import candidates
from analysis.measures.costs import resources
from multitask.cost import multiply_adds, parameter_count
from multitask.data import open_dataset
from retrain.model import Model
from search_spaces import Architecture
from supernet.records.costs import Cost, CostTable
from tests.support.mixed import MIXED, PIXELS, REGIONS, SETTINGS, TASKS, C, D, architecture
from tests.support.networks import TINY
from tests.support.results import analyse, metrics, write_run
from tests.support.results import refusal as refused


@pytest.mark.parametrize("aggregator", ["atrc", "mteb", "pad"])
def test_parts_add_up_to_the_network(aggregator):
    plan = architecture(aggregator, **MIXED)
    found = resources(plan, SETTINGS)
    assert sum(found.pairs.values(), found.aggregator) == found.exchange
    assert found.exchange + sum(found.auxiliary.values(), found.host) == found.network
    assert sum((cost for _, cost in found.blocks().values()), found.aggregator) == found.exchange

    tasks = open_dataset(SETTINGS.data).tasks
    network = Model("", plan).build(SETTINGS.network, tasks)
    assert found.network == Cost(multiply_adds(network, 32, 32), parameter_count(network))
    assert found.exchange.parameters == parameter_count(network.exchange)
    host = Model("").build(SETTINGS.network, tasks)
    assert found.host == Cost(multiply_adds(host, 32, 32), parameter_count(host))
    assert set(found.auxiliary) == {"depth", "edge"}


def test_published_formulas():
    """SPEC: parameters 3Cd + 2d^2 + 10d, and 2d of the norm behind it; multiply-adds as written there."""
    plan = architecture(semseg={"depth": "global"}, depth={"edge": "xtam"}, edge={"depth": "padnet_gate"})
    found = resources(plan, SETTINGS).pairs
    assert found["semseg", "depth"] == Cost(PIXELS * (3 * C * D + 4 * D * D + D), 3 * C * D + 2 * D * D + 12 * D)
    gate = 2 * 9 * C * C + C * D  # the message is narrowed to d channels
    assert found["edge", "depth"] == Cost(PIXELS * gate, gate + 4 * D)
    assert found["depth", "edge"].multiply_adds == (
        PIXELS * (18 * C * C + 1.5 * C * D) + PIXELS / 4 * 3 * C * C + 2 * C * (PIXELS / 4) ** 2
    )
    empty = {pair: cost for pair, cost in found.items() if plan.exchanges[pair] == "none"}
    assert len(empty) == 6 and set(empty.values()) == {Cost()}


def test_shared_prototypes_are_divided_evenly():
    def label(count, source):
        """One of `count` pairs that read the same prototypes."""
        regions = REGIONS[source]
        own = PIXELS * (C * D + D * D + 2 * regions * D) + regions * (2 * C * D + D * D)
        return own + PIXELS * regions * C / count

    found = resources(architecture(semseg={"depth": "s_label"}), SETTINGS).pairs
    assert found["semseg", "depth"].multiply_adds == label(1, "depth")
    found = resources(architecture(semseg={"depth": "s_label"}, edge={"depth": "s_label"}), SETTINGS).pairs
    assert found["semseg", "depth"].multiply_adds == found["edge", "depth"].multiply_adds == label(2, "depth")
    mixed = resources(architecture(**MIXED), SETTINGS).pairs
    of_edge = [mixed[target, "edge"].multiply_adds for target in TASKS]
    assert of_edge == pytest.approx([label(3, "edge")] * 3, abs=1)  # whole numbers


@pytest.fixture
def run(tmp_path):
    """As a search leaves it, with the groups that are not read here."""
    folder = tmp_path / "run"
    architecture(**MIXED).save(folder / "architecture.yaml")
    data = {"height": 32, "width": 32, "tasks": list(TASKS), "train_images": 2, "test_images": 2}
    network = {**TINY, "channels": C}
    config = {
        "data": data,
        "network": network,
        "space": {"name": "full"},
        "search": {"gumbel": {"fix_gap": 0.3}},
        "seed": 0,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def printed(capsys, *argv):
    return analyse(capsys, "resources", *argv).out


def test_formats_hold_the_same(run, tmp_path, capsys):
    expected = resources(architecture(**MIXED), SETTINGS)
    (found,) = json.loads(printed(capsys, run, "--format", "json"))
    for (target, source), cost in expected.pairs.items():
        entry = found["pairs"][target][source]
        assert Cost(entry["multiply_adds"], entry["parameters"]) == cost and entry["block"] == MIXED[target][source]
    assert found["blocks"]["s_label"]["pairs"] == 3

    text = printed(capsys, run, "--format", "csv", "--output", tmp_path / "out")
    assert (tmp_path / "out/resources.csv").read_text() == text
    lines = list(csv.DictReader(io.StringIO(text)))
    sums = {part: [line for line in lines if line["part"] == part] for part in ("pair", "block", "auxiliary")}
    for column in ("parameters", "multiply_adds"):
        total = {part: sum(int(line[column]) for line in chosen) for part, chosen in sums.items()}
        single = {line["part"]: int(line[column]) for line in lines if line["part"] not in sums}
        assert total["pair"] == total["block"] == single["exchange"] - single["aggregator"]
        assert single["network"] == single["host"] + single["exchange"] + total["auxiliary"]

    table = [line.split() for line in printed(capsys, run).splitlines()]
    cost = expected.pairs["depth", "edge"]
    assert ["depth", "<-", "edge", "s_label", f"{cost.parameters:,}", f"{cost.multiply_adds:,}"] in table
    host = expected.host
    row = f"| host: encoder, decoder and heads | {host.parameters:,} | {host.multiply_adds:,} |"
    assert row in printed(capsys, run, "--format", "markdown")


def test_a_config_of_ones_own_decides_the_sizes(run, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": {"tasks": list(TASKS), "height": 64, "width": 96}}))
    (own,) = json.loads(printed(capsys, run, "--config", tmp_path / "mine.yaml", "--format", "json"))
    assert (own["height"], own["width"], own["channels"]) == (64, 96, 240)  # resnet18


COSTS = """target,source,block,multiply_adds,parameters,latency
,,none,100,10,0.001
a,,any,20,2,0
b,,any,20,2,0
a,a,none,0,0,0
a,a,local,1000,7,0.002
a,b,none,0,0,0
a,b,local,1500,7,0.004
a,b,xtam,4000,50,0.0005
b,a,none,0,0,0
b,a,xtam,5000,50,0.0015
b,b,none,0,0,0
"""


def test_costs_of_all_blocks_by_hand(run, tmp_path, capsys):
    (tmp_path / "costs.csv").write_text(COSTS)
    chosen = {("a", "a"): "local", ("a", "b"): "xtam", ("b", "a"): "none", ("b", "b"): "none"}
    table = candidates(CostTable.read(tmp_path / "costs.csv"), chosen)
    assert table.header == ["block", "chosen", "multiply-adds", "parameters", "latency, ms"]
    assert table.rows == [
        ["local", "1", "1,000 to 1,500", "7", "2.000 to 4.000"],
        ["xtam", "1", "4,000 to 5,000", "50", "0.500 to 1.500"],
        ["overhead per target", "1", "20", "2", "0.000"],
        ["no exchange at all", "", "100", "10", "1.000"],
        ["the chosen exchange", "", "5,120", "69", "3.500"],  # 100 + 20 + 1000 + 4000
    ]
    (run / "costs.csv").write_text(COSTS)
    assert "costs.csv" in refused(capsys, "resources", run)  # of other tasks
    lines = ["target,source,block,multiply_adds,parameters,latency", ",,none,100,10,0.001"]
    lines += [f"{t},,any,1,1,0" for t in TASKS]
    lines += [f"{t},{s},{block},7000,9,0" for t, row in MIXED.items() for s, block in row.items()]
    (run / "costs.csv").write_text("\n".join(lines))
    assert f"{100 + 3 + 9 * 7000:,}" in printed(capsys, run) and "63,103" not in printed(capsys, run, "--format", "csv")


def test_delta_m_is_drawn_against_the_costs(run, tmp_path, capsys):
    single = write_run(tmp_path / "single", metrics(model="single_task"), metrics(0.41, model="single_task"))
    models = [
        write_run(tmp_path / name, metrics(0.5, model=name, parameters=p)) for name, p in (("a", 10**6), ("b", 10**7))
    ]
    printed(capsys, run, "--output", tmp_path / "out", "--baseline", single, *models)
    with Image.open(tmp_path / "out/delta_m_by_cost.png") as figure:
        colours = {colour for _, colour in figure.convert("RGB").getcolors(maxcolors=10**6)}
    points = [tuple(bytes.fromhex(code)) for code in ("1f77b4", "ff7f0e", "2ca02c", "d62728")]
    assert [point in colours for point in points] == [True, True, True, False]  # the baseline and two models


def test_refusals(run, tmp_path, capsys):
    def refusal(*argv):
        return refused(capsys, "resources", *argv)

    architecture().save(tmp_path / "alone.yaml")
    assert "no config.yaml beside" in refusal(tmp_path / "alone.yaml")
    config = tmp_path / "config.yaml"
    for text, parts in (
        ("data: {tasks: [semseg, depth]}", ["is for the tasks", "['semseg', 'depth']"]),
        ("data: {heigth: 3}", ["'data.heigth'", "nearest: 'data.height'"]),
        ("data: {height: many}", ["config.yaml", "many"]),
        ("data: 3", ["data", "3"]),
        ("space: {name: fulll}\ndata: {tasks: [semseg, depth, edge]}", ["'fulll'", "nearest: 'full'"]),
    ):
        config.write_text(text)
        message = refusal(tmp_path / "alone.yaml", "--config", config)
        assert all(part in message for part in parts), message
    assert "--output" in refusal(run, "--baseline", tmp_path, tmp_path)
    assert "MODEL_DIR" in refusal(run, "--output", tmp_path / "out", "--baseline", tmp_path)
    assert "is a file" in refusal(run, "--output", config)
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_whole_networks_by_name(run, capsys):
    """A 1x1 convolution of PAD-Net A by hand: N^2 C^2 multiply-adds a pixel, a norm of two and a ReLU of one each."""
    names = ["single_task", "multi_task", "padnet_a", "uniform:global"]
    found = json.loads(printed(capsys, "--networks", *names, "--config", run / "config.yaml", "--format", "json"))
    single, multi, padnet, uniform = found
    tasks = open_dataset(SETTINGS.data).tasks
    network = Model("").build(SETTINGS.network, tasks)
    assert (multi["parameters"], multi["multiply_adds"]) == (parameter_count(network), multiply_adds(network, 32, 32))
    assert multi["exchange"] == {"parameters": 0, "multiply_adds": 0}
    encoder = parameter_count(network.encoder)
    assert single["parameters"] == multi["parameters"] + 2 * encoder
    assert padnet["exchange"] == {"parameters": 9 * C * C + 3 * 2 * C, "multiply_adds": PIXELS * 9 * C * C}
    added = [one["multiply_adds_elementwise"] - one["multiply_adds"] for one in (padnet, multi)]
    assert added[0] - added[1] == PIXELS * 3 * C * (2 + 1)
    expected = resources(Architecture.uniform(TASKS, "global"), SETTINGS)
    assert uniform["exchange"]["multiply_adds"] == expected.exchange.multiply_adds
    text = printed(capsys, "--networks", "mtan", "--config", run / "config.yaml")
    assert "mtan" in text and "with biases" in text
    assert "expected --config FILE" in refused(capsys, "resources", "--networks", "mtan")
    assert "mtan" in refused(capsys, "resources", "--networks", "mtam", "--config", run / "config.yaml")
    assert "no RUN is given" in refused(capsys, "resources")
