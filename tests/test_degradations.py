"""Degradations against closed forms, a dense-matrix reference and the encoder's own behaviour."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import params
from pipelines.clips import video
from pipelines.clips.images import read_png
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.degradations.recipes import ClipJob, Degrade, check, degrade_frames, lr_size, scale_of
from pipelines.degradations.resize import bicubic
from pipelines.errors import VSRError

BI = [params.Bicubic(op="bicubic", scale=4)]
CRF = {crf: [*BI, params.X264(op="x264", crf=crf, preset="medium")] for crf in (15, 25)}


def moving(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth colours and fine detail that drift by a pixel and more per frame."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    frames = []
    for t in range(count):
        waves = [np.sin((x + 1.5 * t) / 7), np.cos((y - t) / 5), np.sin((x + y + 2 * t) / 2.2)]
        frames.append(np.rint(127.5 + 90 * np.stack([waves[k] * waves[(k + 1) % 3] for k in range(3)], -1)).astype(np.uint8))
    return frames


def slow_bicubic(plane: np.ndarray, outputs: int, scale: float) -> np.ndarray:
    """The first axis of `plane` resized by sums written out tap by tap, as MATLAB's documentation tells it."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    widen = max(scale, 1.0)
    rows = []
    for i in range(outputs):
        centre = (i + 0.5) * scale - 0.5
        taps = range(math.floor(centre - 2 * widen), math.ceil(centre + 2 * widen) + 1)
        weights = [kernel((centre - tap) / widen) for tap in taps]
        total, value = sum(weights), 0.0
        for tap, weight in zip(taps, weights, strict=True):
            mirrored = tap % (2 * len(plane))
            value = value + weight / total * plane[min(mirrored, 2 * len(plane) - 1 - mirrored)]
        rows.append(value)
    return np.array(rows)


def reference(frame: np.ndarray, scale: float) -> np.ndarray:
    """LR before rounding, float64."""
    height, width = (math.floor(side / scale) for side in frame.shape[:2])
    cropped = frame[: round(height * scale), : round(width * scale)].astype(np.float64)
    rows = slow_bicubic(cropped, height, scale)
    return slow_bicubic(rows.swapaxes(0, 1), width, scale).swapaxes(0, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1.0, 2.0, 3.0, 4.0, 2.5, 1.7, 0.5]), st.integers(0, 2**32 - 1))
def test_bicubic_is_the_rounded_reference(height: int, width: int, scale: float, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    if min(height, width) < scale:
        with pytest.raises(VSRError, match="cannot be reduced"):
            bicubic(frame, scale)
        return
    out = bicubic(frame, scale)
    exact = reference(frame, scale)
    assert out.shape == (math.floor(height / scale), math.floor(width / scale), 3) and out.dtype == np.uint8
    # A tie may fall either way where weights are not dyadic fractions; nothing else may differ.
    assert np.abs(out - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-9


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 60), st.integers(4, 60), st.integers(0, 255), st.sampled_from([2.0, 3.0, 4.0, 1.5]))
def test_constant_stays_constant(height: int, width: int, level: int, scale: float) -> None:
    assert (bicubic(np.full((height, width, 3), level, np.uint8), scale) == level).all()


def test_x4_weights_in_closed_form() -> None:
    """An impulse gives back the 16 weights: Keys' kernel at odd eighths over 4, dyadic fractions."""
    k = np.arange(-15, 16, 2) / 8
    near = 1.5 * np.abs(k) ** 3 - 2.5 * k**2 + 1
    far = -0.5 * np.abs(k) ** 3 + 2.5 * k**2 - 4 * np.abs(k) + 2
    taps = np.where(np.abs(k) <= 1, near, far) / 4
    assert math.isclose(taps.sum(), 1) and ((4096 * taps) % 1 == 0).all()
    line = np.random.default_rng(0).integers(0, 256, 16 * 4, dtype=np.uint8)
    expected = np.array([taps @ line[4 * i - 6 : 4 * i + 10] for i in range(2, 14)])
    out = bicubic(np.repeat(np.repeat(line[None, :, None], 16, 0), 3, 2), 4.0)
    assert (out[0, 2:14, 0] == np.clip(np.floor(expected + 0.5), 0, 255)).all()


def test_ties_round_away_from_zero() -> None:
    # Columns of 4 that alternate by one average to exactly n + 1/2 by symmetry of the kernel.
    frame = np.tile(np.array([10, 11], np.uint8)[None, :, None], (16, 16, 3))
    assert (bicubic(frame, 4.0)[:, 2:-2] == 11).all()


def test_bicubic_on_real_frames(shared_data: Path) -> None:
    for clip in ("calendar", "walk"):
        frame = read_png(shared_data / f"Vid4/GT/{clip}/00000007.png")
        exact = reference(frame, 4.0)
        assert (bicubic(frame, 4.0) == np.clip(np.floor(exact + 0.5), 0, 255)).all()


def test_scale_and_size() -> None:
    assert scale_of(BI) == 4 and scale_of(CRF[25]) == 4 and scale_of(CRF[25][1:]) == 1
    assert lr_size(BI, (719, 1283)) == (179, 320)
    assert lr_size([params.Bicubic(op="bicubic", scale=3.5)], (720, 1280)) == (205, 365)
    with pytest.raises(VSRError, match="318x179.*even"):
        lr_size(CRF[25], (716, 1272))
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(VSRError, match="above 0"):
            bicubic(np.zeros((8, 8, 3), np.uint8), scale)


def degraded(recipe: params.Recipe, frames: list[np.ndarray], fps: float = 25) -> tuple[list[np.ndarray], dict]:
    stream, info = degrade_frames(recipe, iter(frames), fps, frames[0].shape[:2])  # type: ignore[arg-type]
    return list(stream), info


def test_x264_costs_what_its_factor_says_and_repeats() -> None:
    frames = moving(12, 128, 192)
    lr, _ = degraded(BI, frames)
    high, first = degraded(CRF[15], frames)
    low, second = degraded(CRF[25], frames)
    again, third = degraded(CRF[25], frames)
    assert len(high) == len(low) == len(lr) == 12 and low[0].shape == (32, 48, 3)
    errors = [float(np.mean((np.stack(out).astype(float) - np.stack(lr)) ** 2)) for out in (high, low)]
    assert 0 < errors[0] < errors[1]
    rates = [info["steps"][1]["bit_rate"] for info in (first, second)]
    assert rates[0] > rates[1] > 0
    assert second == third and all((a == b).all() for a, b in zip(low, again, strict=True))
    step = second["steps"][1]
    assert len(step["frame_bytes"]) == 12 and sum(step["frame_bytes"]) == step["bytes"]
    assert step["bit_rate"] == round(step["bytes"] * 8 * 25 / 12)
    assert step["crf"] == 25 and step["encoder"].startswith("x264 core") and step["ffmpeg"] != "unknown"
    assert "25" in step["arguments"]["coder"] and not any("/tmp" in part for part in step["arguments"]["coder"])


def test_x264_keeps_colours() -> None:
    """At a rate factor of 0 what is left is the rounding of 8-bit YUV: both directions use one matrix and range."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)]
    frames = [np.full((32, 48, 3), colour, np.uint8) for colour in colours]
    out, _ = degraded([params.X264(op="x264", crf=0, preset="medium")], frames)
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(out, frames, strict=True)) <= 3


def test_x264_refuses_what_it_cannot_take() -> None:
    with pytest.raises(VSRError, match="37x31.*even"):
        degrade_frames(CRF[25], iter([]), 25, (124, 148))
    stream, _ = degrade_frames(CRF[25], iter([]), 25, (128, 128))
    with pytest.raises(VSRError, match="no frames"):
        next(stream)


def test_without_x264_the_check_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "ffmpeg"
    bare.write_text("#!/bin/sh\necho \"Codec 'libx264' is not recognized by FFmpeg.\"\n")
    bare.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(bare))
    check(BI)
    with pytest.raises(VSRError, match="no libx264.*pip install"):
        check(CRF[25])
    with pytest.raises(VSRError, match="no libx264"):
        Degrade(CRF[25], "crf25_x4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nothing"))
    with pytest.raises(VSRError, match="cannot be run"):
        video.check_x264()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    with ClipWriter(tmp_path / "work", "waves") as writer:
        for frame in moving(9, 66, 98):
            writer.append({"rgb": frame})
        writer.finish(ClipAttributes("train", 30000 / 1001, 66, 98, "waves.mp4"))
    assemble(tmp_path / "work", ["waves"], tmp_path / "hr")
    yield tmp_path / "hr"


def test_worker_gives_frames_then_attributes(store: Path) -> None:
    *batches, attributes = Degrade(CRF[25], "crf25_x4")(ClipJob(store, "waves"))
    frames = [frame["rgb"] for batch in batches for frame in batch]  # type: ignore[union-attr]
    assert isinstance(attributes, ClipAttributes)
    expected, info = degraded(CRF[25], list(Store(store).frames("waves")), 30000 / 1001)
    assert [hashlib.sha256(frame).digest() for frame in frames] == [hashlib.sha256(frame).digest() for frame in expected]
    assert (attributes.height, attributes.width, attributes.fps, attributes.split) == (16, 24, 30000 / 1001, "train")
    assert attributes.parameters == {"degradation": "crf25_x4", **info}
    assert [step["op"] for step in attributes.parameters["steps"]] == ["bicubic", "x264"]
    assert attributes.parameters["steps"][1]["arguments"]["coder"].count("30000/1001") == 1
