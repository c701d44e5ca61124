"""SDATC's modules against slow second implementations, Stable Diffusion by diffusers, and published numbers."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_edvr import liven
from test_models import same
from test_networks import TINY
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models.parts import noise
from models.parts.chunks import chunks
from models.parts.colour import adain
from models.parts.motion import MotionError, seen
from models.parts.prompts import CompressionPrompts
from models.parts.refining import FeatureWarping, SpatioTemporalAttention
from models.parts.resize import imresize_to
from models.parts.swin import DistortionControl, SwinLayer

pytest.importorskip("diffusers")
torch.set_num_threads(1)


def lively(module: nn.Module) -> Any:
    liven(module)
    return module.double().eval()


def tiny(**options: object) -> Any:
    torch.manual_seed(0)
    return models.create("sdatc_mini", **{**TINY["sdatc_mini"], **options}).double().eval()


def clip(frames: int = 3, count: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(count, frames, 3, 8, 12).double(), torch.randn(count, frames, 4, 8, 12).double()


# ---------------------------------------------------------------- published numbers


def test_published_size() -> None:
    """135.1 M parameters learn (Table VI), and Stable Diffusion 2.1 has its own numbers of them."""
    with torch.device("meta"):
        network = models.create("sdatc")
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in network.named_children()}
    assert (counts["unet"], counts["vae"]) == (865_910_724, 83_653_863)
    learning = sum(count for name, count in counts.items() if name not in ("unet", "vae"))
    assert learning == pytest.approx(135.1e6, rel=0.02)


def test_schedule() -> None:
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    assert torch.allclose(noise.scaled_linear().alpha.square(), theirs.alphas_cumprod.double(), atol=1e-6)


# ---------------------------------------------------------------- nothing at first


@pytest.mark.parametrize("guided", [False, True])
def test_untrained_it_samples_as_stable_diffusion(guided: bool) -> None:
    """The denoiser and the decoder of diffusers, in its own loop over the steps; guided by motion, latents differ."""
    from diffusers import DDPMScheduler

    network = tiny(steps=3, guidance=0.5 if guided else 0.0)
    for part in (network.unet, network.vae):
        liven(part)
    frames, flow = clip()
    torch.manual_seed(2)
    condition = torch.randn(1, 3, 4, 8, 12).double()
    scheduler = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="linspace", clip_sample=False
    )
    scheduler.set_timesteps(3)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 3, 4, 8, 12, generator=generator)[0].double()
    with torch.no_grad():
        for time in scheduler.timesteps:
            found = network.unet(latents, time, network.prompt.expand(3, -1, -1)).sample
            # Its own noise is not of this generator: the mean, and the variance by its formula.
            variance = scheduler._get_variance(time)
            mean = scheduler.step(found, time, latents, generator=torch.Generator().manual_seed(0)).prev_sample
            if time:
                mean = mean - variance**0.5 * torch.randn(
                    latents.shape, generator=torch.Generator().manual_seed(0), dtype=latents.dtype
                )
                latents = mean + variance**0.5 * torch.randn(1, 3, 4, 8, 12, generator=generator)[0].double()
            else:
                latents = mean
        ours = network.sample(condition, flow)[0]
        assert torch.allclose(ours, latents, atol=1e-4) != guided
        _, features = network.vae.encode(network.dcm(frames[0]))
        raw = latents * network.vae.deviation + network.vae.mean
        plain = network.vae.kl.decode(raw).sample + imresize_to(raw[:, :3], (32, 48))
        assert torch.allclose(network.decode(latents, features, 3, 1.0), (plain + 1) / 2, atol=1e-10)


@pytest.mark.parametrize(
    "module, arguments",
    [
        (CompressionPrompts(8), ()),
        (SpatioTemporalAttention(8), (3,)),
        (FeatureWarping(8, 2), (torch.rand(3, 8, 6, 6), 1.0)),
    ],
    ids=["prompts", "attention", "warping"],
)
def test_what_is_put_in_begins_as_nothing(module: nn.Module, arguments: tuple[Any, ...]) -> None:
    features = torch.rand(3, 8, 6, 6)
    assert torch.equal(module(features, *arguments), features)


# ---------------------------------------------------------------- modules, again and slowly


def test_swin_layer() -> None:
    """Pixel by pixel: those of the same window of the moved frame, and of the same side of its seam."""
    layer = lively(SwinLayer(4, 2, 4, shifted=True))
    torch.manual_seed(0)
    x = torch.rand(1, 8, 8, 4).double()
    normed, out = layer.norm1(x), torch.empty_like(x)
    query, key, value = layer.attn.qkv(normed).chunk(3, -1)

    def moved(place: int) -> int:
        return (place - 2) % 8

    for r in range(8):
        for c in range(8):
            together = [
                (i, j)
                for i in range(8)
                for j in range(8)
                if all(moved(a) // 4 == moved(b) // 4 and (a < 2) == (b < 2) for a, b in ((r, i), (c, j)))
            ]
            for head in range(2):
                part = slice(2 * head, 2 * head + 2)
                scores = torch.stack(
                    [
                        query[0, r, c, part] @ key[0, i, j, part] / 2**0.5
                        + layer.attn.relative_position_bias_table[(moved(r) - moved(i) + 3) * 7 + moved(c) - moved(j) + 3, head]
                        for i, j in together
                    ]
                ).softmax(0)
                out[0, r, c, part] = sum(s * value[0, i, j, part] for s, (i, j) in zip(scores, together, strict=True))
    x1 = x + layer.attn.proj(out)
    assert torch.allclose(layer(x), x1 + layer.mlp(layer.norm2(x1)), atol=1e-10)


def test_distortion_control_begins_with_its_base() -> None:
    module = DistortionControl("sdatc", 4, 2, 2, 2, 4, 4, "bilinear")
    frames = torch.rand(2, 3, 8, 4)
    assert torch.allclose(module(frames), F.interpolate(frames, scale_factor=4, mode="bilinear"), atol=1e-6)
    assert DistortionControl("sdatc", 4, 2, 2, 2, 4, 4, "none")(frames).shape == (2, 3, 32, 16)


def test_compression_prompts() -> None:
    """Weights that are no shares, the prompts by hand, and channels that attend to one another."""
    module = lively(CompressionPrompts(8, prompts=3, size=4))
    torch.manual_seed(0)
    x = torch.rand(2, 8, 6, 6).double()
    expected = []
    for sample in x:
        inner = F.silu(F.conv2d(sample[None], module.encoder[0].weight, module.encoder[0].bias, padding=1))
        inner = F.silu(F.conv2d(inner, module.encoder[2].weight, module.encoder[2].bias, padding=1, stride=2))
        weights = module.weigh(inner[0].mean((1, 2)))
        prompt = sum(weight * plane for weight, plane in zip(weights, module.prompts, strict=True))
        prompt = module.conv(F.interpolate(prompt[None], size=(6, 6), mode="bilinear"))
        joined = module.join(torch.cat([sample[None], prompt], 1))
        block = module.block
        normed = torch.stack(
            [
                block.norm1.weight * ((p - p.mean()) / (p.var(correction=0) + 1e-5).sqrt()) + block.norm1.bias
                for p in joined[0].flatten(1).T
            ]
        ).T.view_as(joined[0])[None]
        planes = block.attn.qkv_dwconv(block.attn.qkv(normed))[0].flatten(1)
        found = []
        for head in range(4):
            q, k, v = (planes[4 * part + head][None] for part in range(3))
            q, k = q / q.norm(dim=1, keepdim=True), k / k.norm(dim=1, keepdim=True)
            found.append(((q @ k.T) * block.attn.temperature[head]).softmax(-1) @ v)
        joined = joined + block.attn.project_out(torch.cat(found).view_as(joined[0])[None])
        gate, value = block.ffn.dwconv(block.ffn.project_in(block.norm2(joined))).chunk(2, 1)
        joined = joined + block.ffn.project_out(gate * 0.5 * (1 + torch.erf(gate / 2**0.5)) * value)
        expected.append(sample + module.project(joined)[0])
    assert torch.allclose(module(x), torch.stack(expected), atol=1e-10)


def test_spatio_temporal_attention() -> None:
    """Pixel by pixel, head by head."""
    module = lively(SpatioTemporalAttention(8))
    torch.manual_seed(0)
    x, frames = torch.rand(2 * 3, 8, 2, 2).double(), 3
    expected = torch.empty_like(x)
    kernel, bias = module.conv3d.weight[..., 0, 0], module.conv3d.bias
    for n in range(2):
        for place in np.ndindex(2, 2):
            series = x[n * frames : (n + 1) * frames, :, *place]
            padded = F.pad(series, (0, 0, 1, 1))
            mixed = torch.stack([sum(kernel[..., k] @ padded[t + k] for k in range(3)) + bias for t in range(frames)])
            blended = module.alpha * mixed + (1 - module.alpha) * series
            query, key, value = module.tab.qkv(module.tab.norm(blended)).chunk(3, -1)
            heads = [(query[:, h : h + 1] @ key[:, h : h + 1].T).softmax(-1) @ value[:, h : h + 1] for h in range(8)]
            expected[n * frames : (n + 1) * frames, :, *place] = blended + module.beta * module.tab.proj(torch.cat(heads, 1))
    assert torch.allclose(module(x, frames), expected, atol=1e-10)


def test_feature_warping_is_linear_in_its_strength() -> None:
    module = lively(FeatureWarping(8, 2))
    torch.manual_seed(0)
    decoded, encoded = torch.rand(2, 2, 8, 5, 5).double().unbind()
    corrected = module(decoded, encoded, 1.0) - decoded
    assert torch.equal(module(decoded, encoded, 0.0), decoded)
    assert torch.allclose(module(decoded, encoded, 0.75), decoded + 0.75 * corrected) and corrected.abs().mean() > 0.01


# ---------------------------------------------------------------- sampling


def test_steps_are_bayes_rule() -> None:
    """The mean and variance of x_s under q(x_t | x_s) q(x_s | x_0), both Gaussian."""
    schedule, time, following = noise.scaled_linear(), 700, 400
    noisy, clean = torch.tensor([0.3]), torch.tensor([-1.2])
    a, s = (float(part[time]) for part in (schedule.alpha, schedule.sigma))
    b, r = (float(part[following]) for part in (schedule.alpha, schedule.sigma))
    kept = a / b
    precision = 1 / r**2 + kept**2 / (s**2 - kept**2 * r**2)
    mean = (b * clean / r**2 + kept * noisy / (s**2 - kept**2 * r**2)) / precision
    found, variance = noise.posterior(schedule, time, following, noisy, clean)
    assert torch.allclose(found, mean) and variance == pytest.approx(1 / precision)
    assert list(noise.steps(3)) == [(999, 500), (500, 0), (0, None)]


def test_motion_error() -> None:
    """Along the true flow it is nothing, and its gradient is that of finite differences."""
    torch.manual_seed(0)
    still = torch.zeros(1, 3, 4, 6, 6).double()
    latents = torch.rand(1, 1, 2, 6, 6).double().expand(1, 3, 2, 6, 6)
    assert MotionError(still)(latents) == 0
    error, latents = MotionError(torch.randn(1, 3, 4, 6, 6).double()), torch.rand(1, 3, 2, 6, 6).double()
    gradient, step = error.gradient(latents), 1e-7
    for place in [(0, 0, 0, 1, 2), (0, 1, 1, 3, 3), (0, 2, 0, 5, 0)]:
        more = latents.clone()
        more[place] += step
        assert float((error(more) - error(latents)) / step) == pytest.approx(float(gradient[place]), abs=1e-4)
    with torch.inference_mode():
        assert torch.equal(error.gradient(latents.clone()), gradient)


def test_what_is_seen_both_ways() -> None:
    ahead = torch.zeros(1, 2, 4, 8)
    ahead[:, 0] = 2
    back = -ahead
    back[..., 4:] = 3  # leads elsewhere
    found = seen(ahead, back)[0, 0]
    assert found[:, :2].all() and not found[:, 2:].any()


def test_guidance_brings_latents_nearer_along_the_flow() -> None:
    network = tiny(guidance=0.0)
    liven(network, 3)
    frames, flow = clip(4)
    with torch.no_grad():
        condition = network.vae.encode(network.dcm(frames[0]))[0][None]
        errors = []
        for guidance in (0.0, 0.05):
            network.guidance = guidance
            errors.append(float(MotionError(flow)(network.sample(condition, flow))))
    assert errors[1] < errors[0]


def test_restored_twice_is_the_same_and_another_seed_is_not() -> None:
    network, frames = tiny(), clip()
    liven(network)
    with torch.inference_mode():
        first = network(frames[0], flow=frames[1])
        network(frames[0].flip(-1), flow=frames[1])
        assert torch.equal(network(frames[0], flow=frames[1]), first)
        network.seed = 2
        assert not torch.equal(network(frames[0], flow=frames[1]), first)


def test_mean_colours_are_those_of_the_lr_frames() -> None:
    """To half a level, where nothing is clipped."""
    torch.manual_seed(0)
    frames, like = 0.4 + 0.02 * torch.randn(2, 3, 3, 32, 48), 0.5 + 0.1 * torch.rand(2, 3, 3, 8, 12)
    found = adain(frames, like)
    assert torch.allclose(found.mean((-2, -1)), like.mean((-2, -1)), atol=0.5 / 255)
    assert torch.allclose(found.std((-2, -1), correction=0), like.std((-2, -1), correction=0), atol=1e-3)


@pytest.mark.parametrize("frames", range(1, 15))
@pytest.mark.parametrize("length, overlap", [(5, 1), (3, 1), (6, 2)])
def test_chunks(frames: int, length: int, overlap: int) -> None:
    """Every frame is given once, in order, and no frame of a cut's `overlap` nearest."""
    given = []
    for part, kept in chunks(frames, length, overlap):
        whole = list(range(frames))[part]
        assert len(whole) == min(frames, length)
        given += whole[kept]
        assert part.start == 0 or kept.start >= overlap
        assert part.stop == frames or kept.stop <= length - overlap
    assert given == list(range(frames))


def test_long_clips_are_restored_in_chunks() -> None:
    """Each as if it were alone."""
    network = tiny(chunk=3)
    liven(network)
    frames, flow = clip(5)
    with torch.inference_mode():
        whole = network(frames, flow=flow)
        first, second, last = (network(frames[:, i : i + 3], flow=flow[:, i : i + 3]) for i in range(3))
    expected = torch.cat([first[:, :2], second[:, 1:2], last[:, 1:]], dim=1)
    assert torch.allclose(whole, expected, atol=1e-12)


# ---------------------------------------------------------------- learning, and what it begins with


def test_stages_learn_their_own_side() -> None:
    frames, flow = clip(count=2)
    truth = torch.rand(2, 3, 3, 32, 48).double()
    network = tiny(stage="denoiser")
    losses = network.learn(frames, truth=truth, flow=flow)
    assert set(losses) == {"noise", "cleaned"} and losses["cleaned"].shape == truth.shape
    losses["noise"].backward()
    assert network.unet.conv_out.weight.grad is not None and network.control.out[0].weight.grad.abs().sum() > 0
    decoder = tiny()
    assert same(tiny(stage="denoiser").unet, decoder.unet)
    liven(decoder)
    restored = decoder.learn(frames, truth=truth, flow=flow)["restored"]
    restored.square().mean().backward()
    assert restored.shape == truth.shape and decoder.unet.conv_out.weight.grad is None
    assert decoder.cfw["1"].correct[-1].weight.grad.abs().sum() > 0


def test_noise_is_half_learnt_by_a_denoiser_that_says_nothing() -> None:
    """The loss of an output of 0 is the variance of noise, 1."""
    network = tiny(stage="denoiser")
    nn.init.zeros_(network.unet.conv_out.weight)
    nn.init.zeros_(network.unet.conv_out.bias)
    torch.manual_seed(0)
    frames, flow = clip(count=4)
    loss = network.learn(frames, truth=torch.rand(4, 3, 3, 32, 48).double(), flow=flow)["noise"]
    assert loss.item() == pytest.approx(1, abs=5 * math.sqrt(2 / (12 * 4 * 96)))


def test_without_diffusers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(
        ValueError, match=r"^latent diffusion needs diffusers, which is not installed: `pip install 'vsr\[diffusion\]'`\.$"
    ):
        models.create("autoencoder")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="looks like a checkpoint of no known network"):
        models.load(tmp_path / "other.pth")
