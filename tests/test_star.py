"""STAR: the numbers of its release, its gates and loss again and slowly, and its sampling against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from test_edvr import liven
from test_networks import TINY
from torch import Tensor
from torch.nn import functional as F

import models
from models.parts import noise
from models.parts.frequency import dynamic_frequency
from models.parts.liem import SpatialGate, TemporalGate
from models.parts.registry import kind
from models.parts.video_unet import Block, Seen, TemporalConv

pytest.importorskip("diffusers")
torch.set_num_threads(1)

SMALL = {"channels": [4, 8], "attention": [False, True], "blocks": 1, "head": 4, "first_heads": 1, "context": 4, "groups": 2}


def tiny(**options: object) -> Any:
    torch.manual_seed(0)
    network = models.create("star_mini", **{**TINY["star_mini"], **options}).double().eval()
    liven(network)
    return network


# ---------------------------------------------------------------- the release


def test_the_published_denoiser() -> None:
    """2,041,121,910 parameters in 2,247 tensors, 2,354 in 73 of them in gates, 23 of these in the control branch."""
    with torch.device("meta"):
        network = models.create("star")
    state = network.state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (2247, 2_041_121_910)
    assert sum(parameter.numel() for parameter in network.VideoControlNet.parameters()) == 629_886_414
    gates = [key for key in state if ".local" in key]
    assert (len(gates), sum(state[key].numel() for key in gates)) == (73, 2354)
    assert sum(key.startswith("VideoControlNet.") for key in gates) == 23
    shapes = {
        "input_blocks.0.0.weight": (320, 4, 3, 3),
        "input_blocks.0.1.proj_in.weight": (512, 320, 1),
        "input_blocks.1.0.temopral_conv.conv4.3.weight": (320, 320, 3, 1, 1),
        "input_blocks.1.1.transformer_blocks.0.local1.conv1.weight": (1, 2, 7, 7),
        "input_blocks.1.2.transformer_blocks.0.local2.conv1.weight": (1, 2),
        "input_blocks.3.op.weight": (320, 320, 3, 3),
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 1024),
        "output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        "out.2.weight": (4, 320, 3, 3),
        "time_embed.2.bias": (1280,),
        "VideoControlNet.zero_convs.11.0.weight": (1280, 1280, 1, 1),
        "VideoControlNet.middle_block_out.0.weight": (1280, 1280, 1, 1),
        "VideoControlNet.input_hint_block.weight": (320, 4, 3, 3),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_files_of_the_release_are_recognised() -> None:
    with torch.device("meta"):
        network = models.create("star")
    assert kind("star").options_of(network.state_dict()) == {} and not kind("star").restores
    assert kind("star").options_of(models.create("spynet").state_dict()) is None


def test_untrained_the_denoiser_says_nothing_and_the_control_adds_nothing() -> None:
    torch.manual_seed(0)
    network = models.create("star", **SMALL).eval()
    noisy, hint = torch.randn(2, 1, 3, 4, 8, 8).unbind()
    times, text = torch.tensor([500]), torch.zeros(1, 2, 4)
    assert not network(noisy, hint, times, text).any()
    liven(network.out)
    assert torch.equal(network(noisy, hint, times, text), network(noisy, 0 * hint, times, text))
    liven(network.VideoControlNet)
    assert not torch.equal(network(noisy, hint, times, text), network(noisy, 0 * hint, times, text))


# ---------------------------------------------------------------- gates and loss


def test_spatial_gate() -> None:
    gate = SpatialGate().double()
    torch.manual_seed(0)
    tokens = torch.rand(2, 5 * 6, 4).double()
    found = gate(tokens, (5, 6))
    frames = tokens.view(2, 5, 6, 4)
    for n, r, c in np.ndindex(2, 5, 6):
        total = 0.0
        for i, j in np.ndindex(7, 7):
            y, x = r + i - 3, c + j - 3
            if 0 <= y < 5 and 0 <= x < 6:
                pixel, weight = frames[n, y, x], gate.conv1.weight[0, :, i, j]
                total += (weight[0] * pixel.max() + weight[1] * pixel.mean()).item()
        assert found[n, r * 6 + c, 0].item() == pytest.approx(1 / (1 + math.exp(-total)))


def test_temporal_gate() -> None:
    gate = TemporalGate().double()
    torch.manual_seed(0)
    tokens = torch.rand(2, 3, 4).double()
    (largest, mean) = gate.conv1.weight[0].tolist()
    for n, t in np.ndindex(2, 3):
        total = largest * float(tokens[n, t].max()) + mean * float(tokens[n, t].mean())
        assert gate(tokens, (1, 1))[n, t, 0].item() == pytest.approx(1 / (1 + math.exp(-total)))


@pytest.mark.parametrize("length", [4, None])
def test_released_gates_are_taken_away_by_the_normalisation(length: int | None) -> None:
    """And those of the paper are not."""
    torch.manual_seed(0)
    blocks = {form: Block(16, length, 2, form).double() for form in ("none", "released", "paper")}
    for block in blocks.values():
        block.load_state_dict(blocks["none"].state_dict(), strict=False)
    blocks["paper"].local1.load_state_dict(blocks["released"].local1.state_dict())
    x, text = torch.randn(2, 12, 16).double(), torch.rand(2, 3, 4).double() if length else None
    plain, released, paper = (blocks[form](x, text, (3, 4)) for form in ("none", "released", "paper"))
    assert (released - plain).abs().max() < 1e-3 < 1e-1 < (paper - plain).abs().max()


def test_temporal_convolution_is_nothing_at_first() -> None:
    x = torch.rand(6, 4, 3, 3)
    assert torch.equal(TemporalConv(4, 2)(x, Seen(x, x, 3)), x)


def test_dynamic_frequency_loss() -> None:
    """Coefficient by coefficient, of the definition of the transform."""
    torch.manual_seed(0)
    found, truth = torch.randn(2, 2, 1, 2, 4, 6).double().unbind()
    times = torch.tensor([0.25, 1.0])

    def spectrum(frame: Tensor) -> dict[tuple[int, int], complex]:
        return {
            (v, u): complex(
                sum(
                    complex(frame[y, x]) * complex(math.cos(a := -2 * math.pi * (v * y / 4 + u * x / 6)), math.sin(a))
                    for y, x in np.ndindex(4, 6)
                )
            )
            / math.sqrt(24)
            for v in range(4)
            for u in range(4)
        }

    for n in range(2):
        slow, fast = [], []
        for c in range(2):
            one, other = spectrum(found[n, 0, c]), spectrum(truth[n, 0, c])
            for v, u in one:
                radius = 2 * math.hypot(min(v, 4 - v) / 4, u / 6)
                low = 1 / (1 + math.exp(-40 * (0.25 - radius)))
                apart = one[v, u] - other[v, u]
                slow += [low * abs(apart.real), low * abs(apart.imag)]
                fast += [(1 - low) * abs(apart.real), (1 - low) * abs(apart.imag)]
        weight = float(times[n]) ** 2
        expected = weight * float(np.mean(slow)) + (1 - weight) * float(np.mean(fast))
        assert dynamic_frequency(found, truth, times, "paper")[n].item() == pytest.approx(expected, rel=1e-4)


def test_the_released_loss_takes_small_coefficients_for_low_and_has_no_gradient() -> None:
    torch.manual_seed(0)
    found, truth = (torch.randn(1, 1, 1, 8, 8) + 3).requires_grad_(), torch.randn(1, 1, 1, 8, 8)
    loss = dynamic_frequency(found, truth, torch.tensor([1.0]), "released")
    assert not loss.requires_grad and dynamic_frequency(found, truth, torch.tensor([1.0]), "paper").requires_grad
    one, other = (np.fft.rfft2(x.detach().numpy()[0, 0, 0], norm="ortho") for x in (found, truth))
    parts = [np.stack([x.real, x.imag], -1) for x in (one, other)]
    borders = [np.sort(np.abs(x).ravel())[round(0.8 * x.size) - 1] for x in parts]
    masks = [1 / (1 + np.exp(np.minimum(50, -10 * (border - np.abs(x))))) for border, x in zip(borders, parts, strict=True)]
    assert loss.item() == pytest.approx(np.abs(masks[0] * parts[0] - masks[1] * parts[1]).mean(), rel=1e-4)
    assert masks[0][0, 0, 0] < 1e-6  # the mean of the frame, the lowest frequency


# ---------------------------------------------------------------- noise and sampling


def test_schedule() -> None:
    """Rising noise, all of it at last; in between the interpolated logarithm of the ratio, then stretched."""
    sigma = noise.shifted_cosine().sigma
    assert sigma[-1] == 1 and (sigma.diff() > 0).all() and sigma[0] < 2e-3

    def plain(index: int) -> float:
        clean = 1 - index / 999
        angle = math.atan(math.exp(7.5)) + clean * (math.atan(math.exp(-7.5)) - math.atan(math.exp(7.5)))
        ratio = -2 * math.log(math.tan(angle))
        ratio = clean * (ratio - 2 * math.log(2)) + (1 - clean) * (ratio - 2 * math.log(4))
        return math.sqrt(1 / (1 + math.exp(ratio)))

    for index in (0, 250, 500, 998):
        stretched = plain(0) + (plain(index) - plain(0)) * (1 - plain(0)) / (plain(999) - plain(0))
        assert float(sigma[index]) == pytest.approx(stretched)


def test_a_point_is_found_whatever_the_steps() -> None:
    """If all clips were one, its exact denoiser ends there from any noise."""
    network = tiny(steps=5)
    point = torch.randn(1, 3, 4, 8, 12).double()

    def exact(noisy: Tensor, hint: Tensor, times: Tensor, text: Tensor) -> Tensor:
        alpha, sigma = network.schedule.at(times, noisy)
        return (alpha * noisy - point) / sigma

    network.denoiser.velocity = exact
    assert torch.allclose(network.sample(0 * point), point, atol=1e-9)


def test_two_steps_are_exact_where_the_clean_latent_is_a_line() -> None:
    """In the logarithm of the ratio: the extrapolated one is that of the middle of the step."""
    schedule = noise.shifted_cosine()
    ratio = torch.log(schedule.alpha / schedule.sigma)
    line, two = (lambda r: 3 * r - 1), noise.TwoSteps(schedule)
    assert two(899, 600, line(ratio[899])) == line(ratio[899])
    assert two(600, 300, line(ratio[600])).item() == pytest.approx(line((ratio[600] + ratio[300]) / 2).item())
    assert two(300, None, ratio[300]) == ratio[300]


def test_what_is_learnt_is_nothing_for_the_exact_denoiser() -> None:
    network = tiny()
    torch.manual_seed(1)
    lr, truth = torch.rand(2, 3, 3, 8, 12).double(), torch.rand(2, 3, 3, 32, 48).double()
    latents = network.vae.encode(truth.flatten(0, 1))[0].unflatten(0, (2, 3))
    losses = network.learn(lr, truth=truth)
    assert set(losses) == {"velocity", "frequency"} and set(tiny(frequency="none").learn(lr, truth=truth)) == {"velocity"}

    def exact(noisy: Tensor, hint: Tensor, times: Tensor, text: Tensor) -> Tensor:
        alpha, sigma = network.schedule.at(times, noisy)
        return (alpha * noisy - latents) / sigma

    network.denoiser.velocity = exact
    learnt = network.learn(lr, truth=truth)
    assert learnt["velocity"].item() < 1e-12 < losses["velocity"].item() and learnt["frequency"].item() < 1e-5


def test_restored_twice_is_the_same_and_in_chunks() -> None:
    network = tiny(chunk=3)
    torch.manual_seed(1)
    clip = torch.rand(1, 5, 3, 7, 9).double()
    with torch.inference_mode():
        whole = network(clip)
        assert torch.equal(network(clip), whole) and whole.shape == (1, 5, 3, 28, 36)
        first, second, last = (network(clip[:, i : i + 3]) for i in range(3))
        assert torch.allclose(whole, torch.cat([first[:, :2], second[:, 1:2], last[:, 1:]], dim=1), atol=1e-12)
        network.seed = 2
        assert not torch.equal(network(clip), whole)


def test_colours_are_those_of_the_lr_frames() -> None:
    """To half a level, where nothing is clipped."""
    network = tiny()
    torch.manual_seed(1)
    clip = 0.45 + 0.1 * torch.rand(1, 3, 3, 8, 12).double()
    with torch.inference_mode():
        restored = network(clip)
    assert restored.min() > 0 and restored.max() < 1
    enlarged = models.create("bicubic")(clip[0], size=(32, 48))
    assert torch.allclose(restored[0].mean((-2, -1)), enlarged.mean((-2, -1)), atol=0.5 / 255)
    assert F.l1_loss(enlarged.mean((-2, -1)), clip[0].mean((-2, -1))) < 0.5 / 255
