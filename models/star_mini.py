"""STAR, small enough to be trained here: its denoiser on the latents of an autoencoder that is trained here too.

Source: Xie et al., "STAR: Spatial-Temporal Augmentation with Text-to-Video Models for Real-World Video Super-Resolution", arXiv:2501.02976.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.autoencoder import Autoencoder
from models.parts import chunks, noise
from models.parts import frequency as loss
from models.parts import liem as gates
from models.parts.base import bilinear
from models.parts.blocks import pad_to_multiple
from models.parts.colour import adain
from models.parts.latent import widths
from models.parts.registry import Network, misspelt, positive, register
from models.parts.resize import imresize_to
from models.parts.video_unet import ControlledVideoUNet, Form


@register("star_mini")
class STARMini(Network):
    """Latents of the enlarged LR clip with noise, from which a denoiser in space and time takes it away, told of these latents.

    It predicts velocities under the released schedule, and steps as DPM-Solver++(2M) with noise does. There is no text, so nothing
    is guided by one. A clip is restored in chunks; its noise depends on the `seed` and the length of a chunk alone. The colours are last
    brought to those of the LR frames. Where the release pads frames with white, they are mirrored here.

    Args:
        channels: of the denoiser's levels, from the finest.
        attention: for each of them, whether it has Transformers.
        blocks: residual blocks of a level.
        head: channels of an attention head.
        context: length of the text's one vector, which is 0.
        liem: the gates before attention: "none", "released" or "paper".
        frequency: the dynamic frequency loss: "none", "released" (of decoded frames, without a gradient) or "paper" (of latents).
        vae_channels, vae_layers, latents, base: of the autoencoder.
        groups: of the normalisations.
        steps: of the sampling.
        first: the time that it begins with.
        chunk, overlap: frames restored together, and those of them dropped on either side of a cut.
        seed: of the noise.

    Raises:
        ValueError: an option has no such value, or diffusers is not installed.
    """

    text: Tensor
    scale = 4
    sees_truth = True

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        attention: Sequence[bool] = (False, True),
        blocks: int = 1,
        head: int = 16,
        context: int = 16,
        liem: str = "paper",
        frequency: str = "paper",
        vae_channels: Sequence[int] = (16, 32, 64),
        vae_layers: int = 1,
        latents: int = 8,
        base: str = "bicubic",
        groups: int = 8,
        steps: int = 15,
        first: int = 899,
        chunk: int = 32,
        overlap: int = 8,
        seed: int = 1,
    ) -> None:
        super().__init__()
        levels = widths(self.name, "channels", channels)
        fine = widths(self.name, "vae_channels", vae_channels)
        whole = {
            "blocks": blocks,
            "head": head,
            "context": context,
            "vae_layers": vae_layers,
            "latents": latents,
            "groups": groups,
        }
        positive(self.name, **whole, steps=steps, first=first, chunk=chunk, overlap=overlap, seed=seed)
        for option, value, forms in (("liem", liem, gates.FORMS), ("frequency", frequency, loss.FORMS)):
            if value not in forms:
                raise ValueError(misspelt(f"value of {option} of {self.name}", str(value), forms))
        if first >= noise.LEVELS:
            raise ValueError(f"option 'first' of {self.name} is {first}: give a time below {noise.LEVELS}.")
        chunks.check(self.name, chunk, overlap)
        self.frequency, self.steps, self.first, self.seed = frequency, steps, first, seed
        self.chunk, self.overlap = chunk, overlap
        self.schedule = noise.shifted_cosine()
        self.vae = Autoencoder(fine, vae_layers, latents, groups, False, base)
        heads = max(1, levels[0] // head)
        self.denoiser = ControlledVideoUNet(Form(latents, levels, attention, blocks, head, heads, context, groups, liem))
        self.register_buffer("text", torch.zeros(1, 1, context))

    @property
    def period(self) -> int:  # type: ignore[override]
        """See `Network`."""
        return self.chunk - 2 * self.overlap

    def forward(self, clip: Tensor) -> Tensor:
        """Restore a clip, (N, T, 3, H, W) RGB in [0, 1], to (N, T, 3, 4H, 4W), in [0, 1].

        Raises:
            ValueError: frames are too small to be mirrored to whole latents.
        """
        size = (4 * clip.shape[-2], 4 * clip.shape[-1])
        restored = []
        for part, kept in chunks.chunks(clip.shape[1], self.chunk, self.overlap):
            hint = self.vae.encode(self._enlarged(clip[:, part]).flatten(0, 1))[0].unflatten(0, clip[:, part].shape[:2])
            latents = self.sample(hint)[:, kept]
            frames = self.vae.decode(latents.flatten(0, 1))[..., : size[0], : size[1]].unflatten(0, latents.shape[:2])
            seen = clip[:, part][:, kept]
            enlarged = imresize_to(seen.flatten(0, 1), size).unflatten(0, seen.shape[:2])
            restored.append(adain(frames, enlarged).clamp(0, 1))
        return torch.cat(restored, dim=1)

    def learn(self, clip: Tensor, *, truth: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """See `Network`; gives `velocity`, the mean squared error of what is predicted, and with a frequency loss `frequency`, weighed
        by 1 where there is no noise down to 0 where there is nothing else (Sec. 3.3).

        Args:
            clip: as of `forward`.
            truth: (N, T, 3, 4H, 4W), the HR clip.
        """
        with torch.no_grad():
            latents, hint = (
                self.vae.encode(part.flatten(0, 1))[0].unflatten(0, part.shape[:2])
                for part in (pad_to_multiple(truth, self._multiple), self._enlarged(clip))
            )
        times = torch.randint(noise.LEVELS, (len(clip),), device=clip.device)
        added = torch.randn_like(latents)
        alpha, sigma = self.schedule.at(times, latents)
        noisy = alpha * latents + sigma * added
        found = self.denoiser.velocity(noisy, hint, times, self.text.expand(len(clip), -1, -1))
        losses = {"velocity": F.mse_loss(found, alpha * added - sigma * latents)}
        if self.frequency != "none":
            early = times / (noise.LEVELS - 1)
            one, other = alpha * noisy - sigma * found, latents
            if self.frequency == "released":
                with torch.no_grad():
                    one, other = (self.vae.decode(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in (one, other))
            losses["frequency"] = ((1 - early) * loss.dynamic_frequency(one, other, early, self.frequency)).mean()
        return losses

    def sample(self, hint: Tensor) -> Tensor:
        """Latents (N, T, C, h, w), told of those of the LR clip."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (1, *hint.shape[1:])  # the clips of a batch have the same noise, as if each were alone
        text = self.text.expand(len(hint), -1, -1)
        alpha, sigma = float(self.schedule.alpha[self.first]), float(self.schedule.sigma[self.first])
        latents = alpha * hint + sigma * noise.draw(shape, hint, generator)
        extrapolated = noise.TwoSteps(self.schedule)
        for time, following in noise.steps(self.steps, self.first):
            alpha, sigma = float(self.schedule.alpha[time]), float(self.schedule.sigma[time])
            times = torch.full((len(hint),), time, device=hint.device)
            clean = alpha * latents - sigma * self.denoiser.velocity(latents, hint, times, text)
            mean, variance = noise.posterior(self.schedule, time, following, latents, extrapolated(time, following, clean))
            latents = mean
            if following is not None:
                latents = latents + variance**0.5 * noise.draw(shape, hint, generator)
        return latents

    @property
    def _multiple(self) -> int:
        """Of the sides of frames at the output's resolution, of which latents are whole and can be halved."""
        return self.vae.reduction * 2**self.denoiser.halvings

    def _enlarged(self, clip: Tensor) -> Tensor:
        """A clip at the output's resolution, mirrored to whole latents."""
        size = (4 * clip.shape[-2], 4 * clip.shape[-1])
        return pad_to_multiple(bilinear(clip.flatten(0, 1), size).unflatten(0, clip.shape[:2]), self._multiple)
