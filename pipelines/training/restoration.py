"""Supervised restoration: LR clips in, HR clips out, the Charbonnier loss between (BasicVSR, CVPR 2021, Sec. 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import Network
from pipelines import networks
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.params import Training
from pipelines.priors.kinds import there_and_back
from pipelines.training import parts, validation
from pipelines.training.crops import Batch, PairCrops, Window, as_tensor, check_prior, common_scale, to_tensor
from pipelines.training.initial import stay_near_the_base
from pipelines.training.loop import Group, Images, Metrics
from pipelines.training.losses import charbonnier
from pipelines.training.recompute import recompute
from pipelines.training.starting import begin_with


class Supervised:
    """What tasks share in which a network learns to restore known HR clips; see `pipelines.training.loop.Task`.

    Args:
        network: see `models.Network`.
        training: the recipe.

    Raises:
        VSRError: the recipe does not fit the network.
    """

    def __init__(self, network: Network, training: Training) -> None:
        self.network, self.training, self.ema = network, training, training.ema
        length = training.clip_length
        if network.window is not None and length != network.window:
            raise VSRError(f"the network sees windows of {network.window} frames: set `clip_length`, {length} now, to that.")
        if network.window is not None and training.mirror:
            raise VSRError("the network sees windows of a clip and no clips: leave `mirror` out.")
        if length * (2 if training.mirror else 1) < network.min_frames:
            raise VSRError(f"the network takes at least {network.min_frames} frames: raise `clip_length` from {length}.")
        self._groups = parts.groups(network, training)
        if training.recompute:
            recompute(network)

    def groups(self) -> list[Group]:
        return self._groups

    def error(self, network: nn.Module, lr: Tensor, truth: Tensor, priors: Batch | None = None, **size: Any) -> Tensor:
        """The loss of a batch.

        Args:
            network: `self.network`, maybe wrapped.
            lr: (N, T, 3, h, w) RGB in [0, 1].
            truth: (N, T, 3, H, W).
            priors: (N, T, C, h, w) each, by their names.
            size: what else the network takes.
        """
        given = priors or {}
        if self.training.mirror:
            lr, truth = mirrored(lr), mirrored(truth)
            given = {name: there_and_back(name, prior) for name, prior in given.items()}
        loss = charbonnier(network(lr, **given, **size).float(), self.wanted(truth), self.training.reduction)
        # The sum over the global batch, however many workers share it.
        return loss * (self.training.batch / len(lr)) if self.training.reduction == "sum" else loss

    def wanted(self, clip: Tensor) -> Tensor:
        """What of a clip, (N, T, ...), the network restores: all of it, or the frame in the middle, (N, ...)."""
        return clip if self.network.window is None else clip[:, clip.shape[1] // 2]

    def restored(self, network: nn.Module, lr: Tensor, priors: Batch | None = None, **size: Any) -> Tensor:
        """A clip, (T, 3, h, w), restored as it is learnt: (T, 3, H, W), or (1, 3, H, W) the frame in the middle of a window."""
        clip, given = lr[None], {name: prior[None] for name, prior in (priors or {}).items()}
        if not self.training.mirror:
            found = network(clip, **given, **size)
            return found if self.network.window is not None else found[0]
        both = network(mirrored(clip), **{name: there_and_back(name, prior) for name, prior in given.items()}, **size)
        there, back = both[0].chunk(2)
        return (there + back.flip(0)) / 2


def mirrored(clips: Tensor) -> Tensor:
    """Clips (N, T, ...) shown forwards and then backwards, (N, 2T, ...)."""
    return torch.cat([clips, clips.flip(1)], dim=1)


class Restoration(Supervised):
    """A network learning to restore a pair.

    Args:
        network: of one scale; what `network.priors` names it gets from `priors`.
        training: the recipe.
        hr, lr: as `PairCrops`, with clips in the splits `train`, and `validation` or `test`.
        priors: as `PairCrops`.

    Raises:
        VSRError: the pair or the priors do not fit the network or the recipe.
    """

    def __init__(
        self, network: Network, training: Training, hr: Store, lr: Store, priors: Mapping[str, Store] | None = None
    ) -> None:
        super().__init__(network, training)
        given = priors or {}
        if set(given) != set(network.priors):
            wanted, found = (" and ".join(sorted(names)) or "no priors" for names in (network.priors, given))
            raise VSRError(f"the network sees {wanted} and is given {found}: train it with {wanted}.")
        self._priors = {name: given[name] for name in network.priors}
        length = training.clip_length
        self._crops = PairCrops(
            hr,
            lr,
            split="train",
            crop=training.crop,
            clip_length=length,
            seed=training.seed,
            priors=self._priors,
            flips=training.flips,
        )
        self._hr, self._lr = hr, lr
        self._validation = validation.clips(lr)
        for scale in (self._crops.scale, common_scale(hr, self._validation, str(lr.path))):
            if scale != network.scale:
                raise VSRError(
                    f"the network enlarges by {network.scale} and {lr.path} is smaller by {scale}: train it on a pair of its scale."
                )
        for clip in self._validation:
            for name, prior in self._priors.items():
                check_prior(name, prior, lr, clip)
            check_length(network, training, lr, clip.name)

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        return self._crops.batch(step, indices)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        return self.error(network, batch["lr"], batch["hr"], {name: batch[name] for name in self._priors})

    def validate(self, network: nn.Module, device: torch.device, step: int) -> tuple[Metrics, Images]:
        """`psnr`, on Y over the middle `clip_length` frames of every validation clip, or of windows over the frame
        in their middle, and `gain`, what of it is above bicubic. Shown are `validation.images`."""
        found: list[validation.Compared] = []
        for clip in self._validation:
            window = Window.middle(clip, self.training.clip_length, validation.SIDE)
            lr, hr = (to_tensor(frames).to(device) for frames in (window.of(self._lr), window.of(self._hr, self._crops.scale)))
            priors = {name: as_tensor(window.of_prior(name, store)).to(device) for name, store in self._priors.items()}
            restored = self.restored(network, lr, priors)
            middle = slice(None) if self.network.window is None else slice(len(lr) // 2, len(lr) // 2 + 1)
            shown = len(found) < validation.SHOWN
            found.append(validation.compare(clip.name, lr[middle], restored, hr[middle], shown=shown))
        return validation.metrics(found), validation.images(found, step)


def check_length(network: Network, training: Training, store: Store, clip: str) -> None:
    """A clip can be validated.

    Raises:
        VSRError: it is shorter than the network takes.
    """
    frames = min(training.clip_length, store.clips[clip].frames) * (2 if training.mirror else 1)
    if frames < network.min_frames:
        raise VSRError(
            f"clip {clip!r} of {store.path} has {store.clips[clip].frames} frames and the network takes at least "
            f"{network.min_frames}: leave the clip out."
        )


def restoration_task(
    network: str,
    options: Mapping[str, Any],
    training: Training,
    hr: Path,
    lr: Path,
    start: Path | None = None,
    priors: Mapping[str, Path] | None = None,
) -> Restoration:
    """The task from what params.yaml says.

    Args:
        network, options, training, start: as `first_network`.
        hr, lr: stores, as `Restoration`.
        priors: stores by name, as `Restoration`.

    Raises:
        VSRError: as `Restoration` and `first_network`.
    """
    stores = {name: Store(path) for name, path in (priors or {}).items()}
    return Restoration(first_network(network, options, training, start), training, Store(hr), Store(lr), stores)


def first_network(network: str, options: Mapping[str, Any], training: Training, start: Path | None) -> Network:
    """A network as a training begins with it.

    Args:
        network, options: for `models.create`; the first weights derive from the recipe's seed.
        training: the recipe.
        start: the folder of a trained network, for `begin_with`.

    Raises:
        VSRError: as `begin_with`.
    """
    torch.manual_seed(training.seed)
    created = networks.restorer(networks.create(network, **options))
    if training.initial == "near_base":
        stay_near_the_base(created)
    if start is not None:
        begin_with(created, start)
    return created
