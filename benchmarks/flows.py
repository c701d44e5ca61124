"""Flows against the exact ones of parallax, and by how well they warp Vid4's frames; RAFT-small beside DIS.

RAFT needs its weights (VSR_WEIGHTS, or a download), Vid4's frames VSR_DATA; what is missing is said and skipped.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from models.parts.resize import imresize
from models.parts.warp import flow_warp
from pipelines import params, weights
from pipelines.clips import parallax
from pipelines.clips.images import read_picture
from pipelines.clips.readers import frame_files
from pipelines.clips.store import ClipAttributes, ClipWriter, Frame, Store, assemble
from pipelines.errors import VSRError
from pipelines.metrics import luma
from pipelines.priors import flows

FRAMES = 3
SCALE = 4
CLIPS = ("calendar", "walk")
TRUTH = ("flow_forward", "flow_backward", "occlusion_forward", "occlusion_backward")


Models = dict[str, params.Raft | params.Dis]


def _raft(enlarge: int, updates: int = 12) -> params.Raft:
    return params.Raft(backend="raft", weights="raft_small", updates=updates, enlarge=enlarge, batch=1)


DIS: Models = {
    "DIS ultrafast": params.Dis(backend="dis", preset="ultrafast", enlarge=1),
    "DIS fast": params.Dis(backend="dis", preset="fast", enlarge=1),
    "DIS medium": params.Dis(backend="dis", preset="medium", enlarge=1),
}
DIS_LR = DIS | {"DIS medium, enlarge 4": params.Dis(backend="dis", preset="medium", enlarge=4)}
RAFT: Models = {"RAFT-small": _raft(1)}
RAFT_HR = RAFT | {"RAFT-small, enlarge 2": _raft(2)}
RAFT_LR = RAFT_HR | {"RAFT-small, enlarge 4": _raft(4)}
RAFT_MORE = RAFT_LR | {"RAFT-small, enlarge 4, 24 updates": _raft(4, 24), "RAFT-small, enlarge 6": _raft(6)}


def main() -> None:
    """Print both tables, computed on one thread, as a worker of a stage does."""
    every = torch.get_num_threads()
    torch.set_num_threads(1)
    raft = _raft_is_here()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _exact(root / "parallax", raft)
        _real(root / "vid4", raft)
    torch.set_num_threads(every)


def _exact(root: Path, raft: bool) -> None:
    corpus = params.Parallax(
        kind="parallax", source="pipelines/clips/parallax", seed=0, height=216, width=384, frames=FRAMES, clips={"test": 4}
    )
    names = [name for name, _ in parallax.clips(corpus)]
    rendered = {name: list(parallax.render(corpus, name)) for name in names}
    hr = _store(root / "hr", {name: [{"rgb": frame["rgb"]} for frame in rendered[name]] for name in names})
    lr = _reduced(root / "lr", hr)
    truth = _store(root / "truth", {name: [{key: frame[key] for key in TRUTH} for frame in rendered[name]] for name in names})
    for size, frames, scale, dis, rafts in (("LR, 96x54", lr, SCALE, DIS_LR, RAFT_MORE), ("HR, 384x216", hr, 1, DIS, RAFT_HR)):
        print(f"  parallax, {size:<32} EPE px  visible  occluded: precision  recall    F1    s/pair")
        for label, model in (dis | rafts if raft else dis).items():
            _print(label, *_estimated(root / size / label, frames, model), truth, scale)


def _print(label: str, made: Store, seconds: float, truth: Store, scale: int) -> None:
    error, seen = (flows.endpoint_error(made, truth, scale, visible=visible) for visible in (False, True))
    precision, recall, f1 = _occlusion(made, truth, scale)
    print(f"    {label:<40}{error:8.3f} {seen:8.3f} {precision:20.2f} {recall:7.2f} {f1:5.2f} {seconds:9.3f}")


def _real(root: Path, raft: bool) -> None:
    folder = Path(os.environ.get("VSR_DATA", "")) / "Vid4" / "GT"
    if not all((folder / clip).is_dir() for clip in CLIPS):
        print(f"  skipped: set VSR_DATA to a folder with Vid4/GT of {' and '.join(CLIPS)}")
        return
    hr = _store(
        root / "hr",
        {clip: ({"rgb": frame} for frame in islice(map(read_picture, frame_files(folder / clip)), FRAMES)) for clip in CLIPS},
    )
    lr = _reduced(root / "lr", hr)
    table: dict[str, dict[str, float]] = {}
    for size, frames, dis, rafts in (("LR", lr, DIS_LR, RAFT_LR), ("HR", hr, DIS, RAFT)):
        for clip in CLIPS:
            alone = _store(root / size / clip, {clip: [{"rgb": frame} for frame in frames.frames(clip)]})
            models = dis | rafts if raft else dis
            made = {label: _estimated(root / size / clip / label, alone, model)[0] for label, model in models.items()}
            table[f"{clip} {size}"] = warping_error(alone, made)
    print(f"  Vid4, warping error in levels {'':<14}" + "".join(f"{column:>14}" for column in table))
    for label in ("still", *DIS_LR, *RAFT_LR):
        row = [errors.get(label) for errors in table.values()]
        if any(value is not None for value in row):
            print(f"    {label:<40}" + "".join(f"{'-' if value is None else f'{value:.3f}':>14}" for value in row))


def warping_error(frames: Store, made: Mapping[str, Store]) -> dict[str, float]:
    """How well flows bring neighbours onto each frame: the mean of |Y_t(p) - Y_t±1(p + flow(p))|, Y the luma of
    `metrics.luma` in 8-bit levels and the neighbour sampled bilinearly, over both directions of all frames.

    All flows are measured on the same pixels: those that none of them calls occluded.

    Args:
        frames: the frames that the flows were estimated on.
        made: stores of flows to compare by name, each with the same clips.

    Returns:
        The error of each, in levels, and as `still` that of no motion at all on the same pixels.

    Raises:
        VSRError: no pixel is visible to all.
    """
    totals, count = dict.fromkeys([*made, "still"], 0.0), 0
    for clip in next(iter(made.values())).clips.values():
        for index in range(clip.frames):
            for way in flows.ways(index, clip.frames):
                here = luma(frames.frame(clip.name, index))
                there = luma(frames.frame(clip.name, index + (1 if way == "forward" else -1)))
                hidden = [store.frame(clip.name, index, f"occlusion_{way}") for store in made.values()]
                seen = ~np.any(hidden, axis=0)
                count += int(seen.sum())
                totals["still"] += float(np.abs(here - there)[seen].sum())
                neighbour = torch.from_numpy(there)[None, None]
                for name, store in made.items():
                    flow = torch.from_numpy(store.frame(clip.name, index, f"flow_{way}")).permute(2, 0, 1)[None].double()
                    warped = flow_warp(neighbour, flow, padding="border")[0, 0].numpy()
                    totals[name] += float(np.abs(here - warped)[seen].sum())
    if not count:
        raise VSRError(
            f"no pixel of {frames.path} is visible to all of {', '.join(made)}: leave out the flow that finds no match."
        )
    return {name: total / count for name, total in totals.items()}


def _raft_is_here() -> bool:
    try:
        weights.resolve("raft_small")
    except VSRError as error:
        print(f"  RAFT is skipped: {error}")
        return False
    return True


def _reduced(folder: Path, hr: Store) -> Store:
    """The store's frames under `bi_x4`."""
    return _store(folder, {clip: ({"rgb": _resized(frame, 1 / SCALE)} for frame in hr.frames(clip)) for clip in hr.clips})


def _resized(frame: np.ndarray, scale: float) -> np.ndarray:
    planes = imresize(torch.from_numpy(frame.transpose(2, 0, 1).astype(np.float64)), scale)
    return (planes + 0.5).floor().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _means(array: np.ndarray, scale: int) -> np.ndarray:
    height, width = array.shape[0] // scale, array.shape[1] // scale
    return array.reshape(height, scale, width, scale, *array.shape[2:]).mean((1, 3))


def _estimated(folder: Path, frames: Store, model: params.Raft | params.Dis) -> tuple[Store, float]:
    """The flows of a store, and the seconds per pair of neighbours, both ways, that they took on one core, the storing included."""
    worker = flows.Flows(model, "cpu")
    start = time.perf_counter()
    made = _store(folder, {clip: worker.stream(frames.frames(clip), _size(frames, clip)) for clip in frames.clips})
    return made, (time.perf_counter() - start) / ((FRAMES - 1) * len(frames.clips))


def _size(store: Store, clip: str) -> tuple[int, int]:
    return store.clips[clip].attributes.height, store.clips[clip].attributes.width


def _store(folder: Path, clips: Mapping[str, Iterable[Frame]]) -> Store:
    for name, frames in clips.items():
        with ClipWriter(folder / "parts", name, flows.SCALES) as writer:
            for frame in frames:
                height, width = next(iter(frame.values())).shape[:2]
                writer.append(frame)
            writer.finish(ClipAttributes("test", 25.0, height, width))
    assemble(folder / "parts", list(clips), folder / "store")
    return Store(folder / "store")


def _occlusion(store: Store, truth: Store, scale: int) -> tuple[float, float, float]:
    """Precision, recall and F1 of the occluded pixels; exact is an LR pixel of which more than half is occluded."""
    right = found = exact = 0
    for clip in store.clips.values():
        for column, indices in (("occlusion_forward", range(clip.frames - 1)), ("occlusion_backward", range(1, clip.frames))):
            for index in indices:
                got = store.frame(clip.name, index, column)
                hidden = _means(truth.frame(clip.name, index, column), scale) > 0.5
                right += int((got & hidden).sum())
                found += int(got.sum())
                exact += int(hidden.sum())
    return right / max(found, 1), right / max(exact, 1), 2 * right / max(found + exact, 1)
