"""How a restored clip changes from frame to frame: warping error, tOF, and VMAF, whose features include motion.

Numbers that rest on different optical flows are not comparable, so the flow is a part of a metric's name:

=================== ==========================================================================================
`…_raft_large`      RAFT, the estimator of the papers; 12 updates at the frames' own size
`…_raft_small`      RAFT-small, likewise: cheaper
`…_dis`             dense inverse search, which needs no weights
`…_farneback`       Farnebäck's polynomial expansion, with which tOF was published; needs no weights
=================== ==========================================================================================

A pair of neighbouring frames counts for the later of the two. The first frame of a clip has no value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipelines import params, weights
from pipelines.clips import video
from pipelines.errors import VSRError
from pipelines.metrics.fidelity import PEAK
from pipelines.metrics.metric import Measure, Metric

if TYPE_CHECKING:
    from pipelines.priors.flows import Model

MODELS: dict[str, Model] = {
    "raft_large": params.Raft(backend="raft", weights="raft_large", updates=12, enlarge=1, batch=1),
    "raft_small": params.Raft(backend="raft", weights="raft_small", updates=12, enlarge=1, batch=1),
    "dis": params.Dis(backend="dis", preset="medium", enlarge=1),
}

VMAF_MODEL = "vmaf_v0.6.1"


def warping_error(frame: np.ndarray, following: np.ndarray, flow: np.ndarray, occluded: np.ndarray) -> float | None:
    """E*_warp of two neighbours: the mean of (frame(p) - following(p + flow(p)))² over pixels that are seen in both and over
    channels, with values in [0, 1], times 1000.

    A clip's is the mean over its pairs of neighbours.

    Source: Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018; channels are averaged as in the authors' code.
    The factor is that of diffusion-based video super-resolution (Zhou et al., "Upscale-A-Video", CVPR 2024; STAR), whose tables
    leave the norm open. It is taken to be the square, as in the source: the 2.68 that STAR reports for UDM10 would otherwise be a mean
    difference of 0.7 levels of 255, less than interpolation costs.

    Args:
        frame: (H, W, 3) float64, 8-bit values.
        following: the next frame, likewise. It is sampled bilinearly.
        flow: (H, W, 2) in pixels from `frame` to `following`, channel 0 = dx.
        occluded: (H, W) bool, the pixels of `frame` without a match in `following`.

    Returns:
        0 to 1000, or None if nothing is seen in both.
    """
    # On first use: the registry of metrics is read where no network runs.
    import torch

    from models.parts.warp import flow_warp

    seen = ~occluded
    if not seen.any():
        return None
    x, motion = (torch.from_numpy(array).permute(2, 0, 1)[None].double() for array in (following, flow))
    brought = flow_warp(x, motion, padding="border")[0].permute(1, 2, 0).numpy()
    return 1000 * float(np.mean(np.square((frame - brought)[seen] / PEAK)))


def flow_difference(restored: np.ndarray, truth: np.ndarray) -> float:
    """tOF of two neighbours: the mean length in pixels of the difference between the restored frames' flow and the true one's.

    The paper writes an L1 norm of the flows; the authors' code, as this one, takes the Euclidean length of the difference at each
    pixel. As there, only a window in the middle counts, whose sides are the largest multiples of 32 that leave out 16
    pixels or more.

    Source: Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation" (TecoGAN), ACM TOG
    39(4), 2020.

    Args:
        restored: flow (H, W, 2) in pixels; sides of 48 and more.
        truth: likewise.
    """
    middle = tuple(slice(start, start + side) for start, side in map(_middle, truth.shape[:2]))
    return float(np.linalg.norm((restored - truth)[middle].astype(np.float64), axis=-1).mean())


def _middle(side: int) -> tuple[int, int]:
    kept = (side - 16) // 32 * 32
    return (side - kept) // 2, kept


class _Flow:
    """Flow from one frame to the next, and what is occluded there.

    The last pair is kept: the measures of a clip all ask for that of the true frames, each in its turn.
    """

    def __init__(self, name: str, device: str) -> None:
        # Not at the top: the flows' own quality is measured in the luma of this package.
        from pipelines.priors.flows import Flows

        self._flows = Flows(MODELS[name], device)
        self.made = {key: str(value) for key, value in weights.provenance(MODELS[name]).items()}
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None

    def __call__(self, frame: np.ndarray, following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 2) in pixels and (H, W) bool, of frames (H, W, 3) uint8."""
        if self._last is None or not (np.array_equal(frame, self._last[0]) and np.array_equal(following, self._last[1])):
            found = next(self._flows.stream([frame, following], (frame.shape[0], frame.shape[1])))
            self._last = frame, following, found["flow_forward"], found["occlusion_forward"]
        return self._last[2:]


_flow = lru_cache(maxsize=None)(_Flow)

_FARNEBACK = {"pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2, "flags": 0}


def _farneback(frame: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Flow (H, W, 2) between frames (H, W, 3) uint8, with the settings of TecoGAN's code.

    Source: Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003, as OpenCV has it.
    """
    one, two = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (frame, following))
    return np.asarray(cv2.calcOpticalFlowFarneback(one, two, None, **_FARNEBACK))  # type: ignore[call-overload]


class _WarpingError:
    """The warping error of restored frames by the flow of the true ones."""

    def __init__(self, flow: _Flow) -> None:
        self._flow = flow
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._values = 0

    def add(self, restored: np.ndarray, truth: np.ndarray) -> float | None:
        before, self._before = self._before, (restored, _eight_bit(truth))
        if before is None:
            return None
        value = warping_error(before[0], restored, *self._flow(before[1], self._before[1]))
        self._values += value is not None
        return value

    def finish(self) -> None:
        if not self._values:
            raise VSRError(
                "the warping error needs two neighbouring frames that show the same scene and the clip has none: leave it out."
            )

    def details(self) -> dict[str, str]:
        """The flow's parameters, and the sha256 of its weights."""
        return self._flow.made


class _FlowDifference:
    """The difference between the flow of restored frames and that of the true ones."""

    def __init__(self, flow: Callable[[np.ndarray, np.ndarray], np.ndarray], made: dict[str, str]) -> None:
        self._flow = flow
        self._made = made
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._values = 0

    def add(self, restored: np.ndarray, truth: np.ndarray) -> float | None:
        before, self._before = self._before, (_eight_bit(restored), _eight_bit(truth))
        if before is None:
            return None
        self._values += 1
        # The true frames first: their flow may be at hand.
        true = self._flow(before[1], self._before[1])
        return flow_difference(self._flow(before[0], self._before[0]), true)

    def finish(self) -> None:
        if not self._values:
            raise VSRError("tOF needs two neighbouring frames and the clip has one: leave it out.")

    def details(self) -> dict[str, str]:
        """The flow's parameters, and the sha256 of its weights."""
        return self._made


class _Vmaf:
    """VMAF of a clip, the mean of its frames."""

    def __init__(self) -> None:
        self._vmaf = video.Vmaf(VMAF_MODEL)
        self._made: dict[str, str] = {}

    def add(self, restored: np.ndarray, truth: np.ndarray) -> None:
        self._vmaf.add(_eight_bit(restored), _eight_bit(truth))

    def finish(self) -> float:
        values, self._made = self._vmaf.finish()
        return float(np.mean(values))

    def details(self) -> dict[str, str]:
        """After `finish`: the `model`, and the versions `libvmaf` and `ffmpeg`."""
        return self._made


def _eight_bit(frame: np.ndarray) -> np.ndarray:
    return np.rint(frame).astype(np.uint8)


def _warping(name: str, label: str, *needs: str) -> Metric:
    return Metric(
        name=f"warping_error_{name}",
        label=f"E*warp ({label})",
        unit="10⁻³",
        decimals=2,
        higher_is_better=False,
        low=0.0,
        high=1000.0,
        channel="rgb",
        reference=True,
        licence="Apache-2.0",
        source=f"Lai et al., ECCV 2018, times 1000; flow of the true frames by {label}",
        build=lambda device: _WarpingError(_flow(name, device)),
        weights=needs,
        smallest=12,
    )


def _tof(name: str, label: str, build: Callable[[str], Measure], *needs: str) -> Metric:
    return Metric(
        name=f"tof_{name}",
        label=f"tOF ({label})",
        unit="px",
        decimals=3,
        higher_is_better=False,
        low=0.0,
        high=float("inf"),
        channel="rgb",
        reference=True,
        licence="Apache-2.0",
        source=f"Chu et al., ACM TOG 39(4), 2020; flow by {label}",
        build=build,
        weights=needs,
        smallest=48,
    )


def _by_model(name: str, device: str) -> Measure:
    """tOF by a flow that comes with its occlusion."""
    flow = _flow(name, device)
    return _FlowDifference(lambda frame, following: flow(frame, following)[0], flow.made)


def _by_farneback(device: str) -> Measure:
    return _FlowDifference(_farneback, {key: str(value) for key, value in {"backend": "farneback", **_FARNEBACK}.items()})


METRICS = (
    _warping("raft_large", "RAFT", "raft_large"),
    _warping("raft_small", "RAFT-small", "raft_small"),
    _warping("dis", "DIS"),
    _tof("farneback", "Farnebäck", _by_farneback),
    _tof("raft_large", "RAFT", partial(_by_model, "raft_large"), "raft_large"),
    _tof("raft_small", "RAFT-small", partial(_by_model, "raft_small"), "raft_small"),
    Metric(
        name="vmaf",
        label="VMAF",
        unit="",
        decimals=2,
        higher_is_better=True,
        low=0.0,
        high=100.0,
        channel="luma",
        reference=True,
        licence="BSD-2-Clause-Patent",
        source=f"Netflix, libvmaf, model {VMAF_MODEL}; on luma of BT.601 limited range rounded to 8 bits",
        build=lambda device: _Vmaf(),
        smallest=video.VMAF_SMALLEST,
    ),
)
