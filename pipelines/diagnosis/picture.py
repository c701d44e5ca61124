"""A diagnosis as a picture: spectrum, kernel, noise against level, quantiser over time, and cuts."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.atomic import beside
from pipelines.diagnosis import noise
from pipelines.diagnosis.diagnose import Diagnosis
from pipelines.diagnosis.estimate import Estimate
from pipelines.diagnosis.look import luma
from pipelines.diagnosis.words import rows

REACH = 6
"""Pixels of the clip to each side of the kernel's middle."""


def draw(path: Path, one: Diagnosis) -> None:
    """Write the picture of a diagnosis; it appears whole."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    figure.suptitle(one.name)
    plots = figure.subplots(2, 3)
    _frame(plots[0, 0], one)
    _spectrum(plots[0, 1], one)
    _kernel(plots[0, 2], one)
    _noise(plots[1, 0], one)
    _quantisers(plots[1, 1], one)
    words = "\n".join(f"{label}: {text}" for label, text in rows(one))
    plots[1, 2].axis("off")
    plots[1, 2].text(0, 1, words, va="top", fontsize=7, wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    building = beside(path, ".new.png")
    try:
        figure.savefig(building, dpi=110, metadata={"Software": None})
        os.replace(building, path)
    finally:
        building.unlink(missing_ok=True)


def _frame(plot: Axes, one: Diagnosis) -> None:
    plot.imshow(one.seen.kept[len(one.seen.kept) // 2])
    plot.set(title="a frame", xticks=[], yticks=[])


def _spectrum(plot: Axes, one: Diagnosis) -> None:
    light = luma(one.seen.kept[len(one.seen.kept) // 2])
    window = np.outer(np.hanning(light.shape[0]), np.hanning(light.shape[1]))
    power = np.log10(np.abs(np.fft.fftshift(np.fft.fft2((light - light.mean()) * window))) ** 2 + 1)
    plot.imshow(power, extent=(-0.5, 0.5, 0.5, -0.5), cmap="magma", aspect="auto")
    plot.set(title="its spectrum, log power", xlabel="cycles per pixel")


def _kernel(plot: Axes, one: Diagnosis) -> None:
    across, along, theta = (one.estimate("blur", name) for name in ("sigma_x", "sigma_y", "theta"))
    plot.set(title="blur, pixels of the clip: one and two σ", xlim=(-REACH, REACH), ylim=(REACH, -REACH), aspect="equal")
    if not (across and along):
        return
    turns = np.linspace(0, 2 * math.pi, 200)
    angle = theta.value if theta else 0.0
    for times in (1, 2):
        x, y = times * across.value * np.cos(turns), times * along.value * np.sin(turns)
        plot.plot(math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y)
    plot.grid(alpha=0.3)


def _noise(plot: Axes, one: Diagnosis) -> None:
    level, variance = noise.by_level(noise.of_luma(one.seen.kept))
    plot.plot(level, np.sqrt(variance), "o-")
    plot.set(title="deviation of flat patches by level", xlabel="level of luma", ylabel="levels", ylim=(0, None))


def _quantisers(plot: Axes, one: Diagnosis) -> None:
    plot.set(title="quantiser of every frame, cuts", xlabel="frame")
    if one.stream is not None and isinstance(one.found["quantiser"], Estimate):
        for kind in sorted(set(one.stream.kinds)):
            at = [index for index, each in enumerate(one.stream.kinds) if each == kind]
            plot.plot(at, np.array([one.stream.quantisers[index] for index in at], float), ".", label=kind)
        plot.legend()
    for cut in one.found["cuts"]:
        plot.axvline(cut, color="black", linewidth=0.7)
