"""Pictures of the report: the middle frames of a few clips under a movable lens, x-t slices and videos, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import VSRError
from pipelines.report.tables import Pair
from pipelines.results import Cell

Picture = NDArray[np.uint8]
"""`(H, W, 3)` RGB."""

CLIPS = 4  # of a pair that are shown
STEP = 8  # windows begin on this grid, so that whole LR pixels are shown at the usual scales
REGION = (384, 512)  # height and width of what is kept of a larger frame

PICTURES = 14_000_000
"""Bytes that all pictures of the page may take together, as they stand in it."""
VIDEOS = 5_000_000
"""Likewise all videos."""
COVERED = 32
"""Levels of difference from LR at which a pixel is all red on a map of what was invented."""
FILMED = 2
"""Clips of a pair whose videos are shown."""


@dataclass(frozen=True)
class Tile:
    """A picture or video of a method. `psnr` is the clip's, by the lead protocol."""

    label: str
    source: str
    psnr: float | None = None


@dataclass(frozen=True)
class Viewer:
    """The same region of LR, of every method's middle frame and of the truth, with a lens on it.

    `size` is the width and height of the region, `lens` the left, top and side of the lens in it, in pixels; `whole` is the
    region of the true frame, small. `profiles` are x-t slices, `invented` maps of what LR does not bear out, and `videos` films, one
    of each method that has one.
    """

    clip: str
    whole: str
    size: tuple[int, int]
    lens: tuple[int, int, int]
    tiles: tuple[Tile, ...]
    profiles: tuple[Tile, ...]
    invented: tuple[Tile, ...]
    videos: tuple[Tile, ...]
    without_video: tuple[str, ...]


@dataclass
class Album:
    """The viewers of a pair, and the clips that there was no room for."""

    viewers: list[Viewer] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def albums(shown: Sequence[tuple[Pair, Sequence[Cell]]], pictures: int = PICTURES, videos: int = VIDEOS) -> list[Album]:
    """Viewers of a few clips of each pair, for the methods of its cells in their order.

    The pairs take turns, so that when room runs out each has its first clips.

    Args:
        shown: pairs and their results.
        pictures: bytes that all pictures together may take.
        videos: bytes that all videos together may take.

    Raises:
        VSRError: a sample is damaged or has another size than the truth.
    """
    samples = [[cell.samples() for cell in cells] for _, cells in shown]
    clips = [few(sorted({clip for one in found for clip in one})) for found in samples]
    made = [Album() for _ in shown]
    for place in range(CLIPS):
        for (pair, cells), found, names, album in zip(shown, samples, clips, made, strict=True):
            if place >= len(names):
                continue
            clip = names[place]
            folders = {one[clip]: cell for cell, one in zip(cells, found, strict=True) if clip in one}
            viewer, room = _viewer(pair, clip, folders, videos, place < FILMED)
            weight = len(viewer.whole) + sum(len(tile.source) for tile in (*viewer.tiles, *viewer.profiles, *viewer.invented))
            if weight > pictures:
                album.left_out.append(clip)
                continue
            pictures, videos = pictures - weight, room
            album.viewers.append(viewer)
    return made


@dataclass(frozen=True)
class Highlight:
    """The same window of a few methods' frames and of the truth, where they differ most."""

    clip: str
    tiles: tuple[Tile, ...]


def highlight(pair: Pair, cells: Sequence[Cell]) -> Highlight | None:
    """That of the clip on whose PSNR, by the protocol of the pair, these results are furthest apart; None without pictures.

    Raises:
        VSRError: a sample is damaged or has another size than the truth.
    """
    samples = [cell.samples() for cell in cells]
    scores = [cell.protocols[pair.protocol].clips for cell in cells]
    apart = {}
    for clip in sorted(set.intersection(*(set(one) for one in samples))):
        values = [one[clip].metrics["psnr"] for one in scores if clip in one and "psnr" in one[clip].metrics]
        if len(values) == len(cells):
            apart[clip] = max(values) - min(values)
    if not apart:
        return None
    clip = max(apart, key=lambda clip: apart[clip])
    truth = _read(samples[0][clip] / "truth.png")
    frames = [_read(one[clip] / "restored.png", truth.shape) for one in samples]
    side = crop_side(*truth.shape[:2])
    top, left = busiest_window([truth, *frames], side)
    window = np.s_[top : top + side, left : left + side]
    tiles = [
        Tile(cell.method, _lossless(frame[window]), one[clip].metrics["psnr"])
        for cell, frame, one in zip(cells, frames, scores, strict=True)
    ]
    return Highlight(clip, (*tiles, Tile("truth", _lossless(truth[window]))))


def few(names: Sequence[str], count: int = CLIPS) -> list[str]:
    """At most `count` of the names, evenly spread, first and last among them."""
    if len(names) <= count:
        return list(names)
    return [names[round(index * (len(names) - 1) / (count - 1))] for index in range(count)]


def _viewer(pair: Pair, clip: str, samples: Mapping[Path, Cell], room: int, filmed: bool) -> tuple[Viewer, int]:
    """The viewer of a clip, with its videos if it is `filmed`, and what it leaves of `room` bytes for videos."""
    folders, cells = list(samples), list(samples.values())
    truth = _read(folders[0] / "truth.png")
    frames: list[tuple[str, Picture, float | None]] = []
    for folder, cell in samples.items():
        scores = cell.protocols.get(pair.protocol)
        score = scores.clips.get(clip) if scores else None
        frames.append((cell.method, _read(folder / "restored.png", truth.shape), score.metrics.get("psnr") if score else None))
    if all(cell.network != "bicubic" for cell in cells):
        frames.insert(0, ("bicubic", _read(folders[0] / "bicubic.png", truth.shape), None))
    height, width = truth.shape[:2]
    side = crop_side(height, width)
    top, left = busiest_window([truth, *(picture for _, picture, _ in frames)], side)
    rows, columns = around(top, side, height, REGION[0]), around(left, side, width, REGION[1])
    lr = enlarge(_read(folders[0] / "lr.png"), height, width)
    frames = [("LR", lr, None), *frames, ("truth", truth, None)]
    videos, without = [], []
    for folder, cell in samples.items():
        if filmed and (folder / "clip.mp4").is_file():
            source = _data("video/mp4", (folder / "clip.mp4").read_bytes())
            if len(source) > room:
                without.append(cell.method)
                continue
            room -= len(source)
            videos.append(Tile(cell.method, source))
    viewer = Viewer(
        clip,
        _thumbnail(truth[rows, columns]),
        (columns.stop - columns.start, rows.stop - rows.start),
        (left - columns.start, top - rows.start, side),
        tuple(Tile(label, _lossless(picture[rows, columns]), psnr) for label, picture, psnr in frames),
        tuple(_profiles(samples)),
        tuple(_invented(samples, rows, columns)),
        tuple(videos),
        tuple(without),
    )
    return viewer, room


def _profiles(samples: Mapping[Path, Cell]) -> Iterator[Tile]:
    """The x-t slices that were kept, those of the methods and then that of the truth."""
    found = [(folder, cell) for folder, cell in samples.items() if (folder / "profile.png").is_file()]
    for folder, cell in found:
        yield Tile(cell.method, _lossless(_read(folder / "profile.png")))
    if found:
        yield Tile("truth", _lossless(_read(found[0][0] / "profile_truth.png")))


def _invented(samples: Mapping[Path, Cell], rows: slice, columns: slice) -> Iterator[Tile]:
    """The part of the middle frames in grey, and in red how far they are from LR when they are degraded again."""
    for folder, cell in samples.items():
        if (folder / "invented.png").is_file():
            frame = _read(folder / "restored.png")
            doubt = enlarge(_read(folder / "invented.png"), *frame.shape[:2])
            yield Tile(cell.method, _encode(overlay(frame, doubt)[rows, columns], "webp", quality=80))


def overlay(frame: Picture, doubt: Picture) -> Picture:
    """A frame in grey under red that covers it where `doubt`, (H, W, 3) in levels, comes to `COVERED`."""
    grey = (frame.astype(np.float64) @ np.array([0.299, 0.587, 0.114]))[..., None]
    share = np.minimum(doubt[..., :1] / COVERED, 1)
    return np.rint((1 - share) * grey + share * np.array([220.0, 0, 0])).astype(np.uint8)


def around(start: int, side: int, whole: int, most: int) -> slice:
    """At most `most` of the pixels 0 to `whole`, about the `side` pixels that begin at `start`."""
    if whole <= most:
        return slice(0, whole)
    begin = min(max(0, start + side // 2 - most // 2) // STEP * STEP, whole - most)
    return slice(begin, begin + most)


def crop_side(height: int, width: int) -> int:
    """The side of the window: about a fifth of the height, 48 to 128 pixels, and never more than the frame."""
    return min(height, width, max(48, min(128, height // 5 // 16 * 16)))


def busiest_window(pictures: Sequence[Picture], side: int) -> tuple[int, int]:
    """(top, left) of the `side` x `side` window in which the pictures `(H, W, 3)` differ most: the sum
    over its pixels of the variance of luma across the pictures, in integers, first of equals."""
    luma = np.stack([(picture.astype(np.int64) @ np.array([77, 150, 29])) >> 8 for picture in pictures])
    spread = len(pictures) * (luma**2).sum(0) - luma.sum(0) ** 2
    total = np.pad(spread.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops = np.arange(0, luma.shape[1] - side + 1, STEP)
    lefts = np.arange(0, luma.shape[2] - side + 1, STEP)
    rows = total[tops + side] - total[tops]
    found = int(np.argmax(rows[:, lefts + side] - rows[:, lefts]))
    return int(tops[found // len(lefts)]), int(lefts[found % len(lefts)])


def enlarge(picture: Picture, height: int, width: int) -> Picture:
    """The nearest pixel of `picture` for each pixel of a larger frame, whatever the ratio."""
    rows = (2 * np.arange(height) + 1) * picture.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * picture.shape[1] // (2 * width)
    return picture[rows[:, None], columns]


def _read(path: Path, shape: tuple[int, ...] | None = None) -> Picture:
    try:
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise VSRError(
            f"the sample {path} is missing or damaged: delete the folder {path.parents[2]} and evaluate again."
        ) from error
    if shape is not None and picture.shape != shape:
        raise VSRError(
            f"the sample {path} is {picture.shape[1]}x{picture.shape[0]} but its truth is {shape[1]}x{shape[0]}: "
            f"delete the folder {path.parents[2]} and evaluate again."
        )
    return picture


def _lossless(picture: Picture) -> str:
    # A higher method takes three times as long for 7 % less.
    return _encode(picture, "webp", lossless=True, exact=True, method=2)


def _thumbnail(picture: Picture, width: int = 480) -> str:
    """A small copy, for orientation."""
    image = Image.fromarray(picture)
    image.thumbnail((width, width), Image.Resampling.LANCZOS)
    return _encode(np.asarray(image), "webp", quality=80)


def _encode(picture: Picture, form: str, **options: int | bool) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, form, **options)
    return _data(f"image/{form}", buffer.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
