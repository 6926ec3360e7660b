"""What is said of a GPU that is missing or cannot be used, and what torch is told."""

import pytest
import torch

from experiment.errors import InputError
from multitask.training.hardware import Hardware

OLD = "The NVIDIA driver on your system is too old (found version 12040)"
NONE = "Found no NVIDIA driver on your system"


@pytest.fixture
def without_gpu(monkeypatch):
    """A call that makes torch see none, for a reason."""

    def see_none(reason):
        def init():
            raise RuntimeError(f"{reason}. Please do\nsomething.")

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", init)

    yield see_none
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.enable_cudnn_sdp(True)


def test_why_there_is_no_gpu(without_gpu):
    without_gpu(NONE)
    with pytest.raises(InputError, match=f"torch sees no GPU \\({NONE}\\)"):
        Hardware("cuda").fabric()


@pytest.mark.parametrize(
    ("device", "reason", "named"), [("auto", OLD, True), ("auto", NONE, False), ("cpu", OLD, False)]
)
def test_a_gpu_that_cannot_be_used_is_named(without_gpu, capsys, device, reason, named):
    without_gpu(reason)
    assert Hardware(device).fabric().device.type == "cpu"
    assert capsys.readouterr().out == (f"no GPU is used: {reason}\n" if named else "")
    assert torch.is_deterministic_algorithms_warn_only_enabled() and not torch.backends.cuda.cudnn_sdp_enabled()
