"""SDATC: latent diffusion for compressed clips.

Source: "Spatial Degradation-Aware and Temporal Consistent Diffusion Model for Compressed Video Super-Resolution", arXiv:2502.07381, on Stable
Diffusion 2.1 (Rombach et al., CVPR 2022) by diffusers. No code of it is published: what its text leaves open is said where it is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoder import Autoencoder
from models.parts import chunks, noise
from models.parts.blocks import pad_to_multiple
from models.parts.colour import adain
from models.parts.control import ControlEncoder
from models.parts.latent import denoiser, predicted, widths
from models.parts.motion import MotionError, resized
from models.parts.priors import FLOW, given, pad_flow
from models.parts.prompts import CompressionPrompts
from models.parts.refining import FeatureWarping, SpatioTemporalAttention
from models.parts.registry import Network, misspelt, positive, register, switches
from models.parts.resize import imresize_to
from models.parts.swin import DistortionControl

STAGES = ("denoiser", "decoder")


@register("sdatc")
class SDATC(Network):
    """Frames enlarged and cleaned by the distortion control module are a condition, under which latents are made of noise; their
    decoder sees neighbouring frames and the condition's features.

    What is put into the networks of Stable Diffusion begins as nothing: before any training, latents are sampled and decoded as by these.
    A clip is restored in chunks; its noise depends on the `seed` and a frame's place in its chunk alone. The colours are last brought
    to those of the LR frames. Flow is that of the LR frames.

    Args:
        stage: what there is, and learns: "denoiser" for the cleaning and the denoiser's side alone, "decoder" for that of the
            autoencoder too.
        dcm_channels, dcm_blocks, dcm_layers, dcm_heads, window: of the distortion control module.
        dcm_hidden: its channels at the output's resolution.
        base: "none" as published, or the enlarged frames that its output is added to, and that of the autoencoder's decoder.
        control_channels, control_multiples: of the control encoder.
        channels: of the denoiser's levels, from the finest.
        attention: for each of them, whether it attends to the frame and the text.
        layers: residual blocks of a level.
        head: channels of an attention head.
        context, tokens: length and number of the text's vectors, which are those of the empty prompt.
        vae_channels, vae_layers, vae_attention: of the autoencoder.
        latents: channels of the latents.
        groups: of the normalisations.
        prompts: of every compression-aware module.
        steps: of the sampling.
        guidance: how strongly the motion error guides the sampling; 0 for not at all.
        fidelity: how strongly the condition's features correct those of the decoder; while it learns, 1.
        chunk, overlap: frames restored together, and those of them dropped on either side of a cut.
        seed: of the noise.

    Raises:
        ValueError: an option has no such value, or diffusers is not installed.
    """

    prompt: Tensor
    scale = 4
    priors = ("flow",)
    sees_truth = True

    def __init__(
        self,
        stage: str = "decoder",
        dcm_channels: int = 180,
        dcm_blocks: int = 6,
        dcm_layers: int = 6,
        dcm_heads: int = 6,
        window: int = 8,
        dcm_hidden: int = 64,
        base: str = "none",
        control_channels: int = 320,
        control_multiples: Sequence[int] = (1, 1, 2, 2),
        channels: Sequence[int] = (320, 640, 1280, 1280),
        attention: Sequence[bool] = (True, True, True, False),
        layers: int = 2,
        head: int = 64,
        context: int = 1024,
        tokens: int = 77,
        vae_channels: Sequence[int] = (128, 256, 512, 512),
        vae_layers: int = 2,
        vae_attention: bool = True,
        latents: int = 4,
        groups: int = 32,
        prompts: int = 5,
        steps: int = 50,
        guidance: float = 1.0,
        fidelity: float = 0.75,
        chunk: int = 5,
        overlap: int = 1,
        seed: int = 1,
    ) -> None:
        super().__init__()
        if stage not in STAGES:
            raise ValueError(misspelt(f"value of stage of {self.name}", str(stage), STAGES))
        whole = {"dcm_channels": dcm_channels, "dcm_blocks": dcm_blocks, "dcm_layers": dcm_layers, "dcm_heads": dcm_heads}
        whole |= {
            "window": window,
            "dcm_hidden": dcm_hidden,
            "control_channels": control_channels,
            "layers": layers,
            "head": head,
        }
        whole |= {"context": context, "tokens": tokens, "vae_layers": vae_layers, "latents": latents, "groups": groups}
        whole |= {"prompts": prompts, "steps": steps, "chunk": chunk, "overlap": overlap, "seed": seed}
        positive(self.name, **whole)
        switches(self.name, vae_attention=vae_attention)
        levels = widths(self.name, "channels", channels)
        fine = widths(self.name, "vae_channels", vae_channels)
        multiples = widths(self.name, "control_multiples", control_multiples)
        if not len(levels) == len(multiples) == len(attention):
            raise ValueError(
                f"{self.name} has channels, attention and control_multiples for levels of several numbers: give them one."
            )
        chunks.check(self.name, chunk, overlap)
        self.stage, self.steps, self.guidance, self.fidelity = stage, steps, guidance, fidelity
        self.chunk, self.overlap, self.seed, self.latents = chunk, overlap, seed, latents
        self.schedule = noise.scaled_linear()
        self.dcm = DistortionControl(self.name, dcm_channels, dcm_blocks, dcm_layers, dcm_heads, window, dcm_hidden, base)
        self.vae = Autoencoder(fine, vae_layers, latents, groups, vae_attention, base)
        self.unet = denoiser(levels, attention, layers, latents, context, head, groups)
        self.control = ControlEncoder(latents, control_channels, multiples, 2, levels, groups)
        self.unet_prompts = nn.ModuleList(CompressionPrompts(width, prompts, 16) for width in levels)
        self.register_buffer("prompt", torch.zeros(1, tokens, context))
        # LR sides that the windows, the latents and the denoiser's levels divide.
        coarsest = self.vae.reduction * 2 ** (len(levels) - 1)
        self.multiple = math.lcm(window, coarsest // math.gcd(coarsest, self.scale))
        if stage == "decoder":
            self.vae_prompts = nn.ModuleList(CompressionPrompts(width, prompts, 16) for width in fine)
            self.stam = nn.ModuleList(
                nn.ModuleList(SpatioTemporalAttention(width) for _ in range(vae_layers + 1)) for width in fine
            )
            # Neither at the finest nor at the coarsest level.
            self.cfw = nn.ModuleDict(
                {str(level): FeatureWarping(fine[level], groups) for level in range(1, max(2, len(fine) - 1))}
            )

    @property
    def period(self) -> int:  # type: ignore[override]
        """See `Network`."""
        return self.chunk - 2 * self.overlap

    def forward(self, clip: Tensor, *, flow: Tensor | None = None) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].
            flow: (N, T, 4, H, W), see `models.parts.priors`.

        Returns:
            (N, T, 3, 4H, 4W), in [0, 1].

        Raises:
            ValueError: the flow is missing or not of the clip, or frames are too small to be mirrored to whole latents.
        """
        flow = given(self.name, "flow", clip, flow, FLOW)
        size = (4 * clip.shape[-2], 4 * clip.shape[-1])
        whole, motion = pad_to_multiple(clip, self.multiple), pad_flow(flow, self.multiple)
        restored = []
        for part, kept in chunks.chunks(clip.shape[1], self.chunk, self.overlap):
            frames = self.restored(whole[:, part], motion[:, part], self.fidelity)[:, kept, :, : size[0], : size[1]]
            seen = clip[:, part][:, kept]
            enlarged = imresize_to(seen.flatten(0, 1), size).unflatten(0, seen.shape[:2])
            restored.append(adain(frames, enlarged).clamp(0, 1))
        return torch.cat(restored, dim=1)

    def learn(self, clip: Tensor, *, truth: Tensor, flow: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        """See `Network`; the stage "denoiser" gives `noise`, the mean squared error of the noise that is predicted, and `cleaned`, the
        condition as frames; the stage "decoder" gives `restored`, decoded from latents that are sampled without a gradient, with the
        condition's features at full strength and in its own colours.

        Args:
            clip, flow: as of `forward`.
            truth: (N, T, 3, 4H, 4W), the HR clip.
        """
        flow = pad_flow(given(self.name, "flow", clip, flow, FLOW), self.multiple)
        height, width = truth.shape[-2:]
        clip = pad_to_multiple(clip, self.multiple)
        if self.stage == "decoder":
            return {"restored": self.restored(clip, flow, 1.0, learning=True)[..., :height, :width]}
        truth = pad_to_multiple(truth, 4 * self.multiple)
        with torch.no_grad():
            latents, _ = self.vae.encode(truth.flatten(0, 1))
        cleaned = self.dcm(clip.flatten(0, 1))
        condition, _ = self.vae.encode(cleaned)
        times = torch.randint(noise.LEVELS, (len(clip),), device=clip.device).repeat_interleave(clip.shape[1])
        added = torch.randn_like(latents)
        alpha, sigma = self.schedule.at(times, latents)
        found = self.predict(alpha * latents + sigma * added, condition, times)
        return {"noise": F.mse_loss(found, added), "cleaned": cleaned.unflatten(0, clip.shape[:2])[..., :height, :width]}

    def restored(self, clip: Tensor, flow: Tensor, fidelity: float, learning: bool = False) -> Tensor:
        """One chunk, sides multiples of `multiple`, (N, T, 3, h, w), to (N, T, 3, 4h, 4w), its colours as they come."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not learning):
            condition, features = self.vae.encode(self.dcm(clip.flatten(0, 1)))
            latents = self.sample(condition.unflatten(0, clip.shape[:2]), flow)
        return self.decode(latents.flatten(0, 1), features, clip.shape[1], fidelity).unflatten(0, clip.shape[:2])

    def sample(self, condition: Tensor, flow: Tensor) -> Tensor:
        """Latents (N, T, C, h, w) under a condition of that shape, along flow in LR pixels (Eq. 13)."""
        _, frames, *shape = condition.shape
        generator = torch.Generator().manual_seed(self.seed)
        # The clips of a batch have the same noise, as if each were alone.
        latents = noise.draw((1, frames, *shape), condition, generator).expand_as(condition)
        moved = MotionError(resized(flow, (shape[-2], shape[-1]))) if self.guidance and frames > 1 else None
        for time, following in noise.steps(self.steps):
            flat = latents.flatten(0, 1)
            times = torch.full((len(flat),), time, device=flat.device)
            found = self.predict(flat, condition.flatten(0, 1), times).unflatten(0, condition.shape[:2])
            alpha, sigma = float(self.schedule.alpha[time]), float(self.schedule.sigma[time])
            mean, variance = noise.posterior(self.schedule, time, following, latents, (latents - sigma * found) / alpha)
            latents = mean
            if following is not None:
                latents = latents + variance**0.5 * noise.draw((1, frames, *shape), condition, generator)
            if moved is not None and variance:
                latents = latents - self.guidance * variance * moved.gradient(latents)
        return latents

    def predict(self, noisy: Tensor, condition: Tensor, times: Tensor) -> Tensor:
        """The noise in latents (N, C, h, w) at times (N,) under a condition of their shape."""
        guidance = self.control(noisy, condition, times)
        context = self.prompt.expand(len(noisy), -1, -1)
        return predicted(self.unet, noisy, times, context, guidance, lambda x, level: self.unet_prompts[level](x))

    def decode(self, latents: Tensor, features: list[Tensor], frames: int, fidelity: float) -> Tensor:
        """Frames of latents (N * T, C, h, w), with the features of the condition's encoder, and `frames` T."""
        if self.stage == "denoiser":
            return self.vae.decode(latents)

        def after_block(x: Tensor, level: int, block: int) -> Tensor:
            return self.stam[level][block](x, frames)  # type: ignore[index]

        def after_level(x: Tensor, level: int) -> Tensor:
            x = self.vae_prompts[level](x)
            return self.cfw[str(level)](x, features[level], fidelity) if str(level) in self.cfw else x

        return self.vae.decode(latents, after_block, after_level)
