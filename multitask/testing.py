"""Checks that an author of a plug-in runs on his own class; each raises AssertionError with what is wrong."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate
from torchmetrics import Metric

from multitask.data import DatasetSplits, Sample
from multitask.data.splits import KINDS, groups_of
from multitask.decoders import Decoded, Decoder
from multitask.tasks import Task

SIZES = ((64, 96), (45, 67))  # of images; the second is divisible by no stride
TASKS = ("semseg", "depth", "edge")
SPLITS = ("train", "val", "test")


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
    reductions = tuple(stride for stride in (1, 2, 4, 8, 16) if stride >= decoder.finest)
    widths, channels = tuple(range(4, 4 + 2 * len(reductions), 2)), 5
    tasks = {task: 1 + i for i, task in enumerate(TASKS)}
    built = decoder(widths, reductions, channels, tasks, seed=3)
    state = {key: value.clone() for key, value in built.state_dict().items()}
    assert set(built.parts) == set(TASKS), f"parts are {list(built.parts)}: expected one for each of {TASKS}"
    for height, width in SIZES:
        maps = [_random(width_of, (-(-height // s), -(-width // s))) for width_of, s in zip(widths, reductions)]
        features, shared, early = Decoded(*built.train()(maps))
        assert list(features) == list(TASKS), f"features of {list(features)}: expected those of {TASKS} in this order"
        raws = []
        for task, feature in features.items():
            read = shared if isinstance(shared, Tensor) else shared[task]
            assert read.ndim == 4 and read.shape[1] == built.shared_channels, (
                f"the shared map has shape {tuple(read.shape)}: expected shared_channels {built.shared_channels}"
            )
            expected = (2, channels, *read.shape[2:])
            assert feature.shape == expected, f"{task}: shape {tuple(feature.shape)}, expected {expected}"
            stride = decoder.feature_reduction(reductions)
            expected = (-(-height // stride), -(-width // stride))
            assert stride == reductions[0] or feature.shape[2:] == expected, (
                f"{task}: features of size {tuple(feature.shape[2:])}, expected {expected} by feature_reduction"
            )
            assert feature.isfinite().all(), f"{task}: not finite"
            raw = built.head(task)(feature)
            assert raw.shape[:2] == (2, tasks[task]), (
                f"{task}: the head gives {tuple(raw.shape)}: expected {tasks[task]} channels"
            )
            raws.append(raw)
        everything = [*features.values(), *raws, *(maps for one in early for maps in one.predictions.values())]
        torch.stack([maps.square().mean() for maps in everything]).sum().backward()
        for name, parameter in built.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), f"{name} has no finite gradient"
        assert maps[0].grad is not None, "the finest map is not used"
        assert maps[-1].grad is not None, "the coarsest map is not used"
        built.zero_grad(set_to_none=True)
    before = torch.get_rng_state()
    fewer = decoder(widths, reductions, channels, {TASKS[1]: tasks[TASKS[1]]}, seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state()), "building it moves the global random generator"
    common = [key for key in fewer if not decoder.joint or key.startswith("parts.")]
    assert all(torch.equal(fewer[key], state[key]) for key in common), (
        "with fewer tasks, the initial weights of those that stay differ: create them in build and task_part"
    )
    built.load_state_dict(state)


def _random(channels: int, size: tuple[int, int]) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(channels)).requires_grad_()


def check_task(task: Task, label: Tensor, mask: Tensor) -> None:
    """Asserts that a task is one as multitask/tasks/base.py describes it.

    label: (B, label_channels, H, W) in the task's form, such as from a dataset, B >= 2; mask: (B, 1, H, W) bool.
    """
    count, _, height, width = label.shape
    draw = torch.Generator().manual_seed(0)
    assert count >= 2, f"{count} labels: expected two or more"
    assert label.shape[1] == task.label_channels, (
        f"the label has {label.shape[1]} channels: expected label_channels {task.label_channels}"
    )
    assert task.metrics, "metrics is empty: expected {name: whether higher is better}"
    assert task.loss_weight > 0, f"loss_weight is {task.loss_weight}: expected a positive number"
    mask = mask & (torch.rand(mask.shape, generator=draw) < 0.8)
    prediction = torch.randn(count, task.channels, height, width, generator=draw).requires_grad_()
    regions = torch.randn(count, task.region_count, height, width, generator=draw).requires_grad_()
    _check_loss("loss", task.loss, prediction, label, mask)
    _check_loss("region_loss", task.region_loss, regions, label, mask)

    losses = task.image_losses(prediction, label, mask)
    singles = [task.loss(prediction[i : i + 1], label[i : i + 1], mask[i : i + 1]) for i in range(count)]
    assert losses.shape == (count,), f"image_losses has shape {tuple(losses.shape)}: expected ({count},)"
    assert torch.allclose(losses, torch.stack(singles), rtol=1e-4, atol=1e-6), (
        "image_losses differs from loss on single images"
    )

    region = task.region_label(label)
    assert region.shape == (count, 1, height, width) and not region.is_floating_point(), (
        f"region_label gives {region.dtype} {tuple(region.shape)}: expected integers, {(count, 1, height, width)}"
    )
    known = region[mask]
    assert known.min() >= 0 and known.max() < task.region_count, (
        f"region_label gives {int(known.min())} to {int(known.max())}: expected 0 to {task.region_count - 1}"
    )

    decoded = task.decode(prediction.detach())
    assert decoded.shape[0] == count and decoded.shape[2:] == label.shape[2:], (
        f"decode gives shape {tuple(decoded.shape)}: expected ({count}, c, {height}, {width})"
    )
    assert decoded.isfinite().all(), "decode gives values that are not finite"
    assert not task.defines(label, torch.zeros_like(mask)), "defines holds without a valid pixel"
    if task.defines(label, mask):
        check_metric(task.metric(), decoded, label, mask, tuple(task.metrics))

    halves = [task.statistics(label[i::2], mask[i::2]) for i in range(2)]
    statistics = task.statistics(label, mask)
    assert torch.allclose(statistics.float(), (halves[0] + halves[1]).float(), rtol=1e-4), (
        "statistics of two parts do not add up to those of the whole"
    )
    bias = task.head_bias(statistics)
    assert bias.shape == (task.channels,) and bias.isfinite().all(), (
        f"head_bias is {bias}: expected {task.channels} finite numbers"
    )
    if task.defines(label, mask):
        constant = task.prior(statistics).expand(count, -1, -1, -1)
        check_metric(task.metric(), constant, label, mask, tuple(task.metrics))

    twice = task.flip(task.flip(label))
    assert torch.equal(twice, label), "flip twice is not the label itself"
    one = torch.ones(count, 1, 1, 1)
    assert torch.allclose(task.rescale(label, one).float(), label.float()), "rescale by 1 changes the label"


def _check_loss(
    name: str, loss: Callable[[Tensor, Tensor, Tensor], Tensor], prediction: Tensor, label: Tensor, mask: Tensor
) -> None:
    value = loss(prediction, label, mask)
    assert value.shape == () and value.isfinite(), f"{name} is {value}: expected a finite scalar"
    (gradient,) = torch.autograd.grad(value, prediction)
    assert gradient.isfinite().all() and gradient.any(), f"{name} has no finite gradient"
    assert not gradient[~mask.expand_as(gradient)].any(), f"{name} depends on pixels outside the mask"
    nothing = loss(prediction, label, torch.zeros_like(mask))
    assert nothing == 0, f"{name} is {float(nothing)} without a valid pixel: expected 0"


def check_metric(metric: Metric, decoded: Tensor, label: Tensor, mask: Tensor, names: Sequence[str]) -> None:
    """Asserts that a metric is one as multitask/metrics/__init__.py describes it.

    decoded: (B, c, H, W) predictions in the label's units, B >= 2; label, mask: as of a task; names: of its values.
    """

    def compute(*batches: slice, decoded: Tensor = decoded) -> dict[str, Tensor]:
        metric.reset()
        for part in batches:
            metric.update(decoded[part], label[part], mask[part])
        return {name: torch.as_tensor(value, dtype=torch.double) for name, value in metric.compute().items()}

    whole = compute(slice(None))
    assert tuple(whole) == tuple(names), f"compute gives {list(whole)}: expected {list(names)}"
    for name, value in whole.items():
        assert value.shape == () and value.isfinite(), f"{name} is {value}: expected a finite scalar"
    metric.reset()
    metric.update(decoded, label, torch.zeros_like(mask))
    for name, empty in metric.compute().items():
        assert torch.as_tensor(empty).isnan(), f"{name} is {empty} without a valid pixel: expected NaN"
    other = torch.where(mask, decoded, decoded.flip(0))
    for case, values in (
        ("in two batches", compute(slice(0, 1), slice(1, None))),
        ("a second time", compute(slice(None))),
        ("with other predictions outside the mask", compute(slice(None), decoded=other)),
    ):
        for name, value in values.items():
            assert torch.isclose(value, whole[name], rtol=1e-6), f"{name} is {value} {case}: expected {whole[name]}"


def check_dataset(dataset: DatasetSplits) -> None:
    """Asserts that a dataset is one as multitask/data/__init__.py describes it; reads two samples of each split."""
    assert tuple(dataset.splits) == SPLITS, f"splits are {list(dataset.splits)}: expected {list(SPLITS)}"
    shapes = set()
    for split, samples in dataset.splits.items():
        assert len(samples) > 0, f"{split} is empty"
        groups = groups_of(samples)
        assert groups is None or (len(groups) == len(samples) and all(isinstance(group, str) for group in groups)), (
            f"{split}: groups is {groups}: expected the name of a group for each of {len(samples)} images"
        )
        for index in sorted({0, len(samples) - 1}):
            sample, again = samples[index], samples[index]
            where = f"{split}, sample {index}"
            for image, twin in zip(_images(dataset, sample, where), _images(dataset, again, where), strict=True):
                assert image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3, (
                    f"{where}: the image is {image.dtype} {tuple(image.shape)}, expected uint8 (3, H, W)"
                )
                assert torch.equal(image, twin), f"{where}: read twice, the image differs"
                shapes.add(tuple(image.shape))
            for part in ("labels", "masks"):
                assert set(sample[part]) == set(dataset.tasks), (
                    f"{where}: {part} of {sorted(sample[part])}, expected {sorted(dataset.tasks)}"
                )
            for name, task in dataset.tasks.items():
                label, mask = sample["labels"][name], sample["masks"][name]
                expected = (task.label_channels, *image.shape[1:])
                assert label.shape == expected, f"{where}: {name} has shape {tuple(label.shape)}, expected {expected}"
                assert mask.dtype == torch.bool and mask.shape == (1, *image.shape[1:]), (
                    f"{where}: the mask of {name} is {mask.dtype} {tuple(mask.shape)}, expected bool (1, H, W)"
                )
                assert label[mask.expand_as(label)].isfinite().all(), f"{where}: {name} has values that are not finite"
                assert torch.equal(label, again["labels"][name]), f"{where}: read twice, {name} differs"
    assert len(shapes) == 1, f"images have the shapes {sorted(shapes)}: expected one"
    train = dataset.splits["train"]
    batch = default_collate([train[0], train[len(train) - 1]])
    for name, task in dataset.tasks.items():
        check_task(task, batch["labels"][name], batch["masks"][name])


def _images(dataset: DatasetSplits, sample: Sample, where: str) -> list[Tensor]:
    """The image of a sample, or those of its tasks."""
    image = sample["image"]
    if not dataset.images:
        assert isinstance(image, Tensor), f"{where}: image is {type(image).__name__}, expected a tensor"
        return [image]
    assert set(dataset.images) == set(dataset.tasks) and set(dataset.images.values()) <= set(KINDS), (
        f"images is {dict(dataset.images)}: expected one of {KINDS} for each of {list(dataset.tasks)}"
    )
    assert isinstance(image, dict) and set(image) == set(dataset.tasks), (
        f"{where}: image is {type(image).__name__}, expected one for each of {list(dataset.tasks)}"
    )
    return list(image.values())
