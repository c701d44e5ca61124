"""Priors as pictures, for the report and for looking at them."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

from pipelines.clips.store import Store

LEAST, MOST = 240, 720
"""Heights of frames in pictures, in pixels: enlarged to the one, thinned out to the other."""


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


def legend(side: int) -> np.ndarray:
    """The colour wheel on white, (side, side, 3) uint8 RGB: the colour at a place is that of the motion from the
    centre to there, full at the rim."""
    around = (np.arange(side) - (side - 1) / 2) / (side / 2)
    field = np.stack(np.meshgrid(around, around), -1)
    disc = flow(field, longest=1.0)
    disc[np.linalg.norm(field, axis=-1) > 1] = 255
    return disc


def hidden_over(frame: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The frame in grey with the pixels (H, W) bool that have no match in red, (H, W, 3) uint8 RGB."""
    grey = np.rint(frame.mean(-1, keepdims=True) * 0.5 + 96).astype(np.uint8)
    return np.where(hidden[..., None], np.array([225, 30, 45], np.uint8), np.repeat(grey, 3, -1))


def fitted(image: np.ndarray) -> np.ndarray:
    """The picture enlarged, or every n-th pixel of it, by the whole factor that brings its height to `LEAST` or
    more, and to `MOST` or less: no pixel is mixed with another."""
    height = len(image)
    if height < LEAST:
        times = -(-LEAST // height)
        return image.repeat(times, 0).repeat(times, 1)
    step = -(-height // MOST)
    return image[::step, ::step]


def titled(image: np.ndarray, title: str) -> np.ndarray:
    """The picture under a line of ASCII text, which is cut where it is wider than the picture."""
    strip = np.full((24, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (2, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def side_by_side(*images: np.ndarray) -> np.ndarray:
    """Pictures of any height in a row on white, from the top, a gap between them."""
    height = max(len(image) for image in images)
    row: list[np.ndarray] = []
    for image in images:
        row += [np.full((height, 8, 3), 255, np.uint8)] if row else []
        row.append(np.pad(image, ((0, height - len(image)), (0, 0), (0, 0)), constant_values=255))
    return np.concatenate(row, 1)


def of_masks(frames: Store, made: Store) -> dict[str, np.ndarray]:
    """A frame from each of up to three clips beside its masks, by clip.

    Args:
        frames: with the column `rgb`.
        made: the masks of these frames.
    """
    pictures = {}
    for clip, index in _chosen(made):
        frame, masks = frames.frame(clip, index), made.frame(clip, index, "masks")
        covered = masks.any(0).mean() if len(masks) else 0.0
        pictures[clip] = side_by_side(
            titled(fitted(frame), f"frame {index}"),
            titled(fitted(masks_over(frame, masks)), f"{len(masks)} masks, {covered:.0%} covered"),
        )
    return pictures


def of_flows(frames: Store, made: Store) -> dict[str, np.ndarray]:
    """A frame from each of up to three clips beside its flow to the next, what has no match there, and the colour
    wheel, by clip. Full colour means one length in all of them, that of the 99th percentile.

    Args:
        frames: with the column `rgb`.
        made: the flows of these frames.
    """
    chosen = _chosen(made)
    lengths = [np.linalg.norm(made.frame(clip, index, "flow_forward"), axis=-1).ravel() for clip, index in chosen]
    longest = float(np.percentile(np.concatenate(lengths), 99)) or 1.0
    pictures = {}
    for clip, index in chosen:
        frame, hidden = frames.frame(clip, index), made.frame(clip, index, "occlusion_forward")
        panels = [
            titled(fitted(frame), f"frame {index}"),
            titled(fitted(flow(made.frame(clip, index, "flow_forward"), longest)), f"flow to frame {index + 1}"),
            titled(fitted(hidden_over(frame, hidden)), f"no match: {hidden.mean():.1%}"),
            titled(legend(160), f"rim: {longest:.2g} px"),
        ]
        pictures[clip] = side_by_side(*panels)
    return pictures


def _chosen(made: Store) -> list[tuple[str, int]]:
    """Up to three clips, evenly among all, and of each the frame in the middle that has a next one, if any has."""
    clips = list(made.clips.values())
    places = np.unique(np.linspace(0, len(clips) - 1, min(3, len(clips))).round().astype(int))
    return [(clips[place].name, (clips[place].frames - 1) // 2) for place in places]


def _wheel() -> np.ndarray:
    """55 colours around the circle, (55, 3) in [0, 1]: from one corner of the RGB hexagon to the next in as
    many steps as the eye tells apart there."""
    red, yellow, green, cyan, blue, magenta = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]], float)
    legs = [(red, yellow, 15), (yellow, green, 6), (green, cyan, 4), (cyan, blue, 11), (blue, magenta, 13), (magenta, red, 6)]
    return np.concatenate([a + (b - a) * (np.arange(steps) / steps)[:, None] for a, b, steps in legs])
