"""Procedural rooms: furniture, people and wall hangings, arranged before a camera."""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from multitask.data.rendering import CEILING, FLOOR, WALLS, Body, Layout, Light, Panel, Solid, Texture, Vector

CLASSES: tuple[str, ...] = (
    "wall", "floor", "ceiling", "door", "window", "picture", "rug", "cabinet", "table", "chair", "sofa", "lamp",
    "plant", "box", "person",
)  # fmt: skip
PARTS = ("background", "head", "torso", "upper_arm", "lower_arm", "upper_leg", "lower_leg")

LABEL = {name: i for i, name in enumerate(CLASSES)}
PART = {name: i for i, name in enumerate(PARTS)}
CLEARANCE = 0.75  # metres kept free about the camera

# Typical materials: hue and its spread, saturation range, value range. They overlap so that colour is only a hint.
MATERIALS = {
    "paint": (0.1, 0.5, (0.0, 0.2), (0.55, 0.95)),
    "white": (0.1, 0.05, (0.0, 0.08), (0.8, 1.0)),
    "wood": (0.07, 0.03, (0.25, 0.5), (0.3, 0.8)),
    "stone": (0.1, 0.5, (0.0, 0.12), (0.3, 0.8)),
    "fabric": (0.5, 0.5, (0.05, 0.4), (0.2, 0.8)),
    "leaf": (0.3, 0.1, (0.25, 0.5), (0.35, 0.75)),
    "cardboard": (0.09, 0.03, (0.2, 0.45), (0.45, 0.75)),
    "metal": (0.6, 0.1, (0.0, 0.1), (0.15, 0.6)),
    "sky": (0.57, 0.06, (0.0, 0.3), (0.5, 1.0)),
    "skin": (0.06, 0.025, (0.25, 0.5), (0.35, 0.95)),
    "hair": (0.07, 0.04, (0.2, 0.5), (0.08, 0.5)),
}


class Model:
    """Collects the solids of one body in its own frame (x left, y up, z front), placed in the room."""

    def __init__(self, name: str, x: float, z: float, yaw: float, y: float = 0.0) -> None:
        self.body = Body(LABEL[name])
        self.x, self.y, self.z = x, y, z
        self.cos, self.sin = math.cos(yaw), math.sin(yaw)
        self.axes = (self._turn((1, 0, 0)), (0.0, 1.0, 0.0), self._turn((0, 0, 1)))

    def _turn(self, v: Vector) -> Vector:
        return self.cos * v[0] + self.sin * v[2], v[1], self.cos * v[2] - self.sin * v[0]

    def add(self, shape: str, centre: Vector, size: Vector, texture: Texture, part: str = "background") -> None:
        """An upright box, ellipsoid or cylinder with the given centre and full size."""
        x, y, z = self._turn(centre)
        half = size[0] / 2, size[1] / 2, size[2] / 2
        solid = Solid(shape, (self.x + x, self.y + y, self.z + z), half, self.axes, texture, PART[part])
        self.body.solids.append(solid)

    def limb(self, a: Vector, b: Vector, radius: float, texture: Texture, part: str = "background") -> None:
        """A capsule from a to b."""
        length = math.dist(a, b)
        dx, dy, dz = self._turn(((b[0] - a[0]) / length, (b[1] - a[1]) / length, (b[2] - a[2]) / length))
        side = math.hypot(dx, dz)
        sx, sz = (dz / side, -dx / side) if side > 1e-6 else (1.0, 0.0)
        x, y, z = self._turn(((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2))
        axes = ((sx, 0.0, sz), (dx, dy, dz), (dy * sz, dz * sx - dx * sz, -dy * sx))
        centre, half = (self.x + x, self.y + y, self.z + z), (radius, length / 2, radius)
        self.body.solids.append(Solid("capsule", centre, half, axes, texture, PART[part]))


def _colour(dice: random.Random, material: str) -> Vector:
    """A linear RGB colour of the material."""
    hue, spread, saturation, value = MATERIALS[material]
    hue = (hue + dice.uniform(-spread, spread)) % 1
    r, g, b = colorsys.hsv_to_rgb(hue, dice.uniform(*saturation), dice.uniform(*value))
    return r * r, g * g, b * b


def _shade(colour: Vector, factor: float) -> Vector:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _texture(dice: random.Random, material: str, *patterns: str) -> Texture:
    """The material in one of the patterns (plain by default), whose second colour is a lighter or darker tone."""
    colour = _colour(dice, material)
    other = _shade(colour, dice.choice((0.35, 0.5, 0.65, 1.5)))
    pattern = dice.choice(patterns or ("plain",))
    angle = dice.choice((0.0, math.pi / 2))
    return Texture(colour, other, pattern, dice.uniform(0.08, 0.35), angle)


def _vivid(texture: Texture, hue: float) -> Texture:
    """The texture in a saturated hue, as bright as it can be."""
    r, g, b = colorsys.hsv_to_rgb(hue, 0.92, 1.0)
    colour = (r * r, g * g, b * b)
    return replace(texture, colour=colour, other=_shade(colour, 0.45))


# Furniture: each builder gets the model, whose body it fills, and its size (width, height, depth) in metres.


def _table(model: Model, dice: random.Random, w: float, h: float, d: float) -> None:
    top = _texture(dice, dice.choice(("wood", "wood", "white", "stone")), "plain", "planks", "noise")
    leg = top if dice.random() < 0.5 else _texture(dice, "metal")
    style = dice.random()
    model.add("cylinder" if style < 0.3 else "box", (0, h - 0.02, 0), (w, 0.04, d), top)
    if style < 0.45:
        model.add("cylinder", (0, h / 2, 0), (0.1, h - 0.04, 0.1), leg)
        model.add("cylinder", (0, 0.015, 0), (0.55 * d, 0.03, 0.55 * d), leg)
        return
    for x in (0.06 - w / 2, w / 2 - 0.06):
        for z in (0.06 - d / 2, d / 2 - 0.06):
            model.add("box", (x, h / 2 - 0.02, z), (0.06, h - 0.04, 0.06), leg)


def _chair(model: Model, dice: random.Random, w: float, h: float, d: float) -> None:
    wood = _texture(dice, dice.choice(("wood", "wood", "metal", "white")))
    seat = wood if dice.random() < 0.4 else _texture(dice, "fabric", "plain", "checks")
    model.add("box", (0, 0.44, 0), (w, 0.06, d), seat)
    for x in (0.03 - w / 2, w / 2 - 0.03):
        model.add("cylinder", (x, 0.21, d / 2 - 0.03), (0.05, 0.42, 0.05), wood)
        model.add("box", (x, h / 2, 0.03 - d / 2), (0.05, h, 0.05), wood)
    back = dice.uniform(0.15, h - 0.5)
    model.add("box", (0, h - 0.02 - back / 2, 0.03 - d / 2), (w - 0.1, back, 0.03), seat)


def _sofa(model: Model, dice: random.Random, w: float, h: float, d: float) -> None:
    cloth = _texture(dice, "fabric", "plain", "plain", "stripes", "checks", "noise")
    cushion = cloth if dice.random() < 0.6 else _texture(dice, "fabric", "plain", "stripes")
    arm = dice.uniform(0.12, 0.22)
    model.add("box", (0, 0.17, 0), (w, 0.3, d), cloth)
    model.add("box", (0, h / 2, 0.11 - d / 2), (w, h, 0.22), cloth)
    for side in (-1, 1):
        model.add("box", (side * (w - arm) / 2, 0.3, 0.05), (arm, 0.6, d - 0.1), cloth)
    seats = 2 if w < 1.8 else 3
    width = (w - 2 * arm) / seats
    for i in range(seats):
        x = (i + 0.5) * width - w / 2 + arm
        model.add("box", (x, 0.39, 0.1), (width - 0.02, 0.14, d - 0.22), cushion)


def _cabinet(model: Model, dice: random.Random, w: float, h: float, d: float) -> None:
    wood = _texture(dice, dice.choice(("wood", "wood", "white", "paint")), "plain", "planks", "noise")
    if dice.random() < 0.35:  # open shelves
        board = 0.04
        model.add("box", (0, h / 2, 0.02 - d / 2), (w, h, 0.03), wood)
        for side in (-1, 1):
            model.add("box", (side * (w - board) / 2, h / 2, 0), (board, h, d), wood)
        shelves = max(2, round(h / 0.4))
        for i in range(shelves + 1):
            model.add("box", (0, board / 2 + i * (h - board) / shelves, 0), (w - 2 * board, board, d), wood)
        return
    model.add("box", (0, h / 2, -0.01), (w, h, d - 0.02), wood)
    front = wood if dice.random() < 0.7 else _texture(dice, "white")
    columns, rows = max(1, round(w / 0.6)), max(1, round(h / dice.choice((0.45, 1.0, 2.0))))
    for i in range(columns):
        for j in range(rows):
            x, y = (i + 0.5) * w / columns - w / 2, 0.04 + (j + 0.5) * (h - 0.06) / rows
            model.add("box", (x, y, d / 2 - 0.01), (w / columns - 0.04, (h - 0.06) / rows - 0.04, 0.03), front)


def _lamp(model: Model, dice: random.Random, w: float, h: float, d: float) -> None:
    metal = _texture(dice, dice.choice(("metal", "wood", "white")))
    shade = replace(_texture(dice, dice.choice(("white", "fabric")), "plain", "stripes"), glow=dice.choice((0.0, 0.8)))
    tall = 0.22 if h > 1 else 0.5 * h
    model.add("cylinder", (0, 0.015, 0), (0.75 * w, 0.03, 0.75 * w), metal)
    model.add("cylinder", (0, h / 2, 0), (0.045, h - 0.1, 0.045), metal)
    model.add(dice.choice(("cylinder", "cylinder", "ellipsoid")), (0, h - tall / 2, 0), (w, tall, w), shade)


def _plant(model: Model, dice: random.Random, w: float, h: float, d: float) -> None:
    pot = min(0.35, 0.4 * h)
    clay, leaf = _texture(dice, dice.choice(("stone", "cardboard"))), _texture(dice, "leaf", "noise")
    model.add("cylinder", (0, pot / 2, 0), (0.55 * w, pot, 0.55 * w), clay)
    for i in range(dice.randint(1, 5)):
        size = dice.uniform(0.5, 0.8)
        x, z = (dice.uniform(-0.18, 0.18) * w for _ in range(2)) if i else (0.0, 0.0)
        y = pot + (h - pot) * (0.5 if i == 0 else dice.uniform(0.35, 0.75))
        model.add("ellipsoid", (x, y, z), (w * size, (h - pot) * (1.0 if i == 0 else 0.45), w * size), leaf)


def _box(model: Model, dice: random.Random, w: float, h: float, d: float) -> None:
    material = dice.choice(("cardboard", "cardboard", "fabric", "white"))
    model.add("box", (0, h / 2, 0), (w, h, d), _texture(dice, material, "plain", "plain", "stripes", "checks"))


def _person(model: Model, dice: random.Random, w: float, h: float, d: float, seat: float = 0.0) -> None:
    """Standing, walking or gesturing; with a `seat` height, sitting on it."""
    skin, hair = _texture(dice, "skin"), _texture(dice, "hair")
    shirt = _texture(dice, "fabric", "plain", "plain", "stripes", "checks")
    trousers = _texture(dice, dice.choice(("fabric", "metal")))
    forearm, shoe = (skin if dice.random() < 0.6 else shirt), _texture(dice, "metal")
    s = h / 1.75

    def reach(start: Vector, pitch: float, spread: float, length: float) -> Vector:
        """The end of a limb that hangs down at pitch 0 and points forward at 90 degrees."""
        pitch, spread = math.radians(pitch), math.radians(spread)
        x, y, z = math.sin(spread), -math.cos(spread) * math.cos(pitch), math.cos(spread) * math.sin(pitch)
        return start[0] + s * length * x, start[1] + s * length * y, start[2] + s * length * z

    stride, hips, ankles = dice.uniform(-35, 35), [], []
    for side in (-1, 1):
        hip = (side * 0.09 * s, 0.0, 0.0)
        swing = dice.uniform(78, 92) if seat else side * stride + dice.uniform(-5, 5)
        bend = dice.uniform(70, 95) if seat else dice.uniform(0, 40) * (abs(stride) > 12)
        spread = side * dice.uniform(1, 9)
        knee = reach(hip, swing, spread, 0.43)
        hips.append((hip, knee))
        ankles.append(reach(knee, swing - bend, spread / 2, 0.40))
    # The pelvis is where the lower foot touches the ground, or on the seat.
    base = seat + 0.09 * s if seat else 0.06 * s - min(ankle[1] for ankle in ankles)

    def up(v: Vector) -> Vector:
        return v[0], v[1] + base, v[2]

    for (hip, knee), ankle in zip(hips, ankles, strict=True):
        model.limb(up(hip), up(knee), 0.075 * s, trousers, "upper_leg")
        model.limb(up(knee), up(ankle), 0.055 * s, trousers, "lower_leg")
        foot = (ankle[0], ankle[1] + base - 0.02 * s, ankle[2] + 0.06 * s)
        model.add("ellipsoid", foot, (0.09 * s, 0.08 * s, 0.26 * s), shoe, "lower_leg")
    lean = dice.uniform(-4, 14)
    chest = reach(up((0, 0, 0)), 180 - lean, 0, 0.33)
    neck = reach(up((0, 0, 0)), 180 - lean, 0, 0.52)
    head = reach(neck, 180 - 0.5 * lean, 0, 0.17)
    model.add("ellipsoid", up((0, 0.03, 0)), (0.33 * s, 0.3 * s, 0.23 * s), trousers, "torso")
    model.limb(reach(up((0, 0, 0)), 180 - lean, 0, 0.1), chest, 0.125 * s, shirt, "torso")
    model.add("ellipsoid", chest, (0.38 * s, 0.4 * s, 0.24 * s), shirt, "torso")
    model.limb(neck, head, 0.055 * s, skin, "head")
    model.add("ellipsoid", head, (0.165 * s, 0.24 * s, 0.2 * s), skin, "head")
    crown = (head[0], head[1] + 0.03 * s, head[2] - 0.025 * s)
    model.add("ellipsoid", crown, (0.18 * s, 0.22 * s, 0.2 * s), hair, "head")
    for side in (-1, 1):
        shoulder = reach(neck, lean, side * 75, 0.19)
        swing = -side * stride + dice.uniform(-10, 20) if dice.random() < 0.7 else dice.uniform(20, 140)
        spread = side * dice.uniform(4, 35)
        elbow = reach(shoulder, swing, spread, 0.28)
        bend, turn = dice.uniform(0, 90), dice.uniform(-0.5, 1)
        wrist, hand = (reach(elbow, swing + bend, spread * turn, length) for length in (0.25, 0.3))
        model.limb(shoulder, elbow, 0.052 * s, shirt, "upper_arm")
        model.limb(elbow, wrist, 0.042 * s, forearm, "lower_arm")
        model.add("ellipsoid", hand, (0.075 * s, 0.11 * s, 0.085 * s), skin, "lower_arm")


Range = tuple[float, float]  # smallest, largest
# name: builder, ranges of width, height and depth in metres, whether it stands with its back to a wall
FURNITURE: dict[str, tuple[Callable[..., None], tuple[Range, Range, Range], bool]] = {
    "sofa": (_sofa, ((1.4, 2.1), (0.7, 0.95), (0.8, 0.95)), True),
    "cabinet": (_cabinet, ((0.6, 1.6), (0.7, 2.1), (0.35, 0.55)), True),
    "table": (_table, ((0.8, 1.5), (0.65, 0.8), (0.7, 0.9)), False),
    "chair": (_chair, ((0.4, 0.5), (0.8, 1.05), (0.4, 0.5)), False),
    "lamp": (_lamp, ((0.35, 0.55), (1.3, 1.75), (0.35, 0.55)), True),
    "plant": (_plant, ((0.45, 0.8), (0.7, 1.7), (0.45, 0.8)), True),
    "box": (_box, ((0.25, 0.6), (0.2, 0.6), (0.25, 0.6)), False),
    "person": (_person, ((0.6, 0.6), (1.5, 1.9), (0.5, 0.5)), False),
}
ORNAMENTS = {"box": (0.12, 0.35), "plant": (0.2, 0.5), "lamp": (0.25, 0.55)}  # heights of what stands on furniture
FACING = {0: math.pi / 2, 1: -math.pi / 2, 4: 0.0, 5: math.pi}  # yaw of what stands with its back to a wall
WALLPAPERS = ("plain", "plain", "plain", "stripes", "noise", "tiles", "planks")
# How likely each thing is wanted, large ones first; crowded rooms get fewer.
HANGINGS = (("door", 0.55), ("window", 0.6), ("picture", 0.7), ("picture", 0.3), ("rug", 0.55))
PLACINGS = (
    ("sofa", 0.55), ("cabinet", 0.55), ("table", 0.55), ("person", 0.55), ("cabinet", 0.2), ("chair", 0.4),
    ("person", 0.2), ("lamp", 0.5), ("plant", 0.55), ("chair", 0.2), ("box", 0.5), ("box", 0.2),
)  # fmt: skip
VIVID = ("picture", "rug", "cabinet", "table", "chair", "sofa", "lamp", "plant", "box")


def _panel(dice: random.Random, name: str) -> Panel:
    """A door, window, picture or rug, still to be placed."""
    frame = _texture(dice, "fabric" if name == "rug" else dice.choice(("wood", "white", "metal")))
    inner = _texture(dice, "fabric", "plain", "noise", "noise", "stripes", "checks", "tiles")
    half, border, cells = (dice.uniform(0.2, 0.6), dice.uniform(0.2, 0.45)), dice.uniform(0.02, 0.06), (1, 1)
    if name == "door":
        inner = replace(frame, colour=_shade(frame.colour, dice.uniform(0.6, 0.95)))
        half, border = (dice.uniform(0.38, 0.5), dice.uniform(0.97, 1.05)), 0.1
        cells = (dice.randint(1, 2), dice.randint(1, 3))
    elif name == "window":
        inner = replace(_texture(dice, "sky", "plain", "noise"), period=1.5, glow=dice.choice((0.0, 0.5, 1.0)))
        half, border = (dice.uniform(0.4, 0.9), dice.uniform(0.4, 0.65)), 0.05
        cells = (dice.randint(1, 3), dice.randint(1, 2))
    elif name == "rug":
        half, border = (dice.uniform(0.6, 1.3), dice.uniform(0.6, 1.3)), dice.uniform(0.0, 0.15)
    return Panel(LABEL[name], FLOOR, (0.0, 0.0), half, frame, inner, border, cells)


def _clamp(centre: float, half: float, length: float) -> float:
    """The centre moved so that centre - half to centre + half lies within 0 to length, with a gap."""
    return min(max(centre, half + 0.02), length - half - 0.02)


class Room:
    """A room furnished for a camera in it: most things are put somewhere along random lines of sight."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.size = w, _, d = dice.uniform(3.8, 6.5), dice.uniform(2.4, 3.1), dice.uniform(3.8, 6.5)
        spots = [(dice.uniform(0.4, w - 0.4), dice.uniform(0.4, d - 0.4)) for _ in range(6)]
        x, z = spots.pop()
        aim = max(spots, key=lambda spot: math.dist(spot, (x, z)))  # look where there is depth
        self.eye = x, dice.uniform(1.1, 1.8), z
        self.yaw = math.atan2(aim[0] - x, aim[1] - z)
        self.focal = dice.uniform(0.65, 0.95)
        self.taken = [(x, z, CLEARANCE, CLEARANCE)]  # floor in use: centre and half extents along x, z
        self.panels: list[Panel] = []
        self.bodies: list[Body] = []

    def sight(self) -> tuple[int, float, float]:
        """The wall on which a random line of sight ends, and the end point x, z."""
        angle = self.yaw + 0.95 * math.atan(0.5 / self.focal) * self.dice.uniform(-1, 1)
        dx, dz = math.sin(angle), math.cos(angle)
        to_x = ((self.size[0] if dx > 0 else 0) - self.eye[0]) / dx
        to_z = ((self.size[2] if dz > 0 else 0) - self.eye[2]) / dz
        reach = min(to_x, to_z)
        wall = (0 if dx < 0 else 1) if to_x < to_z else (4 if dz < 0 else 5)
        return wall, self.eye[0] + reach * dx, self.eye[2] + reach * dz

    def claim(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Take a piece of floor if it is free and in the room."""
        inside = half_x <= x <= self.size[0] - half_x and half_z <= z <= self.size[2] - half_z
        free = inside and all(abs(x - a) >= half_x + c or abs(z - b) >= half_z + d for a, b, c, d in self.taken)
        if free:
            self.taken.append((x, z, half_x, half_z))
        return free

    def hang(self, name: str) -> None:
        """Try to put a panel on a wall, or a rug on the floor."""
        panel = _panel(self.dice, name)
        half_u, half_v = panel.half
        for _ in range(6):
            face, x, z = self.sight()
            if name == "rug":
                face, share = FLOOR, self.dice.uniform(0.4, 0.8)
                u, v = self.eye[0] + share * (x - self.eye[0]), self.eye[2] + share * (z - self.eye[2])
                v = _clamp(v, half_v, self.size[2])
            else:
                u, v = (z if face < 2 else x), (half_v if name == "door" else self.dice.uniform(1.4, 1.65))
            length = self.size[2] if face < 2 else self.size[0]
            u = _clamp(u, half_u, length)
            beside = (p for p in self.panels if p.face == face)
            if all(abs(p.centre[0] - u) > p.half[0] + half_u + 0.05 for p in beside):
                self.panels.append(replace(panel, face=face, centre=(u, v)))
                if name == "door":  # keep the way in free
                    self.taken.append((x, z, 0.6, half_u) if face < 2 else (x, z, half_u, 0.6))
                return

    def spot(self, name: str, w: float, d: float) -> tuple[float, float, float]:
        """A random place and heading x, z, yaw for something of this footprint, perhaps not free."""
        dice, (wall, x, z) = self.dice, self.sight()
        if FURNITURE[name][2]:
            half_x, half_z = (d / 2, w / 2) if wall < 2 else (w / 2, d / 2)
            return _clamp(x, half_x, self.size[0]), _clamp(z, half_z, self.size[2]), FACING[wall]
        share = dice.uniform(0.35 if name == "person" else 0.2, 0.95)
        yaw = dice.choice(tuple(FACING.values())) + dice.uniform(-0.2, 0.2)
        if name in ("chair", "person"):
            yaw = dice.uniform(-math.pi, math.pi)
        return self.eye[0] + share * (x - self.eye[0]), self.eye[2] + share * (z - self.eye[2]), yaw

    def place(self, name: str, at: tuple[float, float, float] | None = None) -> None:
        """Try to put something on the floor, at x, z, yaw if given, with what belongs to it."""
        dice = self.dice
        w, h, d = (dice.uniform(*extent) for extent in FURNITURE[name][1])
        for _ in range(1 if at else 10):
            x, z, yaw = at or self.spot(name, w, d)
            cos, sin = abs(math.cos(yaw)), abs(math.sin(yaw))
            if self.claim(x, z, (cos * w + sin * d) / 2, (sin * w + cos * d) / 2):
                break
        else:
            return
        self.build(Model(name, x, z, yaw), name, w, h, d)
        if name == "table":  # chairs that face it
            for turn in dice.sample((0, 1, 2, 3), dice.randint(0, 3)):
                angle, away = yaw + turn * math.pi / 2, (w if turn % 2 else d) / 2 + 0.3
                self.place("chair", (x + away * math.sin(angle), z + away * math.cos(angle), angle + math.pi))
        if name == "chair" and dice.random() < 0.2:
            sitter = Model("person", x - 0.06 * math.sin(yaw), z - 0.06 * math.cos(yaw), yaw)
            self.build(sitter, "person", w, dice.uniform(1.5, 1.9), d, seat=0.47)
        if name in ("table", "cabinet") and h < 1.3 and dice.random() < 0.7:
            ornament = dice.choice(tuple(ORNAMENTS))
            model = Model(ornament, x, z, dice.uniform(0, math.pi), h)
            width, tall, depth = dice.uniform(0.15, 0.3), dice.uniform(*ORNAMENTS[ornament]), dice.uniform(0.15, 0.3)
            self.build(model, ornament, width, tall, depth)

    def build(self, model: Model, name: str, w: float, h: float, d: float, **options: float) -> None:
        """Fill the model and put it in the room, whatever else is there."""
        FURNITURE[name][0](model, self.dice, w, h, d, **options)
        self.bodies.append(model.body)

    def furnish(self) -> None:
        """Hang and place a random choice of things, large ones first, and make one of them vivid."""
        dice = self.dice
        for name, chance in HANGINGS:
            if dice.random() < chance:
                self.hang(name)
        for name, chance in PLACINGS:
            if dice.random() < chance:
                self.place(name)
        things: list[Panel | Body] = [*self.panels, *self.bodies]
        things = [thing for thing in things if CLASSES[thing.label] in VIVID]
        if not things:
            return
        thing, hue = dice.choice(things), dice.random()
        if isinstance(thing, Panel):
            vivid = replace(thing, inner=_vivid(thing.inner, hue), salient=True)
            self.panels[self.panels.index(thing)] = vivid
        else:
            thing.salient = True
            thing.solids = [replace(solid, texture=_vivid(solid.texture, hue)) for solid in thing.solids]

    def layout(self) -> Layout:
        """What the camera sees: surfaces, things, pose, light and exposure."""
        dice = self.dice
        paint = _texture(dice, "paint", *WALLPAPERS)
        accent = _texture(dice, "paint", *WALLPAPERS) if dice.random() < 0.4 else paint
        walls = {wall: dice.choice((paint, paint, accent)) for wall in WALLS}
        floor = _texture(dice, dice.choice(("wood", "stone", "fabric")), "planks", "planks", "tiles", "checks", "noise")
        ceiling = _texture(dice, "white", "plain", "plain", "plain", "tiles")
        faces = [{FLOOR: floor, CEILING: ceiling, **walls}[face] for face in range(6)]
        w, h, d = self.size
        tint = dice.uniform(-0.12, 0.12)
        lights = []
        for power, shadow in ((dice.uniform(0.8, 1.4), True), (dice.uniform(0.1, 0.4), False)):
            position = dice.uniform(0.2, 0.8) * w, h - dice.uniform(0.1, 0.3), dice.uniform(0.2, 0.8) * d
            lights.append(Light(position, (power * (1 + tint), power, power * (1 - tint)), shadow))
        pitch, roll = math.radians(dice.uniform(-22, 5)), math.radians(dice.uniform(-3, 3))
        return Layout(
            self.size, faces, self.panels, self.bodies, self.eye, _pose(self.yaw, pitch, roll), self.focal, lights,
            ambient=dice.uniform(0.15, 0.4), exposure=dice.uniform(0.15, 0.36),
        )  # fmt: skip


def _pose(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) float32 camera axes in the world as columns: right, up, backward."""
    back = -np.array((math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)))
    right = np.array((-math.cos(yaw), 0.0, math.sin(yaw)))
    up = np.cross(back, right)
    cos, sin = math.cos(roll), math.sin(roll)
    return np.stack((cos * right + sin * up, cos * up - sin * right, back), axis=1).astype(np.float32)
