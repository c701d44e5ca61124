"""Camera paths: smooth, bounded for all time, about the same in pixels at any size of frame.

Each path is drawn from a generator and gives a camera for any second. `reach` is the distance in
metres of what the shot is about; speeds are in its terms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.clips.parallax.scene import Camera, Pose, facing

Path = Callable[[float], Camera]

FOCAL = 0.9
"""Focal length over the frame's width: a horizontal field of view of 58 degrees."""

FASTEST = 90.0
"""What a whip moves the middle of the frame in pixels per frame at most, however large the frame."""


def dolly(rng: np.random.Generator, base: Pose, reach: float, width: int, fps: float) -> Path:
    """Forward and back, a little to the side."""
    period, phase, side = rng.uniform(3.2, 4.2), rng.uniform(-0.5, 0.1) + np.pi * rng.integers(2), rng.uniform(-0.4, 0.4)

    def at(seconds: float) -> Camera:
        along = 0.3 * reach * np.sin(2 * np.pi * seconds / period + phase)
        return _camera(base, (side * along, 0, along), (0.05 * side * along / reach, 0, 0), FOCAL * width)

    return at


def pan(rng: np.random.Generator, base: Pose, reach: float, width: int, fps: float) -> Path:
    """Turning from one side to the other on a shoulder, not on a tripod: the centre moves too."""
    period, phase = rng.uniform(3.6, 4.4), rng.uniform(-0.7, -0.3) + np.pi * rng.integers(2)

    def at(seconds: float) -> Camera:
        wave = np.sin(2 * np.pi * seconds / period + phase)
        tilt = 0.03 * np.sin(2 * np.pi * seconds / (0.7 * period))
        return _camera(base, (0.07 * reach * wave, 0, 0), (0.26 * wave, tilt, 0), FOCAL * width)

    return at


def orbit(rng: np.random.Generator, base: Pose, reach: float, width: int, fps: float) -> Path:
    """On an arc around the subject, looking at it."""
    period, phase, radius = rng.uniform(3.4, 4.4), rng.uniform(-0.6, 0.0) + np.pi * rng.integers(2), 0.8 * reach

    def at(seconds: float) -> Camera:
        angle = 0.28 * np.sin(2 * np.pi * seconds / period + phase)
        rise = 0.04 * reach * np.sin(2 * np.pi * seconds / (1.3 * period))
        where = (-radius * np.sin(angle), rise, radius * (1 - np.cos(angle)))
        return _camera(base, where, (angle, rise / radius, 0), FOCAL * width)

    return at


def zoom(rng: np.random.Generator, base: Pose, reach: float, width: int, fps: float) -> Path:
    """The focal length grows and shrinks; the hand that turns the ring is not quite still."""
    period, phase = rng.uniform(3.0, 4.0), rng.uniform(-0.9, -0.5)

    def at(seconds: float) -> Camera:
        focal = FOCAL * width * (1.3 + 0.3 * np.sin(2 * np.pi * seconds / period + phase))
        sway = 0.02 * np.sin(2 * np.pi * seconds / 1.7 + phase)
        return _camera(base, (reach * sway, 0, 0), (0.4 * sway, 0.3 * sway, 0), focal)

    return at


def handheld(rng: np.random.Generator, base: Pose, reach: float, width: int, fps: float) -> Path:
    """Walking: drift with tremor about every axis."""
    rates = np.array([0.45, 1.3, 2.9, 5.3])[:, None] * rng.uniform(0.85, 1.15, (4, 6))
    phases = rng.uniform(0, 2 * np.pi, (4, 6))
    sizes = np.array([1.0, 0.55, 0.25, 0.07])[:, None] * np.array([0.09, 0.03, 0.06, 0.04, 0.03, 0.02]) / 1.5

    def at(seconds: float) -> Camera:
        shake = (sizes * np.sin(2 * np.pi * rates * seconds + phases)).sum(0)
        return _camera(base, reach * shake[:3], shake[3:], FOCAL * width)

    return at


def whip(rng: np.random.Generator, base: Pose, reach: float, width: int, fps: float) -> Path:
    """A fast turn and back: tens of pixels per frame."""
    period, phase = rng.uniform(1.5, 1.7), rng.uniform(-0.9, -0.6) + np.pi * rng.integers(2)
    size = min(0.42, FASTEST / (FOCAL * width) * fps * period / (2 * np.pi))

    def at(seconds: float) -> Camera:
        wave = np.sin(2 * np.pi * seconds / period + phase)
        return _camera(base, (0.05 * reach * wave, 0, 0), (size * wave, 0.1 * size * wave, 0.05 * wave), FOCAL * width)

    return at


PATHS: dict[str, Callable[[np.random.Generator, Pose, float, int, float], Path]] = {
    path.__name__: path for path in (dolly, pan, orbit, zoom, handheld, whip)
}


def _camera(
    base: Pose, offset: tuple[float, float, float] | np.ndarray, turn: tuple[float, float, float] | np.ndarray, focal: float
) -> Camera:
    """A camera moved and turned (yaw, pitch, roll) in the axes of its base pose."""
    pose = base @ Pose(facing(*turn), np.asarray(offset, np.float64))
    return Camera(pose.axes, pose.origin, float(focal))
