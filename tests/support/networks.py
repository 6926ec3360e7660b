"""Small networks for tests."""

from typing import Any

from experiment.config import NetworkSettings


def narrow_resnet(width: int, layers: tuple[int, ...] = (2, 2, 2, 2)) -> dict[str, Any]:
    """network settings of a ResNet with width, 2, 4 and 8 x width channels."""
    channels = [width * 2**stage for stage in range(4)]
    return {
        "backbone": "resnet18",
        "backbone_options": {
            "channels": channels,
            "stem_type": "deep",
            "stem_width": width // 2,
            "layers": list(layers),
        },
    }


TINY: dict[str, Any] = {**narrow_resnet(4, (1, 1, 1, 1)), "channels": 8}


def small_network(**changes: Any) -> NetworkSettings:
    """A ResNet of 19,634 parameters, 8 channels of features."""
    return NetworkSettings(**{**TINY, **changes})
