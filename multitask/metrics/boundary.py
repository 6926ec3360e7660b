"""Boundary detection quality: odsF, the F measure at the optimal dataset scale.

The measure is that of the Berkeley benchmark (Martin, Fowlkes, Malik, TPAMI 2004; Arbelaez, Maire, Fowlkes, Malik,
TPAMI 2011), which SEISM (Pont-Tuset, Marques, TPAMI 2016) applies to NYUD and PASCAL: a predicted boundary pixel is
right if it can be paired, one to one, with a true boundary pixel at most a given fraction of the image diagonal away.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array  # type: ignore[import-untyped]
from scipy.sparse.csgraph import maximum_flow  # type: ignore[import-untyped]
from torch import Tensor
from torchmetrics import Metric

from multitask.sending import send

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]
Words = NDArray[Any]  # np.uint64; NumPy's stubs lose the type in chains of bitwise operations


def _at_least_two(a: Words, b: Words, c: Words, d: Words) -> Words:
    """Bitwise: are two or more of the four bits set?"""
    return (a & b) | (c & d) | ((a | b) & (c | d))


def _removable(image: Words, stride: int, first: bool) -> Words:
    """Pixels that one half iteration of `thin` deletes, as bits.

    Args:
        image: flattened rows of `stride` words, the first and the last row empty, the last bit of every row empty.
        first: first half iteration (eastern and northern borders) or second (western and southern).

    Returns:
        Bits of all rows but the first and the last.
    """
    one, rest = np.uint64(1), np.uint64(63)
    east, west = image >> one, image << one  # the pixel's right and left neighbours, moved onto the pixel
    east[:-1] |= image[1:] << rest
    west[1:] |= image[:-1] >> rest
    above, here, below = slice(0, -2 * stride), slice(stride, -stride), slice(2 * stride, None)
    n, e, s, w = image[above], east[here], image[below], west[here]
    ne, se, sw, nw = east[above], east[below], west[below], west[above]

    # The neighbours form one connected piece, so that deleting the pixel splits nothing.
    ends = ~n & (ne | e), ~e & (se | s), ~s & (sw | w), ~w & (nw | n)
    connected = (ends[0] | ends[1] | ends[2] | ends[3]) & ~_at_least_two(*ends)
    # Neighbours counted in pairs, in the two ways to pair them: below two is the end of a line, four is the inside.
    pairs, others = (n | ne, e | se, s | sw, w | nw), (ne | e, se | s, sw | w, nw | n)
    border = _at_least_two(*pairs) & _at_least_two(*others)
    inside = pairs[0] & pairs[1] & pairs[2] & pairs[3] & others[0] & others[1] & others[2] & others[3]
    opposite = e & (n | ne | ~se) if first else w & (s | sw | ~nw)
    removable: Words = image[here] & connected & border & ~inside & ~opposite
    return removable


def thin(mask: Bools) -> Bools:
    """Thin a mask (H, W) to lines one pixel wide: algorithm A1 of Guo and Hall, CACM 1989, until nothing changes.

    Equal to `skimage.morphology.thin` (and MATLAB's `bwmorph(mask, 'thin', inf)`). 64 pixels of a row are packed in
    a word and the rules are evaluated as Boolean operations on words, which makes it more than ten times faster.
    """
    height, width = mask.shape
    stride = width // 64 + 1  # leaves at least one empty bit per row, which keeps neighbouring rows apart
    padded = np.zeros((height + 2, 64 * stride), dtype=bool)
    padded[1:-1, :width] = mask
    image = np.packbits(padded, axis=1, bitorder="little").view("<u8").ravel()
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            removable = _removable(image, stride, first)
            if removable.any():
                image[stride:-stride] ^= removable
                changed = True
    bits = np.unpackbits(image.view(np.uint8).reshape(height + 2, -1), axis=1, bitorder="little")
    return bits[1:-1, :width].astype(bool)


def _neighbours(target: Bools, max_distance: float) -> csr_array:
    """Which target pixels lie within `max_distance` pixels of each image pixel: 0/1 matrix (H * W, target pixels)."""
    height, width = target.shape
    reach = int(max_distance)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.hypot(dy, dx) <= max_distance
    target_y, target_x = np.nonzero(target)
    y, x = target_y[:, None] + dy[near], target_x[:, None] + dx[near]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    columns = np.nonzero(inside)[0]
    ones = np.ones(len(columns), dtype=np.int32)
    return csr_array((ones, ((y * width + x)[inside], columns)), shape=(target.size, len(target_y)))


def _matching_size(graph: csr_array) -> int:
    """Size of a maximum matching between the rows and the columns of a 0/1 matrix, as an integral maximum flow.

    Dinic's algorithm on such a network has the bound of Hopcroft and Karp and takes milliseconds. (SciPy's
    `maximum_bipartite_matching` can take seconds on pairs of long parallel lines.)
    """
    graph = graph[np.diff(graph.indptr) > 0]
    flipped = graph.T.tocsr()
    flipped = flipped[np.diff(flipped.indptr) > 0]
    if flipped.shape[0] < graph.shape[0]:  # the flow is found sooner from the smaller side
        graph = flipped
    if graph.nnz == 0:
        return 0
    rows, columns = graph.shape
    sink = rows + columns + 1  # nodes: source 0, rows, columns, sink
    heads = np.concatenate([np.arange(1, rows + 1), rows + 1 + graph.indices, np.full(columns, sink)])
    column_ends = rows + graph.nnz + np.arange(1, columns + 1)
    starts = np.concatenate([[0], rows + graph.indptr, column_ends, [len(heads)]])
    capacity = np.ones(len(heads), dtype=np.int32)
    network = csr_array((capacity, heads.astype(np.int32), starts.astype(np.int32)), shape=(sink + 1, sink + 1))
    return int(maximum_flow(network, 0, sink, method="dinic").flow_value)


def match_boundaries(prediction: Bools, target: Bools, max_distance: float) -> int:
    """Number of one-to-one pairs of predicted and true boundary pixels: the exact maximum.

    The benchmark's own code solves an assignment problem instead (CSA, Goldberg and Kennedy 1995), in which an
    unmatched pixel costs 100 times the tolerance, on a graph with a few random outlier edges per pixel. The high cost
    makes it seek the most pairs first and the shortest second, so its counts are those of a maximum matching up to
    that approximation. The lengths of the pairs do not enter the measure.

    Args:
        prediction: thinned boundaries (H, W).
        target: thinned boundaries (H, W).
        max_distance: largest Euclidean distance of a pair, in pixels, inclusive.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ in shape")
    return _matching_size(_neighbours(target, max_distance)[np.flatnonzero(prediction)])


class BoundaryF(Metric):
    """odsF of boundary probabilities, in [0, 1].

    At each of the equally spaced thresholds 1/(n+1), ..., n/(n+1) the probability is binarised (threshold included)
    and thinned, then matched to the thinned label by `match_boundaries`. Counts are summed over all images, and odsF
    is the largest F = 2PR / (P + R) over the thresholds themselves, without interpolation between them.

    Pixels outside the mask are cleared before thinning, in the prediction as in the label. The probabilities are
    taken as given: non-maximum suppression, if wanted, comes before.

    Args:
        tolerance: largest distance of a pair as a fraction of the diagonal of the (H, W) maps: 0.011 for NYUD,
            0.0075 for PASCAL. Padding counts towards the diagonal even where it is masked, so crop it before.
        thresholds: number of thresholds n.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    matched: Tensor
    predicted: Tensor
    target: Tensor

    def __init__(self, tolerance: float = 0.011, thresholds: int = 99, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance
        # Single precision like the probabilities, so that a probability of 0.29 reaches the threshold 0.29.
        self.thresholds = (np.arange(1, thresholds + 1) / (thresholds + 1)).astype(np.float32)
        # Pixel counts; a pair is one predicted and one true pixel, so one count serves precision and recall.
        self.add_state("matched", torch.zeros(thresholds, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("predicted", torch.zeros(thresholds, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("target", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probability: Tensor, label: Tensor, mask: Tensor) -> None:
        """Count the pixels of a batch.

        Args:
            probability: predicted boundary probability (B, 1, H, W) in [0, 1].
            label: true boundaries (B, 1, H, W), 0 or 1.
            mask: valid pixels (B, 1, H, W), bool.
        """
        if not probability.shape == label.shape == mask.shape:
            raise ValueError(f"shapes differ: {probability.shape}, {label.shape}, {mask.shape}")
        valid = mask.bool()
        scores = probability.detach().float().masked_fill(~valid, -1)
        labels = (label > 0.5) & valid
        maps = torch.cat([scores, labels.float()], 1).cpu().numpy()  # together, to wait for a GPU once
        counts = [self._count(scores, true > 0) for scores, true in maps]
        matched, predicted, target = (torch.as_tensor(np.sum(each, 0)) for each in zip(*counts, strict=True))
        self.matched += send(matched, self.matched.device)
        self.predicted += send(predicted, self.predicted.device)
        self.target += send(target, self.target.device)

    def _count(self, scores: NDArray[np.float32], label: Bools) -> tuple[Counts, Counts, Counts]:
        """Matched and predicted pixels at each threshold (n,) and true pixels () of one image (H, W)."""
        target = thin(label)
        neighbours = _neighbours(target, self.tolerance * float(np.hypot(*label.shape)))
        matched, predicted = np.zeros((2, len(self.thresholds)), dtype=np.int64)
        previous = 0
        for k, threshold in enumerate(self.thresholds):
            edges = scores >= threshold
            size = int(np.count_nonzero(edges))
            if k > 0 and size == previous:  # the maps are nested: as many pixels are the same pixels
                matched[k], predicted[k] = matched[k - 1], predicted[k - 1]
            else:
                pixels = np.flatnonzero(thin(edges))
                matched[k], predicted[k] = _matching_size(neighbours[pixels]), len(pixels)
            previous = size
        return matched, predicted, np.array(np.count_nonzero(target))

    def compute(self) -> dict[str, Tensor]:
        """{"ods_f": scalar}; 0 where nothing is matched, NaN without a true boundary pixel."""
        # With P = matched / predicted and R = matched / target, 2PR / (P + R) is this quotient.
        f = 2 * self.matched.double() / (self.predicted + self.target).clamp(min=1)
        return {"ods_f": f.max().float().where(self.target > 0, torch.nan)}
