"""VMAF against the plain ffmpeg command, on clips compressed ever more."""

from __future__ import annotations

import json
import subprocess
import tracemalloc
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from pipelines import metrics
from pipelines.clips import parallax, video
from pipelines.clips.images import read_picture
from pipelines.degradations import codec
from pipelines.errors import VSRError
from pipelines.evaluation.score import Detailed
from pipelines.metrics import luma, temporal
from pipelines.params import Parallax

SPEC = Parallax(kind="parallax", source="pipelines/clips/parallax", seed=0, height=180, width=320, frames=8, clips={"test": 1})


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    return [frame["rgb"] for frame in parallax.render(SPEC, parallax.clips(SPEC)[0][0])]


def compressed(frames: list[np.ndarray], crf: int) -> list[np.ndarray]:
    with codec.compress({"op": "x264", "crf": crf, "preset": "medium"}, frames, 25) as (decoded, _):
        return list(decoded)


def vmaf(restored: list[np.ndarray], truth: list[np.ndarray]) -> float:
    measure = metrics.get("vmaf").build("cpu")
    for one, other in zip(restored, truth, strict=True):
        assert measure.add(luma(one), luma(other)) is None
    return float(measure.finish())


def test_equal_clips_and_falling_with_crf(clip: list[np.ndarray]) -> None:
    values = [vmaf(clip, clip), *(vmaf(compressed(clip, crf), clip) for crf in (15, 25, 35, 45))]
    assert 97 <= values[0] <= 100
    assert values == sorted(values, reverse=True) and values[0] - values[-1] > 40
    assert vmaf(compressed(clip, 35), clip) == values[3]


def test_equal_real_footage_and_falling_with_crf(shared_data: Path) -> None:
    truth = [read_picture(path) for path in sorted((shared_data / "Vid4" / "GT" / "walk").glob("*.png"))[:6]]
    values = [vmaf(truth, truth), *(vmaf(compressed(truth, crf), truth) for crf in (15, 25, 35))]
    assert 97 <= values[0] <= 100 and values == sorted(values, reverse=True) and values[0] - values[-1] > 20


@pytest.mark.parametrize("size", [(33, 33), (35, 64), (64, 47)])
def test_every_size_that_is_taken_tells_equal_frames(size: tuple[int, int]) -> None:
    """The first frame of a clip has no motion, with which equal frames come to 97.4 in this model; all others to 100."""
    frames = np.random.default_rng(0).integers(16, 236, (4, *size), np.uint8)
    measured = video.Vmaf(temporal.VMAF_MODEL)
    for frame in frames:
        measured.add(frame, frame)
    first, *others = measured.finish()[0]
    assert first == pytest.approx(97.43, abs=0.01) and others == pytest.approx([100] * 3, abs=0.01)


def test_it_is_what_ffmpeg_gives_for_two_files(clip: list[np.ndarray], tmp_path: Path) -> None:
    """ffmpeg's own conversion of RGB, which rounds in other places, and its two inputs."""
    coded = compressed(clip, 30)
    for name, frames in (("restored", coded), ("truth", clip)):
        (tmp_path / f"{name}.rgb").write_bytes(np.stack(frames).tobytes())
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "320x180", "-i"]
    graph = "[0]format=yuv420p[a];[1]format=yuv420p[b];[a][b]libvmaf=log_fmt=json:log_path=log.json"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *given, "restored.rgb", *given, "truth.rgb"]
    subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], cwd=tmp_path, check=True)
    expected = [frame["metrics"]["vmaf"] for frame in json.loads((tmp_path / "log.json").read_text())["frames"]]
    measured = video.Vmaf(temporal.VMAF_MODEL)
    for one, other in zip(coded, clip, strict=True):
        measured.add(*(np.rint(luma(frame)).astype(np.uint8) for frame in (one, other)))
    values, made = measured.finish()
    assert values == pytest.approx(expected, abs=0.1)
    assert made["model"] == "vmaf_v0.6.1" and made["libvmaf"] and made["ffmpeg"]


def test_what_made_it_is_told(clip: list[np.ndarray]) -> None:
    measure = metrics.get("vmaf").build("cpu")
    assert isinstance(measure, Detailed)
    measure.add(luma(clip[0]), luma(clip[0]))
    measure.finish()
    assert set(measure.details()) == {"model", "libvmaf", "ffmpeg"}


def test_frames_are_not_kept() -> None:
    frame = np.random.default_rng(0).integers(16, 236, (360, 640), np.uint8)
    measured = video.Vmaf(temporal.VMAF_MODEL)
    measured.add(frame, frame)
    tracemalloc.start()
    for _ in range(30):
        measured.add(frame.copy(), frame.copy())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * frame.nbytes
    assert len(measured.finish()[0]) == 31


def test_a_clip_given_up_leaves_nothing(clip: list[np.ndarray]) -> None:
    measured = video.Vmaf(temporal.VMAF_MODEL)
    measured.add(clip[0][..., 0], clip[0][..., 0])
    process, folder = measured._sink._process, Path(measured._folder.name)
    assert process.poll() is None and folder.is_dir()
    del measured
    assert process.poll() is not None and not folder.exists()


def test_frames_that_do_not_fit() -> None:
    frame, other = np.zeros((40, 50), np.uint8), np.zeros((40, 52), np.uint8)
    with pytest.raises(VSRError, match="frames of 50x32 are too small for VMAF: give 33x33"):
        video.Vmaf(temporal.VMAF_MODEL).add(frame[:32], frame[:32])
    measured = video.Vmaf(temporal.VMAF_MODEL)
    measured.add(frame, frame)
    with pytest.raises(VSRError, match="a frame of 52x40 but 50x40 before"):
        measured.add(frame, other)
    with pytest.raises(VSRError, match="was given no frames"):
        video.Vmaf(temporal.VMAF_MODEL).finish()


def test_an_unknown_model_is_told() -> None:
    frame = np.zeros((40, 50), np.uint8)
    measured = video.Vmaf("vmaf_v9")
    with pytest.raises(VSRError, match="VMAF failed, ffmpeg says: could not load libvmaf model with version: vmaf_v9"):  # noqa: PT012
        for _ in range(1000):
            measured.add(frame, frame)
        measured.finish()


def test_an_ffmpeg_without_libvmaf_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "ffmpeg"
    binary.write_text("#!/bin/sh\necho \"Unknown filter 'libvmaf'.\"\n")
    binary.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(binary))
    with pytest.raises(VSRError, match="ffmpeg has no libvmaf: unset IMAGEIO_FFMPEG_EXE"):
        video.check_vmaf()
    with pytest.raises(VSRError, match="has no libvmaf"):
        metrics.get("vmaf").build("cpu")
