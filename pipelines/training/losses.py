"""Losses: what a training step makes small.

Frames are RGB in [0, 1]; every loss is a float32 scalar.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.errors import VSRError, unknown

Form = Literal["vanilla", "lsgan", "hinge"]


def charbonnier(restored: Tensor, truth: Tensor, reduction: Literal["mean", "sum"] = "mean", eps: float = 1e-12) -> Tensor:
    """Mean or sum of sqrt(difference² + eps), a smooth absolute difference, over any equal shapes.

    Lai et al., "Deep Laplacian Pyramid Networks", CVPR 2017, with BasicVSR's eps (CVPR 2021, Sec. 4); EDVR
    takes the sum.
    """
    each = torch.sqrt((restored - truth).square() + eps)
    return each.sum() if reduction == "sum" else each.mean()


def fft(restored: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the real and imaginary parts of the Fourier coefficients of frames (..., H, W).

    Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021, Eq. 9.
    """
    difference = torch.view_as_real(torch.fft.rfft2(restored.float()) - torch.fft.rfft2(truth.float()))
    return difference.abs().mean()


def frame_difference(restored: Tensor, truth: Tensor, squared: bool = False) -> Tensor:
    """Mean absolute difference of what changes between neighbouring frames of clips (N, T, C, H, W), T at least 2, or the mean
    squared one.

    Yang et al., "Motion-Guided Latent Diffusion for Temporally Consistent Real-world Video Super-resolution", ECCV 2024, Sec. 3.4;
    squared as RDG's authors have it (CVPR 2025).
    """
    return (F.mse_loss if squared else F.l1_loss)(restored.diff(dim=1), truth.diff(dim=1))


def endpoint_error(flow: Tensor, truth: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Mean length of the difference of two flows, in pixels.

    Args:
        flow, truth: (N, 2, H, W) in pixels.
        weight: (N, 1, H, W), how much each pixel counts; where nothing counts the error is 0.
        eps: added under the root, which has no gradient at 0.

    Returns:
        A scalar: the weighted mean of sqrt(dx² + dy² + eps).
    """
    length = torch.sqrt((flow - truth).square().sum(1, keepdim=True) + eps)
    if weight is None:
        return length.mean()
    return (length * weight).sum() / weight.sum().clamp_min(1e-6)


class Perceptual:
    """Mean absolute difference of a VGG's features before their rectifiers, of frames (..., 3, H, W), layers weighted and added.

    Johnson et al., "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016, Eq. 2, with the
    absolute difference and the layers before activation of Wang et al., "ESRGAN", ECCVW 2018, Sec. 3.3.

    Args:
        network: `vgg16` or `vgg19`, of torchvision.
        file: its published parameters.
        layers: weights by name; `conv3_4` is the fourth convolution after the second pooling.

    Raises:
        VSRError: there is no such layer, or the file is of another network.
    """

    def __init__(self, network: Literal["vgg16", "vgg19"], file: Path, layers: Mapping[str, float]) -> None:
        from torchvision import models  # seconds that no other loss needs

        with torch.device("meta"):  # without memory or random numbers for parameters that are replaced at once
            features = models.get_model(network).features
        places = convolutions(features)
        for layer in layers:
            if layer not in places:
                raise unknown(f"layer of {network}", layer, places)
        self._weights = {places[layer]: weight for layer, weight in layers.items()}
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            features.load_state_dict(
                {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}, assign=True
            )
        except Exception as error:  # torch raises a different kind for each kind of damage
            raise VSRError(f"{file} does not hold the parameters of {network}: remove it, and it is downloaded again.") from error
        self._layers = features[: max(self._weights) + 1].requires_grad_(False).eval()
        self._mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        self._deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    def __call__(self, restored: Tensor, truth: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self._features(truth)
        pairs = zip(self._weights.values(), self._features(restored), wanted, strict=True)
        return torch.stack([weight * F.l1_loss(one.float(), other.float()) for weight, one, other in pairs]).sum()

    def _features(self, frames: Tensor) -> list[Tensor]:
        """In the order of the network, each (N, C, h, w)."""
        mean, deviation = self._mean.to(frames.device), self._deviation.to(frames.device)
        x = ((frames - mean) / deviation).flatten(0, -4)
        found = {}
        for index, layer in enumerate(self._layers.to(frames.device)):
            # Its rectifiers work in place, and would change what is compared.
            x = F.relu(x) if isinstance(layer, torch.nn.ReLU) else layer(x)
            if index in self._weights:
                found[index] = x
        return [found[index] for index in self._weights]


def convolutions(features: torch.nn.Sequential) -> dict[str, int]:
    """Where the convolutions of a VGG stand by the names of its paper, `conv<block>_<number>`."""
    places, block, number = {}, 1, 0
    for index, layer in enumerate(features):
        if isinstance(layer, torch.nn.MaxPool2d):
            block, number = block + 1, 0
        elif isinstance(layer, torch.nn.Conv2d):
            number += 1
            places[f"conv{block}_{number}"] = index
    return places


def deceive(form: Form, restored: Tensor) -> Tensor:
    """What a generator makes small: how sure the discriminator is that restored frames are restored; see `discriminate`.

    Args:
        form: `vanilla` in the form of Goodfellow et al. that does not saturate.
        restored: logits of restored frames, of any shape.
    """
    if form == "hinge":
        return -restored.mean()
    return _judged(form, restored, 1.0)


def discriminate(form: Form, restored: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """What a discriminator makes small: how wrong it is of true frames (`real`) and of restored ones (`restored`).

    Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, Eq. 1 (`vanilla`); Mao et al., "Least Squares Generative
    Adversarial Networks", ICCV 2017, Eq. 9 with labels 0 and 1 (`lsgan`); Lim and Ye, "Geometric GAN", 2017 (`hinge`).

    Args:
        restored, truth: logits, of any shapes.
    """
    if form == "hinge":
        return {"real": F.relu(1 - truth).mean(), "restored": F.relu(1 + restored).mean()}
    return {"real": _judged(form, truth, 1.0), "restored": _judged(form, restored, 0.0)}


def _judged(form: Form, logits: Tensor, label: float) -> Tensor:
    labels = torch.full_like(logits, label)
    return F.mse_loss(logits, labels) if form == "lsgan" else F.binary_cross_entropy_with_logits(logits, labels)
