"""All that is known and estimated of a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.clips.footage import Footage
from pipelines.clips.video import quantisers
from pipelines.diagnosis import coding, estimator, frames, noise
from pipelines.diagnosis.estimate import Estimate, Unknown, plain
from pipelines.diagnosis.look import Look, eight, look, luma
from pipelines.diagnosis.spectra import spectra

Counted = Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]

FEW = "too few patches show something: the clip is too small, flat, black or white"


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a clip; `facts` are its stream's own words, `found` estimates, mappings of such, lists, or `Unknown`.

    `measured` are its spectra, `seen` what a pass over its frames saw, `stream` how it was coded, for a picture of them.
    """

    name: str
    facts: dict[str, Any]
    found: dict[str, Any]
    seen: Look = field(repr=False)
    measured: Any = field(repr=False)
    stream: quantisers.Stream | None = field(repr=False)

    def estimate(self, *path: str) -> Estimate | None:
        """An estimate by its place, as `blur`, `sigma_x`; None where it cannot be told."""
        value: Any = self.found
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, Estimate) else None

    @property
    def unknown(self) -> dict[str, str]:
        """Why what cannot be told cannot, by its name."""
        reasons: dict[str, str] = {}
        for name, value in self.found.items():
            parts = {name: value} if not isinstance(value, dict) else {f"{name}.{key}": each for key, each in value.items()}
            reasons |= {key: each.reason for key, each in parts.items() if isinstance(each, Unknown)}
        return reasons

    def as_json(self) -> dict[str, Any]:
        return {**self.facts, **{name: plain(value) for name, value in self.found.items()}, "unknown": self.unknown}


def diagnose(clip: Footage, counted: Counted = iter) -> Diagnosis:
    """Look at a clip and say what degraded it.

    Args:
        clip: the footage.
        counted: hands on its frames, to count them.

    Raises:
        VSRError: it cannot be read, has one frame, or is black.
    """
    stream = quantisers.stream(clip.path, clip.rate) if clip.kind == "video" else None
    seen = look(map(eight, counted(clip.frames())), clip.count, str(clip.path))
    measured = spectra(luma(frame) for frame in seen.kept)
    factor = coding.crf(stream)
    found: dict[str, Any] = {
        "crf": factor,
        "quantiser": coding.quantiser(stream),
        **degraded(measured, seen, factor.value if isinstance(factor, Estimate) else None),
        "jpeg": coding.jpeg(seen.kept),
        "interlaced": frames.fields(seen),
        "doubled": frames.doubled(seen),
        "cuts": frames.cuts(seen),
        "letterbox": frames.letterbox(seen),
        "levels": frames.levels(seen),
    }
    return Diagnosis(clip.name, _facts(clip, stream), found, seen, measured, stream)


def _facts(clip: Footage, stream: quantisers.Stream | None) -> dict[str, Any]:
    """What the file says of itself."""
    info = clip.info
    base = {"frames": clip.count, "size": list(clip.size)}
    if info is None or stream is None:
        return {"codec": None, "fps": None, "variable_rate": False, **base}
    return {
        "container": stream.container,
        "codec": info.codec,
        "bit_rate": stream.bit_rate,
        "fps": round(float(info.fps), 4),
        "variable_rate": info.variable,
        **base,
        "pixel_aspect": str(info.pixel_aspect),
        "pixels": info.pixels,
        "bits": info.depth,
        "colour": {"matrix": info.matrix, "primaries": info.primaries, "transfer": info.transfer, "range": info.range},
        "encoder": stream.settings.partition(" - options:")[0] if stream.settings else None,
        "gop": stream.gop,
    }


def degraded(measured: Any, seen: Look, crf: float | None) -> dict[str, Any]:
    """Blur, noise and enlargement."""
    if measured is None:
        return {"blur": Unknown(FEW), "noise": Unknown(FEW), "upscaled": Unknown(FEW)}
    found = estimator.estimate(measured, crf)
    sigma = estimator.noise(found)
    light = noise.of_luma(seen.kept)
    grey = noise.grey(light, seen.kept)
    channels = 1.0 if grey else 1 / estimator.COLOUR
    sigma = Estimate(*(channels * part for part in (sigma.value, sigma.low, sigma.high)))
    return {
        "blur": estimator.blur(found),
        "noise": {"sigma": sigma, "kind": noise.kind(light, sigma.value), "grey": grey},
        "upscaled": estimator.enlarged(found),
    }
