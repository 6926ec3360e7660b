"""Encoders: timm's by name, a user's by import path, pretrained weights from a file."""

import functools
import subprocess
import sys
from math import prod

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from experiment.config import DataSettings, NetworkSettings
from experiment.errors import InputError
from multitask.backbones import build_encoder, encoder_channels
from multitask.cost import multiply_adds, parameter_count
from multitask.network import MultiTaskNetwork, feature_channels, feature_size
from multitask.tasks import build_tasks
from multitask.testing import check_backbone
from retrain.model import Model
from search_spaces import Architecture
from tests.support.networks import narrow_resnet, small_network
from tests.support.training import training

NYUD = ("semseg", "depth", "normals", "edge")
HRNET = "hrnet_w18_small_v2"
TINY_SWIN = {"embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 3)}
MINE = """
from torch import nn

class Mine(nn.Module):
    channels, reductions = (6, 12), (4, 8)

    def __init__(self, depth=1):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 4, 4, padding=2), nn.Conv2d(6, 12, 2, 2, padding=1)

    def forward(self, image):
        h, w = image.shape[2:]
        fine = self.first(image)[..., : -(-h // 4), : -(-w // 4)]
        return [fine, self.second(fine)[..., : -(-h // 8), : -(-w // 8)]]

class Bare(nn.Module):
    def forward(self, image):
        return [image]
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_encoder.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_encoder", raising=False)
    return "my_encoder:Mine"


def encoder(name, pretrained=False, **options):
    return build_encoder(NetworkSettings(backbone=name, backbone_options=options, pretrained=pretrained))


@functools.cache
def meta(name, **options):
    """Without weights; shared by tests, which leave it as it is."""
    with torch.device("meta"):
        return encoder(name, **options)


@pytest.fixture(scope="module")
def host():
    """ATRC's multi-task network for NYUD-v2, without an exchange, on the meta device."""
    with torch.device("meta"):
        return MultiTaskNetwork(NetworkSettings(backbone=HRNET), build_tasks(list(NYUD), DataSettings(), 40)).eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_resnet", {"output_stride": 16}),
        ("test_convnext", {}),
        ("test_vit", {}),
        ("test_efficientnet", {}),
        ("swin_tiny_patch4_window7_224", TINY_SWIN),
        (HRNET, {}),
    ],
)
def test_models_of_timm_are_encoders(name, options):
    torch.manual_seed(0)
    check_backbone(encoder(name, **options))


def test_a_users_class_is_an_encoder(mine):
    check_backbone(encoder(mine, depth=2))
    assert encoder_channels(NetworkSettings(backbone=mine)) == (6, 12)


@pytest.mark.parametrize(
    ("name", "channels", "reductions"),
    [
        ("resnet18", (64, 128, 256, 512), (4, 8, 16, 32)),
        ("vgg11", (256, 512, 512, 512), (4, 8, 16, 32)),
        ("convnext_atto", (40, 80, 160, 320), (4, 8, 16, 32)),
        ("swin_tiny_patch4_window7_224", (96, 192, 384, 768), (4, 8, 16, 32)),
        ("vit_small_patch14_dinov2", (384,) * 4, (4, 8, 16, 32)),
        (HRNET, (18, 36, 72, 144), (4, 8, 16, 32)),
        ("hrnet_w48", (48, 96, 192, 384), (4, 8, 16, 32)),
    ],
)
def test_channels_and_strides(name, channels, reductions):
    built = meta(name)
    assert (built.channels, built.reductions) == (channels, reductions)
    assert all(type(value) is int for value in (*built.channels, *built.reductions))


@pytest.mark.parametrize(
    ("image", "sizes"),
    [
        ((64, 96), [(16, 24), (8, 12), (4, 6), (2, 3)]),
        ((425, 560), [(107, 140), (54, 70), (27, 35), (14, 18)]),
        ((33, 47), [(9, 12), (5, 6), (3, 3), (2, 2)]),
    ],
)
@pytest.mark.parametrize("name", [HRNET, "resnet18", "vit_small_patch14_dinov2"])
def test_four_maps_finest_first(name, image, sizes):
    built = meta(name)
    maps = built(torch.empty(2, 3, *image, device="meta"))
    assert [tuple(m.shape) for m in maps] == [(2, c, *size) for c, size in zip(built.channels, sizes, strict=True)]


def test_output_stride_dilates_a_resnet():
    built = meta("resnet50", output_stride=16)
    assert built.reductions == (4, 8, 16, 16)
    assert built(torch.empty(1, 3, 64, 96, device="meta"))[-1].shape == (1, 2048, 4, 6)


def test_a_vits_pyramid_takes_four_blocks_of_its_depth():
    built = encoder("test_vit", depth=8).eval()  # 64 channels, patches of 16 pixels
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        blocks = built.model.model.forward_intermediates(image, indices=[1, 3, 5, 7], intermediates_only=True)
        maps = built(image)
    torch.testing.assert_close(maps[2], blocks[2])  # stride 16 is the model's own
    for m, block, factor in zip(maps, blocks, (4, 2, 1, 0.5), strict=True):
        expected = torch.nn.functional.interpolate(block, scale_factor=factor, mode="bilinear", align_corners=False)
        torch.testing.assert_close(m, expected)


def test_an_hrnets_branches_are_fused_bilinearly_and_without_classification_layers():
    built = encoder(HRNET).eval()
    reference = timm.create_model(HRNET, features_only=True, feature_location="").eval()
    reference.load_state_dict(built.model.state_dict(), strict=True)
    for module in reference.modules():
        if isinstance(module, torch.nn.Upsample):
            module.mode, module.align_corners = "bilinear", False
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for ours, theirs in zip(built(image), reference(image)[1:], strict=True):  # the stem's map comes first
            assert torch.equal(ours, theirs)


def test_parameters_of_the_published_host(host):
    """4.5156 M in ATRC's Table 1, the host of tests/test_exchange.py."""
    assert feature_channels(NetworkSettings(backbone=HRNET)) == 67
    assert parameter_count(host) == 4_515_556
    assert parameter_count(host.encoder) == 3_860_720
    assert parameter_count(meta("hrnet_w48")) == 65_325_120
    assert sum(meta("hrnet_w48").channels) == 720


def test_multiply_adds_of_the_published_host(host):
    """17.59 G at 425x560 in ATRC's Table 1, which adds two for each element of a norm, one of a ReLU and of a bias."""
    convolutions = multiply_adds(host, 425, 560)
    assert convolutions == 17_475_276_308

    elements = [107 * 140 * task.channels for task in host.tasks.values()]
    for module in host.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda module, inputs, output: elements.append(2 * output.numel()))

    def count(shape, **_):  # the counter's unit is half a multiply-add
        return 2 * prod(shape)

    formula = {torch.ops.aten.relu: count, torch.ops.aten.relu_: count}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=formula) as counter:
        host(torch.empty(1, 3, 425, 560, device="meta"))
    assert round((counter.get_total_flops() // 2 + sum(elements)) / 1e9, 3) == 17.590


def test_resnet18_has_the_published_size():
    # torchvision's resnet18 has 11,689,512 parameters, its classifier 512 * 1000 + 1000
    assert parameter_count(meta("resnet18")) == 11_689_512 - 513_000
    assert feature_channels(NetworkSettings()) == 960 // 4


def test_a_file_that_is_no_checkpoint_is_named_without_unsafe_advice(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_text("no weights")
    with pytest.raises(InputError, match=r"cannot be loaded.*no checkpoint") as caught:
        build_encoder(small_network(pretrained=str(file)))
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"out_indices": [3, 4]}])
def test_the_size_of_features(options):
    narrow = narrow_resnet(8)
    settings = NetworkSettings(**{**narrow, "backbone_options": {**narrow["backbone_options"], **options}})
    network = MultiTaskNetwork(settings, build_tasks(["depth"], DataSettings(), 5)).eval()
    with torch.no_grad():
        features, _ = network.features(torch.zeros(1, 3, 45, 64))
    assert features["depth"].shape[2:] == feature_size(settings, 45, 64)


# keys and shapes of the public ImageNet checkpoint of HRNet-Image-Classification
PUBLIC = {
    "conv1.weight": (64, 3, 3, 3),
    "bn2.running_var": (64,),
    "layer1.0.conv1.weight": (64, 64, 1, 1),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "transition1.1.0.0.weight": (36, 256, 3, 3),
    "stage2.0.fuse_layers.0.1.0.weight": (18, 36, 1, 1),
    "stage3.2.fuse_layers.2.0.1.1.weight": (72,),
    "stage4.1.branches.3.1.bn2.weight": (144,),
    "stage4.1.fuse_layers.3.0.2.0.weight": (144, 18, 3, 3),
}


def test_names_are_those_of_the_public_checkpoints():
    state = meta(HRNET).model.state_dict()
    assert {key: tuple(state[key].shape) for key in PUBLIC} == PUBLIC
    assert len(state) == 864  # 990 in timm's hrnet_w18_small_v2, 126 of which are its classification head's
    assert len(meta("hrnet_w48").state_dict()) == 1830


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", HRNET])
def test_the_whole_models_file_loads(name, suffix, tmp_path):
    """Independent truth: timm's own model, whose intermediate maps must come out again."""
    torch.manual_seed(1)
    kind = {"img_size": (64, 96)} if name == "test_vit" else {}
    whole = timm.create_model(name, **kind).eval()
    state = {key: value.clone().contiguous() for key, value in whole.state_dict().items()}
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    built = encoder(name, str(path), **kind).eval()
    own = built.state_dict()
    assert sum(torch.equal(value, state[key]) for key, value in _pairs(own, state)) == len(own)
    if name == "test_resnet":
        image = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            torch.testing.assert_close(built(image)[-1], whole.forward_features(image))


def _pairs(own, state):
    names = {key.replace(".", "_"): key for key in state}
    for key, value in own.items():
        plain = key.removeprefix("model.").removeprefix("model.").replace(".", "_")
        yield names[plain], value


def test_files_without_counts_of_batches_load(tmp_path):
    torch.manual_seed(1)
    donor = timm.create_model("test_resnet").state_dict()
    old = {key: value for key, value in donor.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    assert torch.equal(encoder("test_resnet", str(tmp_path / "old.pth")).model.conv1[0].weight, donor["conv1.0.weight"])


def refused(path, name=HRNET, **options):
    with pytest.raises(InputError) as error:
        encoder(name, str(path), **options)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    narrow = narrow_resnet(4)["backbone_options"]
    torch.save(timm.create_model("resnet18", **narrow).state_dict(), path)
    assert "'conv1.0.weight' has shape (2, 3, 3, 3), expected (4, 3, 3, 3)" in refused(
        path, "resnet18", **narrow_resnet(8)["backbone_options"]
    )
    message = refused(path, "resnet34", **{key: value for key, value in narrow.items() if key != "layers"})
    assert "lacks 'layer1.2.conv1.weight', 'layer1.2.bn1.weight'" in message and "more" in message
    shallow = {**narrow, "layers": [1, 1, 1, 1]}
    assert "has 'layer1.1.conv1.weight', " in refused(path, "resnet18", **shallow)
    for content in ([1], {"state_dict": {}}, {"conv1.weight": 1}):
        torch.save(content, path)
        assert f"expected a state dict of {HRNET}" in refused(path)
    torch.save({}, path)
    assert "lacks 'conv1.weight'" in refused(path)
    path.write_bytes(b"junk")
    assert "cannot be loaded" in refused(path)
    assert "no such file" in refused(tmp_path / "absent.pth")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    assert "cannot be loaded" in refused(tmp_path / "junk.safetensors")


def test_the_hub_out_of_reach_is_one_line(monkeypatch):
    def unreachable(*arguments, pretrained=False, **options):
        if pretrained:
            raise OSError("no route to the hub\nsecond line")
        return create(*arguments, **options)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(InputError, match=r"network\.pretrained is true.*no route to the hub\): expected a network"):
        encoder("test_resnet", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet19"}, r"unknown network\.backbone 'resnet19'.*nearest: 'resnet1\d"),
        ({"backbone": "resnet18", "backbone_options": {"widht": 3}}, r"network\.backbone_options.*widht"),
        ({"backbone": "my_encoder:Other"}, r"unknown network\.backbone in my_encoder 'Other'.*nearest"),
        ({"backbone": "no_such_module:Mine"}, r"cannot be imported"),
        ({"backbone": "my_encoder:Bare"}, r"has channels None"),
        ({"backbone": "my_encoder:Mine", "backbone_options": {"breadth": 1}}, r"network\.backbone_options do not fit"),
    ],
)
def test_bad_encoders_are_refused_in_one_line(mine, settings, message):
    with pytest.raises(InputError, match=message) as error:
        build_encoder(NetworkSettings(**settings))
    assert "\n" not in str(error.value)


def test_an_image_that_a_model_cannot_take_is_one_line():
    built = encoder("vit_tiny_patch16_224", img_size=(64, 64), depth=4).eval()
    with pytest.raises(InputError, match=r"cannot take images of 64x96.*img_size '\[64, 96\]'"):
        built(torch.randn(1, 3, 64, 96))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 1}, r"network\.channels is 1: expected 2 to"),
        ({"backbone_rate": -1.0}, r"network\.backbone_rate is -1"),
        ({"backbone_rate": float("nan")}, r"network\.backbone_rate is nan"),
        ({"backbone": ""}, r"network\.backbone is empty"),
        ({"backbone_options": {"features_only": False}}, r"backbone_options has features_only"),
        ({"backbone": "a:B", "pretrained": True}, r"'a:B' is no timm model: expected a file"),
    ],
)
def test_settings_check_themselves(changes, message):
    with pytest.raises(InputError, match=message):
        NetworkSettings(**changes)


def test_an_hrnet_carries_an_exchange_on_an_odd_size():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    model = Model("", Architecture.uniform(tuple(tasks), "s_label"))
    network = model.build(small_network(backbone=HRNET, backbone_options={}), tasks)
    outputs = network(torch.randn(2, 3, 45, 67))
    assert {name: tuple(m.shape) for name, m in outputs.predictions.items()} == {
        "semseg": (2, 5, 45, 67),
        "depth": (2, 1, 45, 67),
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {"output_stride": 16}),
        ("test_convnext", {}),
        ("test_vit", {}),
        ("swin_tiny_patch4_window7_224", TINY_SWIN),
        ("my_encoder:Mine", {}),
    ],
)
def test_a_training_step_changes_every_part(name, options, mine, tmp_path):
    settings = small_network(backbone=name, backbone_options=options)
    trainer = training(tmp_path, build=lambda tasks: MultiTaskNetwork(settings, tasks), iterations=1)
    before = {key: value.clone() for key, value in trainer.network.named_parameters()}
    trainer.fit()
    after = dict(trainer.network.named_parameters())
    changed = {key.partition(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed == {"encoder", "decoder", "heads"}
    assert all(value.isfinite().all() for value in after.values())


def test_timm_is_imported_only_where_an_encoder_of_timm_is_built():
    code = "import sys, multitask.network, retrain.model, supernet.search; assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
