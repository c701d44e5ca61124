"""Video files in: their frames as RGB, and what to say of those that a clip cannot hold."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

from pipelines.clips.video.facts import HD, Reading, VideoInfo, probe, turned
from pipelines.clips.video.frames import SWSCALE
from pipelines.clips.video.process import damaged
from pipelines.errors import VSRError

READABLE = frozenset(
    [
        ".3g2",
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".dv",
        ".f4v",
        ".flv",
        ".gif",
        ".m2t",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mjpeg",
        ".mjpg",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".nut",
        ".ogm",
        ".ogv",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".y4m",
    ]
)
"""File name suffixes that are taken for videos."""


def decode(path: Path, info: VideoInfo | None = None, *, deep: bool = False, opaque: bool = False) -> Iterator[np.ndarray]:
    """All frames of a video, streamed: (H, W, 3) RGB each, uint8, or where the file has more bits and `deep` is asked for uint16
    of full scale.

    Every frame comes exactly once, whatever its time stamp, turned by the file's rotation; AVI's dropped ones repeat the one before.

    Args:
        path: the file.
        info: what `probe` has found.
        deep: take more than 8 bits.
        opaque: leave transparency out.

    Raises:
        VSRError: see `probe`, or its pixels have more bits or transparency than are asked for. Damage shows when it is reached.
    """
    info = info or probe(path)
    check_pixels(path, info, deep=deep, opaque=opaque)
    with Reading(path) as file:
        graph = _Rgb(matrix_of(info), "rgb48le" if info.depth > 8 else "rgb24")
        count = 0
        for count, frame in enumerate(file.frames(), start=1):
            picture = turned(graph(frame), file.turn)
            for _ in range(1 if info.repeats is None else int(info.repeats[count - 1])):
                yield picture
        expected = info.frames if info.repeats is None else len(info.repeats)
        if count != expected:
            raise damaged(path, f"it has {expected} frames, of which {count} can be decoded")


def matrix_of(info: VideoInfo) -> str:
    """The matrix that a file's colours are read by: its own, or by its size where it has none."""
    if info.rgb:
        return "bt709"
    return info.matrix or ("bt709" if info.height >= HD or info.width >= 1280 else "smpte170m")


def check_pixels(path: Path, info: VideoInfo, *, deep: bool, opaque: bool) -> None:
    """Make sure that frames can hold what the video has.

    Raises:
        VSRError: they cannot; says how to convert it.
    """
    if info.alpha and not opaque:
        raise VSRError(
            f"{path} has transparency ({info.pixels}), frames are opaque RGB: convert it, e.g. "
            f"`{_conversion(path, 'format=yuv420p', 'opaque')}`, which leaves transparency out, as --no-alpha does where it is restored."
        )
    if info.depth > 8 and not deep:
        raise VSRError(
            f"{path} has {info.depth} bits per colour ({info.pixels}), frames have 8: convert it, e.g. "
            f"`{_conversion(path, 'format=yuv420p', '8bit')}`."
        )


def unsteady(path: Path, info: VideoInfo) -> VSRError:
    """What to say of a video whose frames are not evenly spaced, as those of a clip are taken to be."""
    grid: Fraction = info.grid
    return VSRError(
        f"{path} has a variable frame rate ({float(info.fps):.3f} frames per second on average), the frames of a clip are "
        f"evenly spaced: resample it to the grid that its times lie on, e.g. `{_conversion(path, f'fps={grid}', 'steady')}`, "
        "which repeats frames; `vsr restore` keeps every frame's own time."
    )


def _conversion(path: Path, what: str, suffix: str) -> str:
    """The command that puts a video through a filter."""
    names = (shlex.quote(name) for name in (path.name, f"{path.stem}_{suffix}.mkv"))
    return f"ffmpeg -i {next(names)} -vf {what} -crf 12 -c:a copy {next(names)}"


class _Rgb:
    """ffmpeg's conversion to RGB of full range, by a filter graph that is made for the first frame, and again for one of other kind."""

    def __init__(self, matrix: str, pixels: str) -> None:
        self._matrix, self._pixels = matrix, pixels
        self._kind: tuple[object, ...] = ()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if kind != self._kind:
            self._kind, self._graph = kind, self._made(frame)
        self._graph.push(frame)
        return np.asarray(self._graph.pull().to_ndarray())

    def _made(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        graph.threads = 1
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
        )
        names = {"smpte170m": "bt601", "bt470bg": "bt601", "bt2020nc": "bt2020", "bt2020c": "bt2020"}
        matrix = names.get(self._matrix, self._matrix)
        coded = {} if frame.format.is_rgb else {"in_color_matrix": matrix}
        options = {**coded, "out_range": "pc", "flags": SWSCALE}
        last = source
        for name, given in (("scale", options), ("format", {"pix_fmts": self._pixels}), ("buffersink", {})):
            node = graph.add(name, **given)
            last.link_to(node)
            last = node
        graph.configure()
        return graph
