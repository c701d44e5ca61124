"""The textures of the parallax corpus and their division among the splits.

A texture has a name: `photo/<file>` is a photograph that scikit-image or scikit-learn carries inside
its wheel, `<split>/<pattern>/<variant>` is procedural. Each photograph belongs to one split, and the
split is part of what seeds a pattern, so that no two splits share a texture.
"""

from __future__ import annotations

import functools
import zlib
from importlib.resources import files

import cv2
import numpy as np
from PIL import Image

from pipelines.clips.parallax.patterns import PATTERNS
from pipelines.errors import VSRError
from pipelines.params import Split

PICTURES: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "ihc.png", "page.png"),
    "validation": ("flower.jpg", "moon.png", "coins.png"),
    "test": ("china.jpg", "chelsea.png", "camera.png", "text.png"),
}
"""Photographs hung, printed or pasted on things."""

GROUNDS: dict[Split, tuple[str, ...]] = {"train": ("gravel.png", "brick.png"), "validation": (), "test": ("grass.png",)}
"""Photographs of materials, grey in their publication and tinted here."""

VIEWS: dict[Split, tuple[str, ...]] = {"train": ("rocket.jpg",), "validation": (), "test": ("china.jpg",)}
"""Photographs that serve as the distance."""

VARIANTS = 4
"""How many textures of each pattern a split has."""

_SCIKIT_LEARN = ("china.jpg", "flower.jpg")
_TINTS = {"gravel.png": (1.08, 1.0, 0.9), "brick.png": (1.25, 0.92, 0.78), "grass.png": (0.86, 1.08, 0.6)}
_LARGEST = 640


def photo(file: str) -> str:
    """The name of a photograph's texture."""
    return f"photo/{file}"


def pattern(split: Split, kind: str, variant: int) -> str:
    """The name of a procedural texture."""
    return f"{split}/{kind}/{variant}"


@functools.lru_cache(maxsize=64)
def load(seed: int, name: str) -> np.ndarray:
    """The texture of that name in the corpus of that seed: (h, w, 3) uint8 RGB, not to be written to.

    Raises:
        VSRError: the photograph is not where its package carries it.
    """
    group, _, rest = name.partition("/")
    if group == "photo":
        texture = _photograph(rest)
    else:
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        texture = PATTERNS[rest.partition("/")[0]](rng)
    texture = np.ascontiguousarray(texture)
    texture.flags.writeable = False
    return texture


def _photograph(file: str) -> np.ndarray:
    package, folder = ("sklearn", "datasets/images") if file in _SCIKIT_LEARN else ("skimage", "data")
    try:
        with (files(package) / folder / file).open("rb") as stream, Image.open(stream) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        wheel = {"sklearn": "scikit-learn", "skimage": "scikit-image"}[package]
        raise VSRError(f"{file} is missing from the installed {wheel}: install {wheel} again from its wheel.") from error
    factor = _LARGEST / max(pixels.shape)
    if factor < 1:
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    if file in _TINTS:
        pixels = np.clip(np.rint(pixels * np.array(_TINTS[file])), 0, 255).astype(np.uint8)
    return pixels
