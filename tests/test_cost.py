"""What networks cost: parameters and GMAC, as published and by hand."""

from __future__ import annotations

import pytest
import torch
from test_restore import Spy, small
from torch import Tensor

import models
from models import Network
from models.parts.deform import GuidedDeformConv
from pipelines.errors import VSRError
from pipelines.restoring.cost import cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other


def test_published_cost_of_basicvsr() -> None:
    with torch.device("meta"):
        network = models.create("basicvsr")
    found = cost(network, 180, 320)
    assert found["parameters"] == 6_291_311
    assert round(found["gmacs"], 1) == round(found["gmacs_without_deform"], 1) == 376.7
    with torch.device("meta"):
        short = models.create("basicvsr", blocks=20)
    assert cost(short, 180, 320, frames=10)["gmacs"] == pytest.approx(288.2, abs=0.05)


def test_cost_of_long_clips_is_that_of_counting_every_frame() -> None:
    from pipelines.restoring.cost import _count

    network = small().to("meta")
    total, _ = _count(network, 14, 20, 24, None)
    assert cost(network, 20, 24, frames=14)["gmacs"] == pytest.approx(total / 14 / 2e9, rel=1e-12)


def test_bicubic_costs_nothing() -> None:
    assert cost(models.create("bicubic"), 180, 320) == {"parameters": 0, "gmacs": 0, "gmacs_without_deform": 0}


def test_deformable_convolutions_are_told_apart() -> None:
    class Deform(Network):
        name = "deform"

        def __init__(self) -> None:
            super().__init__()
            self.deform = GuidedDeformConv(3, 1)

        def forward(self, clip: Tensor) -> Tensor:
            frames = clip[0]
            return self.deform(frames, frames)[None]

    found = cost(Deform(), 6, 7, frames=20)
    assert found["gmacs_without_deform"] == pytest.approx(6 * 7 * 27 * 27 / 1e9)  # offsets and weights of 9 samples
    assert found["gmacs"] == pytest.approx(6 * 7 * (27 + 3) * 27 / 1e9)


def test_cost_of_a_network_with_masks() -> None:
    """SEEM beside BasicVSR: of each frame f_r once, and two modules per direction."""
    with torch.device("meta"):
        plain, guided = models.create("basicvsr"), models.create("seem_basicvsr")
    one, other = cost(plain, 90, 160), cost(guided, 90, 160)
    assert other["parameters"] - one["parameters"] == 611_280
    pixels, c = 90 * 160, 64
    fr = 9 * c * (3 + 64) + 3 * 9 * c * c
    module = 9 * (2 * c) * c + 9 * c * c
    attention = c * c + 2 * c * (c // 16)  # once per frame: FC, FC_D and FC_U
    assert other["gmacs"] - one["gmacs"] == pytest.approx((pixels * (fr + 4 * module) + 4 * attention) / 1e9, rel=1e-6)


def test_cost_at_any_size() -> None:
    class Sized(Network):
        name = "sized"
        scale = 4
        any_scale = True

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, clip: Tensor, size: tuple[int, int] | None = None) -> Tensor:
            height, width = size or (4 * clip.shape[-2], 4 * clip.shape[-1])
            return self.conv(clip[0].new_zeros(clip.shape[1], 3, height, width))[None]

    for size, pixels in ((None, 24 * 28), ((24, 28), 24 * 28), ((13, 50), 13 * 50)):
        assert cost(Sized(), 6, 7, frames=30, size=size)["gmacs"] == pytest.approx(pixels * 81 / 1e9)


@pytest.mark.parametrize("head", ["metasr", "liif", "lte", "dcgu"])
def test_networks_for_any_scale_can_be_counted(head: str) -> None:
    """Also those that sort and search: nothing is computed, so nothing may depend on values."""
    with torch.device("meta"):
        network = models.create(f"basicvsr_{head}", channels=8, blocks=1, hidden=16)
    at = [cost(network, 20, 24, frames=12, size=size)["gmacs"] for size in ((40, 48), (50, 61), (240, 288))]
    assert 0 < at[0] < at[1] < at[2]


def test_cost_of_too_short_a_clip() -> None:
    with pytest.raises(VSRError, match="at least 3 frames"):
        cost(Spy(3), 8, 8, frames=2)
