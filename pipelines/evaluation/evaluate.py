"""Evaluates a network on clips and writes what was found."""

from __future__ import annotations

import json
import platform
import re
import resource
import statistics
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models import Network
from pipelines import networks, whole
from pipelines.clips.images import write_png
from pipelines.clips.store import Store
from pipelines.errors import VSRError, unknown
from pipelines.evaluation import protocols as registry
from pipelines.evaluation.looks import SAMPLES, Look
from pipelines.evaluation.profiles import liveliest_row
from pipelines.evaluation.protocols import Protocol
from pipelines.evaluation.restore import restore
from pipelines.evaluation.score import ClipScore, Row, Scorer, assigned, pairs, summarise
from pipelines.priors import kinds


@dataclass(frozen=True)
class ClipResult:
    """What evaluating one clip gave.

    `scores` are those of each protocol that takes the clip; `seconds_per_frame` is the time from 8-bit LR
    frames to 8-bit restored frames, and `peak_memory` the most bytes that were in use then: of the GPU, else of the
    whole process; `sample` holds the pictures of `looks.SAMPLES`, (H, W, 3) uint8, and `film` a short video; `lr` is
    (h, w); `device`, `hardware` and `threads` say where it ran.
    """

    clip: str
    scores: list[ClipScore]
    seconds_per_frame: float
    peak_memory: int
    frames: int
    sample: dict[str, np.ndarray]
    film: bytes
    lr: tuple[int, int]
    device: str
    hardware: str
    threads: int


class Evaluate:
    """A worker: loads the network once, then evaluates clip after clip.

    Args:
        checkpoint: of a network, as `models.load` reads it.
        hr: path of the store of HR clips.
        lr: path of the store of LR clips.
        protocols: names of protocols.
        metrics: names of metrics that can be computed here; `assigned` says which protocol has which.
        window: frames per pass, see `restore`.
        overlap: frames dropped at each side of a pass that has a neighbour there.
        device: where the network and the metrics run.
        prior: path of the store of the LR clips' prior, for networks that see one.

    Raises:
        VSRError: the checkpoint, a store, a protocol or a metric cannot be used, or the prior is lacking.
    """

    def __init__(
        self,
        checkpoint: Path,
        hr: Path | str,
        lr: Path | str,
        protocols: Sequence[str],
        metrics: Sequence[str],
        window: int,
        overlap: int,
        device: str = "cpu",
        prior: Path | str | None = None,
    ) -> None:
        self.network = networks.load(checkpoint)
        self._protocols = [registry.get(name) for name in protocols]
        self._mirrored = registry.mirrored(self._protocols)
        self._metrics = assigned(self._protocols, metrics)
        self._hr, self._lr = Store(hr), Store(lr)
        self._window, self._overlap, self._device = window, overlap, device
        self._priors = {name: Store(prior) for name in self.network.priors} if prior is not None else {}
        if len(self._priors) < len(self.network.priors):
            raise VSRError(
                f"{self.network.name} is guided by {' and '.join(self.network.priors)} of the LR frames and {self._lr.path} "
                "comes without: make them first."
            )

    def __call__(self, clip: str) -> Iterator[ClipResult]:
        """Evaluate the clip of that name; gives one result."""
        for store in (self._hr, self._lr, *self._priors.values()):
            if clip not in store.clips:
                raise unknown(f"clip of {store.path}", clip, store.clips)
        of = self._hr.clips[clip].attributes
        yield evaluate_clip(
            self.network,
            self._hr.frames(clip),
            self._lr.frames(clip),
            clip,
            self._lr.clips[clip].frames,
            [protocol for protocol in self._protocols if protocol.takes(of.parameters)],
            self._metrics,
            row=liveliest_row(self._hr.frames(clip)),
            fps=of.fps,
            window=self._window,
            overlap=self._overlap,
            device=self._device,
            priors={name: kinds.clip_planes(kinds.get(name), store, clip) for name, store in self._priors.items()},
            size=self._size(clip) if self.network.any_scale else None,
            mirrored=self._mirrored,
        )

    def _size(self, clip: str) -> tuple[int, int]:
        """(H, W) of the HR frames that the LR clip was made of."""
        crop = self._lr.clips[clip].attributes.parameters.get("crop")
        if crop is None:
            raise VSRError(f"{self._lr.path} does not say which part of HR its clip {clip!r} was made of: degrade it again.")
        height, width = crop
        return height, width


def evaluate_clip(
    network: Network,
    hr: Iterable[np.ndarray],
    lr: Iterable[np.ndarray],
    clip: str,
    frames: int,
    protocols: Sequence[Protocol],
    metrics: Mapping[str, Sequence[str]],
    *,
    row: int,
    fps: float,
    window: int,
    overlap: int,
    device: str = "cpu",
    priors: Mapping[str, Iterable[np.ndarray]] | None = None,
    size: tuple[int, int] | None = None,
    mirrored: bool = False,
) -> ClipResult:
    """Restore a clip and score it by several protocols, with one pass over its frames.

    Args:
        network: see `restore`.
        hr: true frames (H, W, 3) uint8; they may be larger than the restored ones by what the degradation
            cropped at the right and below to get whole LR pixels.
        lr: LR frames (h, w, 3) uint8.
        clip: its name.
        frames: how many it has, which says the middle one.
        protocols: what of it is scored.
        metrics: names of metrics that can be computed here, by name of protocol, see `assigned`.
        row: which row the temporal profile shows, see `profiles.liveliest_row`.
        fps: frames per second.
        window: frames per pass, see `restore`.
        overlap: frames dropped at each side of a pass, see `restore`.
        device: where the network and the metrics run, `cpu` or `cuda`.
        priors: see `restore`.
        size: (H, W) of the restored frames, see `restore`.
        mirrored: see `restore`.

    Raises:
        VSRError: the clips do not belong together, cannot be restored, or there is nothing to score.
    """
    look = Look(frames, row)
    lr_size: tuple[int, int] = (0, 0)

    def passing() -> Iterator[np.ndarray]:
        nonlocal lr_size
        for index, frame in enumerate(lr):
            lr_size = frame.shape[0], frame.shape[1]
            look.take_lr(index, frame)
            yield frame

    clock = _Clock()
    scorers = [Scorer(clip, frames, protocol, metrics[protocol.name], device) for protocol in protocols]
    how: dict[str, Any] = {"window": window, "overlap": overlap, "device": device, "mirrored": mirrored}
    restored_frames = clock.time(restore(network, passing(), **how, priors=priors, size=size))
    try:
        for index, (restored, truth) in enumerate(pairs(restored_frames, hr, clip)):
            scale = restored.shape[0] / lr_size[0] if network.any_scale else network.scale
            truth = _crop(truth, restored, scale, f"clip {clip!r} frame {index}")
            for scorer in scorers:
                scorer.add(restored, truth)
            look.take(index, restored, truth)
    except VSRError as error:
        raise error if repr(clip) in str(error) else VSRError(f"clip {clip!r}: {error}") from error
    return ClipResult(
        clip=clip,
        scores=[scorer.finish() for scorer in scorers],
        seconds_per_frame=clock.seconds / clock.count,
        peak_memory=_peak_memory(device),
        frames=frames,
        sample=look.finish(),
        film=look.film(fps),
        lr=lr_size,
        device=torch.device(device).type,
        hardware=_hardware(device),
        threads=torch.get_num_threads(),
    )


def _peak_memory(device: str) -> int:
    """The most bytes in use so far: of the GPU by tensors, else of this process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _hardware(device: str) -> str:
    """The model of the GPU or processor."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpu.read_text()) if cpu.is_file() else None
    return found[1].strip() if found else platform.machine()


class _Clock:
    """Adds up the time that an iterator takes for its items."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = 0

    def time(self, items: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            start = time.perf_counter()
            item = next(items, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            self.count += 1
            yield item


def _crop(truth: np.ndarray, restored: np.ndarray, scale: float, where: str) -> np.ndarray:
    height, width = restored.shape[:2]
    slack = truth.shape[0] - height, truth.shape[1] - width
    # LR has no part of a pixel, and HR then no part of one either: both leave something out.
    if min(slack) < 0 or max(slack) >= max(scale, 1) + (0 if scale == round(scale) else 0.5):
        raise VSRError(
            f"{where}: restored is {width}x{height} but its truth is {truth.shape[1]}x{truth.shape[0]}: "
            f"evaluate on LR clips that are {scale:g} times smaller than their HR clips."
        )
    return truth[:height, :width]


def timing(results: Sequence[ClipResult], window: int) -> dict[str, Any]:
    """How long restoring took, and on what: seconds per frame, the median over clips of the size that the first clip has,
    in passes of `window` frames.

    Returns:
        `{"seconds_per_frame", "peak_memory" (bytes), "device", "hardware", "threads", "precision", "window", "lr": [h, w]}`.
    """
    first = min(results, key=lambda result: result.clip)
    alike = [result.seconds_per_frame for result in results if result.lr == first.lr]
    return {
        "seconds_per_frame": statistics.median(alike),
        "peak_memory": max(result.peak_memory for result in results),
        "device": first.device,
        "hardware": first.hardware,
        "threads": first.threads,
        "precision": "float32",
        "window": window,
        "lr": list(first.lr),
    }


def write_results(
    folder: Path,
    header: Mapping[str, Any],
    results: Sequence[ClipResult],
    cost: Mapping[str, Any],
    timing: Mapping[str, Any],
    skipped: Mapping[str, Mapping[str, str]],
) -> dict[str, dict[str, Any]]:
    """Write the results of a method on a pair; the folder appears whole, an older one is replaced.

    ================== =====================================================================
    `metrics.json`     the header, the means by protocol and clip, the cost
    `frames.parquet`   clip, frame (-1 for a clip's own value), protocol, metric, value
    `timing.json`      what differs from run to run
    `samples/<clip>/`  the middle frame: `lr.png`, `bicubic.png`, `restored.png`, `truth.png`; the temporal
                       profiles `profile.png`, `profile_truth.png`; `clip.mp4`, bicubic, restored and
                       true frames side by side
    ================== =====================================================================

    All but `timing.json` are the same bytes for the same results in any order.

    Args:
        folder: where to.
        header: `method`, `network`, `profile`, `weights`, `corpus`, `degradation`, `split`, `notes`, `inputs`.
        results: one per clip.
        cost: of `cost`, with `lr`: [h, w].
        timing: of `timing`.
        skipped: the protocols, the first of which leads, and for each the metrics that could not be computed, with the reason.

    Returns:
        The means by protocol, see `summarise`.

    Raises:
        VSRError: there are no results, none by one of the protocols, or two of one clip.
    """
    results = sorted(results, key=lambda result: result.clip)
    names = [result.clip for result in results]
    if not names or len(set(names)) < len(names):
        raise VSRError(f"{folder} cannot be written from the clips {names}: evaluate at least one, and each once.")
    scores = [score for result in results for score in result.scores]
    means = {
        protocol: summarise([score for score in scores if score.protocol == protocol], reasons)
        for protocol, reasons in skipped.items()
    }
    found = {
        **header,
        "applicable": True,
        "reason": None,
        "lead_protocol": next(iter(means)),
        "protocols": means,
        "measured_with": {name: details for score in scores for name, details in score.details.items()},
        "cost": dict(cost),
    }
    with whole.folder(folder) as building:
        _write_json(building / "metrics.json", found)
        _write_json(building / "timing.json", timing)
        _write_frames(building / "frames.parquet", [row for score in scores for row in score.rows])
        for result in results:
            _write_sample(building / "samples" / urllib.parse.quote(result.clip, safe=" ()"), result)
    return means


def write_inapplicable(folder: Path, header: Mapping[str, Any], reason: str) -> None:
    """Write that a method cannot be tested on a pair, and why; `metrics.json` alone, without scores.

    Args:
        folder: where to; an older one is replaced.
        header: as of `write_results`.
        reason: why, as a part of a sentence.
    """
    found = {**header, "applicable": False, "reason": reason, "lead_protocol": None, "protocols": {}, "cost": None}
    with whole.folder(folder) as building:
        _write_json(building / "metrics.json", found)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _write_frames(path: Path, rows: Sequence[Row]) -> None:
    schema = pa.schema(
        [
            ("clip", pa.string()),
            ("frame", pa.int32()),
            ("protocol", pa.string()),
            ("metric", pa.string()),
            ("value", pa.float64()),
        ]
    )
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)


def _write_sample(folder: Path, result: ClipResult) -> None:
    folder.mkdir(parents=True)
    for name in SAMPLES:
        write_png(folder / f"{name}.png", result.sample[name])
    (folder / "clip.mp4").write_bytes(result.film)
