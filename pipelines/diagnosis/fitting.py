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
from safetensors.numpy import save_file
from torch import Tensor, nn

from pipelines.clips import parallax, video
from pipelines.clips.levels import quantise
from pipelines.degradations import filtering, noise
from pipelines.degradations.noise import LUMA
from pipelines.diagnosis import estimator, spectra
from pipelines.diagnosis.estimator import FILE, QUIET
from pipelines.diagnosis.look import luma
from pipelines.params import Parallax

SEED = 16
SAMPLES = 7000
FRAMES = 3
LARGEST = (128, 176)
"""(height, width) of a sample at most, in pixels of the reduced clip."""

_pictures: list[tuple[str, np.ndarray]] = []


def pictures() -> list[tuple[str, np.ndarray]]:
    """The pictures by name, (H, W, 3) uint8."""
    import skimage.data
    from matplotlib import cbook
    from PIL import Image
    from sklearn.datasets import load_sample_image

    names = (
        "astronaut",
        "brick",
        "camera",
        "cat",
        "coffee",
        "coins",
        "grass",
        "gravel",
        "hubble_deep_field",
        "moon",
        "page",
        "rocket",
        "text",
    )
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
    """One degraded clip: the number of its picture, its spectra, x264's rate factor, and what was done: the kernel's
    `log_covariance`, the logarithm of the noise's deviation (luma, plus `QUIET`), and by how much it was enlarged in the end."""
    rng = np.random.default_rng([SEED, index])
    number = int(rng.integers(len(_pictures)))
    scale = int(rng.choice([1, 2, 3, 4], p=[0.25, 0.15, 0.15, 0.45]))
    larger = float(rng.choice([1.5, 2, 2.5, 3])) if rng.random() < 0.2 else 1.0
    clip = _moving(rng, _pictures[number][1], scale, larger)
    least, most = (0.5, 4.5) if scale == 1 else (0.3, 5.0)
    sigma_x = _log_uniform(rng, least, most)
    sigma_y = sigma_x if rng.random() < 0.25 else _log_uniform(rng, least, most)
    theta = rng.uniform(-math.pi, math.pi)
    side = 2 * math.ceil(3.5 * max(sigma_x, sigma_y)) + 3
    clip = filtering.anisotropic(clip, filtering.block_kernel(side, sigma_x, sigma_y, theta, scale)[None], scale)
    if larger > 1:
        mode = str(rng.choice(["bilinear", "bicubic"]))
        clip = nn.functional.interpolate(clip, scale_factor=larger, mode=mode, align_corners=False).clamp(0, 255)
        clip = clip[..., : clip.shape[-2] // 2 * 2, : clip.shape[-1] // 2 * 2]
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
        added = ((clip - before) * torch.tensor(LUMA).view(3, 1, 1)).sum(1)[inside.all(1)]
        if added.numel() < 1000:
            return None
        level = float(added.std())
    frames = [quantise(frame) for frame in clip]
    crf = None
    if rng.random() < 0.25:
        crf = float(rng.integers(8, 41))
        with video.coded(frames, 25, "libx264", crf=int(crf), preset="medium") as (decoded, _):
            frames = list(decoded)
    measured = spectra.spectra([luma(frame) for frame in frames[1:]])
    if measured is None:
        return None
    done = [*log_covariance(sigma_x / scale, sigma_y / scale, theta), math.log(level + QUIET), larger]
    return number, measured, crf, np.array(done)


def _moving(rng: np.random.Generator, picture: np.ndarray, scale: int, larger: float) -> Tensor:
    """A window on a picture that moves, (FRAMES, 3, H, W) in levels, of up to `LARGEST` pixels once it is reduced and enlarged; the picture is
    reduced a little first, so that it is sharp, and of drawn contrast."""
    shrink = rng.uniform(1.0, 1.6) * (1.5 if scale == 1 else 1.0)
    step = rng.integers(-3, 4, 2) * (rng.random() < 0.7)
    reach = 3 * FRAMES
    room = [int(side / shrink) for side in picture.shape[:2]]
    size = [
        max(48 * scale, min(int(most / larger) * scale, side - 2 * reach) // (2 * scale) * 2 * scale)
        for most, side in zip(LARGEST, room, strict=True)
    ]
    size = [min(wanted, (side - 2 * reach) // (2 * scale) * 2 * scale) for wanted, side in zip(size, room, strict=True)]
    first = [int(rng.integers(0, side - wanted - 2 * reach + 1)) for side, wanted in zip(room, size, strict=True)]
    (y, x), (height, width) = (int(start * shrink) for start in first), (int((wanted + 2 * reach) * shrink) for wanted in size)
    part = torch.from_numpy(picture[y : y + height, x : x + width].copy()).permute(2, 0, 1)[None].float()
    part = nn.functional.interpolate(
        part, size=[wanted + 2 * reach for wanted in size], mode="bicubic", antialias=True, align_corners=False
    )
    part = ((part.clamp(0, 255) - 128) * rng.uniform(0.5, 1.1) + 128 + rng.uniform(-30, 30)).clamp(0, 255)
    places = [(reach + t * int(step[0]), reach + t * int(step[1])) for t in range(FRAMES)]
    clip = torch.cat([part[..., top : top + size[0], left : left + size[1]] for top, left in places])
    return clip.transpose(-1, -2) if rng.random() < 0.5 else clip


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


COMPONENTS, WIDTH = 72, 96
"""Principal components of the features, and the width of the network that sees them."""
MEMBERS, EPOCHS, BATCH = 2, 50, 256
OUTPUTS = 5


def _network() -> nn.Sequential:
    sides = (COMPONENTS, WIDTH, WIDTH)
    hidden = [
        part for one, other in zip(sides, sides[1:], strict=False) for part in (nn.Linear(one, other), nn.SiLU(), nn.Dropout(0.1))
    ]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 2 * OUTPUTS))


def _loss(out: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """The negative log likelihood of normal laws; blur counts only of what was not enlarged."""
    mean, log_variance = out[:, :OUTPUTS], out[:, OUTPUTS:].clamp(-9, 6)
    return (weight * ((wanted - mean).square() * (-log_variance).exp() + log_variance)).sum() / weight.sum()


def fit(path: Path, held: frozenset[int] = frozenset()) -> dict[str, np.ndarray]:
    """Learn from what `draw` kept, leaving out the pictures `held`.

    Returns:
        The weights as `estimator.py` reads them.
    """
    kept = np.load(path)
    use = ~np.isin(kept["number"], list(held))
    measured, wanted = kept["measured"][use].astype(np.float64), kept["target"][use]
    levels = [None if math.isnan(level) else float(level) for level in kept["quantiser"][use]]
    rows, goals = [], []
    for flip in (False, True):
        for turn in (False, True):
            view = spectra.mirrored(measured) if flip else measured
            view = spectra.transposed(view) if turn else view
            goal = wanted.copy()
            goal[:, 2] *= -1 if flip else 1
            goal[:, :2] = goal[:, 1::-1] if turn else goal[:, :2]
            rows.append(np.stack([spectra.features(*each) for each in zip(view, levels, strict=True)]))
            goals.append(goal)
    given, target = np.concatenate(rows), np.concatenate(goals)
    centre = given.mean(0)
    _, vectors = np.linalg.eigh(np.cov((given[::2] - centre).T))
    project = vectors[:, ::-1][:, :COMPONENTS]
    spread = ((given - centre) @ project).std(0)
    project = (project / np.maximum(spread, 0.01 * spread[0])).astype(np.float16).astype(np.float64)  # as it will be kept
    x, y = torch.from_numpy((given - centre) @ project).float(), torch.from_numpy(target).float()
    weight = torch.ones_like(y)
    weight[:, :3] = (y[:, 4:] == 1).float()
    weights = {"centre": centre, "project": project, "members": np.array(MEMBERS), "calibration": np.ones(OUTPUTS)}
    steps = len(x) // BATCH
    for member in range(MEMBERS):
        torch.manual_seed(SEED + member)
        network = _network()
        optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=EPOCHS * steps)
        for epoch in range(EPOCHS):
            total = 0.0
            for batch in torch.randperm(len(x))[: steps * BATCH].view(-1, BATCH):
                loss = _loss(network(x[batch]), y[batch], weight[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += float(loss.detach())
            if epoch % 10 == 9:
                print(f"member {member}, epoch {epoch + 1}: {total / steps:.4f}", file=sys.stderr, flush=True)
        linear = [layer for layer in network if isinstance(layer, nn.Linear)]
        for index, layer in enumerate(linear):
            weights |= {f"{member}.{index}.{name}": value.detach().numpy() for name, value in layer.named_parameters()}
    return {name: np.asarray(value, np.float16 if name == "project" else np.float32) for name, value in weights.items()}


def calibrated(path: Path) -> dict[str, np.ndarray]:
    """The weights, with the factors by which deviations are to be widened so that 1.645 of them hold nine of ten errors on pictures that
    were not learnt from."""
    kept = np.load(path)
    held = frozenset(range(1, int(kept["number"].max()) + 1, 4))
    trial = fit(path, held)
    away = []
    for index in np.flatnonzero(np.isin(kept["number"], list(held))):
        level = float(kept["quantiser"][index])
        found = estimator.estimate(kept["measured"][index].astype(float), None if math.isnan(level) else level, trial)
        away.append((kept["target"][index] - found.mean) / found.deviation)
    off = np.abs(np.array(away))
    plain = kept["target"][np.isin(kept["number"], list(held))][:, 4] == 1
    factors = [
        np.quantile(off[plain, column] if column < 3 else off[:, column], 0.9) / estimator.NINETY for column in range(OUTPUTS)
    ]
    print(f"deviations are widened by {np.round(factors, 2)}", file=sys.stderr)
    return {**fit(path), "calibration": np.asarray(factors, np.float32)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, required=True, help="where the spectra of the degraded clips are kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    given = parser.parse_args()
    if not given.keep.exists():
        draw(given.keep, given.samples, given.workers)
    save_file(calibrated(given.keep), FILE)
