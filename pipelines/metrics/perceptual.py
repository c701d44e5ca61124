"""Distances between a restored frame and its truth in the features of networks trained on ImageNet: LPIPS and DISTS, and of
all restored frames from all true ones: FID.

The small parameters that LPIPS and DISTS were calibrated with come with torchmetrics, the backbones by name from
`pipelines.weights`, where only this machine is looked at. torchmetrics' own classes fetch the backbones from the
network as they are made, which is why they are not used.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipelines import weights
from pipelines.errors import VSRError
from pipelines.metrics.framewise import Framewise
from pipelines.metrics.metric import Measure, Metric

if TYPE_CHECKING:
    from torch import Tensor

Net = Literal["squeeze", "alex", "vgg"]
Layers = Sequence[Callable[["Tensor"], "Tensor"]]
Distance = Callable[[np.ndarray, np.ndarray], float]

BACKBONES: dict[Net, str] = {"squeeze": "squeezenet1_1", "alex": "alexnet", "vgg": "vgg16"}
TAPS = {"squeezenet1_1": (1, 4, 7, 9, 10, 11, 12), "alexnet": (1, 4, 7, 9, 11), "vgg16": (3, 8, 15, 22, 29)}
"""The layers of torchvision's `features` whose output is compared: a rectifier, or a Fire module, that ends in ones."""
POOLS = (4, 9, 16, 23)
"""The layers of VGG16 that DISTS replaces."""
INCEPTION_FEATURES = 2048


@functools.cache
def lpips(net: Net, backbone: Path, device: str = "cpu") -> Distance:
    """Learned perceptual image patch similarity, version 0.1: at each tap, features of unit length over channels, the squared
    difference weighted by channel, its mean over pixels; the sum over taps.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, eq. (1).

    Args:
        net: the network that gives the features.
        backbone: its published parameters.
        device: where it runs.

    Returns:
        A function of two frames, (H, W, 3) RGB on the 8-bit scale; lower is better, 0 for equal frames.

    Raises:
        VSRError: the parameters cannot be read.
    """
    import torch

    layers, taps = _backbone(BACKBONES[net], backbone, device), TAPS[BACKBONES[net]]
    calibration = torch.load(_packaged("lpips_models", f"{net}.pth"), map_location=device, weights_only=True)
    heads = [calibration[f"lin{index}.model.1.weight"] for index in range(len(taps))]
    # The statistics of ImageNet on [-1, 1], rounded as the authors did.
    mean, deviation = _channels((-0.030, -0.088, -0.188), device), _channels((0.458, 0.448, 0.450), device)

    def features(frame: Tensor) -> Iterator[Tensor]:
        for tap in _tapped(layers, (2 * frame - 1 - mean) / deviation, taps):
            yield tap / (tap.square().sum(1, keepdim=True).sqrt() + 1e-10)

    def distance(restored: Tensor, truth: Tensor) -> Tensor:
        # Tap by tap side by side, so that only one tap of each frame is held at a time.
        pairs = zip(heads, features(restored), features(truth), strict=True)
        return torch.stack([(head * (one - other).square()).sum(1).mean() for head, one, other in pairs]).sum()

    return _of_frames(distance, device)


@functools.cache
def dists(backbone: Path, device: str = "cpu") -> Distance:
    """Deep image structure and texture similarity: in the pixels and at each tap of a VGG16 that pools without aliasing, how
    the channels' means differ (texture) and how little their variation is shared (structure), weighted by channel.

    Source: Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", IEEE TPAMI 44(5), 2022, Sec. 3,
    on frames as they are, not resized.

    Args:
        backbone: the published parameters of VGG16.
        device: where it runs.

    Returns:
        A function of two frames, (H, W, 3) RGB on the 8-bit scale; lower is better, 0 for equal frames.
    """
    import torch

    network = _backbone("vgg16", backbone, device)
    layers = [_l2_pool if index in POOLS else layer for index, layer in enumerate(network)]
    calibration = torch.load(_packaged("dists_models", "weights.pt"), map_location=device, weights_only=True)
    total = calibration["alpha"].sum() + calibration["beta"].sum()
    sizes = [3, 64, 128, 256, 512, 512]
    alphas, betas = (torch.split(calibration[name].flatten() / total, sizes) for name in ("alpha", "beta"))
    mean, deviation = _channels((0.485, 0.456, 0.406), device), _channels((0.229, 0.224, 0.225), device)

    def features(frame: Tensor) -> Iterator[Tensor]:
        yield frame
        yield from _tapped(layers, (frame - mean) / deviation, TAPS["vgg16"])

    def distance(restored: Tensor, truth: Tensor) -> Tensor:
        value = torch.zeros((), device=device)
        for alpha, beta, one, other in zip(alphas, betas, features(restored), features(truth), strict=True):
            mean_x, mean_y = one.mean((0, 2, 3)), other.mean((0, 2, 3))
            # One minus the paper's similarities. The weights add up to one, so these add up to the distance, and exactly to
            # zero where the frames are equal.
            texture = (mean_x - mean_y).square() / (mean_x.square() + mean_y.square() + 1e-6)
            structure = _variance(one - other) / (_variance(one) + _variance(other) + 1e-6)
            value = value + (alpha * texture + beta * structure).sum()
        return value

    return _of_frames(distance, device)


@functools.cache
def inception(path: Path, device: str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """The pooled features of the Inception network that FID is defined with, converted from TensorFlow.

    Args:
        path: its published parameters.
        device: where it runs.

    Returns:
        A function of a frame, (H, W, 3) RGB on the 8-bit scale, giving (2048,) float32. The frame is resized to 299x299
        whatever its shape, bilinearly and without a filter against aliasing, as in the authors' TensorFlow.
    """
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # torch-fidelity would unpickle anything, so it is given what holds tensors only. Its random first parameters must not
    # advance the generator of whatever else runs here.
    safe = io.BytesIO()
    torch.save(torch.load(path, map_location="cpu", weights_only=True), safe)
    safe.seek(0)
    with torch.random.fork_rng(devices=[]):
        features = [str(INCEPTION_FEATURES)]
        network = FeatureExtractorInceptionV3("inception-v3-compat", features, feature_extractor_weights_path=safe).to(device)

    def of(frame: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(frame).round().to(device, torch.uint8).permute(2, 0, 1)[None]
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return network(pixels)[0][0].cpu().numpy()

    return of


class Samples:
    """Vectors whose number, mean and covariance are wanted, in bounded memory.

    Of `n` vectors x of length `d`, `rows` is the (n, 1 + d) matrix of rows [1, x], or, once `n` is larger than 2 (1 + d), a
    matrix R of fewer rows for which RᵀR, which holds all that is wanted, is the same.
    """

    def __init__(self, length: int) -> None:
        self._blocks = [np.empty((0, 1 + length), np.float32)]

    def add(self, rows: np.ndarray) -> None:
        """Take rows [1, x], or what the `rows` of other samples have become."""
        self._blocks.append(rows)
        if sum(map(len, self._blocks)) > 2 * rows.shape[1]:
            self._blocks = [_triangular(self.rows)]

    @property
    def rows(self) -> np.ndarray:
        """See the class."""
        return np.concatenate(self._blocks)


class Frechet:
    """Gathers the features of a clip's restored and true frames for `frechet_distance`."""

    def __init__(self, features: Callable[[np.ndarray], np.ndarray], length: int = INCEPTION_FEATURES) -> None:
        self._features = features
        self._restored, self._truth = Samples(length), Samples(length)

    def add(self, restored: np.ndarray, truth: np.ndarray) -> None:
        """Take the next frame."""
        for samples, frame in ((self._restored, restored), (self._truth, truth)):
            samples.add(np.append(np.float32(1), self._features(frame))[None])

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the restored and of the true frames' samples."""
        return self._restored.rows, self._truth.rows


def frechet_distance(clips: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The Fréchet distance between the Gaussians that have the mean and covariance of the restored and of the true frames.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017,
    eq. (6). With roots A of the covariances, AᵀA, the trace of (C₁C₂)^½ is the sum of the singular values of A₁A₂ᵀ.

    Args:
        clips: what `Frechet.finish` gave for each.

    Returns:
        At least 0, 0 for equal sets.

    Raises:
        VSRError: there are fewer than two frames.
    """
    (mean_x, root_x), (mean_y, root_y) = (_gaussian(clip[side] for clip in clips) for side in (0, 1))
    means = np.square(mean_x - mean_y).sum()
    shared = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    return max(0.0, float(means + np.square(root_x).sum() + np.square(root_y).sum() - 2 * shared))


def _gaussian(clips: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The mean (d,) of samples and a root A of their unbiased covariance AᵀA, from the rows of each clip."""
    samples: Samples | None = None
    for rows in clips:
        samples = samples or Samples(rows.shape[1] - 1)
        samples.add(rows)
    # In the triangular factor of rows [1, x] the first row is √n times [1, mean], and what is left is a root of the scatter.
    factor = _triangular(samples.rows) if samples else np.empty((0, 0))
    count = factor[0, 0] ** 2 if len(factor) else 0.0
    if count < 1.5:
        raise VSRError(f"FID compares sets of frames and there are {count:.0f}: score at least 2, better thousands.")
    return factor[0, 1:] / factor[0, 0], factor[1:, 1:] / math.sqrt(count - 1)


def _triangular(rows: np.ndarray) -> np.ndarray:
    """The R of a QR decomposition, at most as many rows as columns."""
    factor: Any = np.linalg.qr(rows.astype(np.float64), mode="r")
    return factor


def _of_frames(distance: Callable[[Tensor, Tensor], Tensor], device: str) -> Distance:
    """A distance of frames from one of tensors (1, 3, H, W) in [0, 1]."""
    import torch

    def tensor(frame: np.ndarray) -> Tensor:
        return torch.from_numpy(frame).to(device, torch.float32).permute(2, 0, 1)[None] / 255

    def of(restored: np.ndarray, truth: np.ndarray) -> float:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return float(distance(tensor(restored), tensor(truth)))

    return of


def _tapped(layers: Layers, x: Tensor, taps: Sequence[int]) -> Iterator[Tensor]:
    """The outputs of some layers, one after the other."""
    for index, layer in enumerate(layers[: taps[-1] + 1]):
        x = layer(x)
        if index in taps:
            yield x


def _l2_pool(x: Tensor) -> Tensor:
    """The root of the squares' mean under a Hann window of 3x3, at every other pixel."""
    import torch

    window = torch.tensor([0.25, 0.5, 0.25], device=x.device)
    kernel = torch.outer(window, window).expand(x.shape[1], 1, 3, 3)
    return (torch.nn.functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def _variance(x: Tensor) -> Tensor:
    """Of each channel of (1, C, H, W)."""
    return x.var((0, 2, 3), correction=0)


def _channels(values: Sequence[float], device: str) -> Tensor:
    import torch

    return torch.tensor(values, device=device).view(1, -1, 1, 1)


def _backbone(name: str, path: Path, device: str) -> Any:
    """The convolutional layers of a network of torchvision, with the parameters of a file."""
    import torch
    from torchvision import models

    # Without memory or random numbers for parameters that are replaced at once; VGG16 would draw 138 million.
    with torch.device("meta"):
        layers = getattr(models, name)(weights=None).features
    layers.load_state_dict(_parameters(path), assign=True)
    return layers.requires_grad_(False).eval().to(device)


def _parameters(path: Path) -> dict[str, Tensor]:
    """Of the convolutional layers, by torchvision's names without `features.`."""
    import torch

    if path.suffix != ".onnx":
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise VSRError(
            f"{path} cannot be read without the package onnx: install it (`pip install onnx`), or put the published file "
            "of torchvision in its place."
        ) from error
    # There they are called core.net.slice<number>.<layer>.<parameter>.
    found = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer if tensor.name.startswith("core.net.")}
    return {name.split(".", 3)[3]: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for name, tensor in found.items()}


def _packaged(*parts: str) -> Path:
    """A file of torchmetrics, found without importing it."""
    package = importlib.util.find_spec("torchmetrics")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent.joinpath("functional", "image", *parts)


def _local(name: str) -> Path:
    path = weights.local(name)
    if path is None:
        raise VSRError(f"the metric {weights.how_to_get(name)}.")
    return path


def _lpips(net: Net, label: str, smallest: int) -> Metric:
    return Metric(
        name=f"lpips_{net}",
        label=label,
        unit="",
        decimals=4,
        higher_is_better=False,
        low=0.0,
        high=math.inf,
        channel="rgb",
        reference=True,
        licence="BSD-2-Clause, its backbone BSD-3-Clause",
        source="Zhang et al., CVPR 2018, version 0.1",
        build=lambda device: Framewise(lpips(net, _local(BACKBONES[net]), device)),
        weights=(BACKBONES[net],),
        smallest=smallest,
    )


def _fid(device: str) -> Measure:
    return Frechet(inception(_local("inception_v3_fid"), device))


METRICS = (
    # The smallest frames are those that leave one pixel at the last tap.
    _lpips("squeeze", "LPIPS-Squeeze", smallest=17),
    _lpips("alex", "LPIPS-Alex", smallest=31),
    _lpips("vgg", "LPIPS-VGG", smallest=16),
    Metric(
        name="dists",
        label="DISTS",
        unit="",
        decimals=4,
        higher_is_better=False,
        low=0.0,
        high=2.0,  # structure that is the opposite of the truth's; what is seen stays below 1
        channel="rgb",
        reference=True,
        licence="MIT, its backbone BSD-3-Clause",
        source="Ding et al., IEEE TPAMI 44(5), 2022",
        build=lambda device: Framewise(dists(_local("vgg16"), device)),
        weights=("vgg16",),
        smallest=17,  # below, the last tap has one pixel and no structure
    ),
    Metric(
        name="fid",
        label="FID",
        unit="",
        decimals=2,
        higher_is_better=False,
        low=0.0,
        high=math.inf,
        channel="rgb",
        reference=True,
        licence="Apache-2.0",
        source="Heusel et al., NeurIPS 2017",
        build=_fid,
        combine=frechet_distance,
        weights=("inception_v3_fid",),
    ),
)
