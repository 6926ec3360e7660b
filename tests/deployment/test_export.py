"""crosstalk export: files that compute what the network computes, on images of any number and size."""

import pytest
import torch
from torch import Tensor

from crosstalk.__main__ import main
from deployment.export import exporting
from deployment.export.exporting import export
from deployment.export.formats import FORMATS, PACKAGES
from deployment.export.half import check_range
from deployment.export.modules import ExchangeAlone, WholeNetwork
from deployment.predictor import Predictor
from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from retrain.interface import Interface
from search_spaces import Architecture, Exchange
from tests.support.networks import small_network
from tests.support.refusals import one_line

NAMES = ("semseg", "depth")
PAIRS = [(target, source) for target in NAMES for source in NAMES]
SIZE = (32, 48)
ENCODER = {"backbone": "tests.deployment.test_predictor:Patches", "backbone_options": {}}  # quickly traced


def predictor(architecture=None, settings=None) -> Predictor:
    """A network of random weights and statistics."""
    torch.manual_seed(0)
    tasks = build_tasks(architecture.tasks if architecture else ["depth", "edge"], DataSettings(), 5)
    exchange = Exchange(architecture, 8, seed=0) if architecture else None
    regions = exchange.region_tasks() if exchange else ()
    built = MultiTaskNetwork(settings or small_network(**ENCODER), tasks, exchange, regions)
    built.train()(torch.rand(4, 3, *SIZE))  # statistics that are not those of the beginning
    for weight in built.parameters():
        weight.data.add_(0.02 * torch.randn(weight.shape))
    return Predictor(
        built, tasks, SIZE,
        Interface({n: t.channels for n, t in tasks.items()}, {n: t.region_count for n, t in tasks.items()}, {}, {}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    blocks = ("local", "global", "xtam", "none")
    return predictor(Architecture(NAMES, dict(zip(PAIRS, blocks))))


def photo(height=40, width=52) -> list[list[Tensor]]:
    return [[torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))]]


def test_what_the_files_give(model):
    whole = WholeNetwork(model)
    image = torch.randint(256, (2, 3, *SIZE), dtype=torch.uint8)
    scores, decoded = dict(zip(whole.outputs, whole(image / 255))), model.predict(image)
    torch.testing.assert_close(scores["semseg"].sum(1), torch.ones(2, *SIZE))
    assert torch.equal(scores["semseg"].argmax(1, keepdim=True), decoded["semseg"])
    torch.testing.assert_close(scores["depth"], decoded["depth"])


def test_a_file_that_computes_something_else_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "trace", lambda *_: None)

    def wrong(program, module, path, about):
        path.write_text("half")
        return lambda inputs: [one + (0.5 if i else 0) for i, one in enumerate(module(*inputs))]

    monkeypatch.setitem(FORMATS, "torch", wrong)
    with pytest.raises(InputError, match=r"the file's depth differs from the network's by 0\.5"):
        export(model, tmp_path / "file", "torch", photo())
    assert not list(tmp_path.iterdir())


def test_a_whole_network_as_onnx(tmp_path):
    """Run by onnxruntime on another number and size of images than it was traced with; the smallest that can be."""
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"ONNX needs {package}")
    small = predictor(Architecture(NAMES, dict(zip(PAIRS, ("none", "padnet_linear", "none", "none"))), "pad"))
    found = export(small, tmp_path / "found.onnx", "onnx", photo())
    assert set(found) == set(NAMES) and max(found.values()) < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["found.onnx"]


def test_activations_beyond_half_precision_are_named(model):
    whole = WholeNetwork(model, half=True)
    image = [whole.example(1, 32, 64)]
    assert "largest activation" in check_range(whole, image)
    for weight in whole.predictor.network.heads["depth"].parameters():
        weight.data.fill_(60000)
    with pytest.raises(InputError, match=r"predictor\.network\.heads\.depth reaches .*e\+0\d: expected at most 65504"):
        check_range(whole, image)
    whole.predictor.network.heads["depth"].weight.data.fill_(torch.inf)
    with pytest.raises(InputError, match=r"heads\.depth\.weight is beyond 65504"):
        check_range(whole, image)


def test_an_exchange_alone_takes_the_sizes_that_its_features_have():
    model = predictor(Architecture.uniform(NAMES, "xtam", "atrc"), small_network())
    alone = ExchangeAlone(model)
    features, _ = model.network.features(torch.zeros(1, 3, model.stride, model.stride))
    assert alone.stride == features["depth"].shape[2] == features["depth"].shape[3] == 8


def test_a_network_without_exchange_has_none_to_export():
    with pytest.raises(InputError, match="has no exchange of blocks"):
        ExchangeAlone(predictor())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--format=onnx", "--output=exists.onnx"], "'exists.onnx' exists"),
        (["--format=onnx", "--output=found.pt2"], "expected a file *.onnx"),
        (["--format=torch", "--output=found.pt2", "--fp16"], "--fp16 without --photos"),
        (["--format=tflite", "--output=found.pt2"], "unknown value of --format 'tflite'"),
        (["--format=torch", "--output=found.pt2"], "'runs/absent' does not exist"),
    ],
)
def test_command_lines_that_are_refused(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exists.onnx").touch()
    assert main(["export", "runs/absent", *arguments]) == 2
    assert expected in one_line(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["exists.onnx"]
