"""How a clip was coded: by the stream that it is in, and by JPEG before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.fft import dctn

from pipelines.clips.video.quantisers import Stream
from pipelines.degradations.jpeg import quantisation
from pipelines.diagnosis.estimate import Estimate, Unknown
from pipelines.diagnosis.look import luma

DEFAULT = 26
"""The quantiser that H.264's picture parameters begin with where an encoder has no reason for another (7.4.2.2)."""

INTRA = 1.0
"""By how much the quantisers of x264's key frames are above its constant rate factor: from -2 to 4, as much as the frames ahead are made of
them (on clips of `parallax` and on pictures that move)."""


def quantiser(stream: Stream | None) -> Estimate | Unknown:
    """The mean quantiser of all blocks; its interval is that of nine of ten frames."""
    told = [level for level in stream.quantisers if level is not None] if stream else []
    if not told:
        return Unknown("frames have no stream" if stream is None else "the decoder exports no quantisers of this codec")
    low, high = np.quantile(told, [0.05, 0.95])
    return Estimate(float(np.mean(told)), float(low), float(high))


def crf(stream: Stream | None) -> Estimate | Unknown:
    """The constant rate factor of x264 that codes so: the encoder's own word, or else as its quantisers say."""
    if stream is None:
        return Unknown("frames have no stream")
    told = stream.setting("crf")
    if told is not None:
        return Estimate.exact(float(told))
    if stream.initial is None:
        return Unknown("only H.264's quantisers are compared with x264's")
    keys = [level for index in stream.keys if (level := stream.quantisers[index]) is not None]
    if not keys:
        return Unknown("the decoder exports no quantisers of key frames")
    intra = float(np.mean(keys)) - INTRA
    if abs(intra - stream.initial) < (4 if stream.initial == DEFAULT else 6):
        # x264 writes the whole part of its rate factor as what its quantisers begin with.
        return Estimate(float(stream.initial), stream.initial - 0.5, stream.initial + 0.5)
    return Estimate(intra, intra - 4, intra + 4)


# ---------------------------------------------------------------- JPEG

FITS = 0.35
"""How well the coefficients lie on the multiples of a table, from 0 to 1, from where the clip was JPEG."""


@lru_cache
def _steps() -> np.ndarray:
    """(100, 64) the steps of luma's table at the qualities 1 to 100."""
    return np.stack([quantisation(quality)[0].reshape(64).astype(float) for quality in range(1, 101)])


def jpeg(frames: Sequence[np.ndarray]) -> Estimate | Unknown:
    """The quality of the JPEG that frames (H, W, 3) RGB were decoded from last, from the multiples on which their coefficients lie (Fan and
    de Queiroz, "Identification of Bitmap Compression History", IEEE Trans. Image Processing 2003), with libjpeg's tables."""
    found = []
    for frame in frames:
        light = luma(frame)
        height, width = (side // 8 * 8 for side in light.shape)
        blocks = light[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2) - 128
        found.append(dctn(blocks, axes=(2, 3), norm="ortho").reshape(-1, 64))
    if not found or not sum(map(len, found)):
        return Unknown("frames are smaller than a block of JPEG")
    coefficients = np.concatenate(found)
    coefficients = coefficients[:: max(1, len(coefficients) // 4000)]
    fits = np.zeros(100)
    for index, steps in enumerate(_steps()):
        used = (np.arange(64) > 0) & (steps >= 3)
        # Only those beyond the first step tell: a table of large steps has all of them at 0.
        seen = np.abs(coefficients[:, used]) > steps[used] / 2
        if seen.sum() < 200:
            continue
        turns = np.cos(2 * np.pi * coefficients[:, used] / steps[used])
        fits[index] = turns[seen].mean()
    best = int(fits.argmax())
    if fits[best] < FITS:
        return Unknown("coefficients lie on no table of JPEG")
    near = np.flatnonzero(fits > 0.9 * fits[best]) + 1
    return Estimate(best + 1.0, float(near.min()), float(near.max()))
