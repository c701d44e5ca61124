"""Filters against loops over pixels, SciPy's, closed forms, and the sub-pixel position of what they sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate, gaussian_filter, map_coordinates, spline_filter

from pipelines.clips.images import read_picture
from pipelines.degradations import filtering, kernels
from pipelines.errors import VSRError

torch.set_num_threads(1)

SCALES = (1, 2, 3, 4, 5, 8)
BORDERS = st.sampled_from(["reflect", "replicate"])


def beyond(index: int, size: int, border: str) -> int:
    """The pixel that stands at an index outside the frame."""
    while not 0 <= index < size:
        if border == "replicate" or size == 1:
            index = 0 if index < 0 else size - 1
        else:
            index = -index if index < 0 else 2 * (size - 1) - index
    return index


def slow(plane: np.ndarray, kernel: np.ndarray, border: str, stride: int, start: int) -> np.ndarray:
    """Correlation, pixel by pixel and tap by tap."""
    height, width = plane.shape
    rows, columns = kernel.shape
    out = np.zeros((height // stride, width // stride))
    for i, j in np.ndindex(*out.shape):
        for m, n in np.ndindex(rows, columns):
            y = beyond(start + stride * i + m - (rows - 1) // 2, height, border)
            x = beyond(start + stride * j + n - (columns - 1) // 2, width, border)
            out[i, j] += kernel[m, n] * plane[y, x]
    return out


def random_clip(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, shape))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_correlate_is_the_sum_written_out(data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, 4))
    height, width = (data.draw(st.integers(stride, 12)) for _ in range(2))
    size, start, frames = data.draw(st.integers(1, 9)), data.draw(st.integers(0, stride - 1)), data.draw(st.integers(1, 3))
    border, shared = data.draw(BORDERS), data.draw(st.booleans())
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    clip = generator.uniform(0, 255, (frames, 2, height, width))
    own = generator.normal(size=(1 if shared else frames, size, size))
    found = filtering.correlate(torch.from_numpy(clip), torch.from_numpy(own), border=border, stride=stride, start=start)
    expected = [[slow(plane, own[0 if shared else f], border, stride, start) for plane in clip[f]] for f in range(frames)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("border", ["reflect", "replicate"])
@pytest.mark.parametrize("size", [7, 12, 21])
def test_correlate_is_scipys(border: filtering.Border, size: int) -> None:
    clip, kernel = random_clip(1, 1, 40, 57), random_clip(1, size, size, seed=1) / size**2
    found = filtering.correlate(clip, kernel, border=border)
    mode = {"reflect": "mirror", "replicate": "nearest"}[border]
    expected = correlate(clip[0, 0].numpy(), kernel[0].numpy(), mode=mode, origin=(size - 1) // 2 - size // 2)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_bd_is_the_published_kernel_written_out(data: st.DataObject) -> None:
    scale, sigma = data.draw(st.sampled_from(SCALES)), data.draw(st.sampled_from([0.5, 0.8, 1.2, 1.6, 2.3]))
    height, width = (data.draw(st.integers(scale, 18)) for _ in range(2))
    plane = random_clip(height, width, seed=data.draw(st.integers(0, 99)))

    radius = int(4 * sigma + 0.5)
    impulse = np.zeros((2 * radius + 1,) * 2)
    impulse[radius, radius] = 1
    expected = slow(plane.numpy(), gaussian_filter(impulse, sigma), "reflect", scale, 0)
    np.testing.assert_allclose(filtering.bd(plane[None, None], sigma, scale, "duf")[0, 0].numpy(), expected, atol=1e-10)

    # MATLAB counts from 1: rows scale/2 : scale : end - scale/2 of even scales, the middle of each block of odd ones.
    size = math.ceil(sigma * 3) * 2 + (2 if scale % 2 == 0 else 1)
    if scale == 3 and sigma == 1.6:
        size = 7
    axis = np.arange(size) - (size - 1) / 2
    gaussian = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * sigma**2))
    first = (scale // 2 if scale % 2 == 0 else (scale + 1) // 2) - 1
    expected = slow(plane.numpy(), gaussian / gaussian.sum(), "replicate", scale, first)
    np.testing.assert_allclose(filtering.bd(plane[None, None], sigma, scale, "basicvsr")[0, 0].numpy(), expected, atol=1e-10)


def block(size: int, sigma_x: float, sigma_y: float, theta: float) -> Callable[[torch.Tensor, int], torch.Tensor]:
    return lambda clip, scale: filtering.anisotropic(
        clip, filtering.block_kernel(size, sigma_x, sigma_y, theta, scale)[None], scale
    )


REDUCTIONS: dict[str, tuple[Callable[[torch.Tensor, int], torch.Tensor], Callable[[int], float]]] = {
    "duf": (lambda clip, scale: filtering.bd(clip, 1.6, scale, "duf"), lambda scale: 0.0),
    "basicvsr": (lambda clip, scale: filtering.bd(clip, 1.6, scale, "basicvsr"), lambda scale: (scale - 1) / 2),
    "anisotropic": (block(21, 3.0, 0.8, 0.5), lambda scale: (scale - 1) / 2),
    "wide": (block(21, 5.0, 4.0, -1.1), lambda scale: (scale - 1) / 2),
    "thin": (block(21, 0.2, 0.3, 0.9), lambda scale: (scale - 1) / 2),
    "even": (block(16, 2.0, 1.2, 2.5), lambda scale: (scale - 1) / 2),
}
"""A reduction of a clip by a scale, and where it says that LR pixel i lies: at HR pixel scale * i plus this."""


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_constants_stay_and_ramps_are_sampled_at_the_phase(name: str, scale: int) -> None:
    reduce, phase = REDUCTIONS[name]
    rows, columns = 23, 25
    y, x = (torch.arange(count * scale + scale - 1, dtype=torch.float64) for count in (rows, columns))
    constant = torch.full((1, 1, len(y), len(x)), 93, dtype=torch.float64)
    torch.testing.assert_close(reduce(constant, scale), constant[..., :rows, :columns], atol=1e-11, rtol=0)

    def ramp(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 0.5 * x + 0.25 * y[:, None] + 7

    i, j = (scale * torch.arange(count, dtype=torch.float64) + phase(scale) for count in (rows, columns))
    edge = math.ceil(11 / scale)
    inner = (slice(edge, rows - edge), slice(edge, columns - edge))
    torch.testing.assert_close(reduce(ramp(x, y)[None, None], scale)[0, 0][inner], ramp(j, i)[inner], atol=1e-10, rtol=0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_phase_of_a_wave_is_the_documented_one(name: str, scale: int) -> None:
    """Along each axis, a slow wave comes out weaker but where it was: its phase gives the sampling position."""
    reduce, phase = REDUCTIONS[name]
    count, period = 32, 16.0 * scale
    for axis in (-1, -2):
        x = torch.arange(count * scale, dtype=torch.float64)
        wave = 127.5 + 100 * torch.cos(2 * math.pi * x / period + 0.6)
        plane = wave.expand(40 * scale, -1) if axis == -1 else wave[:, None].expand(-1, 40 * scale)
        lr = reduce(plane[None, None], scale)[0, 0]
        line = (lr[20] if axis == -1 else lr[:, 20]).numpy()
        edge = math.ceil(11 / scale)
        at = np.arange(edge, count - edge) * scale
        angle = 2 * math.pi * at / period + 0.6
        basis = np.stack([np.ones_like(angle), np.cos(angle), -np.sin(angle)], 1)
        (_, real, imaginary), *_ = np.linalg.lstsq(basis, line[edge : count - edge], rcond=None)
        assert math.hypot(real, imaginary) > 15
        assert math.atan2(imaginary, real) * period / (2 * math.pi) == pytest.approx(phase(scale), abs=1e-9)


def blurred(plane: np.ndarray, name: str) -> np.ndarray:
    """The HR plane as SciPy blurs it, where it is."""
    if name != "anisotropic":
        return gaussian_filter(plane, 1.6, truncate=6)
    y, x = np.mgrid[-20:21, -20:21]
    along, across = math.cos(0.5) * x + math.sin(0.5) * y, math.cos(0.5) * y - math.sin(0.5) * x
    kernel = np.exp(-0.5 * ((along / 3.0) ** 2 + (across / 0.8) ** 2))
    return correlate(plane, kernel / kernel.sum(), mode="mirror")


def registered(lr: np.ndarray, hr: np.ndarray, scale: int, phase: float) -> np.ndarray:
    """How far, in HR pixels (x, y), an LR plane lies from a blurred HR plane sampled at `scale i + phase`.

    HR is interpolated by a spline and moved until the squared difference, away from the borders, is least (Lucas and
    Kanade 1981), a gain and an offset left free.
    """
    margin = 24 // scale + 1
    rows, columns = (np.arange(margin, side - margin) for side in lr.shape)
    target = lr[margin : lr.shape[0] - margin, margin : lr.shape[1] - margin].ravel()
    coefficients = spline_filter(hr, order=5)

    def sample(x: float, y: float) -> np.ndarray:
        at = np.meshgrid(scale * rows + phase + y, scale * columns + phase + x, indexing="ij")
        return map_coordinates(coefficients, at, order=5, prefilter=False).ravel()

    x = y = 0.0
    for _ in range(8):
        slope_x = (sample(x + 0.05, y) - sample(x - 0.05, y)) / 0.1
        slope_y = (sample(x, y + 0.05) - sample(x, y - 0.05)) / 0.1
        basis = np.stack([sample(x, y), np.ones_like(target), slope_x, slope_y], 1)
        (gain, _, dx, dy), *_ = np.linalg.lstsq(basis, target, rcond=None)
        x, y = x + dx / gain, y + dy / gain
    return np.array([x, y])


def texture(seed: int) -> np.ndarray:
    """Structure of all scales down to two pixels, as natural pictures have it."""
    noise = np.random.default_rng(seed)
    return 128 + sum(s * 25 * gaussian_filter(noise.normal(size=(192, 240)), s) for s in (0.7, 1.5, 3, 6))


def eight_bit_lr(name: str, plane: np.ndarray) -> np.ndarray:
    return np.floor(REDUCTIONS[name][0](torch.from_numpy(plane)[None, None], 4)[0, 0].numpy() + 0.5)


@pytest.mark.parametrize("name", ["duf", "basicvsr", "anisotropic"])
def test_registered_to_hr_within_a_fiftieth_of_a_pixel(name: str) -> None:
    plane, phase = texture(3), REDUCTIONS[name][1](4)
    lr, hr = eight_bit_lr(name, plane), blurred(plane, name)
    assert np.abs(registered(lr, hr, 4, phase)).max() < 0.02
    # And the other phase is told apart.
    np.testing.assert_allclose(registered(lr, hr, 4, 1.5 - phase), 2 * phase - 1.5, atol=0.02)


@pytest.mark.parametrize("clip", ["calendar", "walk"])
def test_registered_to_real_footage(clip: str, shared_data: Path) -> None:
    plane = read_picture(sorted((shared_data / "Vid4/GT" / clip).glob("*.png"))[5])[..., 1].astype(np.float64)
    for name in ("duf", "basicvsr", "anisotropic"):
        lr = eight_bit_lr(name, plane)
        assert lr.shape == (plane.shape[0] // 4, plane.shape[1] // 4)
        assert np.abs(registered(lr, blurred(plane, name), 4, REDUCTIONS[name][1](4))).max() < 0.02


CLIP_FILTERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "bd": lambda clip: filtering.bd(clip, 1.6, 4, "basicvsr"),
    "anisotropic": lambda clip: block(21, 3.0, 0.8, 0.5)(clip, 4),
    "blur": lambda clip: filtering.blur(clip, kernels.sinc(13, 2.0)[None]),
}


@settings(deadline=None, max_examples=20)
@given(st.integers(4, 70), st.integers(4, 70), st.integers(2, 6), st.sampled_from(sorted(CLIP_FILTERS)))
def test_frames_do_not_depend_on_each_other(height: int, width: int, frames: int, name: str) -> None:
    clip = random_clip(frames, 3, height, width)
    together = CLIP_FILTERS[name](clip)
    assert torch.equal(together, torch.cat([CLIP_FILTERS[name](frame) for frame in clip.split(1)]))
    assert torch.equal(together[1:], CLIP_FILTERS[name](clip[1:]))


def test_frames_have_kernels_of_their_own() -> None:
    clip = random_clip(3, 3, 30, 41)
    own = torch.stack([kernels.gaussian(9, 0.5 + f, 1.0, f) for f in range(3)])
    expected = torch.cat([filtering.blur(clip[f : f + 1], own[f : f + 1]) for f in range(3)])
    assert torch.equal(filtering.blur(clip, own), expected)
    assert torch.equal(filtering.anisotropic(clip, own, 3), filtering.correlate(clip, own, border="reflect", stride=3, start=1))


@pytest.mark.parametrize("name", CLIP_FILTERS)
def test_precision_of_narrow_types(name: str) -> None:
    clip = random_clip(2, 3, 120, 212).round()
    exact = CLIP_FILTERS[name](clip)
    for kind, tolerance in ((torch.float32, 1e-3), (torch.float16, 0.13), (torch.bfloat16, 1.0)):
        found = CLIP_FILTERS[name](clip.to(kind))  # integers to 255 are exact in all of them
        assert found.dtype == kind
        torch.testing.assert_close(found.double(), exact, atol=tolerance, rtol=0)


def test_gradients_flow() -> None:
    clip = random_clip(2, 1, 6, 7).requires_grad_()
    kernel = kernels.gaussian(5, 1.0, 0.7, 0.3)[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda x, k: filtering.correlate(x, k, border="reflect", stride=2), (clip, kernel))
    for convention in ("duf", "basicvsr"):
        assert torch.autograd.gradcheck(lambda x, own=convention: filtering.bd(x, 0.8, 2, own), (clip,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CLIP_FILTERS)
def test_the_gpu_gives_what_the_cpu_does(name: str) -> None:
    clip = random_clip(3, 3, 120, 212)
    exact = CLIP_FILTERS[name](clip)
    torch.testing.assert_close(CLIP_FILTERS[name](clip.cuda()).cpu(), exact, atol=1e-9, rtol=0)
    torch.testing.assert_close(CLIP_FILTERS[name](clip.float().cuda()).cpu().double(), exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filtering.bd(random_clip(1, 3, 8, 3), 1.6, 4, "duf"), "frames 3 pixels wide or high cannot be reduced by 4"),
        (lambda: filtering.bd(random_clip(1, 3, 8, 8), 1.6, 4, "basicvr"), "did you mean 'basicvsr'"),  # type: ignore[arg-type]
        (lambda: filtering.block_kernel(1, 1.0, 1.0, 0.0, 4), "or a larger kernel"),
    ],
)
def test_bad_input_is_told(call: Callable[[], torch.Tensor], message: str) -> None:
    with pytest.raises(VSRError, match=message):
        call()
