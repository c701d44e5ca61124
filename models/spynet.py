"""SPyNet: optical flow by a coarse-to-fine pyramid of small networks.

Source: Ranjan and Black, "Optical Flow Estimation using a Spatial Pyramid Network", CVPR 2017, in the
form that BasicVSR (CVPR 2021) builds on: six levels, no batch normalisation, the names of its published
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.blocks import full_precision
from models.parts.registry import Network, register
from models.parts.warp import flow_warp
from models.parts.weights import Published, openmmlab

LEVELS = 6
MULTIPLE = 2 ** (LEVELS - 1)
"""Sides are resized to a multiple of this, so that every level is exactly half of the next."""

WEIGHTS = {
    # As BasicSR converted it, published again by the authors of VRT.
    "spynet_sintel": Published(
        "https://github.com/JingyunLiang/VRT/releases/download/v0.0/",
        "spynet_sintel_final-3d2a1287.pth",
        "3d2a1287666aa71752ebaedc06999212886ef476f77d691a1b0006107088e714",
        "CC-BY-NC-4.0",
        "VRT, release v0.0",
    ),
    # What the models of mmagic begin with.
    "spynet_mmagic": openmmlab("basicvsr", "spynet_20210409-c6c1bd09.pth", source="mmagic, configs/basicvsr/README.md"),
}


class BasicModule(nn.Module):
    """The residual flow of one level: five 7x7 convolutions on (N, 8, H, W), giving (N, 2, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        widths = [8, 32, 64, 32, 16, 2]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(inputs, outputs, 7, padding=3), nn.ReLU(inplace=True)]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.basic_module(x)


@register("spynet")
class SPyNet(Network):
    """Flow between two frames: `ref(p)` is about `supp(p + flow(p))`.

    Always in single precision or better, also under autocast: half precision loses sub-pixel positions.
    """

    mean: Tensor
    std: Tensor
    min_frames = 2
    restores = False

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(BasicModule() for _ in range(LEVELS))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        return {} if "basic_module.0.basic_module.0.weight" in state else None

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """The field with which to sample `supp` so that it looks like `ref`.

        Args:
            ref: (N, 3, H, W) RGB in [0, 1].
            supp: (N, 3, H, W) RGB in [0, 1].

        Returns:
            (N, 2, H, W) in pixels of the input, channel 0 to the right, channel 1 down.
        """
        with full_precision(ref.device):
            exact = self.mean.dtype
            return self._flow(ref.to(exact), supp.to(exact))

    def _flow(self, ref: Tensor, supp: Tensor) -> Tensor:
        height, width = ref.shape[-2:]
        inner = (-(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE)
        flow = self._coarse_to_fine(self._pyramid(ref, inner), self._pyramid(supp, inner))
        if inner == (height, width):
            return flow
        flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / inner[1], height / inner[0]]).view(1, 2, 1, 1)

    def _pyramid(self, frames: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """The normalised frames at every level, coarsest first."""
        if frames.shape[-2:] != size:
            frames = F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
        levels = [(frames - self.mean) / self.std]
        for _ in range(LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels[::-1]

    def _coarse_to_fine(self, refs: list[Tensor], supps: list[Tensor]) -> Tensor:
        count, _, height, width = refs[0].shape
        flow = refs[0].new_zeros(count, 2, height, width)
        for level, (module, ref, supp) in enumerate(zip(self.basic_module, refs, supps, strict=True)):
            if level:
                # Corners are aligned here and only here, as the published parameters expect.
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + module(torch.cat([ref, flow_warp(supp, flow, padding="border"), flow], dim=1))
        return flow
