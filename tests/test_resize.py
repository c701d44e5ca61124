"""imresize against MATLAB's definition, written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.parts.resize import imresize, weight_matrix

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

SCALES = st.one_of(st.sampled_from([0.25, 0.5, 1 / 3, 1.0, 2.0, 3.0, 4.0]), st.floats(0.11, 5.0))


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def matlab_axis(line: np.ndarray, scale: float) -> np.ndarray:
    """One axis as MATLAB documents it, with its 1-based coordinates."""
    size = len(line)
    result = []
    for x in range(1, math.ceil(size * scale) + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        width = 4 / scale if scale < 1 else 4.0
        total, weights = 0.0, 0.0
        for tap in range(math.floor(u - width / 2), math.ceil(u + width / 2) + 1):
            weight = scale * cubic(scale * (u - tap)) if scale < 1 else cubic(u - tap)
            inside = tap
            while not 1 <= inside <= size:  # the border is mirrored, its pixel repeated
                inside = 1 - inside if inside < 1 else 2 * size + 1 - inside
            total, weights = total + weight * line[inside - 1], weights + weight
        result.append(total / weights)
    return np.array(result)


def matlab(image: np.ndarray, scale: float) -> np.ndarray:
    rows = np.apply_along_axis(matlab_axis, 0, image, scale)
    return np.apply_along_axis(matlab_axis, 1, rows, scale)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 21), st.integers(1, 21), SCALES, st.integers(0, 99))
def test_is_matlabs(height: int, width: int, scale: float, seed: int) -> None:
    image = np.random.default_rng(seed).random((height, width))
    expected = matlab(image, scale)
    np.testing.assert_allclose(imresize(torch.from_numpy(image), scale).numpy(), expected, atol=1e-12)
    single = imresize(torch.from_numpy(image).float(), scale)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=3e-6)


def test_large_sides_are_cut_into_blocks_without_a_seam() -> None:
    line = np.random.default_rng(0).random(333)
    for scale in (0.25, 0.3, 1.7, 4):
        expected = matlab_axis(line, scale)
        wide = imresize(torch.from_numpy(line).repeat(5, 1), scale)
        np.testing.assert_allclose(wide[0].numpy(), expected, atol=1e-12)
        tall = imresize(torch.from_numpy(line).repeat(5, 1).T.contiguous(), scale)
        np.testing.assert_allclose(tall[:, 0].numpy(), expected, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), SCALES)
def test_weights_sum_to_one_and_are_symmetric(size: int, scale: float) -> None:
    matrix = weight_matrix(size, scale)
    assert matrix.shape == (math.ceil(size * scale), size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    if math.isclose(size * scale, round(size * scale)):  # else the output's pixels reach beyond one end
        np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-9)


def test_shrinking_by_four_has_sixteen_taps() -> None:
    matrix = weight_matrix(80, 0.25)
    assert set(np.count_nonzero(matrix[3:-3], axis=1)) == {16}


def test_enlarging_by_a_whole_number_is_the_plain_cubic() -> None:
    row = weight_matrix(12, 4.0)[4 * 5]  # 3/8 of a pixel left of input pixel 5
    np.testing.assert_allclose(row[3:7], [cubic(1.625), cubic(0.625), cubic(0.375), cubic(1.375)], atol=1e-15)
    assert np.count_nonzero(row) == 4


@pytest.mark.parametrize("scale", [0.25, 0.4, 4.0])
def test_constant_stays_constant(scale: float) -> None:
    assert torch.allclose(imresize(torch.full((3, 19, 23), 0.7), scale), torch.tensor(0.7), atol=1e-6)


def test_interior_agrees_with_torchs_antialiased_bicubic() -> None:
    x = torch.rand(1, 3, 96, 128, dtype=torch.float64)
    other = torch.nn.functional.interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True)
    inside = (..., slice(3, -3), slice(3, -3))
    assert torch.allclose(imresize(x, 0.25)[inside], other[inside], atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_leading_axes_are_frames(scale: float) -> None:
    clip = torch.rand(2, 3, 3, 20, 28)
    resized = imresize(clip, scale)
    for n in range(2):
        for t in range(3):
            assert torch.allclose(resized[n, t], imresize(clip[n, t], scale), atol=1e-6)


@pytest.mark.parametrize("scale", [0.25, 0.37, 2.0, 4.0])
def test_gradient_is_the_transposed_map(scale: float) -> None:
    x = torch.rand(2, 3, 45, 37, dtype=torch.float64, requires_grad=True)
    resized = imresize(x, scale)
    down, along = (torch.from_numpy(weight_matrix(side, scale)) for side in (45, 37))
    direction = torch.rand_like(resized)
    (gradient,) = torch.autograd.grad(resized, x, direction)
    assert torch.allclose(gradient, down.T @ direction @ along, atol=1e-12)


def test_gradient_by_differences() -> None:
    x = torch.rand(2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: imresize(value, 1.5), x, fast_mode=True)


def test_keeps_full_precision_under_autocast() -> None:
    x = torch.rand(3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(imresize(x, 4), imresize(x.clone(), 4))
        resized = imresize(x, 4)
    assert torch.equal(resized, imresize(x, 4))


def test_non_contiguous_input() -> None:
    frames = torch.rand(2, 12, 16, 3)
    assert torch.equal(imresize(frames.permute(0, 3, 1, 2), 0.25), imresize(frames.permute(0, 3, 1, 2).contiguous(), 0.25))


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan])
def test_impossible_scale(scale: float) -> None:
    with pytest.raises(ValueError, match="give a positive number"):
        imresize(torch.rand(3, 8, 8), scale)


def test_impossible_image() -> None:
    with pytest.raises(ValueError, match="uint8"):
        imresize(torch.zeros(3, 8, 8, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match="at least one pixel"):
        imresize(torch.zeros(3, 0, 8), 2)
