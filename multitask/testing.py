"""Checks that an author of a plug-in runs on his own class; each raises AssertionError with what is wrong."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multitask.decoders import Decoder

SIZES = ((64, 96), (45, 67))  # of images; the second is divisible by no stride
TASKS = ("semseg", "depth", "edge")


def check_backbone(encoder: nn.Module, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """Asserts that a module is an encoder as multitask/backbones/__init__.py describes it.

    sizes: (height, width) of the images that it is given.
    """
    channels, reductions = (tuple(getattr(encoder, name, ())) for name in ("channels", "reductions"))
    assert channels and len(channels) == len(reductions), f"channels {channels} and reductions {reductions}: one a map"
    assert list(reductions) == sorted(reductions), f"reductions {reductions}: expected finest first"
    generator = torch.Generator().manual_seed(0)
    for height, width in sizes:
        image = torch.randn(2, 3, height, width, generator=generator)
        maps = encoder.train()(image)
        assert len(maps) == len(channels), f"{len(maps)} maps: expected {len(channels)}, one for each of channels"
        for m, count, stride in zip(maps, channels, reductions, strict=True):
            assert m.shape[:2] == (2, count), f"a map of shape {tuple(m.shape)}: expected (2, {count}, h, w)"
            for found, length in zip(m.shape[2:], (height, width), strict=True):
                few, many = max(length // stride, 1), -(-length // stride)
                assert few <= found <= many, (
                    f"a map of {found} elements along {length} pixels: expected {few} to {many} at stride {stride}"
                )
            assert m.isfinite().all(), "a map is not finite"
        sum(m.square().mean() for m in maps).backward()
        gradients = [p.grad for p in encoder.parameters() if p.requires_grad and p.grad is not None]
        assert gradients, "no parameter has a gradient"
        assert all(gradient.isfinite().all() for gradient in gradients), "a gradient is not finite"
        encoder.zero_grad(set_to_none=True)
    encoder.eval()
    with torch.no_grad():
        one, two = encoder(image), encoder(image)
        alone = encoder(image[:1])
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True)), "in eval mode, two calls differ"
    assert all(torch.allclose(a[:1], b, rtol=1e-3, atol=1e-4) for a, b in zip(one, alone, strict=True)), (
        "in eval mode, an image's maps depend on the other images of the batch"
    )


def check_decoder(decoder: type[Decoder]) -> None:
    """Asserts that a class is a decoder as multitask/decoders/base.py describes it."""
    widths, reductions, channels = (4, 6, 8), (4, 8, 16), 5
    built = decoder(widths, reductions, channels, TASKS, seed=3)
    state = {key: value.clone() for key, value in built.state_dict().items()}
    assert set(built.parts) == set(TASKS), f"parts are {list(built.parts)}: expected one for each of {TASKS}"
    for height, width in SIZES:
        maps = [_random(width_of, (-(-height // s), -(-width // s))) for width_of, s in zip(widths, reductions)]
        features, shared = built.train()(maps)
        assert list(features) == list(TASKS), f"features of {list(features)}: expected those of {TASKS} in this order"
        assert shared.ndim == 4 and shared.shape[1] == built.shared_channels, (
            f"the shared map has shape {tuple(shared.shape)}: expected shared_channels {built.shared_channels}"
        )
        for task, feature in features.items():
            expected = (2, channels, *shared.shape[2:])
            assert feature.shape == expected, f"{task}: shape {tuple(feature.shape)}, expected {expected}"
            assert feature.isfinite().all(), f"{task}: not finite"
        sum(feature.square().mean() for feature in features.values()).backward()
        for name, parameter in built.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), f"{name} has no finite gradient"
        assert all(m.grad is not None for m in maps), "a map of the encoder is not used"
        built.zero_grad(set_to_none=True)
    before = torch.get_rng_state()
    fewer = decoder(widths, reductions, channels, TASKS[1:2], seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state()), "building it moves the global random generator"
    assert all(torch.equal(value, state[key]) for key, value in fewer.items()), (
        "with fewer tasks, the initial weights of those that stay differ: create them in build and task_part"
    )
    built.load_state_dict(state)


def _random(channels: int, size: tuple[int, int]) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(channels)).requires_grad_()
