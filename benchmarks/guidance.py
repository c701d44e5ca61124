"""RDG-s with its authors' parameters on frames that the embedded corpus renders: what each of its buffers adds, seams, drift.

`python -m benchmarks.guidance [--weights FILE] [--lr 270x480] [--frames 200] [--clips test_000_orbit …]`; without a file the
parameters are `rdg_s_rdg` by name. HR is drawn for the frames alone that are compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from models.parts.online import OnlineNetwork, State
from models.parts.resize import imresize_to
from pipelines import networks, weights
from pipelines.clips import parallax
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.clips.parallax.images import LENS, atlas, image
from pipelines.errors import VSRError
from pipelines.metrics import psnr
from pipelines.params import Parallax, Rendered
from pipelines.priors import kinds

SCALE = 4
COMPARED = (9, 10, 11)
"""Frames at which ways to be guided are compared: the state has been carried on for a while."""

CLIPS = ("test_000_orbit", "test_002_handheld")

Buffers = dict[str, Tensor]
"""Of one frame, (1, channels, h, w), by their kinds."""


def main(name: str = "rdg_s_rdg", lr: tuple[int, int] = (270, 480), frames: int = 200, clips: Sequence[str] = CLIPS) -> None:
    """Print the tables.

    Raises:
        VSRError: the parameters are not there.
    """
    network = networks.load(weights.checkpoint(name))
    assert isinstance(network, OnlineNetwork)
    # As many clips of each split as the names count.
    spec = Parallax(
        kind="parallax",
        source="",
        seed=0,
        height=SCALE * lr[0],
        width=SCALE * lr[1],
        frames=max(frames, COMPARED[-1] + 1),
        clips={"test": 4},
        rendered=Rendered(scale=SCALE),
    )
    with torch.inference_mode():
        _ways(network, spec, clips)
        if frames > COMPARED[-1]:
            _drift(network, spec, clips[0], sorted({1, *range(20, frames, 20), frames - 1}))


def _ways(network: OnlineNetwork, spec: Parallax, clips: Sequence[str]) -> None:
    """PSNR of every clip by what guides the network."""
    ways: dict[str, Callable[[Buffers], Buffers]] = {
        "as rendered": lambda buffers: buffers,
        "pixels shuffled": _shuffled,
        "zero": lambda buffers: {kind: torch.zeros_like(planes) for kind, planes in buffers.items()},
        **{f"zero: {kind}": lambda buffers, kind=kind: {**buffers, kind: 0 * buffers[kind]} for kind in network.priors},
        "motion reversed": lambda buffers: {**buffers, "motion": -buffers["motion"]},
    }
    print(f"  {'PSNR, RGB, dB':<28}" + "".join(f"{clip:>20}" for clip in clips))
    rows: dict[str, list[float]] = {"bicubic": [], **{way: [] for way in ways}}
    for clip in clips:
        seen = list(islice(_rendered(spec, clip, network.priors), COMPARED[-1] + 1))
        truth = {t: _hr(spec, clip, t) for t in COMPARED}
        rows["bicubic"].append(_mean(psnr(_bicubic(seen[t][0]), truth[t]) for t in COMPARED))
        for way, guided in ways.items():
            restored = _stream(network, ((frame, guided(buffers)) for frame, buffers in seen))
            rows[way].append(_mean(psnr(frame, truth[t]) for t, frame in enumerate(restored) if t in truth))
    for way, values in rows.items():
        print(f"  {way:<28}" + "".join(f"{value:>20.2f}" for value in values))


def _drift(network: OnlineNetwork, spec: Parallax, clip: str, looked_at: Sequence[int]) -> None:
    """PSNR along a clip, and whether errors step from one LR pixel's square to the next, or at the frame's border."""
    print(f"  {clip}, frame".ljust(22) + "".join(f"{name:>14}" for name in ("bicubic", "RDG-s", "bias", "steps", "border")))
    lr: list[Tensor] = []

    def remembered() -> Iterator[tuple[Tensor, Buffers]]:
        for frame, buffers in _rendered(spec, clip, network.priors):
            lr[:] = [frame]
            yield frame, buffers

    for t, restored in enumerate(islice(_stream(network, remembered()), looked_at[-1] + 1)):
        if t in looked_at:
            truth = _hr(spec, clip, t)
            error = restored - truth
            values = psnr(_bicubic(lr[0]), truth), psnr(restored, truth), error.mean(), _steps(error), _border(error)
            print(f"  {t:>20}" + "".join(f"{value:>14.2f}" for value in values))
    print(
        "  bias: mean error in 8-bit levels. steps: mean change of the error from pixel to pixel between squares of 4 x 4 over that within."
    )
    print("  border: mean error in the outer 16 pixels over that inside.")


def _stream(network: OnlineNetwork, seen: Iterator[tuple[Tensor, Buffers]]) -> Iterator[np.ndarray]:
    """Frames restored one by one, as 8-bit levels, float64."""
    state: State | None = None
    for frame, buffers in seen:
        restored, state = network.step(frame, state, **buffers)
        yield to_frame(restored[0]).astype(np.float64)


def _rendered(spec: Parallax, clip: str, priors: Sequence[str]) -> Iterator[tuple[Tensor, Buffers]]:
    """LR frames (1, 3, h, w) with their buffers."""
    for frame in parallax.rendered(spec, clip):
        buffers = {name: torch.from_numpy(kinds.planes(kinds.get(name), frame))[None] for name in priors}
        yield to_tensor(frame["rgb"][None]), buffers


def _hr(spec: Parallax, clip: str, t: int) -> np.ndarray:
    """One frame of `parallax.render`, without those before it and without its buffers."""
    scene = parallax.scene(spec, clip)
    rgb, _ = image(scene, scene.view(t / parallax.FPS), atlas(scene, spec.seed), LENS)
    return rgb.astype(np.float64)


def _bicubic(frame: Tensor) -> np.ndarray:
    height, width = frame.shape[-2:]
    return to_frame(imresize_to(frame[0], (SCALE * height, SCALE * width))).astype(np.float64)


def _shuffled(buffers: Buffers) -> Buffers:
    """All buffers with their pixels in one other order."""
    height, width = next(iter(buffers.values())).shape[-2:]
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))
    return {kind: planes.flatten(-2)[..., order].view(planes.shape) for kind, planes in buffers.items()}


def _steps(error: np.ndarray) -> float:
    """1 where errors know nothing of the grid of LR pixels."""
    change = np.abs(np.diff(error, axis=1)).mean((0, 2)), np.abs(np.diff(error, axis=0)).mean((1, 2))
    across = [each[SCALE - 1 :: SCALE] for each in change]
    within = [np.delete(each, np.s_[SCALE - 1 :: SCALE]) for each in change]
    return float(np.concatenate(across).mean() / np.concatenate(within).mean())


def _border(error: np.ndarray, side: int = 16) -> float:
    inside = np.zeros(error.shape[:2], bool)
    inside[side:-side, side:-side] = True
    return float(np.abs(error[~inside]).mean() / np.abs(error[inside]).mean())


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


def _size(text: str) -> tuple[int, int]:
    height, width = (int(side) for side in text.split("x"))
    return height, width


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="rdg_s_rdg")
    parser.add_argument("--lr", type=_size, default=(270, 480))
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--clips", nargs="+", default=list(CLIPS))
    options = parser.parse_args()
    try:
        main(options.weights, options.lr, options.frames, options.clips)
    except VSRError as error:
        raise SystemExit(f"error: {error}") from error
