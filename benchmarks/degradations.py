"""Every shipped degradation on 720p frames, 8 bits in and out, against torch's own antialiased bicubic."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

from benchmarks.timing import best, table
from pipelines import params
from pipelines.degradations import recipes

FRAMES = 4


def main() -> None:
    """Print the table on one thread, as the workers of a stage run; what ffmpeg does runs beside it."""
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (FRAMES, 720, 1280, 3), np.uint8))
    every = torch.get_num_threads()
    torch.set_num_threads(1)

    def degrade(name: str, recipe: params.Recipe) -> None:
        size = {"count": FRAMES, "size": (720, 1280), "fps": 25}
        for _ in recipes.degrade(recipe, frames, degradation=name, clip="noise", **size)[0]:  # type: ignore[arg-type]
            pass

    shipped = {name: (lambda name=name, recipe=recipe: degrade(name, recipe)) for name, recipe in params.load().recipes.items()}
    rounds = best({"torch": lambda: [_torch(frame) for frame in frames], **shipped}, rounds=3)
    table({name: seconds / FRAMES for name, seconds in rounds.items()}, "torch", of="frame")
    torch.set_num_threads(every)


def _torch(frame: np.ndarray) -> np.ndarray:
    planes = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    small = interpolate(planes, scale_factor=0.25, mode="bicubic", antialias=True, align_corners=False)
    return small.round_().clamp_(0, 255).to(torch.uint8)[0].permute(1, 2, 0).contiguous().numpy()
