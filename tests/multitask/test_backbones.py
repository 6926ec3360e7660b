"""HRNet's shapes, sizes and names; what a backbone's width and file may be."""

from math import prod

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiment.config import DataSettings, NetworkSettings
from experiment.errors import InputError
from multitask.backbones import BACKBONES, build_backbone
from multitask.backbones.hrnet import HRNet
from multitask.cost import multiply_adds, parameter_count
from multitask.network import MultiTaskNetwork, feature_channels
from multitask.tasks import build_tasks
from retrain.models import Model, build_network
from search_spaces import Architecture

NYUD = ("semseg", "depth", "normals", "edge")


def small():
    """hrnet18's plan with few channels."""
    torch.manual_seed(0)
    return HRNet(4, depth=2, modules=(1, 3, 2))


def meta(name):
    with torch.device("meta"):
        return build_backbone(name)


def host(name):
    """ATRC's multi-task network for NYUD-v2, without an exchange, on the meta device."""
    with torch.device("meta"):
        return MultiTaskNetwork(NetworkSettings(backbone=name), build_tasks(list(NYUD), DataSettings(), 40)).eval()


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(
    ("image", "sizes"),
    [
        ((64, 96), [(16, 24), (8, 12), (4, 6), (2, 3)]),
        ((425, 560), [(107, 140), (54, 70), (27, 35), (14, 18)]),
        ((33, 47), [(9, 12), (5, 6), (3, 3), (2, 2)]),
    ],
)
def test_four_maps_finest_first(name, image, sizes):
    backbone = meta(name).eval()
    maps = backbone(torch.empty(2, 3, *image, device="meta"))
    assert [tuple(m.shape) for m in maps] == [(2, c, *size) for c, size in zip(backbone.channels, sizes, strict=True)]


@pytest.mark.parametrize(("height", "width"), [(64, 96), (45, 67)])
def test_hrnet_is_finite_and_trains_everywhere(height, width):
    backbone = small()
    maps = backbone(torch.randn(2, 3, height, width))
    assert all(m.isfinite().all() for m in maps)
    sum(m.square().mean() for m in maps).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_a_module_sums_every_branch_into_every_other():
    backbone = small().eval()
    module = backbone.stage4[0]
    maps = [torch.randn(1, 4 * 2**i, 24 // 2**i, 16 // 2**i) for i in range(4)]
    before = module(maps)
    for i in range(4):
        changed = [m + 3 * torch.randn_like(m) if i == k else m for k, m in enumerate(maps)]
        assert all(not torch.equal(old, new) for old, new in zip(before, module(changed), strict=True))


def test_parameters_of_the_published_host():
    """4.5156 M in ATRC's Table 1, the host of tests/test_exchange.py."""
    network = host("hrnet18")
    assert feature_channels(NetworkSettings(backbone="hrnet18")) == 67
    assert parameter_count(network) == 4_515_556
    assert parameter_count(network.backbone) == 3_860_720
    assert parameter_count(meta("hrnet48")) == 65_325_120
    assert sum(meta("hrnet48").channels) == 720


def test_multiply_adds_of_the_published_host():
    """17.59 G at 425x560 in ATRC's Table 1, which adds two for each element of a norm, one of a ReLU and of a bias."""
    network = host("hrnet18")
    convolutions = multiply_adds(network, 425, 560)
    assert convolutions == 17_475_276_308

    elements = [107 * 140 * task.channels for task in network.tasks.values()]
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda module, inputs, output: elements.append(2 * output.numel()))
    formula = {torch.ops.aten.relu: lambda shape, **_: 2 * prod(shape)}  # the counter's unit is half a multiply-add
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=formula) as counter:
        network(torch.empty(1, 3, 425, 560, device="meta"))
    assert round((counter.get_total_flops() // 2 + sum(elements)) / 1e9, 3) == 17.590


PUBLIC = {
    "conv1.weight": (64, 3, 3, 3),
    "bn2.running_var": (64,),
    "layer1.0.conv1.weight": (64, 64, 1, 1),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "layer1.0.downsample.1.bias": (256,),
    "layer1.1.conv3.weight": (256, 64, 1, 1),
    "transition1.0.0.weight": (18, 256, 3, 3),
    "transition1.1.0.0.weight": (36, 256, 3, 3),
    "transition1.1.0.1.num_batches_tracked": (),
    "stage2.0.branches.0.0.conv1.weight": (18, 18, 3, 3),
    "stage2.0.fuse_layers.0.1.0.weight": (18, 36, 1, 1),
    "stage2.0.fuse_layers.1.0.0.0.weight": (36, 18, 3, 3),
    "transition2.2.0.0.weight": (72, 36, 3, 3),
    "stage3.2.fuse_layers.2.0.0.0.weight": (18, 18, 3, 3),
    "stage3.2.fuse_layers.2.0.1.1.weight": (72,),
    "transition3.3.0.1.running_mean": (144,),
    "stage4.1.branches.3.1.bn2.weight": (144,),
    "stage4.1.fuse_layers.0.3.1.bias": (18,),
    "stage4.1.fuse_layers.3.0.2.0.weight": (144, 18, 3, 3),
}


def test_names_are_those_of_the_public_checkpoints():
    state = meta("hrnet18").state_dict()
    assert {key: tuple(state[key].shape) for key in PUBLIC} == PUBLIC
    assert len(state) == 864  # 990 in timm's hrnet_w18_small_v2, 126 of which are its classification head's
    deep = meta("hrnet48").state_dict()
    assert len(deep) == 1830
    assert deep["stage4.2.fuse_layers.3.0.2.0.weight"].shape == (384, 48, 3, 3)
    for absent in ("transition2.0", "transition2.1", "transition3.2", "stage2.0.fuse_layers.0.0", "stage2.1", "incre"):
        assert not any(key.startswith(absent + ".") for key in state), absent


def test_a_public_file_loads(tmp_path):
    donor = build_backbone("hrnet18")
    for buffer in donor.buffers():
        buffer.add_(1)
    state = dict(donor.state_dict())
    extra = {"incre_modules.0.0.conv1.weight": torch.zeros(32, 18, 1, 1), "classifier.bias": torch.zeros(1000)}
    torch.save(state | extra, tmp_path / "public.pth")
    loaded = build_backbone("hrnet18", None, str(tmp_path / "public.pth")).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    loaded = build_backbone("hrnet18", None, str(tmp_path / "old.pth")).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in old.items())


def refused(path, name="hrnet18", width=None):
    with pytest.raises(InputError) as error:
        build_backbone(name, width, str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


def test_another_backbones_file_is_refused_in_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(build_backbone("resnet18", 64).state_dict(), path)
    assert "'conv1.weight' has shape (64, 3, 7, 7), expected (64, 3, 3, 3)" in refused(path)
    # W18 holds all that W18-Small-v2 needs, and more
    torch.save(HRNet(18, depth=4, modules=(1, 4, 3)).state_dict(), path)
    assert "has 'layer1.2.conv1.weight' too: expected a state dict of hrnet18" in refused(path)
    torch.save(build_backbone("resnet34", 4).state_dict(), path)
    assert "has 'layer1.2.conv1.weight' too" in refused(path, "resnet18", 4)
    for content in ([1], {"state_dict": {}}, {"conv1.weight": 1}):
        torch.save(content, path)
        assert "expected a state dict of hrnet18" in refused(path)
    torch.save({}, path)
    assert "lacks 'conv1.weight'" in refused(path)


def test_width_is_the_resnets_to_choose():
    assert [build_backbone(name).channels[0] for name in ("resnet10", "hrnet18")] == [16, 18]
    assert build_backbone("resnet10", 6).channels == (6, 12, 24, 48)
    with torch.device("meta"):
        assert build_backbone("hrnet48", 48).channels == (48, 96, 192, 384)
    with pytest.raises(InputError, match=r"network\.width is 16: expected 18, the width of hrnet18, or null"):
        build_backbone("hrnet18", 16)
    with pytest.raises(InputError, match=r"network\.width is 0"):
        build_backbone("hrnet18", 0)


def test_hrnet_carries_an_exchange_on_an_odd_size():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    model = Model("", Architecture.uniform(tuple(tasks), "s_label"))
    network = build_network(model, NetworkSettings(backbone="hrnet18", channels=8), tasks)
    outputs = network(torch.randn(2, 3, 45, 67))
    assert {name: tuple(m.shape) for name, m in outputs.predictions.items()} == {
        "semseg": (2, 5, 45, 67),
        "depth": (2, 1, 45, 67),
    }
