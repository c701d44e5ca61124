"""What a network takes: time, memory and delay, with the machine to itself."""

from __future__ import annotations

import gc
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import Network
from models.parts.resize import imresize_to
from pipelines import networks
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.params import Adaptation, Passes
from pipelines.priors import kinds
from pipelines.restoring.adapting import adapted, middle
from pipelines.restoring.restore import Runner, neighbours, restore
from pipelines.restoring.speed import PLAIN, accelerate
from pipelines.results import Timing

WARM_UP = {"cpu": 2, "cuda": 10}
"""Passes before the first that is timed: libraries choose their kernels in them, clocks rise."""
FRAMES = {"cpu": 30, "cuda": 100}
"""Frames that are timed at least."""
PASSES, SECONDS = 3, 20.0
"""A pass restores many frames at once and gives one time: so many passes are timed, or as many as begin in so many seconds."""


@dataclass(frozen=True)
class Footage:
    """LR frames, (h, w, 3) uint8, as they come at `fps` frames per second, and the (H, W) that they are restored to."""

    frames: Sequence[np.ndarray]
    fps: float
    size: tuple[int, int]

    @property
    def lr(self) -> tuple[int, int]:
        """(h, w)."""
        height, width = self.frames[0].shape[:2]
        return height, width


def footage(hr: Sequence[np.ndarray], scale: float, fps: float, count: int) -> Footage:
    """So many LR frames: HR frames reduced by `scale`, forwards and backwards for as long as it takes."""
    height, width = (int(side / scale) for side in hr[0].shape[:2])
    lr = [to_frame(imresize_to(to_tensor(frame), (height, width))) for frame in hr[:count]]
    there_and_back = lr + lr[-2:0:-1]
    frames = [there_and_back[index % len(there_and_back)] for index in range(count)]
    return Footage(frames, fps, (round(scale * height), round(scale * width)))


def measure(checkpoint: Path, clip: Footage, passes: Passes, device: str, adaptation: Adaptation | None = None) -> Timing:
    """Measure a network in a process that has restored nothing before.

    Args:
        checkpoint: of the network.
        clip: at least `FRAMES` frames.
        passes: how it is restored; all frames are one pass where there are fewer.
        device: `cpu` or `cuda`.
        adaptation: how the network learns from the clip before it restores it, whose time is shared by its frames.

    Raises:
        VSRError: the network cannot be loaded, or does not restore such frames.
    """
    gc.collect()
    memory = _Memory(device)
    network = networks.load(checkpoint)
    runner = Runner(accelerate(network.eval().to(device), PLAIN), torch.device(device), PLAIN, _mirrored(network, passes))
    window = max(min(passes.window, len(clip.frames)), network.min_frames)
    work = _work(runner, clip, window)
    memory.reset()
    _times(work, device, 1, 0.0)
    peak = memory.peak()  # later passes may find their memory in what earlier ones left
    _times(work, device, WARM_UP[device] - 1, float("inf"))
    times = _times(work, device, PASSES if network.window is None else 1, SECONDS)
    learnt = _learnt(network, clip, window, adaptation, device) if adaptation else 0.0
    times = [seconds + learnt for seconds in times]
    per_frame = float(np.median(times))
    waited = delay_frames(network, window)
    return Timing(
        seconds_per_frame=per_frame,
        seconds_p95=float(np.percentile(times, 95)),
        seconds_p99=float(np.percentile(times, 99)),
        frames=len(times),
        throughput=throughput(network, clip, passes, device, adaptation),
        delay=waited / clip.fps + per_frame * (window if network.lookahead is None else 1),
        delay_frames=waited,
        fps=clip.fps,
        peak_memory=peak,
        device=device,
        hardware=hardware(device),
        threads=torch.get_num_threads(),
        precision="float32",
        window=window,
        lr=clip.lr,
    )


def delay_frames(network: Network, window: int) -> int:
    """How many frames after a frame have to arrive before it can be restored: those that the network looks ahead, or where that
    is the whole clip, the rest of a pass of `window` frames, for its first."""
    return window - 1 if network.lookahead is None else network.lookahead


def _learnt(network: Network, clip: Footage, window: int, adaptation: Adaptation, device: str) -> float:
    """Seconds of internal learning per restored frame of the clip: the quickest of `PASSES`."""
    frames, found = clip.frames[:window], []
    for _ in range(PASSES):
        began = time.perf_counter()
        adapted(network, frames, adaptation, device, _like(adaptation, network))
        _synchronise(device)
        found.append(time.perf_counter() - began)
    return min(found) / network.made(len(clip.frames))


def _like(adaptation: Adaptation, network: Network) -> dict[str, Any] | None:
    """What a clip was made by, where the kernel is that: these were made by bicubic interpolation."""
    scale = [network.scale, network.scale]
    return {"scale": scale, "steps": [{"op": "bicubic", "scale": scale}]} if adaptation.kernel == "oracle" else None


def throughput(network: Network, clip: Footage, passes: Passes, device: str, adaptation: Adaptation | None = None) -> float:
    """Restored frames per second from LR frames on disk to restored ones on disk, as the stages keep them."""
    height, width = clip.size
    attributes = ClipAttributes("test", clip.fps, *clip.lr)
    with tempfile.TemporaryDirectory(prefix="vsr-measure-") as name:
        folder = Path(name)
        with ClipWriter(folder / "clips", "clip") as writer:
            for frame in clip.frames:
                writer.append({"rgb": frame})
            writer.finish(attributes)
        assemble(folder / "clips", ["clip"], folder / "lr")
        began = time.perf_counter()
        lr = Store(folder / "lr")
        if adaptation:
            seen = middle(len(clip.frames), passes.window)
            network = adapted(
                network, list(lr.read("clip", seen.start, seen.stop)), adaptation, device, _like(adaptation, network)
            )
        restored = restore(
            network,
            lr.frames("clip"),
            window=max(passes.window, network.min_frames),
            overlap=passes.overlap,
            mirrored=passes.mirrored,
            device=device,
            priors={name: _planes(name, clip) for name in network.priors},
            size=clip.size if network.any_scale else None,
        )
        with ClipWriter(folder / "restored", "clip", compress=True) as writer:
            for frame in restored:
                writer.append({"rgb": frame})
            writer.finish(ClipAttributes("test", clip.fps, height, width))
        return network.made(len(clip.frames)) / (time.perf_counter() - began)


def hardware(device: str) -> str:
    """The model of the GPU or processor."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", cpu.read_text()) if cpu.is_file() else None
    return found[1].strip() if found else platform.machine()


def _work(runner: Runner, clip: Footage, window: int) -> Callable[[], Iterator[tuple[int, Callable[[], Tensor]]]]:
    """What restores the clip's frames from memory: calls, each with how many frames come out."""
    network, device = runner.network, runner.device
    size = clip.size if network.any_scale else None
    lr = to_tensor(clip.frames)[None].to(device)
    priors = {name: torch.from_numpy(np.stack(list(_planes(name, clip))))[None].to(device) for name in network.priors}

    def given(frames: slice | list[int]) -> dict[str, Tensor]:
        return {name: prior[:, frames] for name, prior in priors.items()}

    def calls() -> Iterator[tuple[int, Callable[[], Tensor]]]:
        frames = lr.shape[1]
        if network.window is None:
            yield network.made(window), lambda: runner.forward(lr[:, :window], given(slice(window)), size)
            return
        for t in range(frames):
            seen = neighbours(t, network.window, frames)
            yield 1, lambda seen=seen: runner.forward(lr[:, seen], given(seen), size)  # type: ignore[misc]

    return calls


def _times(
    calls: Callable[[], Iterator[tuple[int, Callable[[], Tensor]]]], device: str, rounds: int, seconds: float
) -> list[float]:
    """Seconds per frame, one value for each frame: of the first round, and of further ones that begin within `seconds`."""
    times: list[float] = []
    start = time.perf_counter()
    for done in range(rounds):
        if done and time.perf_counter() - start > seconds:
            break
        for frames, call in calls():
            _synchronise(device)
            began = time.perf_counter()
            call()
            _synchronise(device)
            times += [(time.perf_counter() - began) / frames] * frames
    return times


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _mirrored(network: Network, passes: Passes) -> bool:
    return passes.mirrored and network.window is None


def _planes(name: str, clip: Footage) -> Iterator[np.ndarray]:
    """Something in place of a prior, (C, h, w) for every frame: what is in it makes nothing faster."""
    kind, draw = kinds.get(name), np.random.default_rng(0)
    for _ in clip.frames:
        yield draw.integers(0, 2, (kind.channels, *clip.lr)).astype(kind.dtype)


class _Memory:
    """The most memory in use above what is in use now: of the GPU by tensors, else of this process."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = self._now()
        self._highest = 0

    def reset(self) -> None:
        """Forget the peaks of the past."""
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:  # not on this system
            self._highest = _status("VmHWM") or 0

    def peak(self) -> int | None:
        """Bytes at most since `reset`; None where this system does not tell."""
        if self._device == "cuda":
            return torch.cuda.max_memory_allocated() - self._before
        highest = _status("VmHWM")
        # A peak that did not grow is of the past where it could not be reset.
        return None if highest is None or highest <= self._highest else max(0, highest - self._before)

    def _now(self) -> int:
        return torch.cuda.memory_allocated() if self._device == "cuda" else _status("VmRSS") or 0


def _status(key: str) -> int | None:
    """A line of what Linux says of this process, in bytes."""
    path = Path("/proc/self/status")
    found = re.search(rf"^{key}:\s+(\d+) kB", path.read_text(), re.MULTILINE) if path.is_file() else None
    return 1024 * int(found[1]) if found else None
