"""Restores the clips of a pair, as a worker of a pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.clips.streaming import batches
from pipelines.errors import VSRError, unknown
from pipelines.params import Adaptation, Passes

if TYPE_CHECKING:  # importing torch takes seconds
    from models import Network


class Restore:
    """A worker: loads the network once, then restores LR clips by name.

    Args:
        checkpoint: of a network, as `models.load` reads it.
        lr: path of the store of LR clips.
        passes: how clips are restored.
        device: where the network runs, `cpu` or `cuda`.
        prior: path of the store of the LR clips' prior, for networks that see one.
        adaptation: how the network learns from every clip before it restores it; None for not at all.

    Raises:
        VSRError: the checkpoint or a store cannot be used, or the prior is lacking.
    """

    def __init__(
        self,
        checkpoint: Path,
        lr: Path,
        passes: Passes,
        device: str = "cpu",
        prior: Path | None = None,
        adaptation: Adaptation | None = None,
    ) -> None:
        from pipelines import networks  # not on the driver: torch takes longer to import than a short clip to restore

        self._network = networks.load(checkpoint)
        self._lr, self._passes, self._device, self._adaptation = Store(lr), passes, device, adaptation
        self._priors = {name: Store(prior) for name in self._network.priors} if prior is not None else {}
        if len(self._priors) < len(self._network.priors):
            raise VSRError(
                f"{self._network.name} is guided by {' and '.join(self._network.priors)} of the LR frames and {self._lr.path} "
                "comes without: make them first."
            )

    def __call__(self, clip: str) -> Iterator[Sequence[Frame] | ClipAttributes]:
        """Restore the clip of that name; gives its frames and last its attributes, see `storing.build`."""
        from pipelines.priors import kinds
        from pipelines.restoring.restore import restore

        for store in (self._lr, *self._priors.values()):
            if clip not in store.clips:
                raise unknown(f"clip of {store.path}", clip, store.clips)
        of = self._lr.clips[clip].attributes
        try:
            frames = restore(
                self._of(clip),
                self._lr.frames(clip),
                window=self._passes.window,
                overlap=self._passes.overlap,
                mirrored=self._passes.mirrored,
                device=self._device,
                priors={name: kinds.clip_planes(kinds.get(name), store, clip) for name, store in self._priors.items()},
                size=self._size(clip) if self._network.any_scale else None,
            )
            first = next(frames)
            yield from batches({"rgb": frame} for frame in chain([first], frames))
        except VSRError as error:
            raise error if repr(clip) in str(error) else VSRError(f"clip {clip!r}: {error}") from error
        yield ClipAttributes(of.split, of.fps * self._network.time_scale, first.shape[0], first.shape[1], of.source)

    def _of(self, clip: str) -> Network:
        """The network that restores a clip: the one that was loaded, or a copy that has learnt from the clip."""
        if self._adaptation is None:
            return self._network
        from pipelines.restoring.adapting import adapted, middle

        seen = middle(self._lr.clips[clip].frames, self._passes.window)
        frames = self._lr.read(clip, seen.start, seen.stop)
        drawn = self._lr.clips[clip].attributes.parameters
        return adapted(self._network, list(frames), self._adaptation, self._device, drawn)

    def _size(self, clip: str) -> tuple[int, int]:
        """(H, W) of the HR frames that the LR clip was made of."""
        crop = self._lr.clips[clip].attributes.parameters.get("crop")
        if crop is None:
            raise VSRError(f"{self._lr.path} does not say which part of HR its clip {clip!r} was made of: degrade it again.")
        height, width = crop
        return height, width
