"""Geometry of the parallax corpus: planar surfaces that move rigidly before a perspective camera.

World units are metres with x to the right, y down and z forward. A surface lives in the plane
z = 0 of its own frame, so a point of it is (s, t), and its image is a homography,

    z (x, y, 1)^T = P (s, t, 1)^T,    P = K [R u, R v, R (o - c)],

with pixel centres at integer (x, y), the surface's axes u, v and origin o in the world, the camera's
rotation R and centre c, and z the depth. The last row of M = P^-1 is therefore the inverse depth
1/z, affine in (x, y), and the other two rows over it are (s, t): every ray meets every surface in
closed form (Hartley and Zisserman, Multiple View Geometry, 2nd edition, Sec. 8.1.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

BACKGROUND = 0
"""The id of the farthest surface, which every ray of every camera meets."""

NEAR = 0.02
"""Nothing nearer than this many metres is seen."""


class Shape(Protocol):
    """A silhouette in the plane of a surface, exact at any scale."""

    @property
    def extent(self) -> tuple[float, float] | None:
        """Half width and half height of a box around the silhouette, or None where it has no end."""

    def contains(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Whether the points (s, t) belong to the surface: bool of the same shape."""


@dataclass(frozen=True)
class Endless:
    """The whole plane."""

    extent: None = None

    def contains(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        return np.ones(np.broadcast_shapes(s.shape, t.shape), bool)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of half sides `a`, `b` with corners rounded to `radius`."""

    a: float
    b: float
    radius: float = 0.0

    @property
    def extent(self) -> tuple[float, float]:
        return self.a, self.b

    def contains(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        if self.radius == 0:
            return (np.abs(s) <= self.a) & (np.abs(t) <= self.b)
        beyond_s = np.maximum(np.abs(s) - (self.a - self.radius), 0)
        beyond_t = np.maximum(np.abs(t) - (self.b - self.radius), 0)
        return beyond_s**2 + beyond_t**2 <= self.radius**2


@dataclass(frozen=True)
class Ellipse:
    """An ellipse of half axes `a`, `b`; a ring where `hole`, the share of them cut out, is not 0."""

    a: float
    b: float
    hole: float = 0.0

    @property
    def extent(self) -> tuple[float, float]:
        return self.a, self.b

    def contains(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        square = (s / self.a) ** 2 + (t / self.b) ** 2
        return (square <= 1) & (square >= self.hole**2)


@dataclass(frozen=True)
class Polygon:
    """A simple polygon, by the even-odd rule."""

    vertices: tuple[tuple[float, float], ...]

    @property
    def extent(self) -> tuple[float, float]:
        return max(abs(s) for s, _ in self.vertices), max(abs(t) for _, t in self.vertices)

    def contains(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        inside = np.zeros(np.broadcast_shapes(s.shape, t.shape), bool)
        for (s0, t0), (s1, t1) in zip(self.vertices, self.vertices[1:] + self.vertices[:1], strict=True):
            if t0 != t1:
                inside ^= ((t0 > t) != (t1 > t)) & (s < s0 + (t - t0) * ((s1 - s0) / (t1 - t0)))
        return inside


def facing(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """The frame of who looks along a direction: (3, 3), its columns right, down and forward in the world.

    Angles in radians: yaw turns forward to the right, then pitch up, then roll turns right to down.
    A surface whose frame this is appears upright and unmirrored to that eye.
    """
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(angle), np.sin(angle)) for angle in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_y @ about_x @ about_z)


@dataclass(frozen=True)
class Pose:
    """Where a rigid frame is: `axes` (3, 3) with its axes as columns, `origin` (3,) in metres."""

    axes: np.ndarray
    origin: np.ndarray

    def __matmul__(self, inner: Pose) -> Pose:
        """The pose in the outer frame of what is at `inner` in this one."""
        return Pose(self.axes @ inner.axes, self.axes @ inner.origin + self.origin)


@dataclass(frozen=True)
class Motion:
    """A rigid motion about `rest`, bounded for all time except for a spin in the surface's plane.

    The origin swings by `swing` (3,) metres as a sine of `period` seconds and `phase` radians; the
    frame rocks with it by `rock` (yaw, pitch, roll) radians and turns by `spin` radians a second.
    """

    rest: Pose
    swing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rock: tuple[float, float, float] = (0.0, 0.0, 0.0)
    period: float = 1.0
    phase: float = 0.0
    spin: float = 0.0

    def at(self, seconds: float) -> Pose:
        wave = np.sin(2 * np.pi * seconds / self.period + self.phase)
        yaw, pitch, roll = (wave * angle for angle in self.rock)
        turn = facing(yaw, pitch, roll + self.spin * seconds)
        return Pose(self.rest.axes @ turn, self.rest.origin + wave * np.array(self.swing))


@dataclass(frozen=True)
class Surface:
    """A textured planar surface.

    `texels` is the texture's density in texels per metre and `anchor` the texel at (s, t) = (0, 0),
    texture coordinates running from 0 to its width and height; beyond them the texture is mirrored.
    A surface that is part of a `closed` body is seen from its front alone.
    """

    id: int
    shape: Shape
    texture: str
    texels: float
    anchor: tuple[float, float]
    body: Motion
    local: Pose
    closed: bool = False

    def at(self, seconds: float) -> Pose:
        return self.body.at(seconds) @ self.local


@dataclass(frozen=True)
class Camera:
    """A pinhole: `axes` (3, 3) its right, down and forward in the world, `centre` (3,), `focal` in pixels."""

    axes: np.ndarray
    centre: np.ndarray
    focal: float


@dataclass(frozen=True)
class Lamp:
    """The light: at `position` (3,) in metres, with Lambert's cosine of `strength` over `ambient`."""

    position: tuple[float, float, float]
    ambient: float
    strength: float


@dataclass(frozen=True)
class Scene:
    """Surfaces, light and a camera whose pose is a function of seconds.

    `principal` is the (x, y) of the optical axis in pixels, None for the middle of the image.
    """

    surfaces: tuple[Surface, ...]
    lamp: Lamp
    camera: Callable[[float], Camera]
    height: int
    width: int
    principal: tuple[float, float] | None = None

    def reduced(self, scale: float) -> Scene:
        """The same in an image that is smaller by `scale`, trimmed at the right and bottom to whole pixels, each of which covers
        `scale` x `scale` pixels of this one."""

        def camera(seconds: float) -> Camera:
            full = self.camera(seconds)
            return replace(full, focal=full.focal / scale)

        x, y = self._principal()
        principal = (x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5
        height, width = int(self.height / scale), int(self.width / scale)
        return replace(self, camera=camera, height=height, width=width, principal=principal)

    def view(self, seconds: float) -> View:
        """What the camera has before it at that moment."""
        camera = self.camera(seconds)
        x, y = self._principal()
        intrinsics = np.array([[camera.focal, 0, x], [0, camera.focal, y], [0, 0, 1]])
        rotation = camera.axes.T
        project, normals, lamps, turned = [], [], [], []
        for surface in self.surfaces:
            pose = surface.at(seconds)
            origin = rotation @ (pose.origin - camera.centre)
            axes = rotation @ pose.axes
            project.append(intrinsics @ np.column_stack([axes[:, 0], axes[:, 1], origin]))
            turned.append(bool(axes[:, 2] @ origin <= 0))
            side = 1.0 if turned[-1] else -1.0
            normals.append(side * axes[:, 2])
            lamps.append((np.array(self.lamp.position) - pose.origin) @ pose.axes * (1, 1, side))
        projections = np.stack(project)
        return View(self, projections, np.linalg.inv(projections), np.stack(normals), np.stack(lamps), tuple(turned))

    def _principal(self) -> tuple[float, float]:
        return self.principal or ((self.width - 1) / 2, (self.height - 1) / 2)


@dataclass(frozen=True)
class View:
    """One moment of a scene with S surfaces as its camera sees it, float64.

    Attributes:
        project: (S, 3, 3) from (s, t, 1) to depth x (x, y, 1).
        unproject: (S, 3, 3) its inverse.
        normals: (S, 3) unit, in camera axes, towards the camera.
        lamps: (S, 3) the lamp in each surface's frame, its last coordinate positive on the seen side.
        turned: (S,) whether the camera sees the back of the surface, the side its z axis points to.
    """

    scene: Scene
    project: np.ndarray
    unproject: np.ndarray
    normals: np.ndarray
    lamps: np.ndarray
    turned: tuple[bool, ...]

    def visible(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which surface the rays through a grid of image points meet first.

        Args:
            x: (w,) ascending abscissae in pixels.
            y: (h,) ascending ordinates.

        Returns:
            (h, w) uint8 index of the surface, (h, w) inverse depth in 1/m of the type of `x`.
        """
        nearest = np.zeros((len(y), len(x)), x.dtype)
        index = np.zeros(nearest.shape, np.uint8)
        for number, surface in self._facing():
            box = self._box(number, x, y)
            m = self.unproject[number].astype(x.dtype)
            column, row = x[None, box[1]], y[box[0], None]
            inverse = m[2, 0] * column + (m[2, 1] * row + m[2, 2])
            front = inverse > nearest[box]
            front &= inverse < 1 / NEAR
            if surface.shape.extent is not None and front.any():
                with np.errstate(divide="ignore", invalid="ignore"):
                    s = (m[0, 0] * column + (m[0, 1] * row + m[0, 2])) / inverse
                    t = (m[1, 0] * column + (m[1, 1] * row + m[1, 2])) / inverse
                    front &= surface.shape.contains(s, t)
            np.copyto(nearest[box], inverse, where=front)
            np.copyto(index[box], np.uint8(number), where=front)
        return index, nearest

    def hides(self, x: np.ndarray, y: np.ndarray, own: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Whether something stands before points of the scene.

        Args:
            x, y: (N,) where the points appear, in pixels.
            own: (N,) the surface that each belongs to.
            inverse: (N,) their inverse depth.

        Returns:
            (N,) bool.
        """
        hidden = np.zeros(len(x), bool)
        # A point on the edge where two planes meet is at the same depth on both: rounding hides nothing.
        nearer = inverse * (1 + 1e-9)
        for number, surface in self._facing():
            m = self.unproject[number]
            other = m[2, 0] * x
            other += m[2, 1] * y
            other += m[2, 2]
            among = np.flatnonzero(other > nearer)
            among = among[(own[among] != number) & (other[among] < 1 / NEAR)]
            if len(among):
                u, v, w = x[among], y[among], other[among]
                s = (m[0, 0] * u + (m[0, 1] * v + m[0, 2])) / w
                t = (m[1, 0] * u + (m[1, 1] * v + m[1, 2])) / w
                hidden[among] |= surface.shape.contains(s, t)
        return hidden

    def _facing(self) -> list[tuple[int, Surface]]:
        """The surfaces that can be seen, with their indices: not the far sides of closed bodies."""
        return [
            (number, surface)
            for number, surface in enumerate(self.scene.surfaces)
            if not (surface.closed and self.turned[number])
        ]

    def _box(self, number: int, x: np.ndarray, y: np.ndarray) -> tuple[slice, slice]:
        """The part of a grid that a surface's silhouette can reach: rows, columns."""
        extent = self.scene.surfaces[number].shape.extent
        if extent is not None:
            a, b = extent
            corners = self.project[number] @ np.array([[-a, a, -a, a], [-b, -b, b, b], [1, 1, 1, 1]])
            if (corners[2] > NEAR).all():  # else its outline leaves the image plane
                u, v = corners[0] / corners[2], corners[1] / corners[2]
                columns = slice(*np.searchsorted(x, (u.min() - 1e-3, u.max() + 1e-3)))
                return slice(*np.searchsorted(y, (v.min() - 1e-3, v.max() + 1e-3))), columns
        return slice(0, len(y)), slice(0, len(x))
