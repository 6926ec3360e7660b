"""The network of encoder, decoder, exchange and heads."""

import pytest
import torch
from torch import nn

from experiment.config import DataSettings, SensorSettings
from experiment.errors import InputError
from multitask.cost import multiply_adds, parameter_count
from multitask.data import open_dataset
from multitask.network import MultiTaskNetwork, check_encoders, enlarge, shrink
from multitask.tasks import build_tasks
from search_spaces import Architecture, Exchange
from tests.support.networks import small_network

SMALL = small_network()


def exchange_of(tasks, block):
    return Exchange(Architecture.uniform(tuple(tasks), block), 8)


def test_shapes():
    tasks = build_tasks(["semseg", "normals", "edge"], DataSettings(), 7)
    exchange = exchange_of(tasks, "t_label")
    network = MultiTaskNetwork(SMALL, tasks, exchange, exchange.region_tasks())
    image = torch.randn(2, 3, 45, 67)
    outputs = network(image)
    assert {n: tuple(p.shape) for n, p in outputs.predictions.items()} == {
        "semseg": (2, 7, 45, 67),
        "normals": (2, 3, 45, 67),
        "edge": (2, 1, 45, 67),
    }
    assert {n: p.shape[1] for n, p in outputs.auxiliary.items()} == {"semseg": 7, "normals": 40, "edge": 2}
    features, regions = network.features(image)
    assert all(maps.shape == (2, 8, 12, 17) for maps in features.values())
    assert all(regions[name].shape == (2, tasks[name].region_count, 12, 17) for name in tasks)


def test_forward_is_features_then_exchange_then_predict():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    exchange = exchange_of(tasks, "s_label")
    network = MultiTaskNetwork(SMALL, tasks, exchange, exchange.region_tasks()).eval()
    image, valid = torch.randn(2, 3, 48, 64), torch.ones(2, 1, 48, 64, dtype=torch.bool)
    valid[:, :, 32:] = False
    with torch.no_grad():
        outputs = network(image, valid)
        features, regions = network.features(image)
        refined = exchange(features, regions, shrink(valid, features))
        assert any(not torch.equal(refined[name], features[name]) for name in tasks)
        for name, expected in network.predict(refined, (48, 64)).items():
            assert torch.equal(outputs.predictions[name], expected)
        for name, expected in enlarge(regions, (48, 64)).items():
            assert torch.equal(outputs.auxiliary[name], expected)
        only = network.predict({"depth": refined["depth"]}, (48, 64))
        assert list(only) == ["depth"] and torch.equal(only["depth"], outputs.predictions["depth"])


def test_auxiliary_loss_trains_its_head_but_not_the_encoder():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    network = MultiTaskNetwork(SMALL, tasks, None, ("semseg",))
    network(torch.randn(2, 3, 32, 32)).auxiliary["semseg"].square().sum().backward()
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(p.grad is not None for p in network.auxiliary_heads.parameters())


def test_final_loss_trains_the_auxiliary_head_through_the_exchange():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    exchange = Exchange(Architecture.uniform(("semseg", "depth"), "t_label", "pad"), 8)
    network = MultiTaskNetwork(SMALL, tasks, exchange, exchange.region_tasks())
    network(torch.randn(2, 3, 32, 32)).predictions["depth"].square().sum().backward()
    assert network.auxiliary_heads["depth"][-1].weight.grad.abs().sum() > 0


def test_networks_of_one_seed_share_all_common_weights():
    tasks = build_tasks(["semseg", "depth", "edge"], DataSettings(), 5)
    networks = []
    for names, block, auxiliary in (
        (("semseg", "depth", "edge"), None, ()),
        (("semseg", "depth", "edge"), "xtam", ("depth", "edge")),
        (("depth", "semseg"), "global", ("semseg", "depth")),
        (("edge",), None, ("edge",)),
    ):
        torch.manual_seed(len(networks))  # whatever else has drawn before
        exchange = None if block is None else exchange_of(names, block)
        networks.append(MultiTaskNetwork(SMALL, {name: tasks[name] for name in names}, exchange, auxiliary, seed=3))
    states = [network.state_dict() for network in networks]
    for one in states:
        for other in states:
            common = [key for key in one if key in other and not key.startswith("exchange.")]
            assert len(common) > 60 and all(torch.equal(one[key], other[key]) for key in common)
    another = MultiTaskNetwork(SMALL, tasks, seed=4).state_dict()
    for part in ("encoder.model.layer1.0.conv1", "decoder.parts.depth.conv", "heads.depth"):
        assert not torch.equal(states[0][f"{part}.weight"], another[f"{part}.weight"])
    assert not torch.equal(states[0]["decoder.parts.depth.conv.weight"], states[0]["decoder.parts.edge.conv.weight"])


def test_building_a_network_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    MultiTaskNetwork(SMALL, build_tasks(["depth"], DataSettings(), 0), seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_biases_of_heads_are_set():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 3)
    network = MultiTaskNetwork(SMALL, tasks)
    network.initialize_heads({"semseg": torch.tensor([0.5, -1.0, 2.0])})
    assert network.heads["semseg"].bias.tolist() == [0.5, -1.0, 2.0] and network.heads["depth"].bias.tolist() == [0.0]
    assert network.heads["semseg"].bias.requires_grad
    with pytest.raises(InputError, match=r"semseg has shape \(2,\): expected \(3,\)"):
        network.initialize_heads({"semseg": torch.zeros(2)})
    with pytest.raises(InputError, match="nearest: 'depth'"):
        network.initialize_heads({"depths": torch.zeros(1)})


def test_a_frozen_encoder_has_no_gradients_and_keeps_its_batch_statistics():
    tasks = build_tasks(["depth"], DataSettings(), 0)
    network = MultiTaskNetwork(small_network(backbone_rate=0.0), tasks).train()
    before = {key: value.clone() for key, value in network.encoder.state_dict().items()}
    network(torch.randn(2, 3, 32, 48)).predictions["depth"].mean().backward()
    assert all(torch.equal(value, before[key]) for key, value in network.encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in network.encoder_parameters())
    assert network.decoder.training and network.decoder.parts["depth"].conv.weight.grad is not None


def test_multiply_adds_of_a_convolution_and_of_attention():
    tasks = build_tasks(["depth", "edge"], DataSettings(), 0)
    plain = MultiTaskNetwork(SMALL, tasks, None)
    exchange = exchange_of(tasks, "xtam")
    count = multiply_adds(MultiTaskNetwork(SMALL, tasks, exchange), 64, 64) - multiply_adds(plain, 64, 64)
    pixels, c, d, reduced = 16 * 16, 8, 4, 8 * 8
    block = pixels * (9 * c * c + 9 * c * c + 1.5 * c * d) + reduced * 3 * c * c + 2 * c * reduced**2
    aggregator = pixels * (d * c + 2 * c * c)
    assert count == 2 * (block + aggregator)


def test_one_wide_convolution_equals_one_per_task():
    network = MultiTaskNetwork(SMALL, build_tasks(["depth", "edge"], DataSettings(), 0)).eval()
    maps = network.encoder(torch.randn(2, 3, 32, 48))
    features, shared = network.decoder(maps)
    enlarged = [nn.functional.interpolate(m, size=maps[0].shape[2:], mode="bilinear") for m in maps]
    torch.testing.assert_close(shared, torch.cat(enlarged, 1))
    for name, part in network.decoder.parts.items():
        torch.testing.assert_close(features[name], part(shared), rtol=1e-4, atol=1e-5)


PER_TASK = small_network(encoders="per_task")


@pytest.mark.parametrize("own_images", [True, False])
def test_an_encoder_for_each_task_is_single_task_networks_side_by_side(own_images):
    tasks = build_tasks(["semseg", "depth", "edge"], DataSettings(), 5)
    joined = MultiTaskNetwork(PER_TASK, tasks, None, ("depth",), seed=3).eval()
    image = {name: torch.randn(2, 3, 32, 48) for name in tasks} if own_images else torch.randn(2, 3, 32, 48)
    features, regions = joined.features(image)
    outputs = joined(image)
    assert list(features) == list(tasks) and list(regions) == ["depth"]
    names = set()
    for name, task in tasks.items():
        single = MultiTaskNetwork(PER_TASK, {name: task}, None, ("depth",) if name == "depth" else (), seed=3).eval()
        for key, value in single.state_dict().items():
            assert torch.equal(value, joined.state_dict()[key]), key
        names |= set(single.state_dict())
        own, of_task = single.features(image)  # images of other tasks are left aside
        assert torch.equal(own[name], features[name])
        assert all(torch.equal(of_task[key], regions[key]) for key in of_task)
        assert torch.equal(single(image).predictions[name], outputs.predictions[name])
    assert names == set(joined.state_dict())


def test_encoders_of_tasks_start_from_other_weights_and_count_as_encoder():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    joined, shared = MultiTaskNetwork(PER_TASK, tasks), MultiTaskNetwork(SMALL, tasks)
    first = [network.model.conv1[0].weight for network in (joined.encoder["semseg"], joined.encoder["depth"])]
    assert not torch.equal(*first)
    assert len(joined.encoder_parameters()) == 2 * len(shared.encoder_parameters())
    host = parameter_count(shared.encoder)
    assert parameter_count(joined) - parameter_count(shared) == host
    singles = [MultiTaskNetwork(PER_TASK, {name: task}) for name, task in tasks.items()]
    assert multiply_adds(joined, 32, 48) == sum(multiply_adds(single, 32, 48) for single in singles)


def test_with_an_encoder_for_each_task_only_an_exchange_joins_them():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    images = {name: torch.randn(2, 3, 32, 48) for name in tasks}
    gates = Exchange(Architecture.uniform(tuple(tasks), "padnet_gate", "pad"), 8)
    for exchange, reaches in ((None, False), (gates, True)):
        network = MultiTaskNetwork(PER_TASK, tasks, exchange)
        network(images).predictions["semseg"].square().sum().backward()
        gradients = [p.grad for p in network.encoder["depth"].parameters()]
        assert any(g is not None and g.any() for g in gradients) == reaches


def test_frozen_encoders_of_tasks_stay():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 5)
    network = MultiTaskNetwork(small_network(encoders="per_task", backbone_rate=0.0), tasks).train()
    assert not any(p.requires_grad for p in network.encoder_parameters())
    assert not any(module.training for module in network.encoder.modules())


def test_a_shared_encoder_is_refused_where_tasks_have_images_of_their_own():
    settings = {"height": 32, "width": 48, "train_images": 2, "tasks": ["semseg", "depth"]}
    sensors = open_dataset(DataSettings(name="sensors", **settings))
    with pytest.raises(InputError, match=r"network\.encoders is shared, but sensors .*: expected per_task"):
        check_encoders(SMALL, sensors)
    check_encoders(PER_TASK, sensors)
    alike = SensorSettings(tasks={"depth": "grey", "semseg": "grey"})
    for dataset in (DataSettings(**settings), DataSettings(name="sensors", sensors=alike, **settings)):
        check_encoders(SMALL, open_dataset(dataset))
        check_encoders(PER_TASK, open_dataset(dataset))
