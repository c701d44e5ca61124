"""The degradation bi_x4 against torch's own antialiased bicubic, on 720p frames."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import interpolate

from benchmarks.timing import best, table
from models.resize import imresize


def main() -> None:
    """Print the table, on one thread and on all."""
    frames = torch.rand(8, 3, 720, 1280)
    torch_bicubic = partial(interpolate, frames, scale_factor=0.25, mode="bicubic", antialias=True, align_corners=False)
    every = torch.get_num_threads()
    for threads in sorted({1, every}):
        torch.set_num_threads(threads)
        print(f"  {threads} thread(s)")
        table(best({"torch": torch_bicubic, "bi_x4": partial(imresize, frames, 0.25)}), "torch", len(frames), "frame")
    torch.set_num_threads(every)
