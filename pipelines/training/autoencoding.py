"""Training of the autoencoder of latent diffusion on the HR clips of a corpus.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022, Sec. 3.1. In place of its perceptual and
adversarial losses, which need networks of their own, the absolute difference of Fourier coefficients keeps fine detail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import Autoencoder
from pipelines import networks
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.clips.store import Clip, Store
from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics, validation
from pipelines.params import Schedule
from pipelines.training.crops import CPU, Batch, HRCrops, Window
from pipelines.training.learners import Learner
from pipelines.training.losses import fft

AUTOENCODER = "autoencoder"
"""The network that is trained so."""

SPECTRUM = 0.05
"""What the difference of Fourier coefficients counts."""

DIVERGENCE = 1e-6
"""What the distance of the latents from noise counts."""


@dataclass(frozen=True)
class Seen:
    """A validated clip: PSNR on Y in dB of its middle frame, encoded and decoded, and the two."""

    clip: str
    psnr: float
    truth: np.ndarray
    decoded: np.ndarray


class AutoencodingTask:
    """An autoencoder learning HR frames; see `pipelines.training.loop.Task`.

    Args:
        network: what learns.
        schedule: its `crop` is the side of HR crops, of `clip_length` frames each.
        hr: store with clips in the splits `train`, and `validation` or `test`.

    Raises:
        VSRError: the clips do not fit the schedule, or its crops are no whole latents.
    """

    def __init__(self, network: Autoencoder, schedule: Schedule, hr: Store) -> None:
        if schedule.crop % network.reduction:
            raise VSRError(
                f"`crop` is {schedule.crop} and a latent {network.reduction} pixels wide: set it to a multiple of that."
            )
        self.network, self._hr = network, hr
        self.learners = [Learner("autoencoder", network, schedule)]
        self.frozen: dict[str, str] = {}
        self._crops = HRCrops(
            hr,
            split="train",
            clip_length=schedule.clip_length,
            seed=schedule.seed,
            side=lambda step: schedule.crop,
            largest=(schedule.crop, f"`crop` {schedule.crop}"),
        )
        self.views = validation.clips(hr)

    def batch(self, step: int, indices: Iterable[int], device: torch.device = CPU) -> Batch:
        frames = torch.cat([self._crops.sample(step, index)[1] for index in indices])
        return {"hr": frames.to(device).float() / 255}

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        truth = batch["hr"]
        found = self.network.train_on(truth)
        frames = found["frames"].float()
        spectrum, divergence = SPECTRUM * fft(frames, truth), DIVERGENCE * found["divergence"].float()
        return {"l1": F.l1_loss(frames, truth), "fft": spectrum, "divergence": divergence}

    def validate(self, network: nn.Module, view: Clip, device: torch.device) -> Seen:
        side = validation.SIDE
        frame = to_tensor(Window.middle(view, 1, side, cast(Autoencoder, network).reduction).of(self._hr))
        decoded = to_frame(network(frame.to(device))[0])
        truth = to_frame(frame[0])
        return Seen(view.name, validation.luma_psnr([decoded], [truth]), truth, decoded)

    def summary(self, found: list[Seen], step: int) -> tuple[Metrics, Images]:
        """`psnr`, the mean over clips, and the frames of the first ones."""
        images = {f"{one.clip}/decoded": one.decoded for one in found[: validation.SHOWN]}
        if not step:
            images |= {f"{one.clip}/truth": one.truth for one in found[: validation.SHOWN]}
        return {"psnr": float(np.mean([one.psnr for one in found]))}, images


def autoencoding_task(options: Mapping[str, Any], schedule: Schedule, hr: Path) -> AutoencodingTask:
    """The task from what params.yaml says; the network's first weights derive from the schedule's seed.

    Raises:
        VSRError: as `AutoencodingTask`, or diffusers is not installed.
    """
    torch.manual_seed(schedule.seed)
    return AutoencodingTask(cast(Autoencoder, networks.create(AUTOENCODER, **options)), schedule, Store(hr))
