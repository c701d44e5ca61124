"""What `vsr diagnose` finds of degradations that are known, on real frames that no estimator was fitted to.

    python -m benchmarks.diagnose FOOTAGE [part …]

FOOTAGE has `Vid4/GT/<clip>` and `video/*.mp4`; videos are reduced by 2 first, so that what their own coding left is gone.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import torch
from torch import nn

from pipelines.clips import footage, video
from pipelines.clips.levels import quantise, to_planes
from pipelines.clips.video import quantisers
from pipelines.clips.video.process import find_binary
from pipelines.degradations import filtering
from pipelines.degradations import noise as noises
from pipelines.degradations.jpeg import jpeg
from pipelines.degradations.resize import bicubic
from pipelines.diagnosis import Diagnosis, Estimate, coding, diagnose
from pipelines.diagnosis import frames as of_frames
from pipelines.diagnosis.diagnose import degraded
from pipelines.diagnosis.look import look, luma
from pipelines.diagnosis.spectra import spectra

DRAWS = 120
RATE = Fraction(25)
WINDOW = (240, 320)
"""(height, width) of the part of a frame that most draws look at."""
Clip = np.ndarray
"""(T, H, W, 3) uint8 RGB."""


class Real:
    """The clips, read once; `take` draws some frames of one, or a window on them."""

    def __init__(self, folder: Path) -> None:
        self.clips: dict[str, Clip] = {}
        for place in sorted([*(folder / "Vid4" / "GT").iterdir(), *(folder / "video").glob("*.mp4")]):
            (source,) = footage.open_source(place).values()
            frames = []
            for index, frame in enumerate(source.frames()):
                if source.kind == "video":
                    if index >= 96:
                        break
                    frame = pixels(bicubic(tensor(frame[None]), (2, 2)))[0]
                frames.append(frame)
            self.clips[place.stem] = np.stack(frames)

    def take(self, rng: np.random.Generator, count: int, size: tuple[int, int] | None = None) -> tuple[str, Clip]:
        name = str(rng.choice(sorted(self.clips)))
        start = int(rng.integers(0, len(self.clips[name]) - count + 1))
        clip = self.clips[name][start : start + count]
        top, left = (
            int(rng.integers(0, side - most + 1)) for side, most in zip(clip.shape[1:3], size or clip.shape[1:3], strict=True)
        )
        return name, clip[:, top : top + (size or clip.shape[1:])[0], left : left + (size or clip.shape[1:])[1]]


def tensor(clip: Clip) -> torch.Tensor:
    return to_planes(clip).double()


def pixels(clip: torch.Tensor) -> Clip:
    return np.stack([quantise(frame) for frame in clip])


def even(clip: Clip) -> Clip:
    return clip[:, : clip.shape[1] // 2 * 2, : clip.shape[2] // 2 * 2]


def drawn(
    part: str, real: Real, count: int, draws: int = DRAWS, size: tuple[int, int] | None = None
) -> Iterator[tuple[np.random.Generator, str, Clip]]:
    """Draws of a part, each with its random numbers, telling how far they are."""
    for index in range(draws):
        if sys.stderr.isatty() or index % 20 == 0:
            print(f"\r{part}: {index} of {draws}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
        rng = np.random.default_rng([2016, sum(map(ord, part)), index])
        yield rng, *real.take(rng, count, size)


def found(clip: Clip, quantiser: float | None = None) -> dict[str, Any]:
    """What is said of the blur, noise and enlargement of frames."""
    return degraded(spectra(luma(frame) for frame in clip), look(clip, len(clip), "clip"), quantiser)


def coded(clip: Clip, crf: int, work: Callable[[Path], Any]) -> Any:
    """Something done with a clip as an H.264 file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        video.encode(iter(even(clip)), path, RATE, video.coding(path, None, "h264", crf))
        return work(path)


def opened(path: Path) -> Diagnosis:
    return diagnose(next(iter(footage.open_source(path).values())))


def silent(path: Path) -> Path:
    """The file without the encoder's message."""
    target = path.with_name("silent.mp4")
    stream = ffmpeg.input(str(path)).output(str(target), codec="copy", **{"bsf:v": "filter_units=remove_types=6"})
    stream.run(cmd=find_binary(), quiet=True)
    return target


# ---------------------------------------------------------------- tables


def row(*cells: object) -> None:
    print("| " + " | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")


def head(*cells: str) -> None:
    print()
    row(*cells)
    row(*["---"] * len(cells))


def held(values: list[tuple[float, Estimate]]) -> float:
    """The share of intervals that hold the value."""
    return sum(each.low <= value <= each.high for value, each in values) / max(len(values), 1)


def kernel(rng: np.random.Generator) -> tuple[float, float, float]:
    across, along = sorted((math.exp(rng.uniform(math.log(0.6), math.log(4))) for _ in range(2)), reverse=True)
    return across, along, rng.uniform(-math.pi / 2, math.pi / 2)


def blurred(clip: Clip, sigmas: tuple[float, float, float], scale: int) -> torch.Tensor:
    shape = filtering.block_kernel(2 * math.ceil(3.5 * sigmas[0]) + 1 + 2 * (scale == 4), *sigmas, scale)
    return filtering.anisotropic(tensor(clip), shape[None], scale)


def blur_errors(rows: list[tuple[tuple[float, float, float], int, dict[str, Any]]]) -> None:
    """Errors by the size of the kernel."""
    head(
        "σ of the kernel, pixels of the clip",
        "axes",
        "median error of σ",
        "mean of log2(found / true)",
        "held by the interval",
        "θ, ratio 1.5 and more",
        "median error of θ",
        "no θ told",
    )
    scale = rows[0][1]
    bins = [(0.0, math.inf), *((low / scale, high / scale) for low, high in ((0.6, 1), (1, 1.6), (1.6, 2.5), (2.5, 4)))]
    for low, high in bins:
        pairs, angles, untold, turned = [], [], 0, 0
        for sigmas, of, blur in rows:
            for truth, name in zip(sigmas[:2], ("sigma_x", "sigma_y"), strict=True):
                if low <= truth / of < high and isinstance(blur, dict):
                    pairs.append((truth / of, blur[name]))
            if sigmas[0] / sigmas[1] >= 1.5 and low <= math.sqrt(sigmas[0] * sigmas[1]) / of < high and isinstance(blur, dict):
                turned += 1
                if not isinstance(blur["theta"], Estimate):
                    untold += 1
                    continue
                away = abs(blur["theta"].value - sigmas[2]) % math.pi
                angles.append(math.degrees(min(away, math.pi - away)))
        if not pairs:
            continue
        errors = [abs(each.value / truth - 1) for truth, each in pairs]
        bias = np.mean([math.log2(each.value / truth) for truth, each in pairs])
        label = "all" if high == math.inf else f"{low:.3g} to {high:.3g}"
        row(
            label,
            len(pairs),
            f"{np.median(errors):.1%}",
            float(bias),
            f"{held(pairs):.0%}",
            turned,
            f"{np.median(angles):.1f}°" if angles else "–",
            untold,
        )


# ---------------------------------------------------------------- parts


def blur_x4(real: Real) -> None:
    """Anisotropic Gaussians of σ 0.6 to 4 HR pixels, then every fourth pixel (`aniso_x4`): on the grid of the clip σ 0.15 to 1."""
    blur_errors(
        [
            (sigmas := kernel(rng), 4, found(pixels(blurred(clip, sigmas, 4)))["blur"])
            for rng, _, clip in drawn("blur_x4", real, 6)
        ]
    )


def blur_x1(real: Real) -> None:
    """The same kernels on the grid of the clip."""
    blur_errors(
        [
            (sigmas := kernel(rng), 1, found(pixels(blurred(clip, sigmas, 1)))["blur"])
            for rng, _, clip in drawn("blur_x1", real, 4, size=WINDOW)
        ]
    )


def noise(real: Real) -> None:
    """Gaussian and shot noise of σ 2 to 30 levels in each channel, grey or not, on clips as they are."""
    rows = []
    for rng, _, clip in drawn("noise", real, 4, size=WINDOW):
        sigma, grey, shot = math.exp(rng.uniform(math.log(2), math.log(30))), bool(rng.random() < 0.5), bool(rng.random() < 0.5)
        add = noises.poisson if shot else noises.gaussian
        strength = sigma / math.sqrt(clip.mean()) if shot else sigma
        made = add(tensor(clip), [strength] * 4, grey, int(rng.integers(1 << 40)), range(4))
        inside = (clip > 3 * sigma) & (clip < 255 - 3 * sigma)
        truth = float((made.permute(0, 2, 3, 1).numpy() - clip)[inside].std()) if shot else sigma
        rows.append((truth, grey, shot, found(pixels(made))["noise"]))
    head(
        "noise",
        "σ",
        "draws",
        "median error of σ",
        "held by the interval",
        "kind right",
        "kind wrong",
        "kind not told",
        "grey or not, right",
    )
    for shot in (False, True):
        for low, high in ((2, 30), (2, 5), (5, 12), (12, 30)):
            part = [each for each in rows if each[2] == shot and low <= each[0] < high]
            if not part:
                continue
            pairs = [(truth, each["sigma"]) for truth, _, _, each in part]
            kinds = [each["kind"] for *_, each in part]
            right = sum(kind == ("shot" if shot else "gaussian") for kind in kinds)
            told = sum(isinstance(kind, str) for kind in kinds)
            greys = sum(each["grey"] == grey for _, grey, _, each in part)
            errors = [abs(each.value / truth - 1) for truth, each in pairs]
            row(
                "shot" if shot else "Gaussian",
                f"{low} to {high}",
                len(part),
                f"{np.median(errors):.1%}",
                f"{held(pairs):.0%}",
                right,
                told - right,
                len(part) - told,
                greys,
            )


def crf(real: Real) -> None:
    """CRF 15 to 40 of x264: from its message, and from quantisers alone."""
    message, alone = [], []
    for rng, _, clip in drawn("crf", real, 24, size=WINDOW):
        truth = int(rng.integers(15, 41))

        def both(path: Path) -> list[Any]:
            return [coding.crf(quantisers.stream(each, RATE)) for each in (path, silent(path))]

        first, second = coded(clip, truth, both)
        message.append(abs(first.value - truth))
        alone.append(abs(second.value - truth))
    head("CRF", "draws", "within", "of them", "worst")
    row("from the message", len(message), "0", sum(away == 0 for away in message), float(max(message)))
    row("from quantisers alone", len(alone), "2", sum(away <= 2 for away in alone), float(max(alone)))


def chain(real: Real) -> None:
    """Blur and reduction by 4, Gaussian noise in luma of σ 1 to 10 and x264 at CRF 15 to 35, one after the other."""
    rows, sigmas_of, factors = [], [], []
    for rng, _, clip in drawn("chain", real, 8, 100):
        sigmas, sigma, factor = kernel(rng), rng.uniform(1, 10), int(rng.integers(15, 36))
        made = noises.gaussian(blurred(clip, sigmas, 4), [sigma] * 8, True, int(rng.integers(1 << 40)), range(8))
        one = coded(pixels(made), factor, opened)
        rows.append((sigmas, 4, one.found["blur"]))
        if value := one.estimate("noise", "sigma"):
            sigmas_of.append((factor, sigma, value))
        factors.append(one.estimate("crf").value == factor)  # type: ignore[union-attr]  # H.264 always has one
    blur_errors(rows)
    head("noise before coding at CRF", "draws", "median error of σ", "median of found / true", "held by the interval")
    for low, high in ((15, 36), (15, 22), (22, 29), (29, 36)):
        part = [(sigma, value) for factor, sigma, value in sigmas_of if low <= factor < high]
        ratios = [value.value / sigma for sigma, value in part]
        row(
            f"{low} to {high - 1}",
            len(part),
            f"{np.median(np.abs(np.array(ratios) - 1)):.1%}",
            float(np.median(ratios)),
            f"{held(part):.0%}",
        )
    print(f"\nCRF as set: {sum(factors)} of {len(factors)}.")


def cuts(real: Real) -> None:
    """Films joined of pieces of 5 to 30 frames of different clips."""
    there = hit = wrong = frames = 0
    for rng, name, first in drawn("cuts", real, 8, 100):
        pieces, before = [first], name
        while len(pieces) < 6:
            name, piece = real.take(rng, int(rng.integers(5, 31)))
            if name != before:
                pieces.append(piece)
                before = name
        film = [pixels_of(frame) for piece in pieces for frame in piece]
        truth = set(np.cumsum([len(piece) for piece in pieces])[:-1].tolist())
        said = set(of_frames.cuts(look(film, len(film), "film")))
        there, hit, wrong, frames = there + len(truth), hit + len(truth & said), wrong + len(said - truth), frames + len(film)
    head("cuts", "found", "recall", "wrongly found", "in frames")
    row(there, hit, f"{hit / there:.1%}", wrong, frames)


def pixels_of(frame: np.ndarray) -> np.ndarray:
    """The middle of a frame, of one size for all clips."""
    top, left = (frame.shape[0] - 288) // 2, (frame.shape[1] - 480) // 2
    return frame[top : top + 288, left : left + 480]


def doubled(real: Real) -> None:
    """Clips in which some frames are there twice, coded by x264 at CRF 15 to 30 or not at all."""
    head("coded", "clips", "all frames right", "cannot tell", "doubled frames", "found", "wrongly found")
    for way in ("no", "x264"):
        clips = right = untold = there = hit = wrong = 0
        for rng, _, clip in drawn(f"doubled_{way}", real, 24, 50, WINDOW):
            order = sorted([*range(24), *rng.choice(np.arange(1, 23), int(rng.integers(1, 7)), replace=False)])
            truth = {index for index in range(1, len(order)) if order[index] == order[index - 1]}
            made = clip[order]
            if way == "no":
                said = of_frames.doubled(look(made, len(made), "clip"))
            else:
                said = coded(made, int(rng.integers(15, 31)), lambda path: opened(path).found["doubled"])
            clips += 1
            if not isinstance(said, list):
                untold += 1
                continue
            right += set(said) == truth
            there, hit, wrong = there + len(truth), hit + len(truth & set(said)), wrong + len(set(said) - truth)
        row(way, clips, right, untold, there, hit, wrong)


def fields(real: Real) -> None:
    """Clips woven of fields, every second line from the frame after; by 2:3 pulldown; and as they are."""
    head("clips", "drawn", "said interlaced", "telecine", "progressive", "cannot tell")
    for way in ("interlaced", "telecine", "progressive"):
        said = []
        for _, _, clip in drawn(f"fields_{way}", real, 40, 60):
            if way == "interlaced":
                made = clip[:-1:2].copy()
                made[:, 1::2] = clip[1::2, 1::2]
            elif way == "telecine":
                made = np.stack([_woven(clip[4 * (t // 5) :], t % 5) for t in range(len(clip) // 4 * 5 - 5)])
            else:
                made = clip[:20]
            found = of_frames.fields(look(made, len(made), "clip"))
            said.append(found["kind"] if isinstance(found, dict) else "cannot tell")
        row(way, len(said), *(said.count(kind) for kind in ("interlaced", "telecine", "progressive", "cannot tell")))


def _woven(clip: Clip, phase: int) -> np.ndarray:
    """A frame of 2:3 pulldown: A, B, B/C, C/D, D."""
    top, bottom = ((0, 0), (1, 1), (1, 2), (2, 3), (3, 3))[phase]
    frame = clip[top].copy()
    frame[1::2] = clip[bottom][1::2]
    return frame


def upscaled(real: Real) -> None:
    """Clips enlarged by 2, bicubic or bilinear, beside the same reduced alone, sharp or blurred by σ up to 1 pixel."""
    rows = []
    for rng, _, clip in drawn("upscaled", real, 4, 120, WINDOW):
        large, blur, mode = bool(rng.random() < 0.5), float(rng.uniform(0, 1)), str(rng.choice(["bicubic", "bilinear"]))
        small = bicubic(tensor(clip), (2, 2))
        if blur > 0.4:
            small = filtering.blur(small, filtering.block_kernel(9, blur, blur, 0, 1)[None])
        if large:
            small = nn.functional.interpolate(small, scale_factor=2, mode=mode)
        rows.append((large, found(pixels(small))["upscaled"]))
    head("clips", "drawn", "said enlarged", "median factor", "within 15 % of the factor")
    for large in (True, False):
        part = [value for each, value in rows if each == large]
        near = sum(abs(value.value / (2 if large else 1) - 1) < 0.15 for value in part)
        row(
            "enlarged by 2" if large else "not enlarged",
            len(part),
            sum(value.value >= 1.3 for value in part),
            float(np.median([value.value for value in part])),
            near,
        )


def jpegs(real: Real) -> None:
    """JPEG of quality 20 to 95, and none."""
    off, untold, wrong = [], 0, 0
    for rng, _, clip in drawn("jpeg", real, 4, 100):
        quality = int(rng.integers(20, 96))
        said = coding.jpeg(pixels(jpeg(tensor(clip), [quality] * 4)))
        untold += not isinstance(said, Estimate)
        off += [abs(said.value - quality)] if isinstance(said, Estimate) else []
        wrong += isinstance(coding.jpeg(clip), Estimate)
    head("JPEG", "draws", "cannot tell", "quality exact", "within 3", "wrongly found in clips without")
    row("quality 20 to 95", 100, untold, sum(away == 0 for away in off), sum(away <= 3 for away in off), wrong)


PARTS = (blur_x4, blur_x1, noise, crf, chain, cuts, doubled, fields, upscaled, jpegs)


def main() -> None:
    _, folder, *names = sys.argv
    torch.set_num_threads(1)
    real = Real(Path(folder))
    for part in PARTS:
        if not names or part.__name__ in names:
            print(f"\n### {part.__name__}\n\n{(part.__doc__ or '').strip()}")
            part(real)


if __name__ == "__main__":
    main()
