"""The presets of the papers' rows: full-size networks on the meta device, and a step at a reduced size."""

from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric

from analysis.measures.published import table_names
from experiment.config import Config
from experiment.run import Run
from multitask.cost import parameter_count
from multitask.data import FILES, open_dataset
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from search_spaces import Architecture, Exchange, SearchSpace
from tests.support.networks import small_network
from tests.support.pages import ROOT
from tests.support.published import WRITERS

PRESETS = sorted((ROOT / "configs/papers").glob("*.yaml"))
# {preset: (block on every pair, or none, parameters, how far they may be off)}
PUBLISHED = {
    "nyud_hrnet18": (None, 4_516_000, 1_000),  # ATRC, Table 1: 4.516 M
    "vkitti2_densemtl": ("xtam", 111_006_564, 0),
}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_opens_with_its_commands_and_builds_its_network(path):
    text, config = path.read_text(), Config.load(path)
    head = text[: text.index("\ndata:")]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"--config configs/papers/{path.name}" in head and f"make paper ROW={path.stem} " in head
    assert "Estimated, not measured" in head and "hours" in head and "Published" in head
    named = [text.split()[0].strip("`.,):") for text in head.split("--published ")[1:]]
    assert set(named) <= set(table_names())
    tasks = build_tasks(config.data.tasks, config.data, len(FILES[config.data.name].class_names(config.data)))
    block, count, tolerance = PUBLISHED.get(path.stem, (None, None, 0))
    with torch.device("meta"):
        exchange = None
        if block is not None:
            space = SearchSpace.from_settings(config.space, tuple(tasks))
            plan = Architecture.uniform(tuple(tasks), block, space.aggregator, space.normalize_messages)
            exchange = Exchange(plan, channels=128)
        network = MultiTaskNetwork(replace(config.network, pretrained=False), tasks, exchange)
    found = parameter_count(network)
    assert f"{parameter_count(network) / 1e6:.2f} M" in head or exchange is not None
    assert count is None or abs(found - count) <= tolerance


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_trains_a_step_at_a_reduced_size(path, tmp_path):
    config = Config.load(path)
    WRITERS[config.data.name](tmp_path / "data")
    data = replace(config.data, root=str(tmp_path / "data"), height=64, width=64, workers=0)
    dataset = open_dataset(data)
    training = replace(config.training, iterations=1, batch_size=2)
    recipe = Recipe.from_config(
        replace(config, data=data, training=training), dataset, Fabric(accelerator="cpu", devices=1)
    )
    network = MultiTaskNetwork(replace(small_network(), decoder=config.network.decoder), dataset.tasks)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    Trainer(network, recipe, Run(tmp_path / "run", {"seed": 0}, False), 0, quiet=True).fit()
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(network.parameters(), before))
