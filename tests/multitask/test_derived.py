"""Labels worked out from others: normals of rendered planes and spheres, edges against loops."""

import numpy as np
import pytest

from multitask.data.derived import Camera, edges_from_classes, normals_from_depth
from multitask.data.scenes import render


def angles(one, other):
    return np.degrees(np.arccos(np.clip((one * other).sum(-1), -1, 1)))


def inside(surface):
    """Pixels whose eight neighbours lie on the same face."""
    same = np.zeros(surface.shape, bool)
    middle = surface[1:-1, 1:-1]
    height, width = surface.shape
    same[1:-1, 1:-1] = np.all(
        [surface[i : height - 2 + i, j : width - 2 + j] == middle for i in range(3) for j in range(3)], axis=0
    )
    return same


@pytest.mark.parametrize("seed", range(2))
def test_normals_of_the_flat_faces_of_rooms(seed):
    height, width = 240, 320
    scene = render(seed, height, width)
    camera = Camera(width, height, scene.focal, scene.focal, width / 2 - 0.5, height / 2 - 0.5)
    normals, known = normals_from_depth(scene.depth, np.ones((height, width), bool), camera)
    faces = inside(scene.surface)
    flat = np.zeros_like(faces)
    for face in np.unique(scene.surface):
        here = scene.surface == face
        flat |= here & (np.ptp(scene.normals[here], axis=0).max() < 1e-5)
    judged = known & faces & flat
    assert judged.mean() > 0.5
    assert angles(normals, scene.normals)[judged].max() < 0.5
    assert np.allclose(np.linalg.norm(normals[known], axis=-1), 1, atol=1e-5) and not normals[~known].any()


@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.7, -0.4), (-1.0, 0.5)])
def test_normals_of_a_sphere(centre):
    """A ball of 0.8 m, 3 m away; fx and fy differ, and the principal point is off the middle."""
    height, width = 240, 320
    camera = Camera(2 * width, 2 * height, 600, 560, 2 * 150 + 0.5, 2 * 130 + 0.5)  # of the image twice as large
    small = camera.at(height, width)
    assert (small.fx, small.fy) == (300, 280) and (small.cx, small.cy) == (150, 130)
    rows, columns = np.mgrid[:height, :width]
    rays = np.stack([(columns - small.cx) / small.fx, (small.cy - rows) / small.fy, -np.ones(rows.shape)], -1)
    middle = np.array([*centre, -3.0])
    a, b = (rays**2).sum(-1), rays @ middle
    root = b**2 - a * (middle @ middle - 0.8**2)
    hit = root > 0
    depth = np.where(hit, (b - np.sqrt(np.maximum(root, 0))) / a, 0)
    truth = (rays * depth[..., None] - middle) / 0.8
    normals, known = normals_from_depth(depth, hit, camera)
    assert known[hit].mean() > 0.7
    assert angles(normals, truth)[known].max() < 0.5
    assert ((normals * rays).sum(-1)[known] < 0).all(), "towards the camera"


def test_normals_next_to_holes_and_steps_are_unknown():
    depth = np.full((9, 12), 2.0)
    valid = np.ones(depth.shape, bool)
    valid[4, 3] = False
    depth[:, 8:] = 2.05  # a step of 2.5 %
    _, known = normals_from_depth(depth, valid, Camera(12, 9, 20, 20, 5.5, 4))
    expected = np.zeros(depth.shape, bool)
    expected[1:-1, 1:-1] = True
    expected[3:6, 2:5] = False
    expected[:, 7:9] = False
    assert (known == expected).all()
    depth[:, 8:] = 2.03  # 1.5 %
    _, known = normals_from_depth(depth, valid, Camera(12, 9, 20, 20, 5.5, 4))
    assert known[2, 7] and known[2, 8]


def test_edges_equal_loops():
    draw = np.random.default_rng(0)
    for _ in range(20):
        classes, valid = draw.integers(0, 3, (7, 9)), draw.random((7, 9)) < 0.8
        expected = np.zeros((7, 9), int)
        for i in range(7):
            for j in range(9):
                for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                    a, b = i + di, j + dj
                    if 0 <= a < 7 and 0 <= b < 9 and valid[i, j] and valid[a, b]:
                        expected[i, j] |= classes[i, j] != classes[a, b]
        edge, mask = edges_from_classes(classes[..., None], valid)
        assert (edge[..., 0] == expected).all() and (mask == valid).all()
