"""A diagnosis in words."""

from __future__ import annotations

import math
from typing import Any

from pipelines.diagnosis.diagnose import Diagnosis
from pipelines.diagnosis.estimate import Estimate, Unknown

ENLARGED = 1.3
"""From which factor on a clip is said to be enlarged; the estimate's deviation is about 0.1."""


def rows(one: Diagnosis) -> list[tuple[str, str]]:
    """Labels and what stands beside them."""
    facts, found = one.facts, one.found
    height, width = facts["size"]
    told = [("size", f"{width}x{height}, {facts['frames']} frames")]
    if facts["codec"]:
        rate = f"{facts['fps']:g} frames per second" + (", varying" if facts["variable_rate"] else "")
        told.append(
            (
                "stream",
                f"{facts['codec']} in {facts['container']}, {facts['bit_rate'] / 1000:,.0f} kbit/s, {rate}, {facts['pixels']}",
            )
        )
        told.append(("encoder", facts["encoder"] or "says nothing of itself"))
    told.append(("CRF of x264", _text(found["crf"])))
    told.append(("quantiser", _text(found["quantiser"])))
    told.append(("blur", _blur(found["blur"], one)))
    told.append(("noise", _noise(found["noise"])))
    told.append(("JPEG", _text(found["jpeg"], "quality ")))
    told.append(("enlarged", _enlarged(found["upscaled"])))
    fields = found["interlaced"]
    told.append(
        ("fields", _text(fields) if isinstance(fields, Unknown) else f"{fields['kind']} ({fields['share']:.0%} of frames combed)")
    )
    told.append(("doubled", _list(found["doubled"])))
    told.append(("cuts", _list(found["cuts"])))
    borders = {side: lines for side, lines in found["letterbox"].items() if lines}
    told.append(("black borders", ", ".join(f"{side} {lines}" for side, lines in borders.items()) or "none"))
    levels = found["levels"]
    told.append(("luma", f"{levels['low']} to {levels['high']}, {levels['black']:.1%} black, {levels['white']:.1%} white"))
    return told


def _text(value: Any, before: str = "") -> str:
    return f"cannot tell: {value.reason}" if isinstance(value, Unknown) else f"{before}{value}"


def _list(value: list[int] | Unknown) -> str:
    if isinstance(value, Unknown):
        return _text(value)
    if not value:
        return "none"
    shown = ", ".join(map(str, value[:12]))
    return f"{len(value)}: frames {shown}{', …' if len(value) > 12 else ''}"


def _blur(blur: Any, one: Diagnosis) -> str:
    if isinstance(blur, Unknown):
        return _text(blur)
    theta = blur["theta"]
    turned = f", turned by {math.degrees(theta.value):.0f}°" if isinstance(theta, Estimate) else ", round"
    return f"σ {blur['sigma_x']} by {blur['sigma_y']} pixels of the clip{turned}"


def _noise(noise: Any) -> str:
    if isinstance(noise, Unknown):
        return _text(noise)
    kind = "of a kind that cannot be told" if isinstance(noise["kind"], Unknown) else noise["kind"]
    return f"σ {noise['sigma']} levels, {kind}, {'the same in all channels' if noise['grey'] else 'of its own in each channel'}"


def _enlarged(factor: Any) -> str:
    if isinstance(factor, Unknown):
        return _text(factor)
    return f"{factor} times" if factor.value >= ENLARGED else "no"
