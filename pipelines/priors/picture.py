"""Priors as pictures, for the report and for looking at them."""

from __future__ import annotations

import colorsys

import numpy as np


def masks_over(frame: np.ndarray, masks: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """The frame with every mask in a colour of its own, small ones over large ones.

    Args:
        frame: (H, W, 3) uint8 RGB.
        masks: (K, H, W) bool, large ones first.
        strength: the share of the colour, 0 to 1.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    out = frame.astype(np.float32)
    for index, mask in enumerate(masks):
        # Hues a golden angle apart: neighbours in the order differ, and no hue comes twice.
        colour = 255 * np.array(colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 0.95), np.float32)
        out[mask] = (1 - strength) * frame[mask] + strength * colour
    return np.rint(out).astype(np.uint8)


def flow(field: np.ndarray, longest: float | None = None) -> np.ndarray:
    """Flow in the colours of Baker et al., A database and evaluation methodology for optical flow (IJCV
    2011): the hue is the direction, white no motion, full colour the longest; beyond it darker.

    Args:
        field: (H, W, 2) in pixels, channel 0 = dx.
        longest: the length in pixels of full colour; None for the longest in the field.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    wheel = _wheel()
    length = np.linalg.norm(field, axis=-1)
    full = float(length.max()) if longest is None else longest
    radius = (length / full if full > 0 else length)[..., None]
    turn = (np.arctan2(-field[..., 1], -field[..., 0]) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(turn).astype(int)
    part = (turn - low)[..., None]
    colour = (1 - part) * wheel[low % len(wheel)] + part * wheel[(low + 1) % len(wheel)]
    colour = np.where(radius <= 1, 1 - radius * (1 - colour), 0.75 * colour)
    return np.floor(255 * colour).astype(np.uint8)


def _wheel() -> np.ndarray:
    """55 colours around the circle, (55, 3) in [0, 1]: from one corner of the RGB hexagon to the next in as
    many steps as the eye tells apart there."""
    red, yellow, green, cyan, blue, magenta = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], float)
    legs = [(red, yellow, 15), (yellow, green, 6), (green, cyan, 4), (cyan, blue, 11), (blue, magenta, 13), (magenta, red, 6)]
    return np.concatenate([a + (b - a) * (np.arange(steps) / steps)[:, None] for a, b, steps in legs])
