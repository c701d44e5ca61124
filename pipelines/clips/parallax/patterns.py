"""Procedural textures: what photographs lack at hand, drawn from a seeded generator.

Every pattern is a function of a `numpy.random.Generator` alone and returns `(h, w, 3)` uint8 RGB.
They carry detail down to one or two texels (strokes of letters, blades of grass, grain, gratings),
so that a fourfold reduction loses something that is there to be restored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.resources import files

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Pattern = Callable[[np.random.Generator], np.ndarray]

SIDE = 512
_CONSONANTS = "bcdfghjklmnprstvwz"
_VOWELS = "aeiou"


def noise(rng: np.random.Generator, height: int, width: int, coarsest: int, octaves: int, gain: float = 0.5) -> np.ndarray:
    """Value noise summed over octaves: (height, width) float32 of zero mean and unit deviation.

    Args:
        coarsest: cells of the first octave along the width; each further octave has twice as many.
        gain: amplitude of an octave over that of the one before.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        columns = min(coarsest << octave, width)
        rows = max(2, min(round(columns * height / width), height))
        grid = rng.standard_normal((rows, max(columns, 2)), np.float32)
        total += gain**octave * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / (total.std() + 1e-6)


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """A colour of random hue: (3,) float32 in [0, 255]."""
    hsv = np.array([rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)], np.float32)
    return cv2.cvtColor(hsv[None, None], cv2.COLOR_HSV2RGB)[0, 0] * 255


def _paint(colour: np.ndarray, luminance: np.ndarray) -> np.ndarray:
    """A colour varied by a luminance factor of (h, w)."""
    return _to_bytes(colour * luminance[..., None])


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _word(rng: np.random.Generator) -> str:
    syllables = int(rng.choice([1, 2, 2, 3]))
    word = "".join(_CONSONANTS[rng.integers(18)] + _VOWELS[rng.integers(5)] for _ in range(syllables))
    return word + (_CONSONANTS[rng.integers(18)] if rng.random() < 0.5 else "")


@functools.lru_cache(maxsize=32)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"), size)


def page(rng: np.random.Generator) -> np.ndarray:
    """A printed page: a heading, a rule and paragraphs."""
    paper = np.array([226, 221, 209]) + rng.uniform(-10, 10, 3)
    image = Image.fromarray(_paint(paper, 1 + 0.012 * noise(rng, 640, SIDE, 8, 6, 0.8)))
    draw = ImageDraw.Draw(image)
    ink = tuple(int(value) for value in _colour(rng, (0.2, 0.9), (0.1, 0.35)))
    family = str(rng.choice(["DejaVuSerif", "DejaVuSans", "DejaVuSansMono"]))
    draw.text((30, 22), _word(rng).capitalize() + " " + _word(rng), ink, _font("DejaVuSans-Bold", 46))
    draw.rectangle((30, 86, SIDE - 30, 89), ink)
    size = int(rng.integers(19, 27))
    font, top = _font(family, size), 104
    while top < 640 - 2 * size:
        line = _word(rng)
        while draw.textlength(line, font) < SIDE - 60 - 5 * size:
            line += " " + _word(rng)
        draw.text((30, top), line, (52, 50, 50), font)
        top += round(size * (2.2 if rng.random() < 0.12 else 1.32))
    return np.asarray(image)


def sign(rng: np.random.Generator) -> np.ndarray:
    """A board with large and small letters on a coloured ground."""
    ground = _colour(rng, (0.5, 0.9), (0.3, 0.75))
    image = Image.fromarray(_paint(ground, 1 + 0.04 * noise(rng, 288, SIDE, 6, 6, 0.7)))
    draw = ImageDraw.Draw(image)
    light = (244, 240, 228)
    draw.rounded_rectangle((10, 10, SIDE - 11, 277), 20, outline=light, width=6)
    title = _word(rng).upper()
    size = 120
    while draw.textlength(title, _font("DejaVuSans-Bold", size)) > SIDE - 60:
        size -= 4
    draw.text((SIDE // 2, 100), title, light, _font("DejaVuSans-Bold", size), anchor="mm")
    for row, top in enumerate((180, 212, 244)):
        line = f"{_word(rng)} {_word(rng)} {_word(rng)} {rng.integers(10, 99)}"
        draw.text((SIDE // 2, top), line, light, _font("DejaVuSans", 28 - 4 * row), anchor="mm")
    return np.asarray(image)


def chart(rng: np.random.Generator) -> np.ndarray:
    """A test chart: zone plate, star, bars of rising frequency and letters of falling size."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    image = np.full((SIDE, SIDE), 0.92, np.float32)
    quarter = SIDE // 2 - 24
    v, u = np.mgrid[-1 : 1 : quarter * 1j, -1 : 1 : quarter * 1j].astype(np.float32)
    radius = np.hypot(u, v)
    zone = 0.5 + 0.45 * np.cos(rng.uniform(26, 40) * np.pi * radius**2)
    image[16 : 16 + quarter, 16 : 16 + quarter] = np.where(radius < 1, zone, 0.92)
    star = np.sin(np.arctan2(v, u) * int(rng.integers(16, 30))) > 0
    image[16 : 16 + quarter, -16 - quarter : -16] = np.where((radius < 1) & (radius > 0.06), np.where(star, 0.06, 0.95), 0.92)
    bars = np.cos(np.pi * (x / 40) ** 2 / 2.2) > 0
    image[SIDE // 2 + 10 : SIDE // 2 + 100, 16:-16] = np.where(bars, 0.06, 0.95)[:90, 16:-16]
    tinted = _paint(np.array([255, 253, 248]), image)
    picture = Image.fromarray(tinted)
    draw = ImageDraw.Draw(picture)
    top = SIDE // 2 + 112
    for size in (34, 26, 20, 16, 13):
        draw.text((20, top), " ".join(_word(rng) for _ in range(9)).upper(), (20, 20, 24), _font("DejaVuSans-Bold", size))
        top += round(size * 1.3)
    draw.rectangle((SIDE - 16, 0, SIDE, SIDE), tuple(int(c) for c in _colour(rng, (0.6, 0.9), (0.5, 0.8))))
    return np.asarray(picture)


def foliage(rng: np.random.Generator) -> np.ndarray:
    """Leaves over leaves, the upper ones lighter."""
    hue = rng.uniform(70, 125)
    image = np.full((SIDE, SIDE, 3), 22, np.uint8)
    count = 5200
    centres = rng.uniform(0, SIDE, (count, 2))
    sizes = rng.uniform(5, 15, count)
    angles = rng.uniform(0, 360, count)
    light = np.linspace(0.16, 0.55, count) * np.exp(0.16 * rng.standard_normal(count))
    clumps = noise(rng, SIDE, SIDE, 5, 3)
    light *= np.exp(0.22 * clumps[centres[:, 1].astype(int), centres[:, 0].astype(int)])
    hsv = np.stack([hue + rng.normal(0, 7, count), rng.uniform(0.3, 0.62, count), np.clip(light, 0.08, 0.8)], 1)
    colours = cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0] * 255
    for (x, y), size, angle, colour in zip(centres, sizes, angles, colours, strict=True):
        axes = (round(size * 16), round(size * 6))
        cv2.ellipse(image, (round(x * 16), round(y * 16)), axes, angle, 0, 360, colour.tolist(), -1, cv2.LINE_AA, 4)
    return image


def grass(rng: np.random.Generator) -> np.ndarray:
    """Blades of grass."""
    hue = rng.uniform(62, 100)
    image = np.full((SIDE, SIDE, 3), (34, 44, 22), np.uint8)
    count = 16000
    feet = rng.uniform(-8, SIDE + 8, (count, 2))
    tips = feet + rng.normal(0, 9, (count, 2)) - (0, 5)
    patches = noise(rng, SIDE, SIDE, 4, 4)
    at = np.clip(feet, 0, SIDE - 1).astype(int)
    light = np.linspace(0.25, 0.75, count) * np.exp(0.2 * rng.standard_normal(count) + 0.15 * patches[at[:, 1], at[:, 0]])
    hsv = np.stack([hue + rng.normal(0, 9, count), rng.uniform(0.3, 0.6, count), np.clip(light, 0.05, 0.85)], 1)
    colours = cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0] * 255
    ends = np.rint(np.concatenate([feet, tips], 1) * 16).astype(int).tolist()
    for (x0, y0, x1, y1), colour in zip(ends, colours, strict=True):
        cv2.line(image, (x0, y0), (x1, y1), colour.tolist(), 1, cv2.LINE_AA, 4)
    return image


def pebbles(rng: np.random.Generator) -> np.ndarray:
    """Rounded stones of many sizes on dark sand."""
    image = _paint(np.array([70, 62, 54]), 1 + 0.2 * noise(rng, SIDE, SIDE, 64, 4, 0.8))
    warm = rng.uniform(-14, 18)
    for size in (26, 17, 11, 7):
        for _ in range(int(0.55 * SIDE * SIDE / (3.14 * size * size))):
            x, y = rng.uniform(0, SIDE, 2)
            axes = size * rng.uniform(0.55, 1, 2)
            angle, value = rng.uniform(0, 180), rng.uniform(70, 205)
            stone = np.clip(np.array([value + warm, value, value - 0.8 * warm]) + rng.normal(0, 2, 3), 0, 255)
            for shrink, factor, shift in ((1.0, 0.5, 0.0), (0.88, 0.85, -0.04), (0.6, 1.05, -0.1)):
                centre = (round((x + shift * size) * 16), round((y + shift * size) * 16))
                extent = (round(axes[0] * shrink * 16), round(axes[1] * shrink * 16))
                tone = np.minimum(stone * factor, 255).tolist()
                cv2.ellipse(image, centre, extent, angle, 0, 360, tone, -1, cv2.LINE_AA, 4)
    return _to_bytes(image * (1 + 0.08 * noise(rng, SIDE, SIDE, 128, 3, 0.9))[..., None])


def bricks(rng: np.random.Generator) -> np.ndarray:
    """A running bond: every brick of its own shade, grainy mortar."""
    rows, columns = 16, 8
    height, width = SIDE // rows, SIDE // columns
    base = np.array([rng.uniform(140, 185), rng.uniform(74, 100), rng.uniform(56, 82)])
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    row = y // height
    shifted = x + (row % 2) * (width // 2)
    shades = rng.normal(1, 0.13, (rows, columns))[row, (shifted // width) % columns]
    rough = noise(rng, SIDE, SIDE, 48, 4, 0.8)
    edge = np.minimum.reduce([y % height, height - 1 - y % height, shifted % width, width - 1 - shifted % width])
    mortar = edge + 0.7 * noise(rng, SIDE, SIDE, 128, 2) < 2.2
    brick = base * (shades + 0.09 * rough)[..., None]
    joint = np.array([188, 180, 168]) * (1 + 0.07 * rough)[..., None]
    return _to_bytes(np.where(mortar[..., None], joint, brick))


def planks(rng: np.random.Generator) -> np.ndarray:
    """Floor boards with grain and dark joints."""
    base = np.array([rng.uniform(130, 180), rng.uniform(92, 122), rng.uniform(58, 84)])
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    boards = 7
    edges = np.linspace(0, SIDE, boards + 1).astype(int)
    for left, right in zip(edges[:-1], edges[1:], strict=True):
        width = right - left
        cut = int(rng.integers(60, SIDE - 60))
        for top, bottom in ((0, cut), (cut, SIDE)):
            grain = cv2.resize(noise(rng, 16, width, width // 2, 2, 0.8), (width, bottom - top), interpolation=cv2.INTER_CUBIC)
            x = np.linspace(-1, 1, width, dtype=np.float32) + 0.35 * noise(rng, bottom - top, width, 2, 2)
            rings = np.sin(rng.uniform(14, 30) * x + rng.uniform(0, 6))
            fine = noise(rng, bottom - top, width, width, 1)
            tone = rng.normal(1, 0.1) * (1 + 0.07 * grain + 0.06 * rings + 0.025 * fine)
            image[top:bottom, left:right] = base * tone[..., None]
            image[top : top + 2, left:right] *= 0.35
        image[:, left : left + 2] *= 0.35
    return _to_bytes(image)


def tiles(rng: np.random.Generator) -> np.ndarray:
    """Glazed tiles in two colours with grout."""
    count = int(rng.integers(6, 10))
    light = _colour(rng, (0.02, 0.12), (0.68, 0.82))
    dark = _colour(rng, (0.15, 0.4), (0.35, 0.55))
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) * count / SIDE
    cell = (y.astype(int), x.astype(int))
    colour = np.where(((cell[0] + cell[1]) % 2)[..., None] == 0, light, dark)
    shade = rng.normal(1, 0.05, (count, count))[cell] + 0.035 * noise(rng, SIDE, SIDE, 8, 6, 0.75)
    edge = np.minimum.reduce([y % 1, 1 - y % 1, x % 1, 1 - x % 1])
    inset = np.abs(np.hypot(y % 1 - 0.5, x % 1 - 0.5) - 0.3) < 0.022
    image = colour * shade[..., None] * np.where(inset, 0.72, 1)[..., None]
    return _to_bytes(np.where((edge < 0.03)[..., None], np.array([120, 116, 110]), image))


def facade(rng: np.random.Generator) -> np.ndarray:
    """A house front: courses of stone and windows with bars, sills and reflections."""
    base = _colour(rng, (0.1, 0.4), (0.55, 0.85))
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    wall = 1 + 0.05 * noise(rng, SIDE, SIDE, 64, 4, 0.8) + 0.03 * noise(rng, SIDE, SIDE, 3, 3)
    wall *= np.where((y % 16 < 1) | ((x + 20 * (y // 16 % 2)) % 40 < 1), 0.78, 1)
    image = _paint(base, wall)
    columns, rows = int(rng.integers(4, 6)), int(rng.integers(3, 5))
    step_x, step_y = SIDE // columns, SIDE // rows
    frame = _colour(rng, (0.0, 0.3), (0.7, 0.95)).tolist()
    for row in range(rows):
        for column in range(columns):
            left, top = column * step_x + step_x // 4, row * step_y + step_y // 5
            right, bottom = left + step_x // 2, top + round(step_y * 0.62)
            cv2.rectangle(image, (left - 5, top - 5), (right + 5, bottom + 5), frame, -1)
            glass = np.linspace(rng.uniform(40, 110), rng.uniform(20, 60), bottom - top)[:, None, None]
            pane = np.broadcast_to(glass * np.array([0.85, 0.95, 1.1]), (bottom - top, right - left, 3)).copy()
            if rng.random() < 0.4:  # a blind
                pane[: int(rng.uniform(0.2, 0.8) * len(pane))] = 150 + 60 * (np.arange(right - left) % 4 < 2)[None, :, None]
            image[top:bottom, left:right] = _to_bytes(pane)
            middle = (left + right) // 2
            cv2.line(image, (middle, top), (middle, bottom), frame, 3)
            cv2.line(image, (left, top + (bottom - top) // 3), (right, top + (bottom - top) // 3), frame, 3)
            cv2.rectangle(image, (left - 9, bottom + 5), (right + 9, bottom + 11), (base * 0.6).tolist(), -1)
    return image


def fabric(rng: np.random.Generator) -> np.ndarray:
    """A checked cloth with a visible weave."""
    colours = [_colour(rng, (0.15, 0.5), (0.4, 0.8)) for _ in range(4)]
    stripes = rng.integers(8, 40, 40)
    threads = np.concatenate([np.full((n, 3), colours[i % 4]) for i, n in enumerate(stripes)])[:SIDE]
    threads = np.resize(threads, (SIDE, 3))
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    over = ((x + y) // 2 % 2 == 0)[..., None]
    cloth = np.where(over, threads[None, :], threads[:, None])
    return _to_bytes(cloth * (0.95 + 0.07 * noise(rng, SIDE, SIDE, 128, 3, 0.9))[..., None])


def plaster(rng: np.random.Generator) -> np.ndarray:
    """A painted rough wall."""
    height = noise(rng, SIDE, SIDE, 24, 5, 0.75)
    relief = height - np.pad(height, 1, "edge")[:-2, :-2]  # lit from the upper left
    return _paint(_colour(rng, (0.05, 0.22), (0.65, 0.85)), 1 + 0.1 * relief + 0.02 * noise(rng, SIDE, SIDE, 3, 3))


def books(rng: np.random.Generator) -> np.ndarray:
    """A shelf of books: spines of all widths and colours with titles running down."""
    image = Image.new("RGB", (640, SIDE), (46, 34, 26))
    shelf = SIDE // 2
    for top in (0, shelf):
        left = 6
        while left < 610:
            width, height = int(rng.integers(18, 44)), int(rng.integers(176, 226))
            colour = _colour(rng, (0.15, 0.85), (0.25, 0.85))
            grain = 1 + 0.05 * noise(rng, height, width, max(width // 2, 2), 2) - 0.22 * np.linspace(-1, 1, width) ** 4
            spine = Image.fromarray(np.rot90(_paint(colour, grain)).copy())
            draw = ImageDraw.Draw(spine)
            ink = (245, 236, 210) if colour.mean() < 135 else (30, 26, 30)
            title = f"{_word(rng).capitalize()} {_word(rng)}"
            draw.text((height // 2, width // 2), title, ink, _font("DejaVuSerif-Bold", max(10, width // 2)), anchor="mm")
            for band in (10, height - 16):
                draw.rectangle((band, 0, band + 3, width), ink)
            image.paste(spine.transpose(Image.Transpose.ROTATE_270), (left, top + shelf - 16 - height))
            left += width + 1
        board = _paint(np.array([128, 88, 54]), 1 + 0.15 * noise(rng, 16, 640, 320, 3))
        image.paste(Image.fromarray(board), (0, top + shelf - 16))
    return np.asarray(image)


def hills(rng: np.random.Generator) -> np.ndarray:
    """A view: clouds, and ridges of wooded hills, the far ones paler."""
    height, width = 448, 640
    sky = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    image = (1 - sky) * np.array([92, 140, 205]) + sky * np.array([222, 226, 228])
    cover = np.clip(0.45 * noise(rng, height, width, 4, 7, 0.55) + 0.1, 0, 0.9)[..., None]
    image = image * (1 - cover) + 246 * cover
    y = np.arange(height)[:, None]
    for ridge in range(5):
        line = height * (0.5 + 0.1 * ridge) + (26 - 3 * ridge) * noise(rng, 2, width, 4, 7, 0.5)[0]
        near = ridge / 4
        wood = noise(rng, height, width, 48, 4, 0.85)
        green = np.array([74 - 20 * near, 104 - 12 * near, 66 - 34 * near]) * (1 + (0.1 + 0.2 * near) * wood)[..., None]
        haze = 0.6 * (1 - near)
        image = np.where((y > line)[..., None], green * (1 - haze) + np.array([170, 190, 205]) * haze, image)
    return _to_bytes(image)


PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern
    for pattern in (page, sign, chart, foliage, grass, pebbles, bricks, planks, tiles, facade, fabric, plaster, books, hills)
}
