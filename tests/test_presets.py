"""The presets of the papers' rows: commands, full-size networks on the meta device, and a step at a reduced size."""

import re
import shlex
from dataclasses import replace

import pytest
import torch
import yaml
from lightning_fabric import Fabric

import retrain.command
import supernet.command
from analysis.measures.published import table_names
from benchmarks.presets import describe, models_of, network_of
from experiment.config import Config
from experiment.run import Run
from multitask.cost import parameter_count
from multitask.data import open_dataset
from multitask.training.recipe import Recipe
from multitask.training.trainer import Trainer
from retrain.baselines import baseline
from search_spaces import SearchSpace
from tests.support.pages import ROOT
from tests.support.published import WRITERS

PRESETS = sorted((ROOT / "configs/papers").glob("*.yaml"))
# {(preset, model): parameters, and how far they may be off}
PUBLISHED = {
    ("nyud_hrnet18", "multi_task"): (4_516_000, 1_000),  # ATRC, Table 1: 4.516 M
    ("vkitti2_densemtl", "uniform:xtam"): (111_006_564, 0),
    ("cityscapes_ladder", "joint"): (26_756_996, 0),
    ("cityscapes_ladder", "branched"): (32_183_220, 0),
    ("cityscapes_ladder", "distillation"): (36_949_960, 0),
    ("cityscapes_ladder", "distillation, edge"): (43_558_137, 0),
    ("cityscapes_ladder", "distillation, normals"): (43_562_747, 0),
}
EXPECTED = {preset: {key[1] for key in PUBLISHED if key[0] == preset} for preset, _ in PUBLISHED}


def lines(path):
    """The commands at a preset's head: [(script, {option: value})]."""
    split = [shlex.split(line)[2:] for line in path.read_text().splitlines() if line.startswith("#   python ")]
    return [(script, dict(zip(options[::2], options[1::2], strict=True))) for script, *options in split]


def commands(path, folder):
    """[(model, configuration, output)] of the commands; making their parsers would take most of the tests' time."""
    found = []
    for script, options in lines(path):
        assert options.pop("--config") == f"configs/papers/{path.name}"
        output, model = options.pop("--output"), options.pop("--baseline", None)
        architecture = options.pop("--architecture", None)
        assert script == ("retrain.py" if model or architecture else "search.py") and not (model and architecture)
        content = yaml.safe_load(path.read_text())
        for option, value in options.items():
            group, key = option.removeprefix("--").split(".")
            content[group][key] = yaml.safe_load(value)
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
        config = Config.load(folder / "config.yaml")
        if config.network.branches is not None:
            tree = from_preset(path, config)
            config = replace(config, network=replace(config.network, branches=tree))
        found.append((model or (f"of {architecture}" if architecture else "search"), config, output))
    return found


def from_preset(path, config):
    """A tree for the one that a former command finds: tasks part halfway, two remain together."""
    assert config.network.branches == f"runs/{path.stem}/tree/branching.yaml"
    assert f"--output runs/{path.stem}/tree\n" in path.read_text()
    first, second, *others = config.data.tasks
    parted = [[first, second], *([task] for task in others)]
    return [[config.data.tasks]] * 8 + [parted] * 8  # the residual blocks of a ResNet-50


@pytest.fixture(scope="module", params=PRESETS, ids=lambda path: path.stem)
def preset(request, tmp_path_factory):
    return request.param, commands(request.param, tmp_path_factory.mktemp("configuration"))


def test_a_preset_opens_with_its_commands_and_figures(preset):
    path, trained = preset
    text = path.read_text()
    head = text[: text.index("\ndata:")]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"make paper ROW={path.stem} " in head
    assert "Estimated by `python -m benchmarks.presets`" in head and "Deviations: " in head
    assert re.search(r"so [\d.]+ hours on a GPU of [\d.]+ TFLOP/s", head)
    assert re.search(r"memory of a step [\d.]+ GiB \(multi_task\)", head)
    published = head[head.index("\n# Published") :]
    named = [text.split()[0].strip("`.,):") for text in head.split("--published ")[1:]]
    assert set(named) <= set(table_names())  # each of which names its source
    assert named or "among the figures that" in published, "scores with their source, or that there are none"
    outputs = [output for _, _, output in trained]
    assert len(set(outputs)) == len(outputs) > 1
    assert all(output.startswith(f"runs/{path.stem}/") for output in outputs)
    assert {name for name, _, _ in trained if not name.startswith("of ")} == set(models_of(text))
    for name, config, _ in trained:
        assert config.data.root == "ROOT"
        if name.startswith("of "):
            assert name == f"of runs/{path.stem}/search/architecture.yaml" and f"runs/{path.stem}/search" in outputs


def test_the_scripts_parse_such_commands(monkeypatch):
    """The longest one, and a search."""
    called = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("supernet.search.search", lambda config, *others: called.append((config, others)))
    monkeypatch.setattr("retrain.retraining.retrain", lambda config, *others: called.append((config, others)))
    ladder, atrc = (ROOT / f"configs/papers/{name}.yaml" for name in ("cityscapes_ladder", "nyud_hrnet18"))
    for main, (_, options) in ((retrain.command, lines(ladder)[-1]), (supernet.command, lines(atrc)[0])):
        main.run([part for pair in options.items() for part in pair])
    (config, others), (searched, _) = called
    assert others == (None, "distillation", "runs/cityscapes_ladder/9_normals", [0], False)
    assert config.network.source_only == ["normals"] and config.data.classes == 19
    assert searched.search.strategy == "gumbel" and searched.data.root == "ROOT"


def test_its_networks_are_built_at_full_size(preset):
    path, trained = preset
    counted = set()
    for name, config, _ in trained:
        if name == "single_task" or name.startswith("of "):
            continue
        parameters = parameter_count(network_of(config, name))
        if name == "multi_task" and config.network == Config.load(path).network:
            assert f"multi_task has {parameters / 1e6:.2f} M parameters" in path.read_text()
        label = ", ".join([name, *config.network.source_only])
        if (path.stem, label) in PUBLISHED:
            count, tolerance = PUBLISHED[path.stem, label]
            assert abs(parameters - count) <= tolerance, label
            counted.add(label)
    assert counted == EXPECTED.get(path.stem, set())


@pytest.fixture
def quick_weights(monkeypatch):
    """Small random weights that repeat: of a hundred million, drawing each takes longer than the step."""
    noise = torch.randn(2**16, generator=torch.Generator().manual_seed(0)) / 30

    def fill(tensor, *_, **__):
        if not tensor.is_meta:
            for part in tensor.detach().view(-1).split(len(noise)):
                part.copy_(noise[: len(part)])
        return tensor

    for name in ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, fill)


def test_a_step_is_trained_at_a_reduced_size(preset, quick_weights, tmp_path):
    """With the encoder, decoder and exchange of the preset's last command; random blocks where it searches."""
    _, trained = preset
    name, config, _ = next(one for one in reversed(trained) if one[0] != "multi_task")
    if any(one[0] == "search" for one in trained):
        name = "random"
    elif name == "single_task":
        name = "multi_task"
    WRITERS[config.data.name](tmp_path / "data")
    data = replace(config.data, root=str(tmp_path / "data"), height=64, width=64, workers=0)
    dataset = open_dataset(data)
    training = replace(config.training, iterations=1, batch_size=2)
    recipe = Recipe.from_config(
        replace(config, data=data, training=training), dataset, Fabric(accelerator="cpu", devices=1)
    )
    model = baseline(name, SearchSpace.from_settings(config.space, tuple(dataset.tasks)), 0)
    network = model.build(replace(config.network, pretrained=False), dataset.tasks)
    before = {key: parameter.detach().clone() for key, parameter in network.named_parameters()}
    trainer = Trainer(network, recipe, Run(tmp_path / "run", {"seed": 0}, False), 0, quiet=True)
    sample = next(iter(trainer.loader(dataset.splits["train"], 0, 1)))
    losses = trainer.train_step(trainer.augment(sample, trainer.device))  # fit() would write a gigabyte
    assert all(loss.isfinite() for loss in losses.values()) and {"loss", *dataset.tasks} <= losses.keys()
    moved = [key for key, parameter in network.named_parameters() if not torch.equal(parameter, before[key])]
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    for part in ("encoder", "decoder", "heads"):
        assert any(key.startswith(part) for key in moved), part
    assert network.exchange is None or any(key.startswith("exchange") for key in moved)


def test_the_estimate_at_a_head_is_what_the_command_prints():
    path = ROOT / "configs/papers/scenenet_fission.yaml"
    text = path.read_text()
    assert "\n".join(describe(Config.load(path), models_of(text))) in text
