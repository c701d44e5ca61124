"""Deformable convolution against a plain second implementation and torchvision's operator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_edvr import liven, plain_deform, small
from test_models import as_arrays
from torch import Tensor
from torch.nn import functional as F

from models.parts.deform import GuidedDeformConv, ModulatedDeformConv, by_gather, by_grid, by_operator

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other


@pytest.mark.parametrize(("groups", "height", "width"), [(1, 5, 7), (2, 4, 3), (6, 1, 1)])
def test_deformable_convolution_is_the_plain_one(groups: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    layer = ModulatedDeformConv(6, 3, groups).double()
    layer.bias.data.normal_()
    x = torch.randn(2, 6, height, width, dtype=torch.float64)
    offset = torch.randn(2, 18 * groups, height, width, dtype=torch.float64) * 2
    mask = torch.rand(2, 9 * groups, height, width, dtype=torch.float64)
    with torch.no_grad():
        found = layer.sample(x, offset, mask).numpy()
    state = as_arrays(layer)
    for index in range(2):
        expected = plain_deform(x[index].numpy(), offset[index].numpy(), mask[index].numpy(), state["weight"], state["bias"])
        np.testing.assert_allclose(found[index], expected, atol=1e-12)


@pytest.mark.parametrize(("inputs", "groups", "height", "width"), [(4, 2, 5, 6), (6, 1, 1, 4), (4, 4, 3, 1)])
def test_what_learns_on_a_processor_is_the_operator(inputs: int, groups: int, height: int, width: int) -> None:
    """Values and gradients equal torchvision's, far outside of the frame too; they pass the check by differences."""
    torch.manual_seed(0)
    shapes = (
        (2, inputs, height, width),
        (2, 18 * groups, height, width),
        (2, 9 * groups, height, width),
        (3, inputs, 3, 3),
        (3,),
    )
    given = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    given[1] = (3 * given[1]).detach().requires_grad_()
    wanted, found = by_operator(*given), by_grid(*given)
    torch.testing.assert_close(found, wanted)
    direction = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found, given, direction), torch.autograd.grad(wanted, given, direction), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(by_grid, given)


@pytest.mark.parametrize(("inputs", "groups", "height", "width"), [(4, 2, 5, 6), (6, 1, 1, 4), (4, 4, 3, 1), (16, 2, 70, 130)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_restores_on_a_processor_is_the_operator(
    inputs: int, groups: int, height: int, width: int, layout: torch.memory_format
) -> None:
    """Far outside of the frame too, in frames of more rows than are sampled at once; and what is no number is none."""
    torch.manual_seed(0)
    maps = [torch.randn(2, channels, height, width) for channels in (inputs, 18 * groups, 9 * groups)]
    x, offset, mask = (part.contiguous(memory_format=layout) for part in maps)
    offset *= 3
    offset[:, :, 0, 0] = 1e9
    offset[:, :, -1, -1] = -float("inf")
    weight, bias = torch.randn(3, inputs, 3, 3), torch.randn(3)
    torch.testing.assert_close(
        by_gather(x, offset, mask, weight, bias), by_operator(x, offset, mask, weight, bias), rtol=1e-5, atol=1e-5
    )
    offset[1, 0, 0, 0] = float("nan")
    assert not by_gather(x, offset, mask, weight, bias)[1, :, 0, 0].isfinite().any()


def test_deformable_convolution_starts_as_half_a_convolution() -> None:
    layer, x, guide = GuidedDeformConv(6, 3), torch.randn(2, 6, 5, 8), torch.randn(2, 6, 5, 8)
    assert not layer.conv_offset.weight.any() and not layer.conv_offset.bias.any() and not layer.bias.any()
    assert 0.9 * 54**-0.5 < layer.weight.abs().max().item() <= 54**-0.5
    assert torch.allclose(layer(x, guide), F.conv2d(x, layer.weight / 2, padding=1), atol=1e-6)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -2), (-3, 0)])
def test_samples_moved_by_whole_pixels(down: int, right: int) -> None:
    """The first coordinate leads down, the second to the right; outside of the frame is zero."""
    layer = ModulatedDeformConv(4, 5, 2)
    x = torch.randn(1, 4, 9, 10)
    offset = torch.tensor([down, right]).repeat(18).view(1, 36, 1, 1).expand(1, 36, 9, 10).float()
    padded = F.pad(x, (4, 4, 4, 4))[..., 3 + down : 14 + down, 3 + right : 15 + right]
    expected = F.conv2d(padded, layer.weight, layer.bias)
    assert torch.allclose(layer.sample(x, offset, torch.ones(1, 18, 9, 10)), expected, atol=1e-5)


def test_gradients_of_deformable_convolution() -> None:
    torch.manual_seed(1)
    layer = GuidedDeformConv(4, 2).double()
    liven(layer)
    x, guide = torch.randn(2, 1, 4, 4, 3, dtype=torch.float64, requires_grad=True)
    parameters = dict(layer.named_parameters())

    def run(x: Tensor, guide: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x, guide))

    assert torch.autograd.gradcheck(run, (x, guide, *parameters.values()))


def test_samples_keep_their_places_under_autocast() -> None:
    layer = GuidedDeformConv(4, 2)
    x, offset, mask = torch.randn(1, 4, 6, 6), torch.randn(1, 36, 6, 6) * 3, torch.rand(1, 18, 6, 6)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.sample(x, offset, mask), layer.sample(x, offset, mask).float())
        low = layer.sample(x.bfloat16(), offset, mask)
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), layer.sample(x.bfloat16().float(), offset, mask), rtol=1e-2, atol=1e-2)
    network, window = small(), torch.rand(1, 3, 3, 8, 8)
    with torch.no_grad():
        exact = network(window)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(window)
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()
