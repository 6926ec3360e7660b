"""Attention padded for a GPU's kernels against the softmax written out, and one precision of logits everywhere."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from search_spaces.blocks import attention
from search_spaces.blocks.attention import MULTIPLE, fused_attention, in_order, padded
from search_spaces.blocks.layers import counting_for
from search_spaces.blocks.local_context import local_attention, tiled_attention


def written_out(query, key, value, mask=None, scale=None):
    logits = (query @ key.mT) * (query.shape[-1] ** -0.5 if scale is None else scale)
    return (logits if mask is None else logits + mask).softmax(-1) @ value


@pytest.fixture
def gpu_form(monkeypatch):
    """The form for a GPU with the kernel's product written out; yields the shapes that reach the kernel."""
    shapes = []

    def kernel(query, key, value, mask, scale):
        shapes.append(query.shape)
        return written_out(query, key, value, mask, scale)

    monkeypatch.setattr(attention, "_kernel", kernel)
    with counting_for("cuda"):
        yield shapes


@pytest.mark.parametrize("width", [1, 7, 8, 33, 67, 90])
@pytest.mark.parametrize("masked", [False, True])
def test_padded_attention_equals_the_softmax_written_out(gpu_form, width, masked):
    generator = torch.Generator().manual_seed(width)
    q = torch.randn(2, 3, 5, width, generator=generator)
    k, v = (torch.randn(2, 3, 7, width, generator=generator) for _ in range(2))
    inputs = [maps.requires_grad_() for maps in (q, k, v)]
    mask = torch.zeros(5, 7).masked_fill(torch.rand(5, 7, generator=generator) < 0.4, -torch.inf) if masked else None
    if mask is not None:
        mask[:, 0] = 0  # every query sees a key
    upstream = torch.randn(2, 3, 5, width, generator=generator)
    ours, theirs = fused_attention(*inputs, mask), written_out(*inputs, mask)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    for one, other in zip(*(torch.autograd.grad(out, inputs, upstream) for out in (ours, theirs))):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert gpu_form[0][3] % MULTIPLE == 0


@pytest.mark.parametrize("size", [(5, 7), (16, 8), (19, 21)], ids=str)
def test_local_attention_of_a_gpu_and_of_a_cpu_are_both_exact_to_1e_6(gpu_form, size):
    """Of the largest value: the two add up in different orders, so values near 0 share few digits."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(3, 33, *size, generator=generator, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(3, 33, *size, generator=generator)

    def computed(maps, upstream):
        out = local_attention(*maps)
        return [out.detach(), *torch.autograd.grad(out, maps, upstream)]

    gpu = computed(maps, upstream)
    with counting_for("cpu"):
        cpu = computed(maps, upstream)
        exact = computed([each.detach().double().requires_grad_() for each in maps], upstream.double())
    for found in (gpu, cpu):
        for one, truth in zip(found, exact, strict=True):
            assert (one.double() - truth).abs().max() <= 1e-6 * truth.abs().max()
    # neither axis of a kernel's grid grows with maps x tiles
    assert gpu_form[0][:2] == (3, -(-size[0] // 8) * -(-size[1] // 8))


def test_padding_only_where_it_is_needed():
    maps = torch.randn(2, 3, 4, 16)
    assert padded(maps) is maps
    assert padded(torch.ones(2, 5)).tolist() == [[1] * 5 + [0] * 3] * 2


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("size", [(6, 7), (24, 30)], ids=str)
@pytest.mark.parametrize("form", [local_attention, tiled_attention])
def test_logits_are_fp32_whatever_the_precision(autocast, size, form):
    """With bf16 maps the error is that of a bf16 result; logits in bf16 would be ten times as far off."""
    torch.manual_seed(0)
    maps = [(3 * torch.randn(2, 33, *size)).bfloat16() for _ in range(3)]
    exact = local_attention(*(each.double() for each in maps))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = form(*maps)
    assert found.dtype == torch.bfloat16
    assert (found.double() - exact).abs().max() <= 1.5 * 2**-8 * exact.abs().max()


class Flags(TorchDispatchMode):
    """{name of a call: whether deterministic algorithms were on, and only warned, at its last}"""

    def __init__(self):
        super().__init__()
        self.found = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        asked = torch.are_deterministic_algorithms_enabled()
        self.found[func._schema.name] = asked, torch.is_deterministic_algorithms_warn_only_enabled()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("asked", [True, False])
def test_backward_pass_of_attention_is_deterministic_where_others_may_warn(asked):
    """A CPU's fused kernel in the place of a GPU's."""
    q, k, v = (torch.randn(2, 3, 5, 8, requires_grad=True) for _ in range(3))
    torch.use_deterministic_algorithms(asked, warn_only=asked)
    try:
        out = in_order(F.scaled_dot_product_attention(q, k, v)).exp()
        with Flags() as flags:
            out.sum().backward()
        after = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert flags.found["aten::_scaled_dot_product_flash_attention_for_cpu_backward"] == (asked, False)
    assert flags.found["aten::mul"] == after == (asked, asked)
