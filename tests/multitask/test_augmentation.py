import colorsys
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from experiment.config import DataSettings
from experiment.config.augmentation import AUGMENTATIONS
from experiment.config.augmentation import Augmentation as Recipe
from multitask.data.augmentation import Augmentation, shift_colour
from multitask.data.rotation import Rotation
from multitask.data.samples import MEAN, STD
from multitask.tasks import build_tasks

CPU = torch.device("cpu")
B, H, W = 8, 24, 32


def tasks(*names):
    return build_tasks(names, DataSettings(), 6)


def sample(names, seed=0):
    draw = torch.Generator().manual_seed(seed)
    labels = {
        "semseg": torch.randint(6, (B, 1, H, W), generator=draw).to(torch.uint8),
        "depth": 1 + torch.rand(B, 1, H, W, generator=draw),
        "normals": F.normalize(torch.randn(B, 3, H, W, generator=draw), dim=1),
    }
    return {
        "image": torch.randint(256, (B, 3, H, W), generator=draw).to(torch.uint8),
        "labels": {n: labels[n] for n in names},
        "masks": {n: torch.ones(B, 1, H, W, dtype=torch.bool) for n in names},
    }


def augmentation(names, scale=(0.5, 2.0), photometric=False, seed=0):
    return Augmentation(tasks(*names), torch.Generator().manual_seed(seed), Recipe(scale, photometric=photometric))


def test_without_zoom_only_a_flip_is_left():
    given = sample(("depth", "normals"))
    batch = augmentation(("depth", "normals"), scale=(1.0, 1.0))(given, CPU)
    image = batch.image * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    flips = 0
    for b in range(B):
        original, depth, normals = given["image"][b] / 255, given["labels"]["depth"][b], given["labels"]["normals"][b]
        if not torch.equal(batch.labels["depth"][b], depth):
            flips += 1
            original, depth = original.flip(2), depth.flip(2)
            normals = normals.flip(2) * torch.tensor([-1, 1, 1]).view(3, 1, 1)
        assert image[b].allclose(original, atol=1e-4)
        assert torch.equal(batch.labels["depth"][b], depth)
        assert torch.equal(batch.labels["normals"][b], normals)
    assert 0 < flips < B and batch.valid.all()


def test_labels_stay_on_their_pixels():
    """An image that shows its own depth still shows it after any zoom and crop."""
    given = sample(("depth",))
    ramp = torch.linspace(0, 1, W).expand(H, W) * 0.6 + torch.linspace(0, 0.4, H)[:, None]
    given["labels"]["depth"] = ramp.expand(B, 1, H, W).clone()
    given["image"] = (255 * ramp).round().to(torch.uint8).expand(B, 3, H, W)
    batch = augmentation(("depth",), scale=(0.7, 1.9))(given, CPU)
    seen = batch.image[:, :1] * STD[0] + MEAN[0]
    inside = batch.valid & (F.avg_pool2d(batch.valid.float(), 3, 1, 1) == 1)
    shown = (batch.labels["depth"] / seen.clamp_min(1e-3))[inside & (seen > 0.2)]
    # the ratio is one over the zoom, the same everywhere in an image, within a pixel of the ramp
    for b in range(B):
        ratio = (batch.labels["depth"][b] / seen[b].clamp_min(1e-3))[inside[b] & (seen[b] > 0.2)]
        assert 1 / 1.95 < ratio.median() < 1 / 0.65
        assert (ratio / ratio.median() - 1).abs().max() < 0.2
    assert len(shown)


def test_zooming_out_pads_and_masks():
    given = sample(("depth",))
    batch = augmentation(("depth",), scale=(0.5, 0.5))(given, CPU)
    assert batch.valid.float().mean() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(batch.valid, batch.masks["depth"])
    assert not batch.image[~batch.valid.expand_as(batch.image)].any()
    assert batch.labels["depth"][batch.valid].min() >= 2  # half as large, twice as far


@pytest.mark.parametrize("factor", [0.5, 0.7, 0.95])
def test_an_image_made_smaller_lies_in_the_middle(factor):
    batch = augmentation(("depth",), scale=(factor, factor))(sample(("depth",)), CPU)
    for axis, size in ((2, H), (3, W)):
        inside = batch.valid.flatten(1, 1).any(5 - axis).nonzero()[:, -1]
        before, behind = int(inside.min()), size - 1 - int(inside.max())
        assert abs(before - behind) <= 1
        assert size - before - behind == pytest.approx(factor * size, abs=1)


@pytest.mark.parametrize("factor", [0.3, 0.5, 2 / 3, 0.83])
def test_zooming_out_keeps_every_edge_pixel(factor):
    """Each marks the cell that its centre falls into, or both cells where it lies on their border."""
    draw = torch.Generator().manual_seed(0)
    edges = (torch.rand(B, 1, H, W, generator=draw) < 0.04).to(torch.uint8)
    edges[:, :, :, 5] = 1
    given = sample(()) | {"labels": {"edge": edges}, "masks": {"edge": torch.ones_like(edges, dtype=torch.bool)}}
    batch = augmentation(("edge",), scale=(factor, factor))(given, CPU)
    flips = 0
    for b in range(B):
        expected = torch.zeros(H, W, dtype=torch.uint8)
        for y, x in edges[b, 0].nonzero().tolist():
            for i, j in product(*({int((at + 0.5) * factor + e) for e in (-1e-4, 1e-4)} for at in (y, x))):
                expected[i, j] = 1
        label, valid = batch.labels["edge"][b, 0], batch.valid[b, 0]
        inside = label[valid.any(1)][:, valid.any(0)]
        expected = expected[: inside.shape[0], : inside.shape[1]]
        flipped = torch.equal(inside.flip(1), expected)
        assert flipped or torch.equal(inside, expected)
        flips += flipped
    assert 0 < flips < B


def test_ignored_pixels_stay_ignored():
    given = sample(("depth",))
    given["masks"]["depth"][:, :, :, : W // 2] = False
    given["labels"]["depth"][:, :, :, : W // 2] = -1
    batch = augmentation(("depth",))(given, CPU)
    assert batch.labels["depth"][batch.masks["depth"]].min() > 0
    assert (batch.masks["depth"] & ~batch.valid).sum() == 0


def test_a_crop_that_one_class_fills_is_drawn_again():
    given = sample(("semseg",))
    given["labels"]["semseg"] = torch.zeros(B, 1, H, W, dtype=torch.uint8)
    given["labels"]["semseg"][..., : W // 4] = torch.arange(5, dtype=torch.uint8).repeat(W)[: W // 4] + 1
    shares = []
    for seed in range(6):
        batch = augmentation(("semseg",), scale=(2.0, 2.0), seed=seed)(given, CPU)
        filled = (batch.labels["semseg"] == 0).float().mean((1, 2, 3))
        shares.append((filled < 0.8).float().mean())
    # a single random crop avoids the empty three quarters in about a quarter of the draws
    assert torch.stack(shares).mean() > 0.85


@pytest.mark.parametrize("low", [0.6, 1.0])
def test_the_share_of_a_crops_classes_is_that_of_all_its_labelled_pixels(low):
    """Of 10 crops, the first whose commonest class has less than three quarters; counted in a loop."""
    given = sample(("semseg",))
    draw = torch.Generator().manual_seed(5)
    blobs = torch.randint(6, (B, 1, H // 8, W // 8), generator=draw).float()
    given["labels"]["semseg"] = F.interpolate(blobs, (H, W)).to(torch.uint8)
    given["labels"]["semseg"][:, :, :, W // 5 :] = 3
    given["masks"]["semseg"][:, :, 3:9, 7:20] = False
    augment = augmentation(("semseg",), scale=(low, 3.0))
    state = augment.generator.get_state()
    batch = augment(given, CPU)
    again = torch.Generator()
    again.set_state(state)
    scales = low + (3.0 - low) * torch.rand(B, generator=again)
    flips = torch.rand(B, generator=again) < 0.5
    offsets = torch.rand(2, 10, B, generator=again)
    tries = set()
    for b, scale in enumerate(scales):
        for k in range(10):
            at = offsets[:, k, b] if scale >= 1 else torch.tensor([0.5, 0.5])
            top, left = ((o * (scale * size - size)).round() for o, size in zip(at, (H, W), strict=True))
            label, known = np.zeros((H, W), int), np.zeros((H, W), bool)
            for i, j in product(range(H), range(W)):
                y, x = ((float(torch.floor((n + start + 0.5) / scale))) for n, start in ((i, top), (j, left)))
                if 0 <= y < H and 0 <= x < W:
                    label[i, j] = given["labels"]["semseg"][b, 0, int(y), int(x)]
                    known[i, j] = given["masks"]["semseg"][b, 0, int(y), int(x)]
            if k == 9 or np.bincount(label[known]).max() < 0.75 * known.sum():
                break
        tries.add(k)
        if flips[b]:
            label, known = label[:, ::-1], known[:, ::-1]
        assert np.array_equal(batch.masks["semseg"][b, 0].numpy(), known)
        assert np.array_equal(batch.labels["semseg"][b, 0].numpy()[known], label[known])
    assert len(tries) > 1


def test_same_seed_same_batch_and_other_seed_another():
    given = sample(("semseg", "depth"))
    one, two, other = (augmentation(("semseg", "depth"), photometric=True, seed=s)(given, CPU) for s in (0, 0, 1))
    assert torch.equal(one.image, two.image) and torch.equal(one.labels["depth"], two.labels["depth"])
    assert not torch.equal(one.image, other.image)


def test_colour_shift_against_colorsys():
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(5, 3, 3, 3, generator=draw)
    hue = torch.rand(5, 1, 1, 1, generator=draw) - 0.5
    saturation = 0.5 + torch.rand(5, 1, 1, 1, generator=draw)
    found = shift_colour(image, hue, saturation)
    for b in range(5):
        for y in range(3):
            h, s, v = colorsys.rgb_to_hsv(*image[b, :, y, 1].tolist())
            expected = colorsys.hsv_to_rgb((h + hue[b].item()) % 1, min(1, s * saturation[b].item()), v)
            assert found[b, :, y, 1].tolist() == pytest.approx(expected, abs=1e-5)


def test_photometric_changes_colours_only_within_range():
    given = sample(("depth",))
    plain = augmentation(("depth",), scale=(1.0, 1.0))(given, CPU)
    vivid = augmentation(("depth",), scale=(1.0, 1.0), photometric=True)(given, CPU)
    assert torch.equal(plain.labels["depth"], vivid.labels["depth"])
    shown = vivid.image * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert shown.min() >= -1e-5 and shown.max() <= 1 + 1e-5
    assert not plain.image.allclose(vivid.image)


def test_images_of_tasks_are_cropped_and_flipped_alike():
    """Two tasks with the same image still see the same one; each kind as far as it may change."""
    names = ("semseg", "depth", "normals")
    given, one = sample(names), sample(names)
    given["image"] = {name: one["image"] for name in names}
    for photometric in (False, True):
        kinds = {"semseg": "photo", "depth": "plain", "normals": "photo"}
        augment = [augmentation(names, photometric=photometric) for _ in range(2)]
        augment[0].images = kinds
        batch, alone = augment[0](given, CPU), augment[1](one, CPU)
        still = augmentation(names)(one, CPU)
        assert torch.equal(batch.image["semseg"], alone.image) and torch.equal(batch.image["normals"], alone.image)
        assert torch.equal(batch.image["depth"], still.image)
        assert torch.equal(batch.valid, alone.valid) and len(batch) == B and batch.size == (H, W)
        for name in names:
            assert torch.equal(batch.labels[name], alone.labels[name])


def test_readings_of_a_range_sensor_stay_true_to_the_label():
    """An image of 0.5 / depth with holes: after any zoom it still is 0.5 / depth, and holes are holes."""
    given = sample(("depth",))
    given["labels"]["depth"] = 1.3 + 2 * torch.rand(B, 1, H, W, generator=torch.Generator().manual_seed(1))
    holes = torch.rand(B, 1, H, W, generator=torch.Generator().manual_seed(2)) < 0.3
    readings = (255 * 0.5 / given["labels"]["depth"]).round().to(torch.uint8)
    given["image"] = {"depth": torch.where(holes, 0, readings).expand(-1, 3, -1, -1)}
    given["masks"]["depth"] = ~holes
    augment = augmentation(("depth",), scale=(0.6, 1.3), photometric=True)
    augment.images = {"depth": "range"}
    batch = augment(given, CPU)
    shown = batch.image["depth"] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    mask = batch.masks["depth"]
    assert (shown - 0.5 / batch.labels["depth"])[mask.expand_as(shown)].abs().max() < 0.8 / 255
    assert shown[(batch.valid & ~mask).expand_as(shown)].abs().max() < 1e-6


def of_paper(name, names, given, seed=0):
    return Augmentation(tasks(*names), torch.Generator().manual_seed(seed), AUGMENTATIONS[name])(given, CPU)


def test_factors_are_drawn_from_a_list():
    """Depth is divided by 1, 1.2 or 1.5, and by each of them."""
    given = sample(("depth",))
    given["labels"]["depth"].fill_(3)
    found = {
        round(float(3 / d.max()), 4)
        for s in range(4)
        for d in of_paper("vandenhende_nyud", ("depth",), given, s).labels["depth"]
    }
    assert found == {1.0, 1.2, 1.5}


def test_a_crop_in_the_middle_keeps_the_middle():
    """Depth is least in the middle column; a crop begins at a whole pixel."""
    given = sample(("depth",))
    given["labels"]["depth"] = 1 + (torch.arange(W) - (W - 1) / 2).abs().expand(B, 1, H, W)
    far = {}
    for name in ("vandenhende_nyud", "libmtl"):
        depth = torch.cat([of_paper(name, ("depth",), given, s).labels["depth"] for s in range(4)])[:, 0, 0]
        far[name] = float((depth.argmin(1) - (W - 1) / 2).abs().max())
    assert far["vandenhende_nyud"] <= 2 and far["libmtl"] > 3


def test_densemtl_flips_alone():
    given = sample(("semseg", "normals"))
    batch = of_paper("densemtl", ("semseg", "normals"), given)
    for found, label in zip(batch.labels["semseg"], given["labels"]["semseg"]):
        assert torch.equal(found, label) or torch.equal(found, label.flip(2))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_of_a_square_is_exact(quarters):
    """Counter-clockwise, as numpy.rot90 turns; normals turn with the image."""
    image, n = torch.rand(2, 3, 16, 16), F.normalize(torch.randn(2, 3, 16, 16), dim=1)
    angle = torch.full((2,), quarters * np.pi / 2)
    turn = Rotation(angle, 16, 16)
    assert torch.allclose(turn.smooth(image), torch.rot90(image, quarters, (2, 3)), atol=1e-4)
    near = Rotation(angle + 1e-4, 16, 16)  # off the borders between pixels
    assert torch.equal(near.nearest(image), torch.rot90(image, quarters, (2, 3)))
    turned = tasks("normals")["normals"].rotate(n, angle.view(-1, 1, 1, 1))
    x, y = {1: (-n[:, 1], n[:, 0]), 2: (-n[:, 0], -n[:, 1]), 3: (n[:, 1], -n[:, 0])}[quarters]
    assert torch.allclose(turned, torch.stack([x, y, n[:, 2]], 1), atol=1e-5)


def test_what_a_rotation_brings_into_view_is_unknown():
    """With an image that shows its own depth, what is valid still does, and corners are not."""
    given = sample(("depth", "normals"))
    ramp = (torch.linspace(0.1, 0.6, W).expand(H, W) + torch.linspace(0, 0.3, H)[:, None]).expand(B, 1, H, W)
    given["labels"]["depth"], given["image"] = ramp, (255 * ramp).expand(-1, 3, -1, -1).to(torch.uint8)
    recipe = Recipe((1.0, 1.0), rotation=20.0)
    batch = Augmentation(tasks("depth", "normals"), torch.Generator().manual_seed(0), recipe)(given, CPU)
    shown = (batch.image * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1))[:, :1]
    valid = batch.masks["depth"]
    assert torch.equal(valid, batch.valid) and 0.6 < valid.float().mean() < 1
    assert (shown - batch.labels["depth"])[valid].abs().max() < 0.05
    assert not batch.image[~valid.expand_as(batch.image)].any()
    assert torch.allclose(batch.labels["normals"].norm(dim=1), torch.ones(B, H, W), atol=1e-4)


def test_given_values_take_the_place_of_a_papers():
    data = DataSettings(augmentation="vandenhende_nyud")
    assert data.scale_range == (1.0, 1.5) and data.recipe == AUGMENTATIONS["vandenhende_nyud"] and not data.photometric
    again = DataSettings(augmentation="vandenhende_nyud", scale_range=data.scale_range, photometric=data.photometric)
    assert again == data and again.recipe == data.recipe
    other = DataSettings(augmentation="vandenhende_nyud", scale_range=(0.9, 1.1), photometric=True).recipe
    assert other == Recipe((0.9, 1.1), random_crop=False, photometric=True)
    assert DataSettings().recipe == Recipe((0.5, 2.0), photometric=True)
