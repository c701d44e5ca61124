"""What diffusers (Apache-2.0, the optional extra `diffusion`) gives to networks here: the denoiser and the autoencoder of latent diffusion.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022. Names of parameters are diffusers'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

INSTALL = "latent diffusion needs diffusers, which is not installed: `pip install 'vsr[diffusion]'`."


def widths(network: str, option: str, value: Sequence[int]) -> tuple[int, ...]:
    """An option that is several positive whole numbers, one for each level.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, str) or not value or any(not isinstance(part, int) or part < 1 for part in value):
        raise ValueError(
            f"option {option!r} of {network} is {value!r}: give a list of whole numbers of at least 1, one for each level."
        )
    return tuple(value)


def autoencoder(channels: tuple[int, ...], layers: int, latents: int, groups: int, attention: bool) -> Any:
    """An autoencoder of images, `AutoencoderKL`.

    Args:
        channels: of every level, from the finest; each but the first halves the sides.
        layers: residual blocks of a level.
        latents: channels of what is encoded.
        groups: of the normalisations.
        attention: whether the coarsest level attends to all of the frame.

    Raises:
        ValueError: diffusers is not installed, or the channels are no multiples of the groups.
    """
    try:
        from diffusers import AutoencoderKL
    except ImportError as error:
        raise ValueError(INSTALL) from error
    _check(channels, groups)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=layers,
        latent_channels=latents,
        norm_num_groups=groups,
        mid_block_add_attention=attention,
    )


def denoiser(
    channels: tuple[int, ...], attention: Sequence[bool], layers: int, latents: int, context: int, head: int, groups: int
) -> Any:
    """What predicts the noise in latents, `UNet2DConditionModel`.

    Args:
        channels, layers, groups: as of `autoencoder`.
        attention: for every level, whether it attends to the frame and to the text.
        latents: channels of the latents.
        context: length of the text's vectors.
        head: channels of an attention head.

    Raises:
        ValueError: as `autoencoder`.
    """
    try:
        from diffusers import UNet2DConditionModel
    except ImportError as error:
        raise ValueError(INSTALL) from error
    _check(channels, groups)
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention)
    up = tuple("CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(attention))
    return UNet2DConditionModel(
        in_channels=latents,
        out_channels=latents,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=channels,
        layers_per_block=layers,
        cross_attention_dim=context,
        # Of this name, diffusers has the number of heads of a level.
        attention_head_dim=tuple(max(1, width // head) for width in channels),
        norm_num_groups=groups,
        use_linear_projection=True,
    )


def _check(channels: tuple[int, ...], groups: int) -> None:
    odd = [width for width in channels if width % groups]
    if odd:
        raise ValueError(f"{odd[0]} channels cannot be normalised in {groups} groups: give multiples of that.")


AfterLevel = Callable[[Tensor, int], Tensor]
"""Features (N, C, H, W) that a level of a decoder gives, and the level, counted from the finest, to the same features, refined."""

AfterBlock = Callable[[Tensor, int, int], Tensor]
"""Likewise of a residual block of a level, and its number there."""


def as_it_is(features: Tensor, *where: int) -> Tensor:
    """Refines nothing."""
    return features


def encoded(encoder: Any, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What the encoder of an `AutoencoderKL` gives for frames (N, 3, H, W) in [-1, 1], and the features of its levels from the finest,
    before their sides are halved."""
    x, features = encoder.conv_in(frames), []
    for block in encoder.down_blocks:
        for layer in block.resnets:
            x = layer(x, temb=None)
        features.append(x)
        x = _through(block.downsamplers, x)
    x = encoder.mid_block(x)
    return encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(x))), features


def decoded(decoder: Any, latents: Tensor, after_block: AfterBlock, after_level: AfterLevel) -> Tensor:
    """What the decoder of an `AutoencoderKL` makes of latents, (N, 3, H, W), refined on its way.

    Args:
        after_block: refines what a residual block gives.
        after_level: refines what a level gives, before its sides are doubled.
    """
    x = decoder.mid_block(decoder.conv_in(latents))
    for level, block in zip(reversed(range(len(decoder.up_blocks))), decoder.up_blocks, strict=True):
        for index, layer in enumerate(block.resnets):
            x = after_block(layer(x, temb=None), level, index)
        x = _through(block.upsamplers, after_level(x, level))
    return decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(x)))


def predicted(
    unet: Any, noisy: Tensor, times: Tensor, context: Tensor, guidance: Sequence[Tensor], after_level: AfterLevel
) -> Tensor:
    """The noise that a `UNet2DConditionModel` sees in latents, guided and refined.

    Args:
        noisy: (N, C, h, w), sides multiples of what its levels halve them by.
        times: (N,).
        context: the text, (N, tokens, length).
        guidance: added to what is handed to the decoder: for every level from the finest features of its size and channels, and last
            for the middle.
        after_level: refines what a level of its decoder gives, before its sides are doubled.
    """
    known = unet.time_embedding(unet.time_proj(times).to(noisy.dtype))
    x = unet.conv_in(noisy)
    handed = [x]
    for block, added in zip(unet.down_blocks, guidance, strict=False):
        attends = {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}
        x, states = block(hidden_states=x, temb=known, **attends)
        here = len(block.resnets)
        handed += [state + added for state in states[:here]] + list(states[here:])
    x = unet.mid_block(x, known, encoder_hidden_states=context) + guidance[-1]
    for level, block in zip(reversed(range(len(unet.up_blocks))), unet.up_blocks, strict=True):
        attentions: Any = block.attentions if getattr(block, "has_cross_attention", False) else [None] * len(block.resnets)
        for layer, attention in zip(block.resnets, attentions, strict=True):
            x = layer(torch.cat([x, handed.pop()], dim=1), known)
            if attention is not None:
                x = attention(x, encoder_hidden_states=context, return_dict=False)[0]
        x = _through(block.upsamplers, after_level(x, level))
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))


def _through(layers: nn.ModuleList | None, x: Tensor) -> Tensor:
    for layer in layers or ():
        x = layer(x)
    return x
