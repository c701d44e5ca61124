"""What stands before the camera: a room, a street and a table, furnished from a seeded generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipelines.clips.parallax import textures
from pipelines.clips.parallax.scene import (
    BACKGROUND,
    Ellipse,
    Endless,
    Lamp,
    Motion,
    Polygon,
    Pose,
    Rectangle,
    Shape,
    Surface,
    facing,
)
from pipelines.params import Split

FRONT = facing(0)
DOWN = facing(0, -np.pi / 2)
UP = facing(0, np.pi / 2)
LEFT = facing(-np.pi / 2)
RIGHT = facing(np.pi / 2)
STILL = Pose(np.eye(3), np.zeros(3))

Vector = tuple[float, float, float]


@dataclass
class Set:
    """A scene being furnished: draws textures of one split and numbers the objects.

    A picture is not drawn twice unless all have been.
    """

    rng: np.random.Generator
    seed: int
    split: Split
    surfaces: list[Surface] = field(default_factory=list)
    objects: int = BACKGROUND
    _pictures: list[str] = field(default_factory=list)

    def pattern(self, *kinds: str) -> str:
        """A procedural texture of one of these kinds."""
        return textures.pattern(self.split, str(self.rng.choice(kinds)), int(self.rng.integers(textures.VARIANTS)))

    def picture(self) -> str:
        if not self._pictures:
            self._pictures = [textures.photo(file) for file in self.rng.permutation(textures.PICTURES[self.split])]
        return self._pictures.pop()

    def ground(self, *kinds: str) -> str:
        """A photographed or procedural material to stand on."""
        return self._mixed(textures.GROUNDS[self.split], kinds)

    def distance(self) -> str:
        return self._mixed(textures.VIEWS[self.split], ("hills",))

    def _mixed(self, photographs: tuple[str, ...], kinds: tuple[str, ...]) -> str:
        choices = [textures.photo(file) for file in photographs] + [""]
        return str(self.rng.choice(choices)) or self.pattern(*kinds)

    def next(self) -> int:
        """The id of a new object."""
        self.objects += 1
        return self.objects

    def endless(self, id: int, axes: np.ndarray, origin: Vector, texture: str, width: float, top: float | None = None) -> None:
        """A whole plane whose texture is `width` metres wide; `top` raises its lower edge to (s, t) = (0, top)."""
        height_px, width_px = textures.load(self.seed, texture).shape[:2]
        texels = width_px / width
        anchor = (width_px / 2, height_px / 2 if top is None else height_px - top * texels)
        self._add(id, Endless(), texture, texels, anchor, Motion(Pose(axes, np.array(origin))))

    def tiled(self, shape: Shape, axes: np.ndarray, origin: Vector, texture: str, width: float) -> None:
        """A bounded plane with a repeated texture, `width` metres for each repeat."""
        height_px, width_px = textures.load(self.seed, texture).shape[:2]
        self._add(self.next(), shape, texture, width_px / width, (0.0, float(height_px)), Motion(Pose(axes, np.array(origin))))

    def card(self, shape: Shape, texture: str, motion: Motion) -> None:
        """A new object: one bounded surface covered once by its texture."""
        self._face(self.next(), shape, texture, motion, STILL)

    def picture_on(self, axes: np.ndarray, origin: Vector, width: float, texture: str | None = None) -> None:
        """A new rectangular card `width` metres wide in its texture's proportions."""
        texture = texture or self.picture()
        height_px, width_px = textures.load(self.seed, texture).shape[:2]
        shape = Rectangle(width / 2, width / 2 * height_px / width_px)
        self.card(shape, texture, Motion(Pose(axes, np.array(origin))))

    def box(self, size: Vector, sides: tuple[str, ...], motion: Motion) -> None:
        """A new closed box of full `size`; `sides` are the textures of front and back, flanks, top and bottom."""
        id = self.next()
        a, b, c = (length / 2 for length in size)
        for axes, shift, extent, texture in (
            (FRONT, (0, 0, -c), (a, b), sides[0]),
            (facing(np.pi), (0, 0, c), (a, b), sides[0]),
            (RIGHT, (-a, 0, 0), (c, b), sides[1]),
            (LEFT, (a, 0, 0), (c, b), sides[1]),
            (DOWN, (0, -b, 0), (a, c), sides[2]),
            (UP, (0, b, 0), (a, c), sides[2]),
        ):
            self._face(id, Rectangle(*extent), texture, motion, Pose(axes, np.array(shift)), closed=True)

    def _face(self, id: int, shape: Shape, texture: str, body: Motion, local: Pose, closed: bool = False) -> None:
        """A surface on which the texture is centred and just covers the silhouette's box."""
        assert shape.extent is not None
        height_px, width_px = textures.load(self.seed, texture).shape[:2]
        texels = min(width_px / (2 * shape.extent[0]), height_px / (2 * shape.extent[1]))
        self._add(id, shape, texture, texels, (width_px / 2, height_px / 2), body, local, closed)

    def _add(
        self,
        id: int,
        shape: Shape,
        texture: str,
        texels: float,
        anchor: tuple[float, float],
        body: Motion,
        local: Pose = STILL,
        closed: bool = False,
    ) -> None:
        self.surfaces.append(Surface(id, shape, texture, texels, anchor, body, local, closed))


@dataclass(frozen=True)
class Layout:
    """A furnished scene: where the camera rests, how far the subject is in metres, and the light."""

    base: Pose
    reach: float
    lamp: Lamp


def room(on: Set) -> Layout:
    """Four walls, pictures, a shelf and furniture; things swing, roll and slide."""
    rng = on.rng
    half, back = rng.uniform(2.3, 2.8), rng.uniform(4.6, 5.2)
    floor, ceiling = 1.25, -1.45
    hand = rng.choice([-1.0, 1.0])
    on.endless(BACKGROUND, FRONT, (0, floor, back), on.pattern("bricks", "plaster", "plaster"), rng.uniform(3.0, 3.6))
    on.endless(on.next(), DOWN, (0, floor, 2.5), on.pattern("planks", "tiles", "planks"), rng.uniform(2.4, 3.2))
    on.endless(on.next(), UP, (0, ceiling, 2.5), on.pattern("plaster"), 4.0)
    side = on.pattern("plaster", "bricks")
    on.endless(on.next(), LEFT, (-half, floor, 2.5), side, 3.6)
    on.endless(on.next(), RIGHT, (half, floor, 2.5), side, 3.6)
    on.picture_on(FRONT, (-hand * rng.uniform(0.8, 1.1), rng.uniform(-0.45, -0.3), back - 0.03), 1.7)
    on.picture_on(FRONT, (hand * rng.uniform(0.85, 1.2), -0.2, back - 0.03), 1.5, on.pattern("books"))
    on.picture_on(LEFT, (-half + 0.03, -0.15, rng.uniform(3.0, 3.6)), 1.5, on.pattern("page", "sign"))
    on.picture_on(RIGHT, (half - 0.03, -0.2, rng.uniform(2.9, 3.6)), 1.6)
    wood = on.pattern("planks", "fabric")
    width, height = rng.uniform(0.9, 1.2), rng.uniform(0.55, 0.75)
    where = np.array([-hand * rng.uniform(1.0, 1.4), floor - height / 2, rng.uniform(3.3, 3.8)])
    on.box((width, height, 0.7), (on.pattern("books"), wood, wood), Motion(Pose(facing(rng.uniform(-0.5, 0.5)), where)))
    crate = on.pattern("planks", "sign", "fabric")
    where = np.array([hand * rng.uniform(1.1, 1.6), floor - 0.3, rng.uniform(3.0, 3.6)])
    on.box((0.6, 0.6, 0.6), (crate, on.pattern("sign"), crate), Motion(Pose(facing(rng.uniform(-0.8, 0.8)), where)))
    ball = 0.28
    rest = Pose(FRONT, np.array([0.1, floor - ball, rng.uniform(2.4, 3.0)]))
    on.card(Ellipse(ball, ball), on.pattern("chart", "fabric"), _sliding(rng, rest, (0.7, 0, 0), 2.6, roll=3.0))
    rest = Pose(facing(rng.uniform(-0.2, 0.2)), np.array([hand * rng.uniform(0.2, 0.6), -0.5, rng.uniform(2.2, 2.8)]))
    on.card(Ellipse(0.36, 0.36, 0.62), on.pattern("sign", "foliage"), _sliding(rng, rest, (-0.35, 0.12, 0), 2.2, roll=1.0))
    rest = Pose(facing(rng.uniform(-0.3, 0.3)), np.array([-hand * rng.uniform(0.3, 0.6), 0.35, rng.uniform(2.0, 2.3)]))
    on.card(Rectangle(0.3, 0.36, 0.06), on.picture(), _sliding(rng, rest, (0.25, 0.05, 0.2), 2.0, rock=(0.35, 0, 0.15)))
    lamp = Lamp((rng.uniform(-1, 1), -1.2, rng.uniform(1.2, 2.2)), rng.uniform(0.5, 0.6), rng.uniform(0.45, 0.55))
    return Layout(Pose(facing(0), np.array([0, -0.1, 0.0])), 3.6, lamp)


def street(on: Set) -> Layout:
    """House fronts and trees along a road that ends in a view; a van, a wheel and a kite move."""
    rng = on.rng
    ground = 1.5
    hand = rng.choice([-1.0, 1.0])
    on.endless(BACKGROUND, FRONT, (0, ground, 40), on.distance(), rng.uniform(34, 40), top=0.5)
    on.endless(on.next(), DOWN, (0, ground, 8), on.ground("pebbles", "grass", "tiles"), rng.uniform(4.5, 6))
    slope = np.array([rng.uniform(-4, 4), ground - 0.8, 27])
    on.tiled(Rectangle(30, 4.2), facing(0, -1.15), tuple(slope), on.pattern("grass", "foliage"), 12)
    for axes, x in ((LEFT, -rng.uniform(4.6, 5.6)), (RIGHT, rng.uniform(4.8, 6.0))):
        height, begin, end = rng.uniform(2.6, 4.0), rng.uniform(5.5, 7.5), rng.uniform(17, 24)
        centre = (x, ground - height, (begin + end) / 2)
        on.tiled(Rectangle((end - begin) / 2, height), axes, centre, on.pattern("facade"), rng.uniform(5.5, 7))
    for x, z in ((-hand * rng.uniform(3.0, 3.8), rng.uniform(9, 11)), (hand * rng.uniform(2.6, 3.6), rng.uniform(12, 15))):
        on.card(Rectangle(0.16, 1.3), on.pattern("planks"), Motion(Pose(FRONT, np.array([x, ground - 1.3, z + 0.02]))))
        sway = _sliding(rng, Pose(FRONT, np.array([x, ground - 3.2, z])), (0.06, 0, 0), 2.4, rock=(0, 0, 0.03))
        on.card(_crown(rng, rng.uniform(1.4, 1.8)), on.pattern("foliage"), sway)
    where = (-hand * rng.uniform(2.0, 2.8), -0.1, rng.uniform(6.6, 7.6))
    on.picture_on(facing(-hand * rng.uniform(0.2, 0.5)), where, 1.9, on.pattern("sign", "page"))
    where = (hand * rng.uniform(2.2, 2.9), -0.2, rng.uniform(6.8, 8.0))
    on.picture_on(facing(hand * rng.uniform(0.2, 0.5)), where, 2.3)
    paint = on.pattern("sign")
    rest = Pose(FRONT, np.array([rng.uniform(-0.8, 0.8), ground - 1.0, rng.uniform(8.5, 10)]))
    on.box((3.0, 1.7, 1.6), (on.picture(), paint, on.pattern("plaster")), _sliding(rng, rest, (1.6, 0, 0), 3.4))
    wheel = 0.5
    rest = Pose(facing(rng.uniform(-0.3, 0.3)), np.array([rng.uniform(-0.8, 0.4), ground - wheel, rng.uniform(4.6, 5.4)]))
    on.card(Ellipse(wheel, wheel, 0.5), on.pattern("chart", "fabric", "sign"), _sliding(rng, rest, (1.0, 0, 0), 3.0, roll=3.0))
    rest = Pose(facing(0, 0, 0.5), np.array([hand * rng.uniform(0.2, 1.2), -0.75, rng.uniform(4.4, 5.2)]))
    kite = Polygon(((0, -0.55), (0.38, -0.1), (0, 0.6), (-0.38, -0.1)))
    on.card(kite, on.pattern("fabric"), _sliding(rng, rest, (0.5, 0.25, 0.3), 2.4, rock=(0.3, 0.2, 0.5)))
    lamp = Lamp((rng.uniform(-6, 6), -14, rng.uniform(-8, 0)), rng.uniform(0.5, 0.6), rng.uniform(0.55, 0.65))
    return Layout(Pose(facing(0, 0.03), np.array([0, 0.0, 0.0])), 7.5, lamp)


def table(on: Set) -> Layout:
    """Prints and books on a table seen from above, and hands' work among them: things slide and turn."""
    rng = on.rng
    top = 0.9
    hand = rng.choice([-1.0, 1.0])
    on.endless(BACKGROUND, FRONT, (0, top, 2.15), on.pattern("bricks", "plaster", "plaster", "books"), 2.2)
    on.endless(on.next(), DOWN, (0, top, 1.0), on.pattern("planks", "fabric", "planks"), rng.uniform(1.8, 2.2))

    def flat(x: float, z: float, lift: float) -> Pose:
        return Pose(DOWN @ facing(0, 0, rng.uniform(-0.5, 0.5)), np.array([x, top - lift, z]))

    for number, (x, z, width) in enumerate(((-0.5, 1.02, 0.66), (0.5, 1.0, 0.7), (0.04, 0.62, 0.6), (-0.1, 1.5, 0.66))):
        pose = flat(hand * x + rng.uniform(-0.08, 0.08), z + rng.uniform(-0.06, 0.06), 0.004 * (number + 1))
        texture = on.picture() if number % 2 else on.pattern("page", "page", "chart")
        on.picture_on(pose.axes, tuple(pose.origin), width, texture)
    for x, z in ((rng.uniform(-0.8, -0.6), 1.5), (rng.uniform(0.45, 0.7), 1.5)):
        height = rng.uniform(0.1, 0.22)
        rest = Pose(facing(rng.uniform(-0.7, 0.7)), np.array([x, top - height / 2 - 0.01, z]))
        cover = on.picture() if rng.random() < 0.5 else on.pattern("sign", "page")
        on.box((0.46, height, 0.34), (on.pattern("books"), on.pattern("books"), cover), Motion(rest))
    rest = Pose(facing(rng.uniform(-0.4, 0.4), -0.25), np.array([rng.uniform(-0.1, 0.2), top - 0.27, 1.95]))
    on.card(Rectangle(0.4, 0.27, 0.03), on.picture(), Motion(rest))
    slide = _sliding(rng, flat(hand * rng.uniform(-0.1, 0.3), 0.85, 0.05), (0.22, 0, 0.06), 2.2, rock=(0, 0, 0.5))
    on.card(Rectangle(0.17, 0.12, 0.025), on.pattern("sign"), slide)
    on.card(
        Ellipse(0.11, 0.11),
        on.pattern("chart", "fabric"),
        _sliding(rng, flat(-hand * 0.3, rng.uniform(0.7, 0.9), 0.08), (0.16, 0, 0.1), 2.6, roll=2.5),
    )
    ring = _sliding(rng, flat(hand * 0.35, rng.uniform(0.65, 0.8), 0.12), (-0.14, -0.03, 0.08), 2.0, roll=1.5)
    on.card(Ellipse(0.12, 0.09, 0.55), on.pattern("foliage", "fabric"), ring)
    leaf = _sliding(
        rng, Pose(facing(0.3, -0.9), np.array([-hand * 0.25, top - 0.4, 0.75])), (0.1, 0.06, 0.08), 1.8, rock=(0.5, 0.3, 0.6)
    )
    on.card(_crown(rng, 0.1), on.pattern("foliage"), leaf)
    lamp = Lamp((rng.uniform(-0.9, 0.9), top - 1.6, rng.uniform(0.6, 1.4)), rng.uniform(0.42, 0.5), rng.uniform(0.52, 0.6))
    return Layout(Pose(facing(0, -0.64), np.array([0, 0.0, 0.0])), 1.3, lamp)


LAYOUTS: tuple[Callable[[Set], Layout], ...] = (room, street, table)


def _sliding(
    rng: np.random.Generator, rest: Pose, swing: Vector, period: float, rock: Vector = (0, 0, 0), roll: float = 0.0
) -> Motion:
    """A motion that begins fast, either way."""
    phase = rng.uniform(-0.8, 0.2) + np.pi * rng.integers(2)
    return Motion(rest, swing, rock, period * rng.uniform(0.9, 1.2), float(phase), roll * float(rng.choice([-1, 1])))


def _crown(rng: np.random.Generator, radius: float) -> Polygon:
    """The outline of a tree's crown or of a bush."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    radii = np.full(28, radius)
    for waves in (2, 3, 5, 8, 11):
        radii += radius * rng.uniform(0.03, 0.09) * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    return Polygon(tuple((float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)))
