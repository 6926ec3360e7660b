"""odsF against an independent implementation, the matching against exhaustive search, and properties of both."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter  # type: ignore[import-untyped]
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from skimage.morphology import thin as reference_thin

from multitask.metrics.boundary import BoundaryF, match_boundaries, thin

Bools = NDArray[np.bool_]
Image = tuple[NDArray[np.float32], Bools, Bools]  # probability, label, mask, each (H, W)


def draw_curve(points: NDArray[np.float64], shape: tuple[int, int]) -> Bools:
    """Quadratic Bezier curve of three control points (y, x), one pixel wide, cut at the image border."""
    t = np.linspace(0, 1, 400)[:, None]
    y, x = np.rint((1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]).astype(int).T
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    drawing = np.zeros(shape, dtype=bool)
    drawing[y[inside], x[inside]] = True
    return drawing


def draw_image(rng: np.random.Generator, shape: tuple[int, int] = (60, 80)) -> Image:
    """Curves two pixels wide; the prediction displaces, weakens, omits and invents some and adds noise."""
    label = np.zeros(shape, dtype=bool)
    strength = np.zeros(shape)
    for _ in range(rng.integers(1, 6)):
        points = rng.uniform(-5, np.array(shape) + 5, size=(3, 2))
        if rng.random() < 0.85:
            label |= binary_dilation(draw_curve(points, shape), np.ones((2, 2)))
        if rng.random() < 0.85:
            jittered = draw_curve(points + rng.normal(0, rng.uniform(0, 3), size=(3, 2)), shape)
            strength = np.maximum(strength, rng.uniform(0.2, 1) * binary_dilation(jittered, iterations=1))
    noise = gaussian_filter(rng.normal(size=shape), 1.5) * rng.uniform(0, 1)
    probability = np.clip(gaussian_filter(strength, rng.uniform(0.3, 1.2)) + noise, 0, 1).astype(np.float32)
    mask = np.ones(shape, dtype=bool)
    if rng.random() < 0.5:
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = False
    return probability, label, mask


def batch(*images: Image) -> list[torch.Tensor]:
    """Probability, label and mask (B, 1, H, W), as `BoundaryF.update` takes them."""
    return [torch.from_numpy(np.stack(maps))[:, None] for maps in zip(*images, strict=True)]


def naive_match(prediction: Bools, target: Bools, max_distance: float) -> int:
    """Dense assignment in which every pair beyond reach costs more than all the pairs within reach together."""
    predicted = [(int(y), int(x)) for y, x in np.argwhere(prediction)]
    true = [(int(y), int(x)) for y, x in np.argwhere(target)]
    if not predicted or not true:
        return 0
    outlier = (len(true) + 1) * (max_distance + 1)
    cost = []
    for y, x in predicted:
        distances = [math.sqrt((y - v) ** 2 + (x - u) ** 2) for v, u in true]
        cost.append([distance if distance <= max_distance else outlier for distance in distances])
    rows, columns = linear_sum_assignment(np.array(cost))
    return sum(cost[row][column] < outlier for row, column in zip(rows, columns, strict=True))


def naive_counts(images: list[Image], tolerance: float, thresholds: int) -> list[tuple[int, int, int]]:
    """Matched, predicted and true pixels at each threshold, from the definition and pixel by pixel."""
    counts = []
    for k in range(1, thresholds + 1):
        threshold = np.float32(k / (thresholds + 1))
        matched = predicted = true = 0
        for probability, label, mask in images:
            height, width = label.shape
            edges, target = np.zeros((2, height, width), dtype=bool)
            for y in range(height):
                for x in range(width):
                    edges[y, x] = mask[y, x] and probability[y, x] >= threshold
                    target[y, x] = mask[y, x] and label[y, x]
            edges, target = reference_thin(edges), reference_thin(target)
            matched += naive_match(edges, target, tolerance * math.sqrt(height**2 + width**2))
            predicted += int(edges.sum())
            true += int(target.sum())
        counts.append((matched, predicted, true))
    return counts


def naive_ods(counts: list[tuple[int, int, int]]) -> float:
    """odsF with precision and recall spelled out."""
    best = 0.0
    for matched, predicted, true in counts:
        if matched:
            precision, recall = matched / predicted, matched / true
            best = max(best, 2 * precision * recall / (precision + recall))
    return best


def exhaustive_match(prediction: Bools, target: Bools, max_distance: float) -> int:
    """Largest number of pairs, by trying every way to pair the pixels."""
    predicted, true = np.argwhere(prediction).tolist(), np.argwhere(target).tolist()

    def best(i: int, free: frozenset[int]) -> int:
        if i == len(predicted):
            return 0
        pairs = [j for j in free if math.dist(predicted[i], true[j]) <= max_distance]
        return max([best(i + 1, free)] + [1 + best(i + 1, free - {j}) for j in pairs])

    return best(0, frozenset(range(len(true))))


def difference(seed: int, thresholds: int) -> float:
    """Difference in odsF to the independent implementation on one or two drawn images, with all counts equal."""
    rng = np.random.default_rng(seed)
    images = [draw_image(rng) for _ in range(rng.integers(1, 3))]
    tolerance = float(rng.choice([0.0075, 0.011, 0.03, 0.05]))
    metric = BoundaryF(tolerance, thresholds)
    metric.update(*batch(*images))
    counts = naive_counts(images, tolerance, thresholds)
    matched, predicted, true = zip(*counts, strict=True)
    assert (tuple(metric.matched.tolist()), tuple(metric.predicted.tolist())) == (matched, predicted)
    assert set(true) == {int(metric.target)}
    return abs(float(metric.compute()["ods_f"]) - naive_ods(counts))


def test_thin_equals_reference() -> None:
    rng = np.random.default_rng(0)
    for width in (1, 2, 63, 64, 65, 127, 128, 130):
        for density in (0.3, 0.6, 0.9, 0.99, 1.0):
            mask = rng.random((int(rng.integers(1, 60)), width)) < density
            np.testing.assert_array_equal(thin(mask), reference_thin(mask))
    for sigma in (1, 3):
        mask = gaussian_filter(rng.normal(size=(90, 150)), sigma) > 0
        np.testing.assert_array_equal(thin(mask), reference_thin(mask))


def test_matching_equals_exhaustive_search() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        shape = tuple(rng.integers(1, 7, size=2))
        prediction, target = np.zeros((2, *shape), dtype=bool)
        for pixels in (prediction, target):
            pixels.flat[rng.integers(0, pixels.size, size=rng.integers(0, 7))] = True
        max_distance = float(rng.choice([0, 1, 1.5, 2, math.sqrt(5), 3, math.sqrt(13), 10]))
        expected = exhaustive_match(prediction, target, max_distance)
        assert match_boundaries(prediction, target, max_distance) == expected


def test_matching_is_one_to_one() -> None:
    prediction, target = np.zeros((2, 5, 5), dtype=bool)
    prediction[2, 1:4] = True
    target[2, 2] = True
    assert match_boundaries(prediction, target, 2) == 1
    assert match_boundaries(target, prediction, 2) == 1


def test_matching_prefers_more_pairs_to_nearer_pairs() -> None:
    prediction, target = np.zeros((2, 1, 8), dtype=bool)
    prediction[0, [3, 5]] = True
    target[0, [0, 4]] = True  # pairing 3 with 4, the nearest, would leave 5 and 0 alone
    assert match_boundaries(prediction, target, 3) == 2


def test_matching_rejects_different_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        match_boundaries(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool), 1)


@pytest.mark.parametrize("seed", range(30))
def test_equals_independent_implementation(seed: int) -> None:
    assert difference(seed, thresholds=9) < 1e-6


def test_perfect_prediction() -> None:
    rng = np.random.default_rng(1)
    images = [(label.astype(np.float32), label, mask) for _, label, mask in (draw_image(rng) for _ in range(3))]
    metric = BoundaryF()
    metric.update(*batch(*images))
    assert metric.compute()["ods_f"] == 1


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (4, 1), (5, 0), (-4, 1), (-5, 0)])
def test_shift_against_tolerance(shift: int, expected: float) -> None:
    label = torch.zeros(1, 1, 100, 100)
    label[..., 50] = 1
    metric = BoundaryF(tolerance=0.03)  # 4.24 pixels
    metric.update(label.roll(shift, -1), label, torch.ones_like(label).bool())
    assert metric.compute()["ods_f"] == expected


def test_false_positives_lower_precision_only() -> None:
    label = torch.zeros(1, 1, 100, 100)
    label[..., 20] = 1
    prediction = 0.5 * (label + label.roll(50, -1))
    metric = BoundaryF()
    metric.update(prediction, label, torch.ones_like(label).bool())
    assert float(metric.compute()["ods_f"]) == pytest.approx(2 / 3)  # P = 1/2, R = 1


def test_threshold_is_included() -> None:
    label = torch.zeros(1, 1, 20, 20)
    label[..., 10] = 1
    metric = BoundaryF()
    metric.update(0.29 * label, label, torch.ones_like(label).bool())
    assert metric.predicted.tolist() == [20] * 29 + [0] * 70


def test_updates_accumulate_to_the_pooled_measure() -> None:
    rng = np.random.default_rng(2)
    images = [draw_image(rng) for _ in range(4)]
    together, apart = BoundaryF(thresholds=9), BoundaryF(thresholds=9)
    together.update(*batch(*images))
    apart.update(*batch(images[0]))
    apart.update(*batch(*images[1:]))
    assert together.compute()["ods_f"] == apart.compute()["ods_f"]


def test_processes_sum_to_the_pooled_measure() -> None:
    rng = np.random.default_rng(3)
    images = [draw_image(rng) for _ in range(4)]
    single, first, second, total = (BoundaryF(thresholds=9) for _ in range(4))
    single.update(*batch(*images))
    first.update(*batch(*images[:1]))
    second.update(*batch(*images[1:]))
    states = first.metric_state, second.metric_state
    for name, reduce in total._reductions.items():  # what the base class does with the gathered states
        assert callable(reduce)
        setattr(total, name, reduce(torch.stack([torch.as_tensor(state[name]) for state in states])))
    for name in ("matched", "predicted", "target"):
        assert torch.equal(getattr(total, name), getattr(single, name))
    total._update_count = 1
    assert total.compute()["ods_f"] == single.compute()["ods_f"] > 0


def test_masked_pixels_change_nothing() -> None:
    rng = np.random.default_rng(4)
    probability, label, _ = draw_image(rng)
    mask = np.ones_like(label)
    mask[10:40, 20:50] = False
    other_probability = np.where(mask, probability, rng.random(label.shape, dtype=np.float32))
    other_probability[20, 30] = np.nan
    other_label = np.where(mask, label, 255)
    metric, other = BoundaryF(thresholds=9), BoundaryF(thresholds=9)
    metric.update(*batch((probability, label, mask)))
    other.update(*(torch.from_numpy(x)[None, None] for x in (other_probability, other_label, mask)))
    for name in ("matched", "predicted", "target"):
        assert torch.equal(getattr(metric, name), getattr(other, name))


@pytest.mark.parametrize("prediction", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize("valid", [False, True])
def test_degenerate_images(prediction: float, edge: bool, valid: bool) -> None:
    label = torch.zeros(2, 1, 30, 40)
    label[:, :, 15] = float(edge)
    metric = BoundaryF()
    metric.update(torch.full_like(label, prediction), label, torch.full_like(label, valid).bool())
    score = float(metric.compute()["ods_f"])
    if valid and edge:
        assert 0 <= score <= 1 and (prediction or score == 0)
    else:
        assert np.isnan(score)


def test_rejects_different_shapes() -> None:
    label = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="shape"):
        BoundaryF().update(label[..., :3], label, label.bool())
