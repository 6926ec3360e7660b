"""Random scale, crop, flip and colour of whole batches, on the device that trains."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from experiment.config.augmentation import AUGMENTATIONS
from experiment.config.augmentation import Augmentation as Recipe
from multitask.data.rotation import Rotation
from multitask.data.samples import Batch, Sample, each_image, first_image, images_on, normalise
from multitask.metrics import counting
from multitask.processes import Share
from multitask.sending import send
from multitask.tasks import Task

CROP_TRIES = 10
LARGEST_SHARE = 0.75  # of one class in a crop


class Augmentation:
    """The augmentation of a paper, such as ATRC's: scale U(0.5, 2), by which depth is divided, crop, flip, colour.

    Images keep their size; an image made smaller lies in the middle of its padding. A random crop is drawn again, at
    most 10 times, until no class fills three quarters of its labelled pixels. A rotation comes first, about the middle.
    All draws come from `generator`, on the CPU, so that they do not depend on the device. share: the images that come
    are this part of a batch; the draws are those of the whole batch. Where tasks have images of their own, all are
    changed alike, as far as their kinds allow; see `DatasetSplits.images`.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        generator: torch.Generator,
        recipe: Recipe = AUGMENTATIONS["atrc"],
        images: Mapping[str, str] | None = None,
        share: Share | None = None,
    ):
        self.tasks = tasks
        self.generator = generator
        self.recipe = recipe
        self.images = images or {}
        self.share = share

    def __call__(self, sample: Sample, device: torch.device) -> Batch:
        """A collated sample, image (B, 3, H, W) uint8 or {task: (B, 3, H, W)}, to a batch on the device."""
        images = images_on(sample, device)
        count, _, height, width = first_image(images).shape
        scale = send(self._draw_scale(count), device).view(-1, 1)
        flipped = send(self._draw(count=count) < 0.5, device).view(-1, 1)
        offsets = send(self._draw(2, CROP_TRIES, count=count), device)
        labels = {t: v.to(device, non_blocking=True) for t, v in sample["labels"].items()}
        masks = {t: v.to(device, non_blocking=True) for t, v in sample["masks"].items()}
        seen = None  # (B, 1, H, W), where a rotation leaves the image
        if self.recipe.rotation:
            angles = send(math.radians(self.recipe.rotation) * (2 * self._draw(count=count) - 1), device)
            turn = Rotation(angles, height, width)
            seen = turn.inside()
            images = each_image(
                lambda one, name: turn.nearest(one) if self.images.get(name) == "range" else turn.smooth(one), images
            )
            labels = {t: self.tasks[t].rotate(turn.nearest(v), angles.view(-1, 1, 1, 1)) for t, v in labels.items()}
            masks = {t: turn.nearest(v) & seen for t, v in masks.items()}
        # where the crop starts in the magnified image, (tries, B, 1); negative where that is smaller, which pads
        middle = (scale < 1) | (not self.recipe.random_crop)
        offsets = torch.where(middle, 0.5, offsets.unsqueeze(-1))
        tops, lefts = ((at * (scale * size - size)).round() for at, size in zip(offsets, (height, width), strict=True))
        top, left = self._choose_crop(tops, lefts, scale, labels, masks)

        rows = _source_position(height, top, scale, device)  # (B, H), fractional pixels of the original
        columns = _source_position(width, left, scale, device)
        columns = torch.where(flipped, columns.flip(1), columns)
        grid = torch.stack(
            [
                (2 * columns / width - 1)[:, None, :].expand(-1, height, -1),
                (2 * rows / height - 1)[:, :, None].expand(-1, -1, width),
            ],
            -1,
        )
        colour = None
        if self.recipe.photometric:
            colour = send(self._draw(9, count=count).view(9, count, 1, 1, 1), device)

        def change(image: Tensor, task: str) -> Tensor:
            kind = self.images.get(task, "photo")
            if kind == "range":  # a mean of a reading and of none is no reading
                return (_nearest(image, rows, columns) * scale.view(-1, 1, 1, 1)).clamp(max=1)
            image = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
            return image if colour is None or kind != "photo" else vary_colour(image, colour)

        images = each_image(change, images)
        inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None]
        inside = inside if seen is None else _nearest(seen, rows, columns) & inside

        for name, task in self.tasks.items():
            label = _nearest(labels[name], rows, columns)
            if task.marks_lines:  # in a smaller image, each pixel of a line still marks the cell it falls into
                smaller = scale.view(-1, 1, 1, 1) < 1
                label = torch.where(smaller, _any_within(labels[name], rows, columns, 0.5 / scale), label)
            label = task.rescale(label, scale.view(-1, 1, 1, 1))
            labels[name] = torch.where(flipped.view(-1, 1, 1, 1), task.flip(label), label)
            masks[name] = _nearest(masks[name], rows, columns) & inside
        images = each_image(lambda image, _: normalise(image) * inside, images)
        return Batch(images, inside, labels, masks)

    def _draw_scale(self, count: int) -> Tensor:
        """(count,)."""
        drawn, factors = self._draw(count=count), self.recipe.factors
        if factors:
            return torch.tensor(factors)[(drawn * len(factors)).long().clamp(max=len(factors) - 1)]
        low, high = self.recipe.scale_range
        return low + (high - low) * drawn

    def _draw(self, *shape: int, count: int) -> Tensor:
        """(*shape, count), uniform in 0..1."""
        if self.share is None:
            return torch.rand(*shape, count, generator=self.generator)
        return self.share.of(torch.rand(*shape, self.share.total, generator=self.generator))

    def _choose_crop(
        self, tops: Tensor, lefts: Tensor, scale: Tensor, labels: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The first of the drawn crops that no class dominates, else the last."""
        balanced = next((name for name, task in self.tasks.items() if task.balances_crops), None)
        if balanced is None:
            return tops[0], lefts[0]
        height, width = labels[balanced].shape[2:]
        number = self.tasks[balanced].channels
        classes = torch.where(masks[balanced], labels[balanced].long(), number)
        shares = []
        for top, left in zip(tops, lefts, strict=True):
            rows, columns = (_source_position(s, at, scale, at.device) for s, at in ((height, top), (width, left)))
            outside = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None]
            seen = _nearest(classes, rows, columns).flatten(1)
            known = (seen < number) & ~outside.flatten(1)
            counts = counting.count(seen, known, number)
            shares.append(counts.amax(1) / counts.sum(1).clamp_min(1))
        fine = torch.stack(shares) < LARGEST_SHARE  # (tries, B)
        fine[-1] = True
        first = fine.int().argmax(0).view(1, -1, 1)
        return tops.gather(0, first)[0], lefts.gather(0, first)[0]


def vary_colour(image: Tensor, draws: Tensor) -> Tensor:
    """Brightness +-32/255, contrast and saturation 0.5 to 1.5, hue +-18 of 180, each for half of the images.

    image: (B, 3, H, W) in 0..1; draws: (9, B, 1, 1, 1), uniform in 0..1.
    """
    on = draws[:4] < 0.5
    brightness = torch.where(on[0], (2 * draws[4] - 1) * 32 / 255, 0)
    contrast = torch.where(on[1], 0.5 + draws[5], 1)
    saturation = torch.where(on[2], 0.5 + draws[6], 1)
    hue = torch.where(on[3], (2 * draws[7] - 1) * 18 / 180, 0)
    late = draws[8] < 0.5  # contrast before or after the change of colour
    image = image + brightness
    image = torch.where(late, image, image * contrast).clamp(0, 1)
    image = shift_colour(image, hue, saturation)
    return torch.where(late, image * contrast, image).clamp(0, 1)


def shift_colour(image: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """(B, 3, H, W) in 0..1; hue: turned by this share of the circle; saturation: multiplied by (HSV)."""
    value, _ = image.max(1, keepdim=True)
    chroma = value - image.min(1, keepdim=True)[0]
    safe = chroma.clamp_min(1e-8)
    r, g, b = image.split(1, 1)
    sector = torch.where(
        value == r, ((g - b) / safe) % 6, torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    sector = torch.where(chroma > 0, sector, 0) / 6 + hue
    chroma = torch.minimum(chroma * saturation, value)
    # f(n) = V - C max(0, min(k, 4 - k, 1)), k = (n + 6 hue) mod 6, with n = 5, 3, 1 for red, green, blue
    n = torch.arange(5, 0, -2, device=image.device).view(1, 3, 1, 1)
    k = (n + 6 * sector) % 6
    return value - chroma * torch.minimum(torch.minimum(k, 4 - k), torch.ones_like(k)).clamp_min(0)


def _source_position(size: int, start: Tensor, scale: Tensor, device: torch.device) -> Tensor:
    """Where each pixel of a crop lies in the original, in pixels from its border: (B, size)."""
    return (torch.arange(size, device=device) + start + 0.5) / scale


def _nearest(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, c, H, W) at fractional (B, h) x (B, w) positions; positions outside repeat the border."""
    height, width = maps.shape[2:]
    y = rows.floor().long().clamp(0, height - 1)
    x = columns.floor().long().clamp(0, width - 1)
    batch = torch.arange(len(maps), device=maps.device).view(-1, 1, 1)
    return maps.movedim(1, -1)[batch, y[:, :, None], x[:, None, :]].movedim(-1, 1)


def _any_within(maps: Tensor, rows: Tensor, columns: Tensor, reach: Tensor) -> Tensor:
    """1 where the centre of a positive pixel of (B, c, H, W) lies within `reach`, (B, 1), of a row and a column.

    rows (B, h), columns (B, w): fractional positions, each cell's centre.
    """
    # the positive pixels above and to the left of each corner; integers, so that the sums are exact on any device
    table = F.pad(maps.cumsum(2, dtype=torch.int32).cumsum(3, dtype=torch.int32), (1, 0, 1, 0))
    reach = reach + 1e-3  # rounding must not lose a pixel between two cells
    (top, bottom), (left, right) = (
        [(at + side * reach - 0.5).ceil().clamp(0, size).long() for side in (-1, 1)]
        for at, size in ((rows, maps.shape[2]), (columns, maps.shape[3]))
    )
    batch = torch.arange(len(maps), device=maps.device).view(-1, 1, 1)
    table = table.movedim(1, -1)
    counts = [table[batch, y[:, :, None], x[:, None, :]] for y in (top, bottom) for x in (left, right)]
    return (counts[0] - counts[1] - counts[2] + counts[3] > 0).to(maps.dtype).movedim(-1, 1)
