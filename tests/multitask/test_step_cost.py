"""Counted bytes of a step against those of layers whose tensors can be listed by hand."""

import torch
from torch import nn

from multitask import cost as costs
from multitask.training.step_cost import Counted, count_step, on_meta


def meta(*shape):
    return torch.empty(*shape, device="meta")


def test_a_step_of_two_layers():
    """(256, 512) fp32 maps, 512 KiB each: forward keeps the input of the second layer and the second's output."""
    network = nn.Sequential(nn.Linear(512, 512, bias=False), nn.Linear(512, 512, bias=False)).to("meta")
    maps, weight = 256 * 512 * 4, 512 * 512 * 4
    cost = count_step(network, lambda out: out.square().sum(), [meta(256, 512)], moments=2)
    assert cost.state == 4 * 2 * weight  # weights, gradients and two moments
    assert maps * 2 <= cost.kept <= maps * 2 + 2 * 512
    held = cost.peak - 3 * 2 * weight - maps  # beside weights, moments and the given map
    assert 2 * maps < held <= 4 * maps + 2 * weight  # two gradients of maps and of weights come at most


def test_views_move_nothing_and_what_is_freed_is_not_held():
    with Counted() as counted:
        maps = meta(1024)
        moved = counted.moved
        maps.view(32, 32).t()[3:]
        assert counted.moved == moved and counted.live == 4096
        other = maps + 1
        assert counted.moved == moved + 2 * 4096 and counted.live == 2 * 4096
        del other
        assert counted.live == 4096 and counted.peak == 2 * 4096


def test_bf16_on_the_meta_device_is_that_of_autocast():
    layer = nn.Conv2d(3, 4, 1)
    image = torch.randn(1, 3, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        expected = [layer(image).dtype, (image @ image).dtype, layer(image).softmax(1).dtype]
        with torch.autocast("cpu", enabled=False):
            expected.append(layer(image).dtype)
    twin, maps = layer.to("meta"), image.to("meta")
    with on_meta("cuda", "bf16"):
        found = [twin(maps).dtype, (maps @ maps).dtype]
        assert twin(maps).softmax(1).dtype == torch.float32  # as on a GPU
        with torch.autocast("cpu", enabled=False):
            assert twin(maps).dtype == expected[3]
    assert found == expected[:2]
    assert twin(maps).dtype == torch.float32


def test_free_memory_counts_what_is_kept_of_freed_tensors_and_of_files(monkeypatch, tmp_path):
    reported = {"mem_get_info": (10, 80), "memory_reserved": 7, "memory_allocated": 3}
    for name, value in reported.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert costs.free_memory(torch.device("cuda")) == 10 + 7 - 3
    monkeypatch.setattr(costs, "MEMORY", tmp_path / "meminfo")
    costs.MEMORY.write_text("MemTotal: 100 kB\nMemFree: 20 kB\nMemAvailable: 60 kB\n")
    assert costs.free_memory(torch.device("cpu")) == 60 * 1024
    costs.MEMORY.unlink()
    assert costs.free_memory(torch.device("cpu")) > 0
