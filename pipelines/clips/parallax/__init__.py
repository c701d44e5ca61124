"""The embedded corpus `parallax`: rendered footage with its exact geometry, from a seed.

A perspective camera moves through rooms, along streets and over tables made of textured planes, in
which flat things move rigidly at several depths. Whatever the image shows is known in closed form:
flow in both directions with occlusion, depth, normals, albedo and object ids. Nothing is downloaded;
the photographs among the textures come with scikit-image and scikit-learn.

A clip is a function of the corpus's parameters and the clip's name, whatever else is rendered.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from pipelines.clips.parallax.images import LENS, POINT, Sampling, atlas, image
from pipelines.clips.parallax.layouts import LAYOUTS, Set
from pipelines.clips.parallax.paths import PATHS
from pipelines.clips.parallax.scene import Scene
from pipelines.clips.parallax.truth import gbuffer
from pipelines.errors import VSRError, unknown
from pipelines.params import Parallax, Split

FPS = 25.0

SCALES = {"flow_forward": 1 / 128, "flow_backward": 1 / 128, "normals": 1 / 32767}
"""Columns of real values that a store keeps as int16 multiples of these steps: flow within ±255 pixels."""

_FIRST_PATH: dict[Split, int] = {"train": 0, "validation": 0, "test": 2}
"""Where a split begins in the round of paths: four test clips orbit, zoom, shake and whip."""


def clips(spec: Parallax) -> list[tuple[str, Split]]:
    """The corpus's clips in order: names such as `train_000_dolly`, and their splits."""
    return [(_name(split, number), split) for split, count in spec.clips.items() for number in range(count)]


def scene(spec: Parallax, name: str) -> Scene:
    """What a clip shows, before any pixel is computed.

    Raises:
        VSRError: the corpus has no such clip.
    """
    splits = dict(clips(spec))
    if name not in splits:
        raise unknown("parallax clip", name, splits)
    number, path = int(name.split("_")[1]), name.split("_")[2]
    rng = np.random.default_rng([spec.seed, zlib.crc32(name.encode())])
    furnished = Set(rng, spec.seed, splits[name])
    # Six paths against three layouts: a shift each round brings every path to every layout.
    layout = LAYOUTS[(number + number // len(PATHS)) % len(LAYOUTS)](furnished)
    camera = PATHS[path](rng, layout.base, layout.reach, spec.width, FPS)
    return Scene(tuple(furnished.surfaces), layout.lamp, camera, spec.height, spec.width)


def render(spec: Parallax, name: str) -> Iterator[dict[str, np.ndarray]]:
    """The frames of a clip, one at a time.

    Yields:
        rgb, albedo: (H, W, 3) uint8. flow_forward, flow_backward: (H, W, 2) float32 pixels to the next
        and the previous frame, rgb_t(p) ~ rgb_{t+1}(p + flow_forward(p)), exact at pixel centres.
        occlusion_forward, occlusion_backward: (H, W) bool, where that point is hidden or outside; all
        True, with zero flow, where there is no such frame. depth: (H, W) float32, camera z in metres.
        normals: (H, W, 3) float32 unit vectors in camera axes (x right, y down, z forward), towards the
        camera. ids: (H, W) uint8 objects, 0 the far background.

    Raises:
        VSRError: the corpus has no such clip.
    """
    return _frames(spec, scene(spec, name), LENS)


def rendered(spec: Parallax, name: str) -> Iterator[dict[str, np.ndarray]]:
    """The LR frames of a clip, one at a time, as a real-time renderer draws them at `spec.rendered.scale`, and their buffers.

    Unlike HR frames that are reduced, a pixel has one sample, at its centre: `images.POINT`.

    Yields:
        What `render` does, at LR size: flow in LR pixels, and all buffers exact at the centres of LR pixels.

    Raises:
        VSRError: the corpus has no such clip, or no pixel is left.
    """
    assert spec.rendered is not None
    small = scene(spec, name).reduced(spec.rendered.scale)
    if min(small.height, small.width) < 1:
        raise VSRError(f"{spec.width}x{spec.height} at scale {spec.rendered.scale:g} leaves no pixel: lower `rendered.scale`.")
    return _frames(spec, small, POINT)


def covered(spec: Parallax) -> tuple[int, int]:
    """(height, width) of the part of an HR frame, from the top left, that a rendered LR frame shows."""
    assert spec.rendered is not None
    scale = spec.rendered.scale
    return round(int(spec.height / scale) * scale), round(int(spec.width / scale) * scale)


def _frames(spec: Parallax, stage: Scene, sampling: Sampling) -> Iterator[dict[str, np.ndarray]]:
    textures = atlas(stage, spec.seed)
    views = [None, *(stage.view(number / FPS) for number in range(spec.frames)), None]
    for before, now, after in zip(views, views[1:], views[2:], strict=False):
        assert now is not None
        rgb, albedo = image(stage, now, textures, sampling)
        yield {"rgb": rgb, **gbuffer(stage, before, now, after), "albedo": albedo}


def _name(split: Split, number: int) -> str:
    return f"{split}_{number:03d}_{list(PATHS)[(number + _FIRST_PATH[split]) % len(PATHS)]}"
