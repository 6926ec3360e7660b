"""network.init_from: what a new network takes of another's checkpoint."""

import pytest
import torch

from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from tests.support.networks import small_network

BOTH = build_tasks(["normals", "semseg"], DataSettings(), 5)
NORMALS = {"normals": BOTH["normals"]}


@pytest.fixture
def checkpoint(tmp_path):
    def save(decoder: str) -> str:
        network = MultiTaskNetwork(small_network(decoder=decoder), NORMALS, seed=7)
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        torch.save({"network": network.state_dict()}, tmp_path / "checkpoints" / "best.pt")
        return str(tmp_path)

    return save


@pytest.mark.parametrize(("decoder", "stages"), [("fission_early", 0), ("fission_early_mid", 1), ("fission_mid", 2)])
def test_shared_prefix(checkpoint, decoder, stages):
    """A network of one task gives encoder, bottleneck and shared stages, and what carries that task's own name."""
    folder = checkpoint(decoder)
    given = torch.load(f"{folder}/checkpoints/best.pt", weights_only=True)["network"]
    network = MultiTaskNetwork(small_network(decoder=decoder, init_from=folder), BOTH, seed=1)
    plain = MultiTaskNetwork(small_network(decoder=decoder), BOTH, seed=1).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, given.get(name, plain[name])), name
    restored = {name for name in given if name in plain}
    assert {f"decoder.stages.{i}.up.weight" for i in range(stages)} <= restored
    assert f"decoder.stages.{stages}.up.weight" not in restored
    assert "decoder.parts.semseg.early.0.0.weight" not in restored
    assert "encoder all" in network.restored and "decoder.aspp all" in network.restored
    assert "heads.semseg" in network.restored.partition("not restored")[2]


def test_other_shapes_stay(checkpoint):
    """A network of other widths keeps its own weights where shapes differ."""
    folder = checkpoint("concat")
    network = MultiTaskNetwork(small_network(channels=6, init_from=folder), BOTH, seed=1)
    plain = MultiTaskNetwork(small_network(channels=6), BOTH, seed=1)
    assert torch.equal(network.heads["normals"].weight, plain.heads["normals"].weight)
    assert not torch.equal(network.state_dict()["encoder.model.layer1.0.conv1.weight"],
                           plain.state_dict()["encoder.model.layer1.0.conv1.weight"])  # fmt: skip


def test_bad_files(tmp_path):
    cases = {
        "missing": "expected a checkpoint, or a folder",
        "text.pt": "cannot be loaded",
        "other.pt": "no weight of this network's names",
        "list.pt": "holds no weights",
    }
    (tmp_path / "text.pt").write_text("nothing")
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as error:
            MultiTaskNetwork(small_network(init_from=str(tmp_path / name)), NORMALS)
        assert "\n" not in str(error.value)
