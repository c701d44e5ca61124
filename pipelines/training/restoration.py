"""Supervised restoration: LR clips in, HR clips out, and the losses of a recipe between (BasicVSR, CVPR 2021, Sec. 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import Network
from models.parts.in_between import in_between
from pipelines import networks
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics, validation
from pipelines.params import Training
from pipelines.training import groups, objective
from pipelines.training.crops import CPU, Batch
from pipelines.training.initial import stay_near_the_base
from pipelines.training.learners import Learner
from pipelines.training.losses import deceive, discriminate
from pipelines.training.objective import RESTORED
from pipelines.training.recompute import recompute
from pipelines.training.sources import SHARPENED, Source, View, mirrored, source
from pipelines.training.starting import begin_with

DISCRIMINATOR = "discriminator"


class Restoration:
    """A network learning to restore clips, and with an adversarial loss another that tells restored frames from true ones;
    see `pipelines.training.loop.Task`.

    The two learn in BasicSR's order: the network, then the discriminator from the frames just restored.

    Args:
        network: of the scale of the clips, or for any scale; what `network.priors` names it gets from the source.
        training: the recipe.
        source: the clips.

    Raises:
        VSRError: the recipe or the clips do not fit the network.
    """

    def __init__(self, network: Network, training: Training, source: Source) -> None:
        _check(network, training, source)
        self.network, self.training, self._source = network, training, source
        self.learners = [Learner("restorer", network, training, groups.groups(network, training))]
        self.views = source.views
        self.frozen = objective.backbones(training.losses)
        self._terms = objective.terms(training.losses, network)
        self._adversarial = training.adversarial
        if self._adversarial:
            of = self._adversarial.discriminator
            torch.manual_seed(training.seed)
            self._discriminator = networks.create(of.network, **of.options)
            self.learners.append(Learner(DISCRIMINATOR, self._discriminator, of))
        if training.recompute:
            recompute(network)

    def batch(self, step: int, indices: Iterable[int], device: torch.device = CPU) -> Batch:
        return self._source.batch(step, indices, device)

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        if learner == DISCRIMINATOR:
            assert self._adversarial is not None
            return discriminate(self._adversarial.form, self._judge(batch[RESTORED]), self._judge(self._middle(batch["hr"])))
        truth = batch.get(SHARPENED, batch["hr"])
        priors = {name: batch[name] for name in self.network.priors}
        seen = {"truth": truth} if self.network.sees_truth else {}
        outputs = self.network.learn(batch["lr"], **priors, **self._size(truth), **seen)
        outputs = {name: output.float() for name, output in outputs.items()}
        found = self.terms(outputs, batch, truth)
        if self._adversarial:
            restored = outputs[RESTORED]
            batch[RESTORED] = restored.detach()
            found["adversarial"] = self._adversarial.weight * deceive(self._adversarial.form, self._judge(restored))
        return found

    def terms(self, outputs: dict[str, Tensor], batch: Batch, truth: Tensor) -> dict[str, Tensor]:
        """The losses of what `Network.learn` gives; what the batch itself has under the name of an output is what that is to be."""
        own = {name: batch[name] for name in outputs if name in batch}
        found = {term.name: term.value(outputs, own.get(term.of, truth), self._middle(truth)) for term in self._terms}
        for term in self._terms:
            if term.summed:  # the sum over the global batch, however many workers share it
                found[term.name] = found[term.name] * (self.training.batch / len(truth))
        return found

    def validate(self, network: nn.Module, view: View, device: torch.device) -> tuple[float, validation.Compared]:
        """The scale, and how near the middle frames of a clip come to HR, or the frame in their middle where the network has a
        window."""
        clip = self._source.middle(view, device)
        lr, hr = clip["lr"], clip["hr"]
        restored = self.restored(network, lr, {name: clip[name] for name in self.network.priors}, **self._size(hr))
        middle = slice(None) if self.network.window is None else slice(len(lr) // 2, len(lr) // 2 + 1)
        shown = in_between(lr[None], "linear")[0] if self.network.time_scale > 1 else lr[middle]
        return view.scale, validation.compare(view.clip.name, shown, restored, hr[middle], shown=view.shown)

    def summary(self, found: list[tuple[float, validation.Compared]], step: int) -> tuple[Metrics, Images]:
        """`psnr`, on Y over the middle `clip_length` frames of every clip, and `gain`, what of it is above bicubic; where every
        step has another scale `psnr_x2`, … at whole scales, and the means over these. Shown are `validation.images` at the
        largest."""
        by_scale: dict[float, list[validation.Compared]] = {}
        for scale, compared in found:
            by_scale.setdefault(scale, []).append(compared)
        means = {scale: validation.metrics(compared) for scale, compared in by_scale.items()}
        metrics = {name: float(np.mean([mean[name] for mean in means.values()])) for name in ("psnr", "gain")}
        if self._source.scale is None:
            metrics |= {f"psnr_x{scale:g}": mean["psnr"] for scale, mean in means.items()}
        return metrics, validation.images(by_scale[max(by_scale)], step)

    def restored(self, network: nn.Module, lr: Tensor, priors: Mapping[str, Tensor], **size: Any) -> Tensor:
        """A clip, (T, 3, h, w), restored as it is learnt: (`network.made(T)`, 3, H, W), or (1, 3, H, W) the frame in the middle of a window.

        Args:
            priors: (T, C, h, w) each, by their names.
            size: what networks for any scale take.
        """
        shown = {"lr": lr[None], **{name: prior[None] for name, prior in priors.items()}}
        if self.training.mirror:
            shown = mirrored(shown)
        found = network(shown.pop("lr"), **shown, **size)
        if self.network.window is not None:
            return found
        if not self.training.mirror:
            return found[0]
        made = self.network.made(len(lr))
        return (found[0][:made] + found[0][-made:].flip(0)) / 2

    def _middle(self, clip: Tensor) -> Tensor:
        """What of a clip, (N, T, ...), the network restores: all of it, or the frame in the middle, (N, ...)."""
        return clip if self.network.window is None else clip[:, clip.shape[1] // 2]

    def _size(self, hr: Tensor) -> dict[str, Any]:
        return {"size": tuple(hr.shape[-2:])} if self.network.any_scale else {}

    def _judge(self, frames: Tensor) -> Tensor:
        """The discriminator's logits of frames (..., 3, H, W)."""
        return self._discriminator(frames.flatten(0, -4)).float()


def _check(network: Network, training: Training, source: Source) -> None:
    """The recipe and the clips fit the network."""
    length = training.clip_length
    if network.window is not None and length != network.window:
        raise VSRError(f"the network sees windows of {network.window} frames: set `clip_length`, {length} now, to that.")
    if network.window is not None and training.mirror:
        raise VSRError("the network sees windows of a clip and no clips: set `mirror` to false.")
    if length * (2 if training.mirror else 1) < network.min_frames:
        raise VSRError(f"the network takes at least {network.min_frames} frames: raise `clip_length` from {length}.")
    if not network.any_scale and source.scale != network.scale:
        found = "in every step by another scale" if source.scale is None else f"by {source.scale:g}"
        raise VSRError(
            f"the network enlarges by {network.scale:g} and the LR clips are smaller {found}: train it on clips of its scale."
        )
    if network.time_scale > 1 and training.mirror:
        raise VSRError("the network makes frames in between, and a mirrored clip has none where it turns: set `mirror` to false.")
    if source.time_scale != network.time_scale:
        if network.time_scale == 1:
            raise VSRError(
                f"the LR clips have one of {source.time_scale} frames and the network makes none in between: train it on a degradation that "
                "keeps all frames."
            )
        raise VSRError(
            f"the network makes {network.time_scale} times the frames and the LR clips have "
            f"{'all of them' if source.time_scale == 1 else f'one of {source.time_scale}'}: train it on a degradation with a "
            f"temporal step of factor {network.time_scale}."
        )
    for clip in {view.clip.name: view.clip for view in source.views}.values():
        frames = min(length, clip.frames) * (2 if training.mirror else 1)
        if frames < network.min_frames:
            raise VSRError(
                f"clip {clip.name!r}, which is validated, has {clip.frames} frames and the network takes at least "
                f"{network.min_frames}: leave the clip out."
            )


def restoration_task(
    network: str,
    options: Mapping[str, Any],
    training: Training,
    hr: Path,
    lr: Path | None = None,
    start: Path | None = None,
    priors: Mapping[str, Path] | None = None,
) -> Restoration:
    """The task from what params.yaml says.

    Args:
        network, options, training, start: as `first_network`.
        hr: store of HR clips.
        lr: store of LR clips; None where the recipe has a `degradation`.
        priors: stores of what is known of the LR frames, by the names that the network calls them.

    Raises:
        VSRError: as `Restoration`, `source` and `first_network`, or the network sees other priors.
    """
    given, created = priors or {}, first_network(network, options, training, start)
    if set(given) != set(created.priors):
        wanted, found = (" and ".join(sorted(names)) or "no priors" for names in (created.priors, given))
        raise VSRError(f"the network sees {wanted} and is given {found}: train it with {wanted}.")
    stores = {name: Store(given[name]) for name in created.priors}
    from pipelines.training.meta import MetaTransfer  # which is a restoration

    task = MetaTransfer if training.meta else Restoration
    return task(created, training, source(training, Store(hr), Store(lr) if lr else None, stores))


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
