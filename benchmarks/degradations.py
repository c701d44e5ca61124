"""The degradation bi_x4 against torch's own antialiased bicubic, 720p frames, 8 bits in and out."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

from benchmarks.timing import best, table
from pipelines.degradations.resize import bicubic


def main() -> None:
    """Print the table on one thread, as the workers of a stage run."""
    frame = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    every = torch.get_num_threads()
    torch.set_num_threads(1)
    table(best({"torch": lambda: _torch(frame), "bi_x4": lambda: bicubic(frame, 4)}, rounds=20), "torch", of="frame")
    torch.set_num_threads(every)


def _torch(frame: np.ndarray) -> np.ndarray:
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    small = interpolate(planes, scale_factor=0.25, mode="bicubic", antialias=True, align_corners=False)
    return small.round_().clamp_(0, 255).to(torch.uint8)[0].permute(1, 2, 0).contiguous().numpy()
