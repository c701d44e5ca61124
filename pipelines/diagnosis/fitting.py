"""Makes the estimator of blur and noise (`estimator.py`): python -m pipelines.diagnosis.fitting

Nothing of real footage goes in: pictures that come with scikit-image, scikit-learn and matplotlib, and frames of the training clips of
`parallax`, move, are blurred and reduced by anisotropic Gaussians, made noisy and coded by x264, all by the steps of this project's recipes;
a small network of two layers learns from their spectra what was done. All is drawn from one seed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.clips import parallax, video
from pipelines.degradations import filtering, noise
from pipelines.degradations.noise import LUMA
from pipelines.diagnosis import spectra
from pipelines.diagnosis.estimator import FILE, OUTPUTS, Estimator
from pipelines.params import Parallax

SEED = 16
SAMPLES = 14000
FRAMES = 3
LARGEST = (160, 208)
"""(height, width) of a sample at most, in pixels of the reduced clip."""

_pictures: list[tuple[str, np.ndarray]] = []


def pictures() -> list[tuple[str, np.ndarray]]:
    """The pictures by name, (H, W, 3) uint8."""
    import skimage.data
    from matplotlib import cbook
    from PIL import Image
    from sklearn.datasets import load_sample_image

    names = ("astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "hubble_deep_field", "moon", "page", "rocket", "text")
    found = [(name, getattr(skimage.data, name)()) for name in names]
    found = [(name, np.repeat(picture[..., None], 3, -1) if picture.ndim == 2 else picture) for name, picture in found]
    found += [("motorcycle", skimage.data.stereo_motorcycle()[0])]
    found += [(name, load_sample_image(f"{name}.jpg")) for name in ("china", "flower")]
    found += [("grace_hopper", np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")))]
    spec = Parallax(
        kind="parallax", source="pipelines/clips/parallax", seed=0, height=432, width=768, frames=2,
        clips={"train": 12, "validation": 1, "test": 1}, rendered=None,
    )  # fmt: skip
    found += [(name, next(parallax.render(spec, name))["rgb"]) for name, split in parallax.clips(spec) if split == "train"]
    return found


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def sample(index: int) -> tuple[int, np.ndarray, float | None, np.ndarray] | None:
    """One degraded clip: the number of its picture, its spectra, the quantiser of its stream, and what was done (`OUTPUTS`)."""
    rng = np.random.default_rng([SEED, index])
    number = int(rng.integers(len(_pictures)))
    picture = torch.from_numpy(_pictures[number][1].copy()).permute(2, 0, 1)[None].double()
    scale = int(rng.choice([1, 2, 3, 4], p=[0.25, 0.15, 0.15, 0.45]))
    shrink = rng.uniform(1.0, 1.6) * (1.5 if scale == 1 else 1.0)
    picture = nn.functional.interpolate(picture, scale_factor=1 / shrink, mode="bicubic", antialias=True, align_corners=False)
    picture = picture.clamp(0, 255)
    if rng.random() < 0.5:
        picture = picture.transpose(-1, -2)
    picture = (picture - 128) * rng.uniform(0.5, 1.1) + 128 + rng.uniform(-30, 30)
    picture = picture.clamp(0, 255)
    # A window on it that moves.
    steps = rng.integers(-3, 4, 2) * (rng.random() < 0.7)
    sides = [min(most * scale, side - 2 * FRAMES * 3) // (2 * scale) * 2 * scale for most, side in zip(LARGEST, picture.shape[-2:], strict=True)]
    if min(sides) < 40 * scale:
        sides = [min(most * scale, side - 2 * FRAMES * 3) // (2 * scale) * 2 * scale for most, side in zip((64, 64), picture.shape[-2:], strict=True)]
    at = [int(rng.integers(0, side - size - 2 * FRAMES * 3 + 1)) + FRAMES * 3 for side, size in zip(picture.shape[-2:], sides, strict=True)]
    clip = torch.cat(
        [picture[..., y : y + sides[0], x : x + sides[1]] for y, x in ((at[0] + t * steps[0], at[1] + t * steps[1]) for t in range(FRAMES))]
    )
    least = 0.5 if scale == 1 else 0.3
    sigma_x = _log_uniform(rng, least, 5.0 if scale > 1 else 4.5)
    sigma_y = sigma_x if rng.random() < 0.25 else _log_uniform(rng, least, 5.0 if scale > 1 else 4.5)
    theta = rng.uniform(-math.pi, math.pi)
    side = 2 * math.ceil(3.5 * max(sigma_x, sigma_y)) + 3
    clip = filtering.anisotropic(clip, filtering.block_kernel(side, sigma_x, sigma_y, theta, scale)[None], scale)
    level = 0.0
    kind = rng.random()
    if kind > 0.35:
        grey = bool(rng.random() < 0.5)
        before = clip
        if kind > 0.6:
            clip = noise.gaussian(clip, [_log_uniform(rng, 0.7, 32)] * FRAMES, grey, index, range(FRAMES))
        else:
            clip = noise.poisson(clip, [_log_uniform(rng, 0.05, 3)] * FRAMES, grey, index, range(FRAMES))
        inside = (before > 20) & (before < 235)
        added = ((clip - before) * torch.tensor(LUMA, dtype=clip.dtype).view(3, 1, 1)).sum(1)[inside.all(1)]
        level = float(added.std()) if added.numel() > 1000 else math.nan
    frames = [np.ascontiguousarray(frame) for frame in clip.add(0.5).floor().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()]
    quantiser = None
    if rng.random() < 0.3:
        quantiser = float(rng.integers(8, 41))
        with video.coded(frames, 25, "libx264", crf=int(quantiser), preset="medium") as (decoded, _):
            frames = list(decoded)
    measured = spectra.spectra([frame @ np.array(LUMA) for frame in frames[1:]])
    if measured is None or math.isnan(level):
        return None
    return number, measured, quantiser, np.array([*log_covariance(sigma_x / scale, sigma_y / scale, theta), math.log(level + 0.3)])


def log_covariance(sigma_x: float, sigma_y: float, theta: float) -> tuple[float, float, float]:
    """The matrix logarithm of the kernel's covariance, as its xx, yy and xy."""
    first, second = 2 * math.log(sigma_x), 2 * math.log(sigma_y)
    cos, sin = math.cos(theta), math.sin(theta)
    return first * cos * cos + second * sin * sin, first * sin * sin + second * cos * cos, (first - second) * sin * cos


def draw(path: Path, count: int, workers: int) -> None:
    """Degrade `count` clips and keep what was measured of them."""
    torch.set_num_threads(1)
    _pictures[:] = pictures()  # the workers are forked, and have them
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        rows = []
        for index, row in enumerate(pool.imap(sample, range(count), chunksize=20)):
            rows.append(row)
            if index % 500 == 0:
                print(f"degraded {index} of {count} clips", file=sys.stderr, flush=True)
    kept = [row for row in rows if row is not None]
    np.savez(
        path,
        number=[row[0] for row in kept],
        measured=np.stack([row[1] for row in kept]).astype(np.float32),
        quantiser=[math.nan if row[2] is None else row[2] for row in kept],
        target=np.stack([row[3] for row in kept]),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    given = parser.parse_args()
    draw(given.keep, given.samples, given.workers)
