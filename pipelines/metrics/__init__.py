"""Every metric, by name, and what keeps one from being computed here.

A metric's library and parameters are loaded when its first clip is measured, so importing this is cheap.
"""

from __future__ import annotations

import importlib.util
from itertools import chain

from pipelines import weights
from pipelines.clips import video
from pipelines.errors import VSRError, unknown
from pipelines.metrics import consistency, fidelity, iqa, naturalness, perceptual, temporal
from pipelines.metrics.fidelity import PEAK, PSNR_CAP, luma, ms_ssim, psnr, ssim
from pipelines.metrics.metric import Measure, Metric

__all__ = ["METRICS", "PEAK", "PSNR_CAP", "Measure", "Metric", "get", "luma", "ms_ssim", "psnr", "ssim", "unavailable"]

_MODULES = (fidelity, consistency, naturalness, perceptual, temporal, iqa)
METRICS: dict[str, Metric] = {metric.name: metric for metric in chain.from_iterable(module.METRICS for module in _MODULES)}

EXTRAS = {"iqa": "pyiqa"}
"""The library that an optional extra of this project installs."""


def get(name: str) -> Metric:
    """The metric of that name.

    Raises:
        VSRError: there is none.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]


def unavailable(metric: Metric) -> str | None:
    """Why a metric cannot be computed here and what would mend it, as the end of a sentence, or None if it can.

    Only what is on this machine counts: scoring downloads nothing. The reason is the same on every machine.

    Raises:
        VSRError: a file of weights that it needs is not the published one.
    """
    if metric.extra and not importlib.util.find_spec(EXTRAS[metric.extra]):
        return f"needs {EXTRAS[metric.extra]}, which is not installed: `pip install 'vsr[{metric.extra}]'`"
    if metric.name == "vmaf":
        try:
            video.check_vmaf()
        except VSRError:  # names the binary, whose path is this machine's
            return "needs an ffmpeg with libvmaf: unset IMAGEIO_FFMPEG_EXE, or set it to one that has it"
    missing = next((name for name in metric.weights if weights.local(name) is None), None)
    return None if missing is None else weights.how_to_get(missing)
