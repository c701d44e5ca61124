"""A contact sheet of what a recipe does to a frame: the frame after every step, whole and enlarged, with its numbers.

The letters are DejaVu Sans, which comes with Matplotlib: Pillow's own font has no Greek. The same frames and labels
give the same pixels everywhere, as nothing of the system is used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from pipelines.clips.levels import quantise
from pipelines.degradations.resize import bicubic
from pipelines.metrics import PSNR_CAP, luma, psnr

TILE = 384
"""Width of a tile in pixels, and the greatest height of a picture in it."""

COLUMNS = 6
"""At most."""

ASPECT = 1.5
"""Width over height of a sheet, as far as the number of tiles allows."""

REGIONS = (128, 96, 64, 48, 32, 24)
"""Widths in HR pixels of the enlarged region. They divide `TILE`, so that pixels of HR come out equally large."""

GAP, MARGIN, PAD = 28, 32, 8  # between tiles, around the sheet, between the parts of a tile
PAPER = 255
INK, FAINT, MARK, WHITE = (24, 24, 27), (95, 95, 104), (213, 94, 0), (255, 255, 255)

LEGEND = (
    "Orange: the part enlarged below each frame, pixel by pixel.  "
    "dB: luma PSNR against HR of the whole frame, brought to HR's size by bicubic interpolation."
)

_ORDER = (
    *("kind", "mode", "convention", "crf", "bit_rate", "preset", "gop", "fps", "pixel_format"),
    *("sigma", "sigma_x", "sigma_y", "theta", "beta", "cutoff", "weight", "radius", "threshold"),
)
"""What is said first; the rest follows in alphabetical order."""

_HIDDEN = {"op", "frame", "frames", "seed", "size", "height", "width", "kernel", "measured"}
_SYMBOLS = {"sigma": "σ", "sigma_x": "σx", "sigma_y": "σy", "theta": "θ", "beta": "β", "cutoff": "ωc"}

Box = tuple[int, int, int, int]
"""left, top, width, height"""


# ---------------------------------------------------------------- captions


def caption(step: Mapping[str, Any]) -> str:
    """A drawn step as one line: its name, then its numbers, two spaces apart.

    Sizes and scales are seen in the pictures; they, matrices, seeds and what is not set are left out.

    Args:
        step: an entry of a drawn recipe as it stands for one frame.

    Returns:
        For example `anisotropic  σx 2.10  σy 0.70  θ 0.30`.
    """
    hidden = _HIDDEN if step["op"] == "poisson_noise" else _HIDDEN | {"scale"}  # there it is the strength
    order = [*(key for key in _ORDER if key in step), *sorted(step.keys() - {*_ORDER})]
    items = [_item(key, step[key]) for key in order if key not in hidden and isinstance(step[key], str | int | float)]
    return "  ".join([step["op"].replace("_", " "), *filter(None, items)])


def _item(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value.replace("_", " ")
    name = _SYMBOLS.get(key, key.replace("_", " "))
    if isinstance(value, bool):
        return name if value else ""
    return f"{name} {_number(value)}"


def _number(value: float) -> str:
    """Three digits, the zero before the point counted: 0.30, 2.10, 12.5, 153; integers whole."""
    if value == int(value):
        return str(int(value))
    if 0 < abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"


# ---------------------------------------------------------------- the sheet


def sheet(stages: Sequence[tuple[str, np.ndarray]], title: str) -> np.ndarray:
    """The contact sheet.

    Args:
        stages: (label, frame) of HR, cut to what the recipe uses, then after each step. Frames are (H, W, 3) uint8 RGB of
            any size, each taken to show the same scene; a label's words before two spaces are its heading.
        title: what stands above it all.

    Returns:
        (H, W, 3) uint8 RGB, less than 2600 pixels wide.
    """
    hr = stages[0][1]
    region = detail_region(hr)
    tiles = [_tile(number, label, frame, hr, region) for number, (label, frame) in enumerate(stages)]
    columns = _columns(len(tiles), max(len(head) + len(body) for head, body in tiles))
    width = columns * TILE + (columns - 1) * GAP
    heading = _join([_text(title, 28, width, bold=True), _text(LEGEND, 16, width, FAINT)], 0, PAD)
    rows = [_row(tiles[first : first + columns]) for first in range(0, len(tiles), columns)]
    return np.pad(_join([heading, *rows], 0, GAP), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=PAPER)


def detail_region(frame: np.ndarray) -> Box:
    """Where a frame has most detail: the window, at most 128x85 pixels, with the greatest sum of squared differences of
    neighbouring pixels; of several the first, row by row.

    Args:
        frame: (H, W, 3) uint8.
    """
    rows, columns = frame.shape[:2]
    width = next((side for side in REGIONS if 3 * side <= columns), min(REGIONS[-1], columns))
    height = min(rows, max(1, 2 * width // 3))
    values = frame.astype(np.int64)
    energy = np.zeros((rows, columns), np.int64)
    energy[:, 1:] += np.square(np.diff(values, axis=1)).sum(2)
    energy[1:] += np.square(np.diff(values, axis=0)).sum(2)
    total = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(left), int(top), width, height


def _columns(count: int, height: int) -> int:
    """How many tiles stand side by side: the sheet is to be a little wider than high, and its last row full."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        aspect = columns * (TILE + GAP) / (rows * (height + GAP))
        return abs(math.log(aspect / ASPECT)) + (columns * rows - count) / count

    return min(range(1, min(COLUMNS, count) + 1), key=cost)


def _row(tiles: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Tiles side by side, their pictures at one height."""
    height = max(len(head) for head, _ in tiles)
    return _join([_join([_pad(head, height, TILE), body], 0, PAD) for head, body in tiles], 1, GAP)


def _join(images: Sequence[np.ndarray], axis: int, gap: int) -> np.ndarray:
    """Images below one another (axis 0) or side by side (1), flush with the top left."""
    height, width = (max(image.shape[side] for image in images) for side in (0, 1))
    sizes = [(len(image) + gap, width) if axis == 0 else (height, image.shape[1] + gap) for image in images]
    joined = np.concatenate([_pad(image, *size) for image, size in zip(images, sizes, strict=True)], axis)
    return joined[:-gap] if axis == 0 else joined[:, :-gap]


def _pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image on paper of that size."""
    more = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    return np.pad(image, more, constant_values=PAPER)


# ---------------------------------------------------------------- a tile


def _tile(number: int, label: str, frame: np.ndarray, hr: np.ndarray, region: Box) -> tuple[np.ndarray, np.ndarray]:
    """The heading of a stage, and what stands below it."""
    name, _, values = label.partition("  ")
    height, width = frame.shape[:2]
    size = f"{width} × {height}" + (f"  {_fidelity(frame, hr)}" if number else "")
    parts = [_whole(frame, hr.shape, region), _detail(frame, hr.shape, region)]
    texts = [_text(values, 17, TILE)] if values.strip() else []
    body = _join([*parts, _join([*texts, _text(size, 17, TILE, FAINT)], 0, 2)], 0, PAD)
    return _text(f"{number}\u2002{name}" if number else name, 20, TILE, bold=True), body


def _fidelity(frame: np.ndarray, hr: np.ndarray) -> str:
    scale = (frame.shape[0] / hr.shape[0], frame.shape[1] / hr.shape[1])
    planes = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]
    enlarged = frame if scale == (1, 1) else quantise(bicubic(planes, scale)[0])
    value = psnr(luma(enlarged), luma(hr))
    return "equals HR" if value == PSNR_CAP else f"{value:.2f} dB"


def _whole(frame: np.ndarray, hr: tuple[int, ...], region: Box) -> np.ndarray:
    """The frame as large as a tile takes HR, smoothed, with the region marked."""
    height, width = _fit(hr[0], hr[1])
    smaller = height < frame.shape[0] or width < frame.shape[1]
    picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    left, top, across, down = (round(side * width / hr[1]) for side in region)
    return _marked(picture, (left, top, across, down))


def _detail(frame: np.ndarray, hr: tuple[int, ...], region: Box) -> np.ndarray:
    """The region as large as a tile takes it, by the nearest pixel."""
    left, top, width, height = region
    rows, columns = _fit(height, width)
    # Where the centres of the pixels shown lie in the frame, whose outer corner is HR's.
    y = (top + (np.arange(rows) + 0.5) / rows * height) * frame.shape[0] / hr[0]
    x = (left + (np.arange(columns) + 0.5) / columns * width) * frame.shape[1] / hr[1]
    return _marked(frame[y.astype(int)[:, None], x.astype(int)], (0, 0, columns, rows))


def _fit(height: int, width: int) -> tuple[int, int]:
    """The (height, width) of a picture in a tile."""
    factor = TILE / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _marked(picture: np.ndarray, box: Box) -> np.ndarray:
    """A picture with a rectangle along the inside of a box, between white lines, so that it is seen on anything."""
    left, top, width, height = box
    image = Image.fromarray(picture)
    for inset, colour in enumerate((WHITE, MARK, MARK, WHITE)):
        if min(width, height) > 2 * inset:
            corners = (left + inset, top + inset, left + width - 1 - inset, top + height - 1 - inset)
            ImageDraw.Draw(image).rectangle(corners, outline=colour)
    return np.array(image)


# ---------------------------------------------------------------- text


@lru_cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    file = Path(get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' if bold else ''}.ttf")
    # The other layout engine depends on what the system has.
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def _text(text: str, size: int, width: int, colour: tuple[int, int, int] = INK, bold: bool = False) -> np.ndarray:
    """Text on paper of a given width, wrapped: (H, width, 3)."""
    font = _font(size, bold)
    lines = _wrap(_clean(text), font, width)
    ascent, descent = font.getmetrics()
    step = ascent + descent
    image = Image.new("RGB", (width, step * len(lines)), WHITE)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((0, number * step + ascent), line, colour, font, anchor="ls")
    return np.array(image)


def _clean(text: str) -> str:
    """Without what cannot be drawn on a line, control characters and parts of characters, nor more than two spaces on end."""
    drawn = re.sub(r"[\s\x00-\x1f\x7f-\x9f]", " ", text.encode(errors="replace").decode())
    return re.sub(" {3,}", "  ", drawn).strip()


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, separators: Sequence[str] = ("  ", " ", "")) -> list[str]:
    """Lines no wider than `width`: broken between items if that is enough, else between words, else within them."""
    if not separators or font.getlength(text) <= width:
        return [text]
    lines: list[str] = []
    for part in text.split(separators[0]) if separators[0] else text:
        if lines and font.getlength(longer := lines[-1] + separators[0] + part) <= width:
            lines[-1] = longer
        else:
            lines += _wrap(part, font, width, separators[1:])
    return lines
