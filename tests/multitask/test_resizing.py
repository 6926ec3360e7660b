"""Resizing by matrix products equals torch's bilinear interpolation, in values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from multitask.resizing import by_products, interpolation, resize

SIZES = [
    ((5, 7), (20, 28)),
    ((27, 35), (425, 560)),
    ((11, 3), (13, 17)),
    ((9, 8), (4, 3)),
    ((6, 6), (3, 13)),
    ((1, 4), (5, 1)),
]


@pytest.mark.parametrize(("size", "new"), SIZES)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_products_equal_interpolation(size, new, dtype, close):
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, *size, generator=draw, dtype=dtype)
    weights = torch.randn(2, 3, *new, generator=draw, dtype=dtype)
    found, expected = [], []
    for results, function in ((found, by_products), (expected, resize)):
        given = maps.clone().requires_grad_()
        resized = function(given, new)
        (resized * weights).sum().backward()
        results += [resized, given.grad]
    reference = F.interpolate(maps, size=new, mode="bilinear", align_corners=False)
    torch.testing.assert_close(expected[0], reference, rtol=0, atol=0)
    for one, other in zip(found, expected, strict=True):
        # torch computes positions in the maps' precision, which counts where they are large
        torch.testing.assert_close(
            one, other, rtol=close, atol=close * float(other.detach().abs().max()) * max(*size, 8)
        )


def test_an_autocast_region_leaves_the_precision_alone():
    maps = torch.randn(1, 2, 5, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert by_products(maps, (10, 12)).dtype == torch.float32
    torch.testing.assert_close(by_products(maps, (10, 12)), resize(maps, (10, 12)), rtol=1e-6, atol=1e-6)


def test_weights_are_shares_and_each_of_two_neighbours():
    for length, new in ((7, 28), (27, 425), (9, 4), (1, 3)):
        weights = interpolation(length, new, torch.float64, torch.device("cpu"))
        assert weights.min() >= 0 and (weights > 0).sum(1).max() <= 2
        torch.testing.assert_close(weights.sum(1), torch.ones(new, dtype=torch.float64))


def test_weights_made_in_inference_mode_serve_training():
    with torch.inference_mode():
        by_products(torch.randn(1, 1, 3, 19), (6, 38))
    maps = torch.randn(1, 1, 3, 19, requires_grad=True)
    by_products(maps, (6, 38)).sum().backward()
    assert maps.grad is not None
