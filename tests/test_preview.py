"""The contact sheet: what stands in a caption, that all of it is on the paper, and that the pictures show what they say."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage import data

from models.parts.resize import imresize
from pipelines.cli import preview
from pipelines.clips.images import read_picture, write_png

TILE, GAP, MARGIN = preview.TILE, preview.GAP, preview.MARGIN


def photo(height: int, width: int) -> np.ndarray:
    return np.asarray(cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA))


def stages(count: int, height: int = 96, width: int = 144, label: str = "blur  σ 1.20") -> list[tuple[str, np.ndarray]]:
    """HR and frames that grow smaller."""
    sizes = [(max(1, height * 4 // (4 + step)), max(1, width * 4 // (4 + step))) for step in range(count)]
    return [("HR" if not step else label, photo(*size)) for step, size in enumerate(sizes)]


# ---------------------------------------------------------------- captions


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (
            {"op": "anisotropic", "sigma_x": 2.1, "sigma_y": 0.7, "theta": 0.3, "size": 21, "scale": 4, "kernel": [[1.0]]},
            "anisotropic  σx 2.10  σy 0.70  θ 0.30",
        ),
        ({"op": "bicubic", "scale": [4.0, 4.0]}, "bicubic"),
        ({"op": "gaussian", "sigma": 1.6, "scale": 4, "convention": "duf"}, "gaussian  duf  σ 1.60"),
        ({"op": "temporal", "factor": 2, "window": 3}, "temporal  factor 2  window 3"),
        ({"op": "resize", "mode": "area", "height": 90, "width": 160, "frame": 7}, "resize  area"),
        ({"op": "gaussian_noise", "grey": True, "seed": 2**62, "sigma": 12.345}, "gaussian noise  σ 12.3  grey"),
        ({"op": "poisson_noise", "grey": False, "seed": 1, "scale": 0.05321}, "poisson noise  scale 0.0532"),
        ({"op": "jpeg", "quality": 41}, "jpeg  quality 41"),
        ({"op": "sharpen", "weight": 0.5, "radius": 51, "threshold": 10.0}, "sharpen  weight 0.50  radius 51  threshold 10"),
        (
            {
                "op": "x264",
                "crf": None,
                "bit_rate": 45678,
                "preset": "medium",
                "fps": 25.0,
                "gop": None,
                "pixel_format": "yuv420p",
            },
            "x264  bit rate 45678  medium  fps 25  yuv420p",
        ),
        (
            {"op": "blur", "kind": "plateau_aniso", "size": 9, "theta": -0.3, "sigma_x": 1.0, "sigma_y": 153.27, "beta": 1.996},
            "blur  plateau aniso  σx 1  σy 153  θ -0.30  β 2.00",
        ),
    ],
)
def test_captions(step: dict[str, Any], text: str) -> None:
    assert preview.caption(step) == text
    assert preview.caption(json.loads(json.dumps(step, sort_keys=True))) == text  # as a manifest has it


@given(st.floats(-1e6, 1e6))
def test_numbers_keep_three_digits(value: float) -> None:
    said = float(preview.caption({"op": "a", "b": value}).removeprefix("a  b "))
    assert abs(said - value) <= max(0.0050001, 0.0050001 * abs(value))
    if abs(value) < 0.1:
        assert math.isclose(said, value, rel_tol=0.0050001)


# ---------------------------------------------------------------- text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=120), st.integers(40, 500))
def test_wrapped_text_is_whole_and_fits(text: str, width: int) -> None:
    font = preview._font(17, False)
    lines = preview._wrap(text := preview._clean(text), font, width)
    assert all(font.getlength(line) <= width for line in lines)
    assert re.sub(" ", "", "".join(lines)) == re.sub(" ", "", text)


def test_text_breaks_between_items_first() -> None:
    font = preview._font(17, False)
    text = "generalized aniso  σx 1.10  σy 0.70  θ 0.30  β 1.20  threshold 10"
    lines = preview._wrap(text, font, 200)
    assert len(lines) > 2
    assert [item for line in lines for item in line.split("  ")] == text.split("  ")


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=80), st.sampled_from([17, 20, 28]), st.booleans())
@example("0000000000000000000   0", 28, False)
@example("0000000000000000000  \u00a00", 28, False)
def test_text_is_not_cut_off(text: str, size: int, bold: bool) -> None:
    """On wider paper, with the same breaks, there is no more ink: none was lost on the right."""
    image = preview._text(text, size, TILE, bold=bold)
    lines = preview._wrap(preview._clean(text), preview._font(size, bold), TILE)
    wide = np.concatenate([preview._text(line, size, 4 * TILE, bold=bold) for line in lines])
    np.testing.assert_array_equal(preview._pad(image, len(image), 4 * TILE), wide)


def test_letters_of_captions_are_in_the_font() -> None:
    font = preview._font(17, False)
    absent = bytes(font.getmask("\uffff"))
    for letter in "σθβωαγ×.0123456789éüßžЖ“”…":
        assert bytes(font.getmask(letter)) != absent, letter


# ---------------------------------------------------------------- layout


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 150),
    st.integers(1, 150),
    st.text(max_size=60),
    st.text(max_size=60),
)
def test_any_count_and_size(count: int, height: int, width: int, label: str, title: str) -> None:
    image = preview.sheet(stages(count, height, width, label), title)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    columns = (image.shape[1] - 2 * MARGIN + GAP) / (TILE + GAP)
    assert columns == int(columns) and 1 <= columns <= min(count, 6)
    paper = np.ones(image.shape[:2], bool)
    paper[MARGIN:-MARGIN, MARGIN:-MARGIN] = False
    width = image.shape[1] - 2 * MARGIN
    heading = len(preview._text(title, 28, width, bold=True)) + preview.PAD + len(preview._text(preview.LEGEND, 16, width))
    for column in range(1, int(columns)):  # below the heading, nothing reaches from a tile into the next
        right = MARGIN + column * (TILE + GAP)
        paper[MARGIN + heading :, right - GAP : right] = True
    assert (image[paper] == 255).all()


def _boxes(image: np.ndarray, colour: np.ndarray) -> list[tuple[int, int, int, int]]:
    """left, top, width and height of the larger regions of a colour."""
    _, _, boxes, _ = cv2.connectedComponentsWithStats((image == colour).all(2).astype(np.uint8))
    return [(int(left), int(top), int(width), int(height)) for left, top, width, height, area in boxes[1:] if area > 1000]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_pictures_do_not_overlap(count: int) -> None:
    """Frames in colours of their own: each is there as often as it should be, in place, and none covers another."""
    colours = [np.array([200 * (index & 1), 200 * (index >> 1 & 1), 200 * (index >> 2)]) for index in range(count)]
    frames = [(f"step {i}", np.broadcast_to(colour, (90, 160, 3)).astype(np.uint8)) for i, colour in enumerate(colours)]
    image = preview.sheet(frames, "colours")
    boxes = [box for colour in colours for box in _boxes(image, colour)]
    region = preview.detail_region(frames[0][1])
    assert region[2:] == (48, 32)
    assert len([box for box in boxes if box[2] > 300]) == 2 * count  # whole and detail of each, inside their frames
    for left, top, width, height in boxes:
        assert left >= MARGIN and top >= MARGIN and (left - MARGIN) % (TILE + GAP) + width <= TILE
        assert width <= TILE and height <= TILE


def test_huge_frames_and_many_steps() -> None:
    image = preview.sheet(stages(13, 1080, 1920, "blur  generalized aniso  σx 2.10  σy 0.70  θ 0.30  β 1.20"), "realworld_x4")
    assert image.shape[1] < 3000 and image.shape[0] < 3000


def test_extreme_shapes() -> None:
    for height, width in ((8, 8), (1, 1), (2, 900), (900, 2), (1, 7)):
        image = preview.sheet(stages(3, height, width), "shapes")
        assert image.shape[0] < 1100


def test_same_input_same_bytes(tmp_path: Path) -> None:
    frames = stages(4, label="flou  été σ 1.20")
    for _, frame in frames:
        frame.setflags(write=False)  # as a store gives them
    before = [frame.copy() for _, frame in frames]
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name, preview.sheet(frames, "naïve_x4: “clip”"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert read_picture(tmp_path / "a.png").shape[2] == 3
    assert all((frame == kept).all() for (_, frame), kept in zip(frames, before, strict=True))


# ---------------------------------------------------------------- what the pictures show


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_region_has_most_detail(height: int, width: int, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    left, top, across, down = preview.detail_region(frame)
    assert 0 <= left <= width - across and 0 <= top <= height - down
    values = frame.astype(int)
    energy = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            energy[y, x] = sum(((values[y, x] - values[b, a]) ** 2).sum() for b, a in ((y - 1, x), (y, x - 1)) if min(a, b) >= 0)
    sums = {
        (y, x): energy[y : y + down, x : x + across].sum() for y in range(height - down + 1) for x in range(width - across + 1)
    }
    best = max(sums.values())
    assert (top, left) == min(place for place, value in sums.items() if value == best)


def test_the_region_is_where_the_texture_is() -> None:
    frame = np.full((360, 640, 3), 128, np.uint8)
    frame[200:285, 400:528] = np.random.default_rng(0).integers(0, 256, (85, 128, 3))
    assert preview.detail_region(frame) == (400, 200, 128, 85)


def test_pixels_of_lr_are_squares() -> None:
    """At x4 and 3 pixels of the sheet per pixel of HR, those of LR are 12 x 12, where they belong."""
    hr = photo(384, 512)
    lr = hr[2::4, 2::4]
    region = (128, 64, 128, 84)  # on the grid of LR
    detail = preview._detail(lr, hr.shape, region)
    expected = lr[16:37, 32:64].repeat(12, 0).repeat(12, 1)
    np.testing.assert_array_equal(detail[4:-4, 4:-4], expected[4:-4, 4:-4])
    np.testing.assert_array_equal(
        preview._detail(hr, hr.shape, region)[4:-4, 4:-4], hr[64:148, 128:256].repeat(3, 0).repeat(3, 1)[4:-4, 4:-4]
    )


def test_psnr_is_that_of_the_enlarged_frame() -> None:
    hr, lr = photo(96, 128), photo(24, 32)
    enlarged = imresize(torch.from_numpy(lr.astype(np.float64)).permute(2, 0, 1), 4.0).permute(1, 2, 0).numpy()
    weights = np.array([65.481, 128.553, 24.966]) / 255
    error = np.clip(np.floor(enlarged + 0.5), 0, 255) @ weights - hr @ weights
    assert preview._fidelity(lr, hr) == f"{10 * np.log10(255**2 / np.mean(error**2)):.2f} dB"
    assert preview._fidelity(hr, hr) == "equals HR"
