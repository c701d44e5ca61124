"""VMAF by the libvmaf that ffmpeg is built with."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import ffmpeg
import numpy as np

from pipelines.clips.video.process import Sink, arguments_of, check_vmaf, find_binary, version
from pipelines.errors import VSRError

VMAF_SMALLEST = 33
"""Pixels along a side. With less, libvmaf's coarsest VIF (an eighth of the size) has no room, and equal frames do not count as such."""

_VMAF_LOG = "vmaf.json"


class Vmaf:
    """VMAF of one clip by libvmaf, whose pairs of frames come one by one; frames go straight to ffmpeg and are not kept.

    Luma is given as it is, so no conversion of ffmpeg's comes in between; the models look at luma alone. One thread.

    Args:
        model: a model that is built into libvmaf, by its version.

    Raises:
        VSRError: ffmpeg has no libvmaf.
    """

    def __init__(self, model: str) -> None:
        check_vmaf()
        self._model = model
        self._frames = 0

    def add(self, restored: np.ndarray, truth: np.ndarray) -> None:
        """Take the next pair.

        Args:
            restored: luma, (H, W) uint8.
            truth: likewise.

        Raises:
            VSRError: a side is shorter than `VMAF_SMALLEST`, frames differ in size, or libvmaf fails.
        """
        if not self._frames:
            self._begin(*truth.shape)
        for frame in (restored, truth):
            if frame.shape != self._shape:
                sizes = " but ".join(f"{width}x{height}" for height, width in (frame.shape, self._shape))
                raise VSRError(f"VMAF was given a frame of {sizes} before: give frames of one size.")
        for plane in (restored, self._colours, truth, self._colours):
            if not self._sink.write(plane):
                self._sink.finish()
                raise VSRError("VMAF failed, ffmpeg ended early and gave no reason: set IMAGEIO_FFMPEG_EXE to another ffmpeg.")
        self._frames += 1

    def finish(self) -> tuple[list[float], dict[str, str]]:
        """The values of all frames, 0 to 100, and what made them: `model`, and the versions `libvmaf` and `ffmpeg`.

        Raises:
            VSRError: there were no frames, or libvmaf failed.
        """
        if not self._frames:
            raise VSRError("VMAF was given no frames: check the clip's source.")
        with self._folder, contextlib.closing(self._sink):
            self._sink.finish()
            log = json.loads((Path(self._folder.name) / _VMAF_LOG).read_text())
        values = [float(frame["metrics"]["vmaf"]) for frame in log["frames"]]
        if len(values) != self._frames:
            raise VSRError(
                f"VMAF was given {self._frames} frames and scored {len(values)}: set IMAGEIO_FFMPEG_EXE to another ffmpeg."
            )
        made = {"model": self._model, "libvmaf": str(log["version"]), "ffmpeg": version(find_binary(), r"ffmpeg version (\S+)")}
        return values, made

    def _begin(self, height: int, width: int) -> None:
        size = f"{width}x{height}"
        if min(height, width) < VMAF_SMALLEST:
            raise VSRError(f"frames of {size} are too small for VMAF: give {VMAF_SMALLEST}x{VMAF_SMALLEST} and larger.")
        self._shape = height, width
        self._colours = np.full(2 * ((height + 1) // 2) * ((width + 1) // 2), 128, np.uint8)  # of grey, in 4:2:0
        # Restored and true frames take turns in one pipe: two could wait for each other.
        pairs = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="yuv420p", s=size).filter_multi_output("split")
        turns = [pairs[turn].filter("select", f"eq(mod(n,2),{turn})").filter("setpts", "N") for turn in range(2)]
        options = {"model": f"version={self._model}", "log_fmt": "json", "log_path": _VMAF_LOG, "n_threads": 1}
        output = ffmpeg.output(ffmpeg.filter(turns, "libvmaf", **options), "pipe:", format="null", fps_mode="passthrough")
        self._folder = tempfile.TemporaryDirectory(prefix="vsr-vmaf-")
        self._sink = Sink(arguments_of(output), "VMAF", Path(self._folder.name))
