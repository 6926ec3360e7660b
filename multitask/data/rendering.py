"""Ray casting of a furnished box room: convex solids, textures and light, in plain numpy.

World frame: x and z span the floor, y points up, metres. Buffers hold one column per pixel: (3, N) or (N,).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Vector = tuple[float, float, float]

FACES = 6  # room faces, numbered 2 * axis + (0 at the origin's side, 1 opposite); instances 0..5 are these faces
FLOOR, CEILING, WALLS = 2, 3, (0, 1, 4, 5)
NOISE_SIZE = 128
_ALONG = np.array([[0], [1], [0]], np.float32)  # a cylinder's axis


def _pink_noise(size: int) -> np.ndarray:
    """(size, size) float32 tileable noise with a 1/f spectrum, uniform in 0..1."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    frequency[0, 0] = 1.0
    white = np.random.default_rng(0).standard_normal((size, size))
    pink = np.fft.ifft2(np.fft.fft2(white) / frequency**1.2).real
    return (pink.argsort(axis=None).argsort().reshape(size, size) / size**2).astype(np.float32)


NOISE = _pink_noise(NOISE_SIZE)


@dataclass(frozen=True)
class Texture:
    """Two linear RGB colours mixed by a pattern over surface coordinates (metres); `glow` adds emitted light."""

    colour: Vector
    other: Vector = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    period: float = 0.2
    angle: float = 0.0
    glow: float = 0.0

    def weight(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(N,) share of `other` at the surface coordinates u, v (N,)."""
        cos, sin = np.cos(self.angle) / self.period, np.sin(self.angle) / self.period
        u, v = np.float32(cos) * u + np.float32(sin) * v, np.float32(cos) * v - np.float32(sin) * u
        if self.pattern == "noise":
            i, j = (32 * u).astype(np.int32), (32 * v).astype(np.int32)
            return NOISE[i % NOISE_SIZE, j % NOISE_SIZE]
        row = np.floor(u)
        if self.pattern == "stripes":
            return row.astype(np.int32) & 1
        if self.pattern == "planks":  # long tiles, shifted from row to row, each in its own tone
            v = v / 6 + np.float32(0.381966) * row
        column = np.floor(v)
        if self.pattern == "checks":
            return (row + column).astype(np.int32) & 1
        u, v = u - row, v - column
        if self.pattern == "tiles":
            return (u < 0.06) | (v < 0.06)
        tone = NOISE[(17 * row).astype(np.int32) % NOISE_SIZE, (31 * column).astype(np.int32) % NOISE_SIZE]
        return np.maximum(0.7 * tone, (u < 0.06) | (v < 0.015))

    def albedo(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Linear RGB at the surface coordinates u, v (N,): (3, N), or (3, 1) where it is constant."""
        colour = np.array(self.colour, np.float32)[:, None]
        if self.pattern == "plain":
            return colour
        other = np.array(self.other, np.float32)[:, None]
        return colour + (other - colour) * self.weight(u, v).astype(np.float32)


@dataclass(frozen=True)
class Panel:
    """A flat instance painted on a room face: `cells` (columns, rows) of `inner`, each framed by `border` metres."""

    label: int
    face: int
    centre: tuple[float, float]
    half: tuple[float, float]
    frame: Texture
    inner: Texture
    border: float = 0.05
    cells: tuple[int, int] = (1, 1)
    salient: bool = False


@dataclass(frozen=True)
class Solid:
    """A convex primitive. Box, ellipsoid and cylinder (axis y) are affine images of a unit shape with half extents
    `half`; a capsule has radius half[0] and a core segment of half length half[1] along y. `axes` are its local axes
    in the world, one per row; `part` is a human part or 0."""

    shape: str
    centre: Vector
    half: Vector
    axes: tuple[Vector, Vector, Vector]
    texture: Texture
    part: int = 0

    @property
    def radius(self) -> float:
        """Radius of the bounding sphere."""
        x, y, z = self.half
        if self.shape == "ellipsoid":
            return max(x, y, z)
        if self.shape == "capsule":
            return x + y
        if self.shape == "cylinder":
            return (max(x, z) ** 2 + y * y) ** 0.5
        return (x * x + y * y + z * z) ** 0.5


@dataclass
class Body:
    """One instance made of solids."""

    label: int
    solids: list[Solid] = field(default_factory=list)
    salient: bool = False


@dataclass(frozen=True)
class Light:
    """A point light; `power` is linear RGB."""

    position: Vector
    power: Vector
    shadow: bool


@dataclass(frozen=True)
class Layout:
    """Everything that is rendered. `rotation` has the camera's right, up and backward axes as columns; `focal` is in
    units of the longer image side. Instances: the faces, then the panels, then the bodies."""

    size: Vector
    faces: Sequence[Texture]
    panels: Sequence[Panel]
    bodies: Sequence[Body]
    eye: Vector
    rotation: np.ndarray
    focal: float
    lights: Sequence[Light]
    ambient: float
    exposure: float


class Buffers(NamedTuple):
    """What `cast` returns; shapes and units as in `Scene`."""

    image: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    instance: np.ndarray
    surface: np.ndarray
    parts: np.ndarray


def _apply(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """matrix @ columns without BLAS, whose threads would compete with the loader's workers."""
    return np.einsum("...j,jn->...n", matrix, columns)


def _enter(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Where a ray enters a convex shape that it is inside of from `near` to `far`; inf for a miss."""
    return np.where((near < far) & (near > 0), near, np.float32(np.inf))


def _slab(origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entry and exit of |x| <= 1 along each axis."""
    inverse = 1 / (rays + np.float32(1e-20))  # a ray along the slab must not give 0 * inf
    middle, reach = -origin * inverse, np.abs(inverse)
    return middle - reach, middle + reach


def _roots(a: np.ndarray, b: np.ndarray, c: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Both solutions of a t^2 + 2 b t + c = 0; nan if there is none."""
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (root - b) / a


def _ball(origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entry and exit of the unit ball in as many dimensions as are given."""
    return _roots(np.einsum("ij,ij->j", rays, rays), _apply(origin, rays), origin @ origin - 1)


def _box(origin: np.ndarray, rays: np.ndarray, core: float) -> np.ndarray:
    near, far = _slab(origin[:, None], rays)
    return _enter(near.max(0), far.min(0))


def _ellipsoid(origin: np.ndarray, rays: np.ndarray, core: float) -> np.ndarray:
    return _enter(*_ball(origin, rays))


def _cylinder(origin: np.ndarray, rays: np.ndarray, core: float) -> np.ndarray:
    near, far = _ball(origin[::2], rays[::2])
    low, high = _slab(origin[1], rays[1])
    return _enter(np.maximum(near, low), np.minimum(far, high))


def _capsule(origin: np.ndarray, rays: np.ndarray, core: float) -> np.ndarray:
    """Unit radius about the segment |y| <= core: a ray that enters the tube beyond an end can only hit that end."""
    near, far = _ball(origin[::2], rays[::2])
    height = origin[1] + near * rays[1]
    beyond = np.flatnonzero(np.abs(height) > core)
    rest, end = rays[:, beyond], np.copysign(core, height[beyond])
    middle = _apply(origin, rest) - end * rest[1]
    outside = origin @ origin - 2 * end * origin[1] + core * core - 1
    near[beyond], far[beyond] = _roots(np.einsum("ij,ij->j", rest, rest), middle, outside)
    return _enter(near, far)


_INTERSECT = {"box": _box, "ellipsoid": _ellipsoid, "cylinder": _cylinder, "capsule": _capsule}


def _in_cones(directions: np.ndarray, towards: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """(M, N) bool: which unit directions (3, N) meet the spheres at offsets `towards` (M, 3)."""
    distance = np.sqrt(np.einsum("ij,ij->i", towards, towards))
    sine = radius / distance
    cosine = np.where(sine < 1, np.sqrt(np.maximum(1 - sine * sine, 0)), np.float32(-2))
    return _apply(towards / distance[:, None], directions) >= cosine[:, None]


class Solids:
    """The solids of all bodies, with bounding spheres in two levels (body, solid) to cull rays."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        self.solids = [solid for body in bodies for solid in body.solids]
        if not self.solids:
            return
        counts = np.array([len(body.solids) for body in bodies])
        ends = counts.cumsum()
        starts = ends - counts
        self.spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
        half = np.array([solid.half for solid in self.solids], np.float32)
        self.scale = np.array([(s.half[0],) * 3 if s.shape == "capsule" else s.half for s in self.solids], np.float32)
        self.core = half[:, 1] / half[:, 0]
        self.to_local = np.array([solid.axes for solid in self.solids], np.float32) / self.scale[:, :, None]
        self.centre = np.array([solid.centre for solid in self.solids], np.float32)
        self.radius = 1.001 * np.array([solid.radius for solid in self.solids], np.float32)
        low = np.minimum.reduceat(self.centre - self.radius[:, None], starts)
        high = np.maximum.reduceat(self.centre + self.radius[:, None], starts)
        self.body_centre = (low + high) / 2
        offset = self.centre - np.repeat(self.body_centre, counts, axis=0)
        reach = np.sqrt(np.einsum("ij,ij->i", offset, offset)) + self.radius
        self.body_radius = np.maximum.reduceat(reach, starts)

    def trace(self, origin: np.ndarray, rays: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest hits origin + t * rays (3, N) with t < limit (N,): t, and the solid's number or -1 (N,) int16."""
        nearest, hit = limit.copy(), np.full(limit.size, -1, np.int16)
        if not self.solids:
            return nearest, hit
        units = rays / np.sqrt(np.einsum("ij,ij->j", rays, rays))
        towards = self.centre - origin
        local_origin = -np.einsum("kij,kj->ki", self.to_local, towards)
        body_cones = _in_cones(units, self.body_centre - origin, self.body_radius)
        for (start, end), seen in zip(self.spans, body_cones, strict=True):
            pixels = np.flatnonzero(seen)
            if not pixels.size:
                continue
            body_rays = rays.take(pixels, axis=1)
            cones = _in_cones(units.take(pixels, axis=1), towards[start:end], self.radius[start:end])
            for k, seen in zip(range(start, end), cones, strict=True):
                chosen = np.flatnonzero(seen)
                if chosen.size:
                    local = _apply(self.to_local[k], body_rays.take(chosen, axis=1))
                    t = _INTERSECT[self.solids[k].shape](local_origin[k], local, self.core[k])
                    chosen = pixels[chosen]
                    closer = np.flatnonzero(t < nearest[chosen])
                    chosen = chosen[closer]
                    nearest[chosen], hit[chosen] = t[closer], k
        return nearest, hit


def _surface_coordinates(
    axis: np.ndarray | int, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two coordinates along a face whose normal is along `axis`."""
    return np.where(axis == 0, z, x), np.where(axis == 1, z, y)


def _paint_panel(panel: Panel, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the points u, v (N,) on the panel (P,), their albedo (3, P) and glow (P,)."""
    half_u, half_v = panel.half
    inside = np.flatnonzero((np.abs(u - panel.centre[0]) < half_u) & (np.abs(v - panel.centre[1]) < half_v))
    u, v = u[inside] - panel.centre[0] + half_u, v[inside] - panel.centre[1] + half_v
    width, height = 2 * half_u / panel.cells[0], 2 * half_v / panel.cells[1]
    to_edge = np.minimum(
        width / 2 - np.abs(u - width * (np.floor(u / width) + 0.5)),
        height / 2 - np.abs(v - height * (np.floor(v / height) + 0.5)),
    )
    framed = to_edge < panel.border
    albedo = np.where(framed, panel.frame.albedo(u, v), panel.inner.albedo(u, v))
    return inside, albedo, np.where(framed, panel.frame.glow, panel.inner.glow)


def _solid_normals(
    solid: Solid, to_local: np.ndarray, local: np.ndarray, side: np.ndarray, axis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """World normals (3, P) and face numbers (P,) at surface points `local` of the unit shape (3, P), whose largest
    coordinate by size |local| = `side` is that of `axis`."""
    if solid.shape == "box":
        sign = np.sign(local[axis, np.arange(axis.size)])
        return np.array(solid.axes, np.float32).T[:, axis] * sign, 2 * axis + (sign > 0)
    outward, face = local, np.zeros(axis.size, np.int32)
    if solid.shape == "cylinder":  # the side is face 0, the ends are 1 and 2
        face = (side[1] > np.hypot(side[0], side[2])) * (1 + (local[1] > 0))
        outward = np.where(face > 0, local * _ALONG, local * (1 - _ALONG))
    elif solid.shape == "capsule":
        core = np.float32(solid.half[1] / solid.half[0])
        outward = local.copy()
        outward[1] -= local[1].clip(-core, core)
    outward = _apply(to_local.T, outward)
    return outward / np.sqrt(np.einsum("ij,ij->j", outward, outward)), face


def cast(layout: Layout, height: int, width: int, rng: np.random.Generator) -> Buffers:
    """Render the layout; `rng` is for the sensor noise."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _cast(layout, height, width, rng)


def _cast(layout: Layout, height: int, width: int, rng: np.random.Generator) -> Buffers:
    focal, rotation = layout.focal * max(height, width), layout.rotation.astype(np.float32)
    eye, size = np.array(layout.eye, np.float32), np.array(layout.size, np.float32)
    camera = np.empty((3, height, width), np.float32)  # unit length along the optical axis, so that t is the depth
    camera[0] = (np.arange(width) + 0.5 - width / 2) / focal
    camera[1] = ((height / 2 - 0.5 - np.arange(height)) / focal)[:, None]
    camera[2] = -1
    rays = _apply(rotation, camera.reshape(3, -1))

    to_walls = np.where(rays > 0, (size - eye)[:, None], eye[:, None]) / np.abs(rays)
    side, every = to_walls.argmin(0), np.arange(height * width)
    room_face = 2 * side + (rays[side, every] > 0)
    solids = Solids(layout.bodies)
    depth, hit = solids.trace(eye, rays, to_walls[side, every])
    points = eye[:, None] + depth * rays

    normals, albedo = np.zeros_like(rays), np.empty_like(rays)
    glow = np.zeros(depth.size, np.float32)
    owners = [*range(FACES)]
    owners += [FACES + len(layout.panels) + i for i, body in enumerate(layout.bodies) for _ in body.solids]
    parts = np.array([0] * FACES + [solid.part for solid in solids.solids], np.uint8)
    code = np.where(hit < 0, room_face, hit + FACES).astype(np.int16)  # a room face, or a solid counted after the faces
    instance, surface = np.array(owners, np.int32)[code], code.astype(np.int32)
    order = code.argsort(kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(owners) + 1))
    for k in np.flatnonzero(np.diff(bounds)).tolist():
        pixels = order[bounds[k] : bounds[k + 1]]
        where = points.take(pixels, axis=1)
        if k < FACES:
            normals[k // 2, pixels] = 1 - 2 * (k % 2)
            u, v = _surface_coordinates(k // 2, *where)
            albedo[:, pixels] = layout.faces[k].albedo(u, v)
            for i, panel in enumerate(layout.panels):
                if panel.face == k:
                    inside, paint, light = _paint_panel(panel, u, v)
                    inside = pixels[inside]
                    albedo[:, inside], glow[inside], instance[inside] = paint, light, FACES + i
            continue
        solid, to_local, scale = solids.solids[k - FACES], solids.to_local[k - FACES], solids.scale[k - FACES]
        local = _apply(to_local, where - solids.centre[k - FACES, :, None])
        side = np.abs(local)
        axis = side.argmax(0)
        normals[:, pixels], face = _solid_normals(solid, to_local, local, side, axis)
        surface[pixels] = FACES * k + face
        u, v = _surface_coordinates(axis, *(local * scale[:, None]))
        albedo[:, pixels] = solid.texture.albedo(u, v)
        glow[pixels] = solid.texture.glow

    radiance = _light(layout, solids, points, normals, glow) * albedo
    shape = (height, width)
    return Buffers(
        _expose(radiance.reshape(3, *shape), layout.exposure, rng),
        depth.reshape(shape),
        np.ascontiguousarray(_apply(rotation.T, normals).T).reshape(*shape, 3),
        instance.reshape(shape),
        surface.reshape(shape),
        parts[code].reshape(shape),
    )


def _light(layout: Layout, solids: Solids, points: np.ndarray, normals: np.ndarray, glow: np.ndarray) -> np.ndarray:
    """(3, N) irradiance at the points: ambient light, mostly from above, and the lights, some with cast shadows."""
    total = np.repeat((glow + layout.ambient * (0.8 + 0.2 * normals[1]))[None], 3, axis=0)
    for light in layout.lights:
        position = np.array(light.position, np.float32)
        rays = points - position[:, None]
        square = np.einsum("ij,ij->j", rays, rays)
        lambert = np.maximum(-np.einsum("ij,ij->j", rays, normals), 0) / np.sqrt(square) / (1 + square / 6)
        if light.shadow:  # a point is lit where nothing is hit between the light and it
            facing = np.flatnonzero(lambert)
            _, hit = solids.trace(position, rays.take(facing, axis=1), np.full(facing.size, 1 - 2e-3, np.float32))
            lambert[facing[hit >= 0]] = 0
        total += np.array(light.power, np.float32)[:, None] * lambert
    return total


def _expose(radiance: np.ndarray, exposure: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 image of the linear radiance (3, H, W): optical blur, auto-exposure, noise, gamma 2."""
    blurred = 0.6 * radiance
    for before, after in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:, :, :-1], np.s_[:, :, 1:])):
        blurred[before] += 0.1 * radiance[after]
        blurred[after] += 0.1 * radiance[before]
    blurred[:, [0, -1]] /= 0.9  # the border lacks a neighbour
    blurred[:, :, [0, -1]] /= 0.9
    image = np.sqrt(np.minimum(blurred * np.float32(exposure / blurred.mean()), 1))
    image += np.float32(0.012) * rng.standard_normal(image.shape, np.float32)
    return np.ascontiguousarray((255 * image.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0))
