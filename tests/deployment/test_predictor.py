"""Photos to predictions: normalisation, sizes and units, beside the network called by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deployment.predictor import Fit, Predictor
from experiment.config import DataSettings
from experiment.errors import InputError
from multitask.network import MultiTaskNetwork
from multitask.tasks import build_tasks
from retrain.interface import Interface
from tests.support.networks import small_network

SIZE = (32, 48)
NAMES = ["semseg", "depth", "normals", "edge"]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet


class Patches(nn.Module):
    """An encoder of whole patches of 8 x 8, as many as there are."""

    channels, reductions = (4, 8), (4, 8)

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(3, c, r, r) for c, r in zip(self.channels, self.reductions))

    def forward(self, image):
        if not self.takes(*image.shape[2:]):
            raise ValueError(f"{tuple(image.shape[2:])}")
        return [conv(image) for conv in self.maps]

    def takes(self, height, width):
        return height % 8 == 0 and width % 8 == 0


class OneSize(Patches):
    """An encoder of images of 32 x 48 alone."""

    def takes(self, height, width):
        return (height, width) == SIZE


def predictor(names=NAMES, **network) -> Predictor:
    tasks = build_tasks(names, DataSettings(), 5)
    built = MultiTaskNetwork(small_network(**network), tasks).eval()
    counts = {name: task.channels for name, task in tasks.items()}
    return Predictor(built, tasks, SIZE, Interface(counts, counts, {}, {}))


def photo(height, width, count=1) -> torch.Tensor:
    return torch.randint(256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_hand(model: Predictor, images: np.ndarray) -> dict[str, torch.Tensor]:
    """(B, 3, H, W) of 0..255, through the network alone."""
    normalised = (images.transpose(0, 2, 3, 1) / 255 - MEAN) / STD
    with torch.no_grad():
        return model.network(torch.tensor(normalised.transpose(0, 3, 1, 2), dtype=torch.float32)).predictions


def test_at_the_training_size_it_is_the_network_with_normalised_images():
    model, images = predictor(), photo(*SIZE, count=2)
    raw, found = by_hand(model, images.numpy()), model.predict(images)
    assert torch.equal(found["semseg"], raw["semseg"].argmax(1, keepdim=True))
    torch.testing.assert_close(found["depth"], raw["depth"].clamp_min(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(found["edge"], raw["edge"].sigmoid(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found["normals"].norm(dim=1), torch.ones(2, *SIZE))
    for name, maps in model.predict(images.float() / 255).items():
        torch.testing.assert_close(maps, found[name])


def test_a_larger_photo_is_resized_and_its_predictions_are_resized_back():
    model = predictor(["depth"])
    images = photo(*SIZE).repeat_interleave(3, 2).repeat_interleave(3, 3)  # whose means are the small photo's pixels
    small = F.interpolate(images.float(), size=SIZE, mode="bilinear", antialias=True)
    expected = F.interpolate(by_hand(model, small.numpy())["depth"], size=images.shape[2:], mode="bilinear")
    torch.testing.assert_close(model.predict(images)["depth"], expected.clamp_min(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("photo_size", "content"),
    [
        ((64, 96), (32, 48)),
        ((96, 64), (48, 32)),  # upright: as many pixels, in its shape
        ((75, 75), (39, 39)),
        ((20, 400), (9, 175)),
    ],
)
def test_sizes(photo_size, content):
    model = predictor(["depth"])
    assert model.fit(*photo_size, False) == Fit(content, content)
    assert model.predict(photo(*photo_size))["depth"].shape == (1, 1, *photo_size)


def test_the_native_size():
    model = predictor(["depth"])
    raw = by_hand(model, photo(50, 77).numpy())["depth"]
    torch.testing.assert_close(model.predict(photo(50, 77), native=True)["depth"], raw.clamp_min(0), atol=1e-5, rtol=0)


def test_what_a_network_does_not_take_is_padded():
    model = predictor(["depth"], backbone=f"{__name__}:Patches", backbone_options={})
    assert model.fit(75, 75, False) == Fit((39, 39), (40, 40))
    images = F.pad(photo(39, 39).float(), (0, 1, 0, 1), mode="replicate")
    expected = by_hand(model, images.numpy())["depth"][..., :39, :39].clamp_min(0)
    torch.testing.assert_close(model.predict(photo(39, 39))["depth"], expected, atol=1e-5, rtol=0)


def test_a_network_of_one_size():
    model = predictor(["depth"], backbone=f"{__name__}:OneSize", backbone_options={})
    assert model.fit(90, 60, False) == Fit((32, 21), SIZE)
    assert model.predict(photo(90, 60))["depth"].shape == (1, 1, 90, 60)
    with pytest.raises(InputError, match="takes no photos of 60x90 pixels"):
        model.predict(photo(90, 60), native=True)


def test_each_task_sees_its_own_image():
    model = predictor(["depth", "edge"], encoders="per_task")
    first, second = photo(*SIZE), 255 - photo(*SIZE)
    together = model.predict({"depth": first, "edge": second})
    torch.testing.assert_close(together["depth"], model.predict(first)["depth"])
    torch.testing.assert_close(together["edge"], model.predict(second)["edge"])
    with pytest.raises(InputError, match="expected one for each of depth, edge"):
        model.predict({"depth": first})


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (torch.rand(3, 8, 8), "shape"),
        (torch.rand(1, 4, 8, 8), "shape"),
        (255 * torch.rand(1, 3, 8, 8), "0..1"),
        (torch.full((1, 3, 8, 8), torch.nan), "0..1"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "uint8"),
    ],
)
def test_other_images_are_refused(images, found):
    with pytest.raises(InputError, match=found):
        predictor(["depth"]).predict(images)
