"""Images of a scene: several rays per pixel, textures filtered to the spacing of the rays, averaged.

Every texture is kept reduced along either axis separately (a "rip-map": McReynolds and Blythe,
Advanced Graphics Programming Using OpenGL, Sec. 14.4), so that floors and walls seen at a grazing
angle neither alias nor blur. All of a scene's textures lie in one atlas, so that a set of rays, one
per pixel, takes one look-up.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.clips.parallax import textures
from pipelines.clips.parallax.scene import Scene, View


@dataclass(frozen=True)
class Sampling:
    """How a pixel gathers light: along as many rays as it has `rows`, from a square of `aperture` pixels a side.

    Each row and each column of a grid over the square holds one ray (no two share a step of an edge); `rows` says which
    row each column has its ray in.
    """

    aperture: float
    rows: tuple[int, ...]

    @property
    def offsets(self) -> tuple[tuple[float, float], ...]:
        """Where the rays are beside the pixel's centre, in pixels to the right and down."""
        places = [self.aperture * ((step + 0.5) / len(self.rows) - 0.5) for step in range(len(self.rows))]
        return tuple((places[column], places[row]) for column, row in enumerate(self.rows))


LENS = Sampling(1.35, (1, 3, 5, 0, 2, 4))
"""As a lens and a sensor do: from a little over the pixel's own square."""

POINT = Sampling(1.0, (0,))
"""As a real-time renderer does: one ray through the pixel's centre, so that silhouettes alias, with textures filtered to the
pixel's spacing, as by mip-maps, so that they do not."""

LEVELS = 6
"""Sizes of a texture along an axis: 1, 1/2, … 1/32."""


@dataclass(frozen=True)
class Atlas:
    """All reduced textures in one image.

    Attributes:
        image: (A, B, 3) uint8.
        sizes: (S, 2) float32, width and height of each surface's texture.
        scales: (2, S, LEVELS) float32, for x and y: texels of a level per texel of the texture.
        starts: (2, S, LEVELS) float32, for x and y: where texture coordinate 0 of a level lies.
    """

    image: np.ndarray
    sizes: np.ndarray
    scales: np.ndarray
    starts: np.ndarray


def atlas(scene: Scene, seed: int) -> Atlas:
    """The atlas of a scene's textures in the corpus of that seed."""
    names = list(dict.fromkeys(surface.texture for surface in scene.surfaces))
    blocks, sizes, scales, starts, top = [], [], [], [], 0
    for name in names:
        texture = textures.load(seed, name)
        height, width = texture.shape[:2]
        columns, column_starts = _levels(width)
        rows, row_starts = _levels(height)
        block = np.zeros((row_starts[-1] + rows[-1] + 1, column_starts[-1] + columns[-1] + 1, 3), np.uint8)
        across = texture
        for column, left in zip(columns, column_starts, strict=True):
            if column != width:
                across = cv2.resize(across, (column, height), interpolation=cv2.INTER_AREA)
            reduced = across
            for row, above in zip(rows, row_starts, strict=True):
                if row != height:
                    reduced = cv2.resize(reduced, (column, row), interpolation=cv2.INTER_AREA)
                framed = cv2.copyMakeBorder(reduced, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
                block[above - 1 : above + row + 1, left - 1 : left + column + 1] = framed
        blocks.append(block)
        sizes.append((width, height))
        scales.append((np.array(columns) / width, np.array(rows) / height))
        starts.append((np.array(column_starts), np.array(row_starts) + top))
        top += len(block)
    image = np.zeros((top, max(block.shape[1] for block in blocks), 3), np.uint8)
    top = 0
    for block in blocks:
        image[top : top + len(block), : block.shape[1]] = block
        top += len(block)
    of = [names.index(surface.texture) for surface in scene.surfaces]
    return Atlas(
        image,
        np.array(sizes, np.float32)[of],
        np.array(scales, np.float32).transpose(1, 0, 2)[:, of],
        np.array(starts, np.float32).transpose(1, 0, 2)[:, of],
    )


def _levels(size: int) -> tuple[list[int], list[int]]:
    """Sizes of the levels along an axis and where each begins, one texel of border around each."""
    sizes = [max(size >> level, 1) for level in range(LEVELS)]
    starts = [1]
    for length in sizes[:-1]:
        starts.append(starts[-1] + length + 2)
    return sizes, starts


def image(scene: Scene, view: View, atlas: Atlas, sampling: Sampling = LENS) -> tuple[np.ndarray, np.ndarray]:
    """The frame and its albedo: two (H, W, 3) uint8, the light of a ray is its albedo x shading.

    Shading multiplies coded values, so that their ratio is Lambert's law as it stands.
    """
    lit = np.zeros((scene.height, scene.width, 3), np.float32)
    plain = np.zeros_like(lit)
    table = _table(scene, view)
    for number, (dx, dy) in enumerate(sampling.offsets):
        x = (np.arange(scene.width) + dx).astype(np.float32)
        y = (np.arange(scene.height) + dy).astype(np.float32)
        index = view.visible(x, y)[0].astype(np.intp)
        column, row, shading = _look_up(table, atlas, index, x, y[:, None], number, sampling)
        albedo = cv2.remap(atlas.image, column, row, cv2.INTER_LINEAR).astype(np.float32)
        plain += albedo
        albedo *= shading[..., None]
        lit += albedo
    return _average(lit, sampling), _average(plain, sampling)


def _average(total: np.ndarray, sampling: Sampling) -> np.ndarray:
    return np.minimum(np.rint(total * np.float32(1 / len(sampling.rows))), 255).astype(np.uint8)


def _table(scene: Scene, view: View) -> np.ndarray:
    """What a ray needs of the surface it meets: (15, S) float32.

    Rows 0-8 take (x, y, 1) to the inverse depth times (texel column, texel row, 1); 9-12 place the lamp: its
    foot in texels, its height squared and its height, both in texels; 13-14 are ambient and strength.
    """
    table = np.zeros((15, len(scene.surfaces)))
    for number, surface in enumerate(scene.surfaces):
        anchor = np.array(surface.anchor)
        m = view.unproject[number]
        table[:6, number] = (surface.texels * m[:2] + anchor[:, None] * m[2]).reshape(-1)
        table[6:9, number] = m[2]
        foot = surface.texels * view.lamps[number, :2] + anchor
        height = surface.texels * view.lamps[number, 2]
        table[9:13, number] = *foot, height**2, max(height, 0.0)
    table[13], table[14] = scene.lamp.ambient, scene.lamp.strength
    return table.astype(np.float32)


def _look_up(
    table: np.ndarray, atlas: Atlas, index: np.ndarray, x: np.ndarray, y: np.ndarray, number: int, sampling: Sampling
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For one ray per pixel: column and row in the atlas, and shading, each (H, W) float32."""
    rays = len(sampling.rows)
    m = [np.take(row, index) for row in table[:9]]
    depth = 1 / (m[6] * x + m[7] * y + m[8])
    u = (m[0] * x + m[1] * y + m[2]) * depth
    v = (m[3] * x + m[4] * y + m[5]) * depth
    # The spacing of the rays on the texture along each axis decides the level. Rays of a pixel round
    # the level up or down by turns, so that their average blends neighbouring levels.
    spacing = depth * np.float32(sampling.aperture / np.sqrt(rays))
    level_u = _level((m[0] - u * m[6]) * spacing, (m[1] - u * m[7]) * spacing, (number + 0.5) / rays)
    level_v = _level((m[3] - v * m[6]) * spacing, (m[4] - v * m[7]) * spacing, (number * 5 % rays + 0.5) / rays)
    at_u, at_v = index * LEVELS + level_u, index * LEVELS + level_v
    width, height = (np.take(size, index) for size in atlas.sizes.T)
    column = _fold(u, width) * np.take(atlas.scales[0], at_u) + (np.take(atlas.starts[0], at_u) - np.float32(0.5))
    row = _fold(v, height) * np.take(atlas.scales[1], at_v) + (np.take(atlas.starts[1], at_v) - np.float32(0.5))
    foot_u, foot_v, above_squared, above, ambient, strength = (np.take(row, index) for row in table[9:])
    distance = np.sqrt((u - foot_u) ** 2 + (v - foot_v) ** 2 + above_squared)
    return column, row, ambient + strength * above / distance


def _level(dx: np.ndarray, dy: np.ndarray, dither: float) -> np.ndarray:
    """floor(log2(hypot(dx, dy)) + dither), within the levels there are."""
    _, exponent = np.frexp((dx * dx + dy * dy) * np.float32(4**dither))
    return np.clip((exponent - 1) >> 1, 0, LEVELS - 1)


def _fold(coordinate: np.ndarray, size: np.ndarray) -> np.ndarray:
    """A texture mirrored without end: any coordinate brought into [0, size]."""
    return np.abs(coordinate - 2 * size * np.rint(coordinate / (2 * size)))
