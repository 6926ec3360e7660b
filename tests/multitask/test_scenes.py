"""The procedural rooms against independent truth: finite differences, plane fits, point sampling, naive loops."""

import numpy as np
import pytest
import torch

from multitask.data.rendering import FLOOR, Body, Layout, Light, Solid, Texture, Vector, cast
from multitask.data.scenes import CLASSES, PARTS, Scene, Scenes, render

TASKS = ("semseg", "depth", "normals", "edge", "human_parts", "saliency")
FLAT = [CLASSES.index(name) for name in ("door", "window", "picture")]
WALL, FLOOR_CLASS, CEILING, PERSON = (CLASSES.index(name) for name in ("wall", "floor", "ceiling", "person"))


@pytest.fixture(scope="module")
def large() -> list[Scene]:
    return [render([3, i], 192, 256) for i in range(8)]


@pytest.fixture(scope="module")
def small() -> list[Scene]:
    return [render([4, i], 48, 64) for i in range(60)]


def unproject(scene: Scene) -> np.ndarray:
    """(H, W, 3) points in the camera frame: x right, y up, z towards the camera."""
    height, width = scene.depth.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    right, up = (x + 0.5 - width / 2) / scene.focal, -(y + 0.5 - height / 2) / scene.focal
    return np.stack((right, up, -np.ones_like(up)), -1) * scene.depth[..., None]


def fit_plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normal and a point of the plane through points (N, 3)."""
    centre = points.mean(0)
    return np.linalg.svd(points - centre, full_matrices=False)[2][2], centre


def saturation(pixels: np.ndarray) -> float:
    """Median HSV saturation of pixels (N, 3)."""
    return float(np.median(1 - pixels.min(1) / np.maximum(pixels.max(1).astype(float), 1)))


def test_normals_are_those_of_the_unprojected_depth(large: list[Scene]) -> None:
    angles, planar = [], []
    for scene in large:
        points, surface = unproject(scene), scene.surface
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        measured = np.cross(down, across)
        measured /= np.linalg.norm(measured, axis=-1, keepdims=True)
        middle = surface[1:-1, 1:-1]
        inside = middle == surface[1:-1, 2:]
        for neighbour in (surface[1:-1, :-2], surface[2:, 1:-1], surface[:-2, 1:-1]):
            inside &= middle == neighbour
        cosine = (measured * scene.normals[1:-1, 1:-1]).sum(-1)[inside]
        angles.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
        planar.append(np.isin(scene.semseg[1:-1, 1:-1], (WALL, FLOOR_CLASS, CEILING, *FLAT))[inside])
    angle, plane = np.concatenate(angles), np.concatenate(planar)
    assert np.median(angle[plane]) < 1
    assert np.percentile(angle, 95) < 6
    assert np.percentile(angle[~plane], 80) < 6  # not only the room itself


def test_normals_are_unit_and_face_the_camera(large: list[Scene]) -> None:
    for scene in large:
        assert np.allclose(np.linalg.norm(scene.normals, axis=-1), 1, atol=1e-3)
        assert ((scene.normals * unproject(scene)).sum(-1) < 1e-3).all()


def test_floor_is_one_plane_below_the_camera_and_walls_stand_on_it(large: list[Scene]) -> None:
    for scene in large:
        points, floor = unproject(scene), scene.semseg == FLOOR_CLASS
        if floor.sum() < 200:
            continue
        up, centre = fit_plane(points[floor])
        up *= np.sign(up[1])
        assert np.abs((points[floor] - centre) @ up).max() < 2e-3
        assert np.allclose(scene.normals[floor], up, atol=2e-3)
        assert 1.1 - 1e-2 < -centre @ up < 1.8 + 1e-2  # the camera's height over the floor, metres
        assert np.abs(scene.normals[scene.semseg == WALL] @ up).max() < 2e-3
        assert np.allclose(scene.normals[scene.semseg == CEILING], -up, atol=2e-3)


def test_doors_windows_and_pictures_lie_in_the_plane_of_their_wall(large: list[Scene]) -> None:
    checked = 0
    for scene in large:
        points = unproject(scene)
        for thing in np.unique(scene.instance[np.isin(scene.semseg, FLAT)]):
            panel = scene.instance == thing
            wall = (scene.semseg == WALL) & np.isin(scene.surface, scene.surface[panel])
            assert np.unique(scene.surface[panel]).size == 1
            if wall.sum() < 200:
                continue
            normal, centre = fit_plane(points[wall])
            assert np.abs((points[panel] - centre) @ normal).max() < 5e-3
            assert np.allclose(scene.normals[panel], scene.normals[wall][0], atol=1e-6)
            checked += 1
    assert checked >= 5


def test_edges_are_where_the_instance_changes() -> None:
    scene = render([5, 0], 30, 40)
    expected = np.zeros((30, 40), bool)
    for y in range(30):
        for x in range(40):
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                if 0 <= y + dy < 30 and 0 <= x + dx < 40:
                    expected[y, x] |= scene.instance[y, x] != scene.instance[y + dy, x + dx]
    assert expected.any()
    assert np.array_equal(scene.edge, expected)


def test_an_instance_has_one_class(small: list[Scene]) -> None:
    for scene in small:
        for thing in np.unique(scene.instance):
            assert np.unique(scene.semseg[scene.instance == thing]).size == 1


def test_persons_and_only_persons_have_parts(small: list[Scene]) -> None:
    for scene in small:
        assert np.array_equal(scene.human_parts > 0, scene.semseg == PERSON)


def test_parts_of_an_upright_person_are_in_order() -> None:
    scene = next(s for s in (render([6, i], 96, 128) for i in range(20)) if np.unique(s.human_parts).size == len(PARTS))
    row = {name: np.nonzero(scene.human_parts == part)[0].mean() for part, name in enumerate(PARTS)}
    assert row["head"] < row["torso"] < row["upper_leg"] < row["lower_leg"]


def test_salient_are_persons_and_one_vivid_instance(small: list[Scene]) -> None:
    vivid: list[float] = []
    muted: list[float] = []
    for scene in small:
        objects = 0
        for thing in np.unique(scene.instance):
            pixels = scene.instance == thing
            assert scene.saliency[pixels].all() or not scene.saliency[pixels].any()
            salient, person = scene.saliency[pixels].all(), (scene.semseg[pixels] == PERSON).all()
            assert salient or not person
            objects += salient and not person
            if pixels.sum() >= 20 and not person:
                (vivid if salient else muted).append(saturation(scene.image[pixels]))
        assert objects <= 1
    assert len(vivid) > 30
    assert np.percentile(vivid, 10) > np.percentile(muted, 90)


def test_every_class_and_part_occurs(small: list[Scene]) -> None:
    assert set(np.concatenate([np.unique(s.semseg) for s in small])) == set(range(len(CLASSES)))
    assert set(np.concatenate([np.unique(s.human_parts) for s in small])) == set(range(len(PARTS)))


def test_rooms_are_furnished_and_lit(small: list[Scene]) -> None:
    seen = []
    for scene in small:
        assert np.isfinite(scene.depth).all() and scene.depth.min() > 0.1
        assert 40 < scene.image.mean() < 215
        _, sizes = np.unique(scene.instance[scene.semseg > CEILING], return_counts=True)
        seen.append((sizes >= 10).sum())
    assert 4 <= np.median(seen) <= 8


def test_the_same_seed_gives_the_same_bytes() -> None:
    for field in ("image", "semseg", "depth", "normals", "instance", "surface", "human_parts", "saliency"):
        first, second = (getattr(render([8, 1], 48, 64), field) for _ in range(2))
        assert first.tobytes() == second.tobytes()


def test_splits_indices_and_seeds_differ() -> None:
    keys = [(split, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    depths = [Scenes(split, 2, 24, 32, ["depth"], seed)[i]["labels"]["depth"] for split, seed in keys for i in range(2)]
    assert len({depth.numpy().tobytes() for depth in depths}) == len(depths) == 12


def test_size_changes_only_the_sampling() -> None:
    for i in range(4):
        coarse, fine = render([9, i], 72, 96), render([9, i], 144, 192)
        assert fine.focal == pytest.approx(2 * coarse.focal)
        assert (fine.semseg[::2, ::2] == coarse.semseg).mean() > 0.9
        assert (fine.human_parts[::2, ::2] == coarse.human_parts).mean() > 0.9
        assert np.median(np.abs(fine.depth[::2, ::2] / coarse.depth - 1)) < 0.01
        assert abs(fine.image.mean() - coarse.image.mean()) < 4


@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 17), (20, 50)])
def test_any_size(height: int, width: int) -> None:
    scene = render(10, height, width)
    assert scene.image.shape == (height, width, 3) and scene.edge.shape == (height, width)
    assert np.isfinite(scene.depth).all()


def test_samples_have_the_stated_shapes_and_types() -> None:
    dataset = Scenes("val", 3, 24, 32, TASKS, seed=1)
    sample = dataset[2]
    shapes = {"normals": (3, 24, 32)}
    types = {"depth": torch.float32, "normals": torch.float32}
    assert len(dataset) == 3
    assert sample["image"].shape == (3, 24, 32) and sample["image"].dtype == torch.uint8
    assert tuple(sample["labels"]) == tuple(sample["masks"]) == TASKS
    for task in TASKS:
        label, mask = sample["labels"][task], sample["masks"][task]
        assert tuple(label.shape) == shapes.get(task, (1, 24, 32)) and label.dtype == types.get(task, torch.uint8)
        assert tuple(mask.shape) == (1, 24, 32) and mask.dtype == torch.bool and mask.all()
    for task in ("edge", "saliency"):
        assert sample["labels"][task].max() <= 1
    scene = render([1, 1, 2], 24, 32)
    assert torch.equal(sample["labels"]["normals"].permute(1, 2, 0), torch.from_numpy(scene.normals))
    assert torch.equal(sample["image"].permute(1, 2, 0), torch.from_numpy(scene.image))


def test_only_the_requested_tasks_in_order() -> None:
    sample = Scenes("train", 1, 24, 32, ["saliency", "depth"], seed=0)[0]
    assert list(sample["labels"]) == list(sample["masks"]) == ["saliency", "depth"]


def test_bad_arguments_are_refused() -> None:
    dataset = Scenes("train", 2, 24, 32, ["depth"], seed=0)
    for index in (-1, 2):
        with pytest.raises(IndexError):
            dataset[index]
    for split, task in (("holdout", "depth"), ("train", "colour")):
        with pytest.raises(ValueError):
            Scenes(split, 2, 24, 32, [task], seed=0)


# One solid in a bare room, seen along -z from (2, 1.5, 4): the ray caster against sampling of points.

TILTED = ((0.6, 0.64, 0.48), (-0.8, 0.48, 0.36), (0.0, -0.6, 0.8))
HALF = {"box": (0.3, 0.5, 0.2), "ellipsoid": (0.3, 0.5, 0.2), "cylinder": (0.3, 0.5, 0.2), "capsule": (0.2, 0.4, 0.2)}


EYE = np.array((2, 1.5, 4))


def pixel_rays(height: int, width: int) -> np.ndarray:
    """(H * W, 3) rays through the pixel centres, of unit length along the optical axis."""
    y, x = np.mgrid[:height, :width]
    rays = np.stack((x + 0.5 - width / 2, height / 2 - y - 0.5, np.full(x.shape, -0.8 * width)), -1)
    return rays.reshape(-1, 3) / (0.8 * width)


def bare_room(solid: Solid, shadow: bool = False) -> Layout:
    light = Light((1.4, 2.9, 3.8), (2.0, 2.0, 2.0), shadow)
    grey = [Texture((0.5, 0.5, 0.5))] * 6
    return Layout((4, 3, 4.5), grey, [], [Body(0, [solid])], (2, 1.5, 4), np.eye(3), 0.8, [light], 0.1, 0.2)


def contains(solid: Solid, points: np.ndarray) -> np.ndarray:
    """Which of the points (N, 3) are in the solid."""
    local = (points - np.array(solid.centre)) @ np.array(solid.axes).T
    x, y, z = (local / np.array(solid.half)).T
    if solid.shape == "box":
        return np.maximum(np.abs(x), np.maximum(np.abs(y), np.abs(z))) < 1
    if solid.shape == "cylinder":
        return (x**2 + z**2 < 1) & (np.abs(y) < 1)
    if solid.shape == "capsule":
        local[:, 1] -= local[:, 1].clip(-solid.half[1], solid.half[1])
        return (local**2).sum(1) < solid.half[0] ** 2
    return x**2 + y**2 + z**2 < 1


@pytest.mark.parametrize("shape", HALF)
def test_depth_is_where_sampled_rays_enter_the_solid(shape: str) -> None:
    height, width, step = 25, 33, 0.004  # odd, so that a ray runs exactly along the optical axis
    solid = Solid(shape, (2.1, 1.4, 2.0), HALF[shape], TILTED, Texture((0.5, 0.5, 0.5)))
    buffers = cast(bare_room(solid), height, width, np.random.default_rng(0))
    depths = np.arange(1.0, 3.0, step)
    points = (EYE + depths[:, None, None] * pixel_rays(height, width)).reshape(-1, 3)
    inside = contains(solid, points).reshape(depths.size, -1)
    hit, expected = inside.any(0), depths[inside.argmax(0)]
    rendered = buffers.instance.ravel() == 6
    assert hit.sum() > 30
    assert (hit & ~rendered).sum() == 0 and (rendered & ~hit).sum() <= 3  # samples may step over a thin rim
    both = hit & rendered
    assert np.abs(buffers.depth.ravel()[both] - expected[both] + step / 2).max() < step
    assert buffers.depth[0, width // 2] < 4 and np.isfinite(buffers.depth).all()


@pytest.mark.parametrize(("centre", "depth"), [((0.4, 0.2, 1.0), 4.0), ((2.1, 1.5, 2.0), 1.8), ((2.0, 1.5, 2.0), 1.8)])
def test_a_ray_along_the_axes_meets_the_wall_or_the_box(centre: Vector, depth: float) -> None:
    box = Solid("box", centre, (0.2, 0.2, 0.2), ((1, 0, 0), (0, 1, 0), (0, 0, 1)), Texture((0.5, 0.5, 0.5)))
    buffers = cast(bare_room(box), 25, 33, np.random.default_rng(0))
    assert buffers.depth[12, 16] == pytest.approx(depth)
    assert np.allclose(buffers.normals[12, 16], (0, 0, 1))


def test_shadows_are_where_sampled_light_rays_are_blocked() -> None:
    height, width = 48, 64
    solid = Solid("box", (2.1, 1.2, 2.0), (0.6, 0.1, 0.5), TILTED, Texture((0.5, 0.5, 0.5)))
    lit, shadowed = (
        cast(bare_room(solid, shadow), height, width, np.random.default_rng(0)) for shadow in (False, True)
    )
    floor = np.flatnonzero(lit.surface == FLOOR)
    points = EYE + lit.depth.ravel()[floor, None] * pixel_rays(height, width)[floor]
    assert np.abs(points[:, 1]).max() < 1e-3
    light, share = np.array((1.4, 2.9, 3.8)), np.linspace(0, 1, 200)[:, None, None]
    blocked = contains(solid, (points + share * (light - points)).reshape(-1, 3)).reshape(200, -1).any(0)
    bright, dark = (buffers.image.mean(-1).ravel()[floor] for buffers in (lit, shadowed))
    assert 20 < blocked.sum() < 0.8 * floor.size
    assert ((dark < 0.75 * bright) == blocked).mean() > 0.95
