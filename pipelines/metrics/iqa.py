"""Quality of single frames without a reference, by pyiqa, the optional extra `iqa`.

pyiqa and most of what it loads may not be used commercially. It is imported when a clip is measured, never before, and
fetches the parameters of its networks by itself, without a checksum, into the caches of PyTorch and Hugging Face.

DOVER is not among these: it measures whole videos, and pyiqa has measures of images only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from pipelines.errors import VSRError
from pipelines.metrics.framewise import Framewise
from pipelines.metrics.metric import Metric

LICENCE = "non-commercial use only: PolyForm-Noncommercial-1.0.0 and the NTU S-Lab License 1.0 (pyiqa)"


@functools.cache
def score(name: str, device: str = "cpu") -> Callable[[np.ndarray, np.ndarray], float]:
    """A measure of pyiqa as a function of (restored, truth) that does not look at the truth.

    Args:
        name: what pyiqa calls it.
        device: where it runs.

    Returns:
        A function of frames (H, W, 3) RGB on the 8-bit scale.

    Raises:
        VSRError: pyiqa is not installed, or cannot get the parameters.
    """
    import torch

    try:
        import pyiqa
    except ImportError as error:
        raise VSRError(
            f"the metric {name!r} needs pyiqa, which is not installed: `pip install 'vsr[iqa]'` (for non-commercial use only)."
        ) from error
    try:
        metric = pyiqa.create_metric(name, device=torch.device(device))
    except OSError as error:
        raise VSRError(
            f"pyiqa cannot get the parameters of {name!r} ({error}): measure a frame once where there is a network, and copy "
            "what it left there under TORCH_HOME (~/.cache/torch) and HF_HOME (~/.cache/huggingface) to this machine."
        ) from error

    def of(restored: np.ndarray, truth: np.ndarray) -> float:
        frame = torch.from_numpy(restored).to(device, torch.float32).permute(2, 0, 1)[None] / 255
        return float(metric(frame))

    return of


def _metric(name: str, label: str, decimals: int, higher_is_better: bool, high: float, source: str, smallest: int = 1) -> Metric:
    return Metric(
        name=name,
        label=label,
        unit="",
        decimals=decimals,
        higher_is_better=higher_is_better,
        low=0.0,
        high=high,
        channel="rgb",
        reference=False,
        licence=LICENCE,
        source=source,
        build=lambda device: Framewise(score(name, device)),
        extra="iqa",
        smallest=smallest,
    )


METRICS = (
    _metric("maniqa", "MANIQA", 4, True, 1.0, "Yang et al., CVPR Workshops 2022; trained on KonIQ-10k"),
    _metric("clipiqa", "CLIP-IQA", 4, True, 1.0, "Wang et al., AAAI 2023", smallest=32),
    _metric("ilniqe", "IL-NIQE", 2, False, math.inf, "Zhang et al., IEEE TIP 24(8), 2015"),
    _metric("musiq", "MUSIQ", 2, True, 100.0, "Ke et al., ICCV 2021; trained on KonIQ-10k"),
)
