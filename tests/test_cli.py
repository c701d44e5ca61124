"""The `vsr` command through its front door."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

import models
from models.parts.resize import imresize
from pipelines import cli, params
from pipelines.clips import video
from pipelines.clips.store import ClipAttributes, ClipWriter, assemble
from pipelines.runtime.doctor import Check
from pipelines.runtime.progress import Progress

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

VSR = Path(sys.executable).with_name("vsr")
NTSC = Fraction(30000, 1001)
CRUEL = ["-dash", "it's", 'a "b"', "semi;colon", "$(touch x)", "`touch x`", "two\nlines", "per%20cent", "%08d", "grün", "[red]"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Vsr = Callable[..., Done]


@pytest.fixture
def vsr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Vsr]:
    """Runs the command in this process, as `main` is all that its script calls."""
    handler = signal.getsignal(signal.SIGTERM)

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["vsr", *map(str, words)])
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        shown = capsys.readouterr()
        if isinstance(code, str):  # what the interpreter makes of a sentence
            return Done(1, shown.out, shown.err + code + "\n")
        return Done(int(code or 0), shown.out, shown.err)  # type: ignore[call-overload]

    yield call
    signal.signal(signal.SIGTERM, handler)


def tree(folder: Path) -> set[str]:
    """Everything in a folder, hidden or not."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def error(done: Done) -> str:
    """The one sentence that a command failed with."""
    assert done.code == 1, done
    assert "Traceback" not in done.err and done.out == ""
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert done.err.rstrip().endswith(sentence), done.err
    return sentence


def moving(count: int = 5, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """(H, W, 3) uint8: smooth waves under some noise, drifting."""
    y, x = np.mgrid[:height, :width].astype(float)
    rng = np.random.default_rng(seed)
    waves = [(0.31, 0.05), (0.07, 0.23), (-0.13, 0.17)]
    return [
        np.stack([128 + 80 * np.sin(a * (x + t) + b * y) + rng.normal(0, 8, x.shape) for a, b in waves], -1)
        .clip(0, 255)
        .astype(np.uint8)
        for t in range(count)
    ]


def put(folder: Path, frames: Sequence[np.ndarray]) -> Path:
    """Frames as a folder of PNG files, by an encoder that is not the project's."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index:03d}.png")
    return folder


def pngs(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]


def run_ffmpeg(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def film(path: Path, count: int = 12, size: str = "48x32", sound: bool = False, rate: Fraction = NTSC) -> Path:
    """A video by ffmpeg's own generators."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}")
    tone = ("-f", "lavfi", "-i", f"sine=f=440:d={float(count / rate):.3f}", "-c:a", "aac") if sound else ()
    run_ffmpeg(*picture, *tone, "-frames:v", count, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", 5, f"file:{path.resolve()}")
    return path


def pcm(path: Path) -> bytes:
    """The sound track, decoded."""
    return run_ffmpeg("-i", path, "-map", "0:a", "-f", "s16le", "pipe:").stdout


def round_half_up(values: torch.Tensor) -> torch.Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def resized(frame: np.ndarray, scale: float) -> np.ndarray:
    """MATLAB's bicubic of 8-bit values, in float64."""
    values = torch.from_numpy(frame.copy()).permute(2, 0, 1).double()
    return round_half_up(imresize(values, scale)).byte().permute(1, 2, 0).numpy()


def quality(ours: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """PSNR and SSIM of luma, by NumPy and scikit-image."""
    one, other = (16 + (65.481 * a[..., 0] + 128.553 * a[..., 1] + 24.966 * a[..., 2]) / 255 for a in (ours, truth))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return 10 * np.log10(255**2 / np.mean((one - other) ** 2)), structural_similarity(one, other, **options)


# ---------------------------------------------------------------- help


def test_help_is_quick_to_load() -> None:
    heavy = "torch", "ray", "mlflow", "cv2", "numpy", "pandas", "pyarrow", "pydantic", "ffmpeg"
    program = f"import sys, pipelines.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    shown = subprocess.run([VSR, "--help"], capture_output=True, text=True, check=True)
    assert shown.stderr == "" and "Traceback" not in shown.stdout
    for command in ("repro", "report", "degrade", "restore", "score", "card", "export", "ui", "doctor"):
        assert command in shown.stdout


@pytest.mark.parametrize("command", ["repro", "report", "degrade", "restore", "score", "card", "export", "ui", "doctor"])
def test_every_command_has_help(vsr: Vsr, command: str) -> None:
    done = vsr(command, "--help")
    assert done.code == 0 and done.err == "" and f"vsr {command}" in done.out


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["degrade", "here"],
        ["degrade", "here", "out"],
        ["degrade", "here", "out", "--recipe", "bi_x4", "--sharpen"],
        ["restore", "here"],
        ["restore", "here", "out", "--method", "bicubic", "--window", "0"],
        ["restore", "here", "out", "--method", "bicubic", "--overlap", "-1"],
        ["restore", "here", "out", "--method", "bicubic", "--window", "many"],
        ["restore", "here", "out", "--method", "bicubic", "--scale", "0.5"],
        ["restore", "here", "out", "--method", "bicubic", "--scale", "nan"],
        ["restore", "here", "out", "--method", "bicubic", "--tile", "3"],
        ["restore", "here", "out", "--method", "bicubic", "--tile-overlap", "-1"],
        ["card", "bicubic", "--scale", "0"],
        ["score", "here", "there", "--crop", "-1"],
        ["score", "here", "there", "--skip", "half"],
        ["score", "here"],
        ["score"],
        ["card", "basicvsr", "--frames", "0"],
        ["repro", "-j", "0"],
        ["ui", "--port", "70000"],
    ],
)
def test_misuse_shows_the_usage(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    done = vsr(*words)
    assert done.code == 2 and "Usage: vsr" in done.err and "Traceback" not in done.err
    assert not tree(tmp_path)


# ---------------------------------------------------------------- numbers


def test_degrade_restore_score_by_their_definitions(vsr: Vsr, tmp_path: Path) -> None:
    clips = {"one": moving(3, 48, 64, 1), "two": moving(4, 52, 60, 2)}
    for name, frames in clips.items():
        put(tmp_path / "hr" / name, frames)
    assert vsr("degrade", tmp_path / "hr", tmp_path / "lr", "--recipe", "bi_x4").code == 0
    assert vsr("restore", tmp_path / "lr", tmp_path / "sr", "--method", "bicubic").code == 0
    expected = {}
    for name, frames in clips.items():
        low = [resized(frame, 1 / 4) for frame in frames]
        high = [resized(frame, 4) for frame in low]
        assert all((a == b).all() for a, b in zip(pngs(tmp_path / "lr" / name), low, strict=True))
        for ours, theirs in zip(pngs(tmp_path / "sr" / name), high, strict=True):
            off = np.abs(ours.astype(int) - theirs)  # the network computes in float32: a tie may round the other way
            assert off.max() <= 1 and np.mean(off > 0) < 1e-3
        pairs = [quality(a, b) for a, b in zip(high, frames, strict=True)]
        expected[name] = [float(np.mean(column)) for column in zip(*pairs, strict=True)]
    done = vsr("score", tmp_path / "sr", tmp_path / "hr", "--json")
    found = json.loads(done.out)
    assert set(found) == {"psnr", "ssim", "frames", "lossless", "skipped", "clips"} and list(found["clips"]) == ["one", "two"]
    assert (found["frames"], found["lossless"], found["skipped"]) == (7, 0, {})
    for name, (psnr, ssim) in expected.items():
        clip = found["clips"][name]
        assert set(clip) == {"psnr", "ssim", "frames", "lossless"} and clip["frames"] == len(clips[name])
        assert abs(clip["psnr"] - psnr) < 0.002 and abs(clip["ssim"] - ssim) < 1e-4
    for key, column in (("psnr", 0), ("ssim", 1)):  # clips count alike, whatever their length
        assert abs(found[key] - np.mean([value[column] for value in expected.values()])) < 0.002
    shown = vsr("score", tmp_path / "sr", tmp_path / "hr")
    assert re.search(r"^one: psnr \d+\.\d{4}, ssim 0\.\d{4} \(3 frames\)$", shown.out, re.MULTILINE)
    assert re.search(rf"^mean: psnr {found['psnr']:.4f}, ssim {found['ssim']:.4f} \(7 frames\)$", shown.out, re.MULTILINE)


def test_score_leaves_out_what_it_is_told_to(vsr: Vsr, tmp_path: Path) -> None:
    truth = moving(6)
    noisy = [frame ^ np.uint8(2 * index) for index, frame in enumerate(truth)]
    put(tmp_path / "sr", noisy)
    put(tmp_path / "gt", truth)
    found = json.loads(vsr("score", tmp_path / "sr", tmp_path / "gt", "--crop", 8, "--skip", 2, "--json").out)
    pairs = [quality(noisy[index][8:-8, 8:-8], truth[index][8:-8, 8:-8]) for index in (2, 3)]
    assert found["frames"] == 2 and list(found["clips"]) == ["gt"]
    assert abs(found["psnr"] - np.mean([psnr for psnr, _ in pairs])) < 1e-6
    assert abs(found["ssim"] - np.mean([ssim for _, ssim in pairs])) < 1e-6
    rgb = json.loads(vsr("score", tmp_path / "sr", tmp_path / "gt", "--channel", "rgb", "--metrics", "psnr", "--json").out)
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(noisy, truth, strict=True)]
    assert set(rgb) == {"psnr", "frames", "lossless", "skipped", "clips"} and rgb["lossless"] == 1
    values = [10 * np.log10(255**2 / value) if value else 100 for value in errors]  # an equal frame counts 100 dB
    assert abs(rgb["psnr"] - np.mean(values)) < 1e-9


def test_card(vsr: Vsr) -> None:
    found = json.loads(vsr("card", "basicvsr", "--json").out)
    assert set(found) == {"method", "parameters", "gmacs", "gmacs_without_deform"}
    assert found["method"] == "basicvsr" and found["parameters"] == 6_291_311
    assert abs(found["gmacs"] - 376.7) < 0.05 and found["gmacs"] == found["gmacs_without_deform"]
    plain = vsr("card", "bicubic", "--lr", "90x160").out
    assert plain.startswith("bicubic at 90x160, per frame") and re.search(r"parameters +0\n", plain)
    for size in ("180", "0x320", "axb", "180x-2"):
        assert "give height x width" in error(vsr("card", "basicvsr", "--lr", size))
    plus = vsr("card", "basicvsr_plusplus", "--lr", "32x32").out
    both = re.findall(r"GMAC +([\d.]+)\n|GMAC without deformable convolution +([\d.]+)\n", plus)
    assert len(both) == 2 and float(both[0][0]) > float(both[1][1])
    assert vsr("card", "bicubic", "--lr", "16x20", "--scale", 2.5).out.startswith("bicubic at 16x20 to 40x50, per frame")
    assert "basicvsr enlarges 4 times and no other" in error(vsr("card", "basicvsr", "--scale", 2))
    assert "unknown network 'basicvrs': did you mean 'basicvsr'?" in error(vsr("card", "basicvrs"))
    assert "spynet is a part of other networks" in error(vsr("card", "spynet"))


def test_vid4_numbers(vsr: Vsr, tmp_path: Path, shared_data: Path) -> None:
    """Bicubic on two clips of Vid4; with the other two of the set it averages to the published 23.78 / 0.6347."""
    truth = shared_data / "Vid4/GT"
    assert vsr("degrade", truth, tmp_path / "lr", "--recipe", "bi_x4").code == 0
    assert vsr("restore", tmp_path / "lr", tmp_path / "sr", "--method", "bicubic").code == 0
    found = json.loads(vsr("score", tmp_path / "sr", truth, "--json").out)
    for clip, frames, psnr, ssim in (("calendar", 41, 20.394, 0.5720), ("walk", 47, 26.104, 0.7974)):
        value = found["clips"][clip]
        assert value["frames"] == frames
        assert abs(value["psnr"] - psnr) < 0.005 and abs(value["ssim"] - ssim) < 0.0002


def test_published_frames_score_as_published(vsr: Vsr, shared_data: Path) -> None:
    """DUF-52L's frames, whole and as its authors score (Jo et al., CVPR 2018)."""
    sr, gt = shared_data / "Vid4/published/DUF-52L_BDx4/calendar", shared_data / "Vid4/GT/calendar"
    whole = json.loads(vsr("score", sr, gt, "--json").out)
    assert whole["frames"] == 41 and abs(whole["psnr"] - 23.257) < 0.005 and abs(whole["ssim"] - 0.8073) < 0.0002
    inner = json.loads(vsr("score", sr, gt, "--crop", 8, "--skip", 2, "--json").out)
    assert inner == json.loads(vsr("score", sr, gt, "--protocol", "vid4_duf", "--json").out)
    assert whole == json.loads(vsr("score", sr, gt, "--protocol", "vid4", "--json").out)
    assert inner["frames"] == 37 and abs(inner["psnr"] - 24.090) < 0.005 and abs(inner["ssim"] - 0.8130) < 0.0002


# ---------------------------------------------------------------- videos


@pytest.mark.parametrize("sound", [True, False])
def test_a_video_comes_back_playable(vsr: Vsr, tmp_path: Path, sound: bool) -> None:
    source, target = film(tmp_path / "in.mp4", 24, sound=sound), tmp_path / "new/out.mp4"
    done = vsr("restore", source, target, "--method", "bicubic")
    assert (done.code, done.out) == (0, "") and tree(tmp_path / "new") == {"out.mp4"}
    assert run_ffmpeg("-i", target, "-f", "null", "-").stderr == b""  # a player's decoder has nothing to say
    info = video.probe(target)
    assert (info.width, info.height, info.frames, info.fps, info.variable) == (192, 128, 24, NTSC, False)
    assert info.has_audio == sound
    if sound:
        assert pcm(target) == pcm(source) and len(pcm(source)) > 44100
    for ours, low in zip(video.decode(target), video.decode(source), strict=True):
        assert np.abs(ours.astype(int) - resized(low, 4)).mean() < 3  # CRF 12 and halved chroma


def test_a_folder_of_videos_and_frames(vsr: Vsr, tmp_path: Path) -> None:
    film(tmp_path / "in/a.mp4", 5, sound=True)
    film(tmp_path / "in/b.mkv", 6, size="32x32", rate=Fraction(25))
    put(tmp_path / "in/c", moving(2, 24, 20))
    done = vsr("restore", tmp_path / "in", tmp_path / "out", "--method", "bicubic", "--scale", 2)
    assert done.code == 0
    assert tree(tmp_path / "out") == {"a.mp4", "b.mkv", "c", "c/000.png", "c/001.png"}
    a, b = video.probe(tmp_path / "out/a.mp4"), video.probe(tmp_path / "out/b.mkv")
    assert (a.width, a.height, a.frames, a.fps, a.has_audio) == (96, 64, 5, NTSC, True)
    assert (b.width, b.height, b.frames, b.fps, b.has_audio) == (64, 64, 6, 25, False)
    assert pngs(tmp_path / "out/c")[0].shape == (48, 40, 3)


def test_degraded_videos_become_frames_or_a_named_video(vsr: Vsr, tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4", 7, size="96x64")
    for recipe in ("bi_x4", "crf25_x4"):
        assert vsr("degrade", source, tmp_path / recipe, "--recipe", recipe).code == 0
        assert [frame.shape for frame in pngs(tmp_path / recipe)] == [(16, 24, 3)] * 7
    exact = [resized(frame, 1 / 4) for frame in video.decode(source)]
    assert all((a == b).all() for a, b in zip(pngs(tmp_path / "bi_x4"), exact, strict=True))
    coded = [np.abs(a.astype(int) - b).mean() for a, b in zip(pngs(tmp_path / "crf25_x4"), exact, strict=True)]
    assert 0.2 < np.mean(coded) < 20
    assert vsr("degrade", source, tmp_path / "lr.mp4", "--recipe", "bi_x4").code == 0
    info = video.probe(tmp_path / "lr.mp4")
    assert (info.width, info.height, info.frames, info.fps) == (24, 16, 7, NTSC)


def test_odd_sizes(vsr: Vsr, tmp_path: Path) -> None:
    put(tmp_path / "odd", moving(2, 13, 11))
    before = tree(tmp_path)
    told = error(vsr("restore", tmp_path / "odd", tmp_path / "out.mp4", "--method", "bicubic", "--scale", 3))
    assert "33x39, both sides must be even: write a folder of PNG frames instead" in told
    assert tree(tmp_path) == before
    assert vsr("restore", tmp_path / "odd", tmp_path / "out", "--method", "bicubic", "--scale", 3).code == 0
    assert pngs(tmp_path / "out")[1].shape == (39, 33, 3)


# ---------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small BasicVSR with random parameters."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    models.save(models.create("basicvsr", channels=4, blocks=1, upsample_channels=4), path)
    return path


def test_a_network_with_its_weights(vsr: Vsr, tmp_path: Path, tiny: Path) -> None:
    source = put(tmp_path / "lr", moving(4, 16, 20))
    assert vsr("restore", source, tmp_path / "sr", "--weights", tiny).code == 0
    clip = torch.from_numpy(np.stack(pngs(source))).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        expected = round_half_up(255 * models.load(tiny)(clip)[0].double()).permute(0, 2, 3, 1).numpy()
    for ours, theirs in zip(pngs(tmp_path / "sr"), expected, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1
    passes = ("--window", 3, "--overlap", 1)
    assert vsr("restore", source, tmp_path / "passes", "--method", "basicvsr", "--weights", tiny, *passes).code == 0
    assert "give --weights FILE" in error(vsr("restore", source, tmp_path / "none"))
    assert [frame.shape for frame in pngs(tmp_path / "passes")] == [(64, 80, 3)] * 4


def test_memory_that_does_not_reach(
    vsr: Vsr, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "lr", moving(2))

    def exhausted(self: object, clip: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(type(models.load(tiny)), "forward", exhausted)
    before = tree(tmp_path)
    told = error(vsr("restore", source, tmp_path / "sr", "--method", "basicvsr", "--weights", tiny))
    assert "30 frames of 64x48 at once do not fit" in told and "--window" in told and tree(tmp_path) == before


def test_any_scale_and_tiles(vsr: Vsr, tmp_path: Path) -> None:
    source = put(tmp_path / "lr", moving(3, 20, 24))
    bicubic = ("--method", "bicubic")
    assert vsr("restore", source, tmp_path / "a", *bicubic, "--scale", 2.5).code == 0
    assert vsr("restore", source, tmp_path / "b", *bicubic, "--size", "50x60").code == 0
    assert vsr("restore", source, tmp_path / "c", *bicubic, "--scale", 2.5, "--tile", 16, "--tile-overlap", 3).code == 0
    assert pngs(tmp_path / "a")[0].shape == (50, 60, 3)
    for a, b, c, low in zip(*(pngs(tmp_path / name) for name in "abc"), pngs(source), strict=True):
        assert (a == b).all() and np.abs(a.astype(int) - c).max() <= 1
        assert np.abs(a.astype(int) - resized(low, 2.5)).max() <= 1
    assert vsr("restore", source, tmp_path / "d", *bicubic, "--size", "41x77").code == 0
    assert pngs(tmp_path / "d")[2].shape == (41, 77, 3)


def test_ways_to_run_a_network(vsr: Vsr, tmp_path: Path, tiny: Path) -> None:
    source = put(tmp_path / "lr", moving(3, 32, 40))
    network = ("--method", "basicvsr", "--weights", tiny)
    ways = {"plain": (), "last": ("--channels-last",), "half": ("--precision", "bfloat16")}
    made = {}
    for name, options in ways.items():
        assert vsr("restore", source, tmp_path / name, *network, *options).code == 0
        made[name] = np.stack(pngs(tmp_path / name)).astype(int)
    assert np.abs(made["last"] - made["plain"]).max() <= 1 and np.abs(made["half"] - made["plain"]).max() <= 4
    assert (made["half"] != made["plain"]).any()


def _guided(tmp: Path) -> Path:
    """A checkpoint of a small network that masks guide, with random parameters."""
    torch.manual_seed(0)
    network = models.create("seem_basicvsr", channels=4, blocks=1, upsample_channels=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    models.save(network, tmp / "guided.safetensors")
    return tmp / "guided.safetensors"


def test_masks_are_made_of_the_footage(vsr: Vsr, tmp_path: Path) -> None:
    from skimage.segmentation import felzenszwalb

    source, weights = put(tmp_path / "lr", moving(3, 24, 32)), _guided(tmp_path)
    words = ("--method", "seem_basicvsr", "--weights", weights, "--masks", "parallax_bi_x4")
    assert vsr("restore", source, tmp_path / "sr", *words).code == 0
    model = params.load().masks["parallax_bi_x4"].model
    planes = torch.zeros(1, 3, 64, 24, 32)
    for t, frame in enumerate(pngs(source)):
        labels = felzenszwalb(frame, scale=model.scale, sigma=model.sigma, min_size=model.min_size, channel_axis=-1)
        masks = sorted((labels == label for label in np.unique(labels)), key=lambda mask: (-mask.sum(), np.flatnonzero(mask)[0]))
        planes[0, t, : len(masks)] = torch.from_numpy(np.stack(masks))
    clip = torch.from_numpy(np.stack(pngs(source))).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        network = models.load(weights)
        expected, without = (round_half_up(255 * network(clip, x)[0]).permute(0, 2, 3, 1).numpy() for x in (planes, 0 * planes))
    found = np.stack(pngs(tmp_path / "sr")).astype(int)
    assert np.abs(found - expected).max() <= 1 and np.abs(found - without).max() > 2


def _text(path: Path) -> Path:
    path.write_text("these are not weights")
    return path


def _cut(source: Path, path: Path, share: float = 0.5) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (lambda tmp, tiny: ["bicubi"], "unknown network 'bicubi': did you mean 'bicubic'?"),
        (lambda tmp, tiny: ["spynet"], "spynet is a part of other networks"),
        (lambda tmp, tiny: ["basicvsr"], "basicvsr has to be trained: give its parameters with --weights FILE"),
        (
            lambda tmp, tiny: ["basicvsr", "--weights", tiny, "--scale", 2],
            "basicvsr enlarges 4 times and no other: leave --scale out",
        ),
        (
            lambda tmp, tiny: ["basicvsr", "--weights", tiny, "--size", "9x9"],
            "basicvsr enlarges 4 times and no other: leave --size",
        ),
        (lambda tmp, tiny: ["bicubic", "--scale", 2, "--size", "90x90"], "--scale and --size do not go together"),
        (lambda tmp, tiny: ["bicubic", "--scale", "inf"], "--scale is inf: give a number of at least 1"),
        (lambda tmp, tiny: ["bicubic", "--size", "90"], "--size is '90': give height x width"),
        (lambda tmp, tiny: ["bicubic", "--size", "90x0"], "--size is '90x0': give height x width"),
        (lambda tmp, tiny: ["bicubic", "--tile", 10], "tiles of 10 pixels with an overlap of 16: give multiples of 4"),
        (lambda tmp, tiny: ["bicubic", "--tile", 32], "give tiles of at least 36, or less overlap"),
        (
            lambda tmp, tiny: ["bicubic", "--size", "101x101", "--tile", 40],
            "48 pixels restored to 101 cannot be cut into tiles of 40",
        ),
        (lambda tmp, tiny: ["bicubic", "--precision", "bf16"], "unknown precision 'bf16': did you mean 'bfloat16'"),
        (lambda tmp, tiny: ["bicubic", "--masks", "parallax_bi_x4"], "bicubic is not guided by masks: leave --masks out"),
        (
            lambda tmp, tiny: ["seem_basicvsr", "--weights", _guided(tmp)],
            "guided by masks .* with --masks, one of .*parallax_bi_x4",
        ),
        (
            lambda tmp, tiny: ["seem_basicvsr", "--weights", _guided(tmp), "--masks", "paralax_bi_x4"],
            "unknown masks 'paralax_bi_x4': did you mean 'parallax_bi_x4'",
        ),
        (
            lambda tmp, tiny: ["bicubic", "--weights", tiny],
            r"tiny\.safetensors looks like a checkpoint of basicvsr, not of bicubic",
        ),
        (lambda tmp, tiny: ["basicvsr", "--weights", tmp / "none.pth"], r"none\.pth does not exist"),
        (lambda tmp, tiny: ["basicvsr", "--weights", tmp], "does not exist|is a folder"),
        (lambda tmp, tiny: ["basicvsr", "--weights", _text(tmp / "a.pth")], r"a\.pth .*checkpoint"),
        (lambda tmp, tiny: ["basicvsr", "--weights", _text(tmp / "a.safetensors")], r"cannot be read as safetensors"),
        (lambda tmp, tiny: ["basicvsr", "--weights", _cut(tiny, tmp / "b.safetensors")], r"b\.safetensors cannot be read"),
        (lambda tmp, tiny: ["bicubic", "--window", 5, "--overlap", 5], "window of at least 11"),
        (lambda tmp, tiny: ["bicubic", "--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_methods_that_cannot_run(
    vsr: Vsr, tmp_path: Path, tiny: Path, words: Callable[[Path, Path], list[object]], told: str
) -> None:
    source = put(tmp_path / "lr", moving(2))
    rest = words(tmp_path, tiny)
    before = tree(tmp_path)
    assert re.search(told, error(vsr("restore", source, tmp_path / "sr", "--method", *rest)))
    assert tree(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said(vsr: Vsr, tmp_path: Path) -> None:
    source = put(tmp_path / "lr", moving(2))
    assert "no CUDA device" in error(vsr("restore", source, tmp_path / "sr", "--method", "bicubic", "--device", "cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_what_the_cpu_does(vsr: Vsr, tmp_path: Path, tiny: Path) -> None:
    source = put(tmp_path / "lr", moving(4))
    for device in ("cpu", "cuda"):
        words = ("--method", "basicvsr", "--weights", tiny, "--device", device)
        assert vsr("restore", source, tmp_path / device, *words).code == 0
    for ours, theirs in zip(pngs(tmp_path / "cuda"), pngs(tmp_path / "cpu"), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1


# ---------------------------------------------------------------- bad footage


def _missing(tmp: Path) -> Path:
    return tmp / "nowhere"


def _empty(tmp: Path) -> Path:
    (tmp / "empty").mkdir()
    return tmp / "empty"


def _folder_of_empty(tmp: Path) -> Path:
    return _empty(tmp).parent


def _cut_png(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(3))
    _cut(folder / "001.png", folder / "001.png")
    return folder


def _cut_mp4(tmp: Path) -> Path:
    return _cut(film(tmp / "whole.mp4"), tmp / "cut.mp4")


def _text_mp4(tmp: Path) -> Path:
    return _text(tmp / "film.mp4")


def _text_file(tmp: Path) -> Path:
    return _text(tmp / "notes.txt")


def _sizes(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(3))
    Image.fromarray(moving(1, 40, 40)[0]).save(folder / "003.png")
    return folder


def _gap(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(4))
    (folder / "002.png").unlink()
    return folder


def _mixed(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(3))
    film(folder / "film.mp4", 3)
    return folder


def _deep(tmp: Path) -> Path:
    put(tmp / "clips/photos", moving(2))
    (tmp / "clips/more/photos").mkdir(parents=True)
    return tmp / "clips"


def _transparent(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(2))
    Image.fromarray(np.dstack([moving(1)[0], np.full((48, 64), 9, np.uint8)])).save(folder / "001.png")
    return folder


FOOTAGE = [
    (_missing, "nowhere does not exist: give a video"),
    (_empty, "empty has neither PNG frames nor videos nor folders"),
    (_folder_of_empty, "empty has no PNG frames"),
    (_cut_png, r"001\.png is damaged or cut short"),
    (_cut_mp4, r"cut\.mp4 is damaged or cut short"),
    (_text_mp4, r"film\.mp4 is damaged or cut short"),
    (_text_file, r"notes\.txt is not a video file by its name"),
    (_sizes, r"003\.png is 40x40 but 000\.png is 64x48"),
    (_gap, r"frames lacks frame 2, after 001\.png"),
    (_mixed, "frames has PNG frames beside videos or folders"),
    (_deep, "more has no PNG frames"),
    (_transparent, r"001\.png has transparency"),
]


@pytest.mark.parametrize(("make", "told"), FOOTAGE, ids=[make.__name__ for make, _ in FOOTAGE])
def test_bad_footage(vsr: Vsr, tmp_path: Path, make: Callable[[Path], Path], told: str) -> None:
    source = make(tmp_path)
    good = put(tmp_path.with_name(tmp_path.name + "-good"), moving(3))
    before = tree(tmp_path)
    for words in (
        ("degrade", source, tmp_path / "out", "--recipe", "bi_x4"),
        ("restore", source, tmp_path / "new/out", "--method", "bicubic"),
        ("restore", source, tmp_path / "out.mp4", "--method", "bicubic"),
        ("score", source, good, "--json"),
        ("score", good, source),
    ):
        # A folder that was to hold the output may be left; the output, or a part of it, may not.
        assert re.search(told, error(vsr(*words)))
        assert tree(tmp_path) - before <= {"new"}


def test_damage_found_on_the_way_costs_no_other_clip(vsr: Vsr, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path / "in" / name, moving(3))
    _cut(tmp_path / "in/b/002.png", tmp_path / "in/b/002.png")
    done = vsr("degrade", tmp_path / "in", tmp_path / "out", "--recipe", "bi_x4")
    assert done.code == 1 and "Traceback" not in done.err
    assert f"error: 1 of 3 clips failed, the others are in {tmp_path / 'out'}:\n  b: " in done.err
    assert tree(tmp_path / "out") == {
        *"ac",
        "a.json",
        "c.json",
        *(f"{clip}/00{index}.png" for clip in "ac" for index in range(3)),
    }
    for name in ("a", "c"):
        shutil.rmtree(tmp_path / "in" / name)
    put(tmp_path / "in/d", moving(3))
    _cut(tmp_path / "in/d/000.png", tmp_path / "in/d/000.png", 0.9)
    assert "error: 2 of 2 clips failed:\n  b: " in vsr("degrade", tmp_path / "in", tmp_path / "none", "--recipe", "bi_x4").err
    assert not (tmp_path / "none").exists()


def test_recipes_that_cannot_run(vsr: Vsr, tmp_path: Path) -> None:
    put(tmp_path / "odd", moving(2, 52, 64))
    put(tmp_path / "small", moving(2, 3, 64))
    before = tree(tmp_path)
    told = error(vsr("degrade", tmp_path / "odd", tmp_path / "out", "--recipe", "bi_xx4"))
    assert "unknown recipe 'bi_xx4': did you mean 'bi_x4'?" in told
    told = error(vsr("degrade", tmp_path / "odd", tmp_path / "out", "--recipe", "crf25_x4"))
    assert "cannot take frames of 16x13, both sides must be even" in told
    told = error(vsr("degrade", tmp_path / "small", tmp_path / "out", "--recipe", "bi_x4"))
    assert "frames of 64x3 cannot be reduced by 4" in told
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubic, scale: 0}]", "'recipes.bi_x4.0.scale' is 0"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubic, scale: -4}]", "'recipes.bi_x4.0.scale' is -4"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubik, scale: 4}]", "unknown op 'bicubik': did you mean 'bicubic'?"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubic, scal: 4}]", "did you mean 'scale'?"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [", "not valid YAML"),
    ],
)
def test_bad_params(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, told: str) -> None:
    """The params.yaml of the folder that the command is run in is the one that counts."""
    source = put(tmp_path / "hr", moving(2))
    text = (params.ROOT / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new))
    shutil.copy(params.ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert told in error(vsr("degrade", source, "lr", "--recipe", "bi_x4"))
    assert told in error(vsr("repro"))
    assert told in error(vsr("report"))
    assert tree(tmp_path) == before


def test_own_params_are_used(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(tmp_path / "hr", moving(2))
    text = (params.ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("bi_x4: [", "half: [{op: bicubic, scale: 2}]\n  bi_x4: ["))
    shutil.copy(params.ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert vsr("degrade", source, "lr", "--recipe", "half").code == 0
    assert (pngs(Path("lr"))[1] == resized(pngs(source)[1], 1 / 2)).all()


def test_scores_that_mean_nothing(vsr: Vsr, tmp_path: Path) -> None:
    short, truth, other = (
        put(tmp_path / "short", moving(3)),
        put(tmp_path / "gt", moving(4)),
        put(tmp_path / "o", moving(4, 48, 60)),
    )
    tiny = put(tmp_path / "tiny", moving(2, 8, 8))
    put(tmp_path / "many/a", moving(2))
    put(tmp_path / "many/b", moving(2))
    put(tmp_path / "fewer/a", moving(2))
    put(tmp_path / "fewer/c", moving(2))
    for words, told in (
        ((truth, truth, "--channel", "yuv"), "unknown channel 'yuv'"),
        ((truth, truth, "--metrics", "psnr,ssmi"), "unknown metric 'ssmi': did you mean 'ssim'?"),
        ((truth, truth, "--protocol", "vid5"), "unknown protocol 'vid5': did you mean 'vid4'?"),
        ((truth, truth, "--protocol", "vid4", "--crop", 0), "--crop cannot be given beside --protocol vid4"),
        ((truth, truth, "--protocol", "y", "--channel", "y", "--skip", 1), "--channel and --skip cannot be given beside"),
        ((truth, truth, "--protocol", "vimeo90k_slow"), "give these clips alone, with --protocol vimeo90k_t"),
        ((truth, truth, "--protocol", "vimeo90k_fast_rgb"), "give these clips alone, with --protocol vimeo90k_rgb"),
        ((truth, truth, "--metrics", "ms_ssim"), "too small for protocol 'score' with ms_ssim: give frames of at least 176x176"),
        ((truth, truth, "--metrics", ""), "unknown metric ''"),
        ((truth, truth, "--skip", 2), "nothing is left to score"),
        ((truth, truth, "--crop", 20), "too small"),
        ((tiny, tiny), "too small"),
        ((short, truth), "the restored clip ends after 3 frames but its truth goes on"),
        ((truth, short), "the truth ends after 3 frames but the restored clip goes on"),
        ((other, truth), "restored is 60x48 but its truth is 64x48"),
        ((tmp_path / "fewer", tmp_path / "many"), "the restored footage lacks the clip 'b'"),
        ((tmp_path / "many/a", tmp_path / "many"), "the restored footage lacks the clip 'b'"),
        ((tmp_path / "many", tmp_path / "many/a"), "its truth lacks the clip 'b'"),
    ):
        assert told in error(vsr("score", *words, "--json"))


def test_a_clip_that_cannot_be_scored_costs_no_other(vsr: Vsr, tmp_path: Path) -> None:
    truth, other = moving(3), moving(3, seed=1)
    for name in ("corrupt", "counts", "fine", "glass", "grey", "sizes", "wide"):
        put(tmp_path / "gt" / name, truth)
        put(tmp_path / "sr" / name, other)
    shutil.rmtree(tmp_path / "sr/counts")
    put(tmp_path / "sr/counts", other[:2])
    shutil.rmtree(tmp_path / "sr/wide")
    put(tmp_path / "sr/wide", moving(3, 48, 66))
    _cut(tmp_path / "sr/corrupt/001.png", tmp_path / "sr/corrupt/001.png")
    Image.fromarray(moving(1, 40, 40)[0]).save(tmp_path / "gt/sizes/002.png")
    Image.fromarray(np.dstack([other[1], other[1][..., :1]])).save(tmp_path / "sr/glass/001.png")
    for frames, folder in ((truth, tmp_path / "gt/grey"), (other, tmp_path / "sr/grey")):
        for index, frame in enumerate(frames):
            Image.fromarray(frame[..., 0]).save(folder / f"{index:03d}.png")
    done = vsr("score", tmp_path / "sr", tmp_path / "gt", "--json")
    assert done.code == 1 and "Traceback" not in done.err
    found = json.loads(done.out)
    assert list(found["clips"]) == ["fine", "grey"] and found["frames"] == 6
    grey = [np.repeat(frame[..., :1], 3, axis=2) for frame in (truth[0], other[0])]
    assert abs(found["clips"]["grey"]["psnr"] - quality(grey[1], grey[0])[0]) < 1
    assert set(found["failed"]) == {"corrupt", "counts", "glass", "sizes", "wide"}
    for clip, told in (
        ("corrupt", r"sr/corrupt/001\.png is damaged or cut short"),
        ("counts", "'counts': the restored clip ends after 2 frames but its truth goes on"),
        ("glass", r"sr/glass/001\.png has transparency"),
        ("sizes", r"gt/sizes/002\.png is 40x40 but 000\.png is 64x48"),
        ("wide", "'wide' frame 0: restored is 66x48 but its truth is 64x48"),
    ):
        assert re.search(told, found["failed"][clip])
        assert re.search(rf"\n  {clip}: .*{told}", done.err)
    assert "error: 5 of 7 clips failed, the others are scored:\n" in done.err
    shown = vsr("score", tmp_path / "sr", tmp_path / "gt").out.splitlines()
    assert [line.split(":")[0] for line in shown] == ["fine", "grey", "mean of 2 of 7 clips"]


def test_metrics_of_every_kind(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of frames, one of clips and one whose weights are not here."""
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    truth = moving(3, 64, 64)
    put(tmp_path / "gt/a", truth)
    put(tmp_path / "sr/a", [truth[0], *moving(2, 64, 64, seed=1)])
    put(tmp_path / "gt/b", truth)
    put(tmp_path / "sr/b", truth)
    words = "score", tmp_path / "sr", tmp_path / "gt", "--protocol", "rgb", "--metrics", "psnr,niqe,tof_farneback,psnr"
    found = json.loads(vsr(*words, "--json").out)
    assert set(found) == {"psnr", "tof_farneback", "frames", "lossless", "skipped", "clips"}
    assert found["clips"]["b"] == {"psnr": 100, "tof_farneback": 0, "frames": 3, "lossless": 3} and found["lossless"] == 4
    assert found["clips"]["a"]["tof_farneback"] > 0
    assert found["tof_farneback"] == found["clips"]["a"]["tof_farneback"] / 2
    assert list(found["skipped"]) == ["niqe"] and "put niqe_pris_params.npz from https://" in found["skipped"]["niqe"]
    shown = vsr(*words).out.splitlines()
    assert re.fullmatch(r"a: psnr \d+\.\d{4}, tof_farneback \d+\.\d{4} \(3 frames, 1 lossless\)", shown[0])
    assert shown[1] == "b: psnr 100.0000, tof_farneback 0.0000 (3 frames, 3 lossless)" and shown[2].startswith("mean: psnr ")
    assert shown[3] == f"skipped niqe: {found['skipped']['niqe']}" and len(shown) == 4
    assert "none of the metrics can be computed here (niqe: needs" in error(vsr(*words[:-1], "niqe"))


def test_list_of_metrics(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    entries = {entry["name"]: entry for entry in json.loads(vsr("score", "--list-metrics", "--json").out)}
    assert entries["psnr"]["unavailable"] is None and entries["psnr"]["better"] == "higher" and entries["psnr"]["reference"]
    assert entries["niqe"]["weights"] == ["niqe"] and entries["niqe"]["better"] == "lower" and not entries["niqe"]["reference"]
    assert entries["niqe"]["range"] == [0, None] and "non-commercial" in entries["musiq"]["licence"]
    shown = vsr("score", "--list-metrics").out
    for name, entry in entries.items():
        assert re.search(rf"^ *{name} .* {'no' if entry['unavailable'] else 'yes'} ", shown, re.MULTILINE)
    assert f"\nniqe cannot be computed here: {entries['niqe']['unavailable']}\n" in shown


def test_nothing_is_overwritten(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames, source = put(Path("frames"), moving(2)), film(Path("film.mp4"), 3)
    put(Path("there"), moving(1))
    _text(Path("there.mp4"))
    (Path("busy") / "film.mp4").mkdir(parents=True)
    (Path("busy") / "film.mp4/mine").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for target, told in (
        ("there", "there already exists: remove it or choose another name"),
        ("there.mp4", "there.mp4 already exists"),
        ("frames", "frames already exists"),
        ("out.png", "names one image"),
        (".", "give the name of a new folder or video"),
        ("..", "give the name of a new folder or video"),
    ):
        assert told in error(vsr("degrade", frames, target, "--recipe", "bi_x4"))
        assert told in error(vsr("restore", frames, target, "--method", "bicubic"))
    for target in ("there.mp4", "film.mp4", "busy"):
        assert "already exists" in error(vsr("restore", source, target, "--method", "bicubic"))
    assert "out.webm cannot be written: name it" in error(vsr("restore", source, "out.webm", "--method", "bicubic"))
    put(Path("many/a"), moving(1))
    assert "names one video but the source is a folder" in error(vsr("restore", "many", "all.mp4", "--method", "bicubic"))
    shutil.rmtree("many")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(vsr: Vsr, tmp_path: Path) -> None:
    source = put(tmp_path / "frames", moving(2))
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in error(vsr("degrade", source, tmp_path / "locked/out", "--recipe", "bi_x4"))


def test_a_place_that_cannot_be(vsr: Vsr, tmp_path: Path) -> None:
    source, store = put(tmp_path / "frames", moving(2)), _store(tmp_path / "store", {"clip": moving(2)})
    _text(tmp_path / "file")
    before = tree(tmp_path)
    for target in (tmp_path / "file/out", tmp_path / ("n" * 300)):
        assert "cannot be" in error(vsr("degrade", source, target, "--recipe", "bi_x4"))
        assert "cannot be" in error(vsr("restore", source, f"{target}.mp4", "--method", "bicubic"))
        assert "cannot be" in error(vsr("export", store, target))
    assert "cannot be" in error(vsr("degrade", tmp_path / ("n" * 300), tmp_path / "out", "--recipe", "bi_x4"))
    assert tree(tmp_path) == before


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", CRUEL)
def test_names_are_only_names(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nothing reaches a shell, and no pattern, option or markup is read into a name."""
    monkeypatch.chdir(tmp_path)
    film(Path(f"{name}.mp4"), 3)
    put(Path(f"{name} in"), moving(2))
    before = tree(tmp_path)
    assert vsr("restore", "--method", "bicubic", "--scale", 2, "--", f"{name}.mp4", f"{name} x.mp4").code == 0
    assert vsr("degrade", "--recipe", "bi_x4", "--", f"{name} in", f"{name} lr").code == 0
    done = vsr("score", "--json", "--", f"{name}.mp4", f"{name}.mp4")
    assert list(json.loads(done.out)["clips"]) == [name]
    made = {f"{name} x.mp4", f"{name} lr", f"{name} lr/000.png", f"{name} lr/001.png", f"{name} lr.json"}
    assert tree(tmp_path) - before == made
    assert video.probe(tmp_path / f"{name} x.mp4").frames == 3


def test_a_name_in_no_encoding(tmp_path: Path) -> None:
    """Names from old archives are bytes, and a pipe is strict where a terminal is not."""
    name = os.fsdecode(b"caf\xe9")
    source = put(tmp_path / name, moving(2))
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    shown = subprocess.run([VSR, "score", source, source], capture_output=True, text=True, env=environment)
    assert shown.returncode == 0 and r"caf\udce9: psnr 100.0000" in shown.stdout


def test_progress_takes_a_label_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("[/b] [red]out[/red]", 1) as progress:
        progress.clip()
    assert "[/b] [red]out[/red]" in terminal.getvalue()


# ---------------------------------------------------------------- the machine


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def noise(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames that no coder makes small."""
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def test_a_full_disk(vsr: Vsr, tmp_path: Path, small_disk: Path) -> None:
    low, high = put(tmp_path / "lr", noise(3, 64, 64)), put(tmp_path / "hr", noise(3, 640, 640))
    store = _store(tmp_path / "store", {"clip": noise(3, 256, 256)})
    (small_disk / "fill").write_bytes(bytes(2**21 - 2**15))
    for words in (
        ("degrade", high, small_disk / "out", "--recipe", "bi_x4"),
        ("restore", low, small_disk / "out", "--method", "bicubic"),
        ("restore", low, small_disk / "out.mp4", "--method", "bicubic"),
        ("export", store, small_disk / "out"),
        ("export", store, small_disk / "out", "--video"),
    ):
        told = error(vsr(*words))
        assert re.search("No space left on device|the disk is full", told) and "free some space" in told
        assert tree(small_disk) == {"fill"}


def test_a_full_disk_for_the_report(vsr: Vsr, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(params.ROOT / name, small_disk)
    (small_disk / "fill").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    monkeypatch.chdir(small_disk)
    assert "the disk is full" in error(vsr("report"))
    assert tree(small_disk) == {"params.yaml", "dvc.yaml", "fill"}


def test_a_full_disk_for_the_coder(vsr: Vsr, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small_disk / "fill").write_bytes(bytes(2**21 - 2**13))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    source = put(tmp_path / "hr", noise(4, 640, 640))
    told = error(vsr("degrade", source, tmp_path / "lr", "--recipe", "crf25_x4"))
    assert "the disk is full" in told and tree(small_disk) == {"fill"} and not (tmp_path / "lr").exists()


@pytest.fixture
def no_x264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffmpeg that was built without libx264."""
    real, fake = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "ffmpeg"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *libx264*) echo "Unknown encoder \'libx264\'" >&2; exit 1;; esac\nexec "{real}" "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    return fake


def test_without_x264(vsr: Vsr, tmp_path: Path, no_x264: Path) -> None:
    source = put(tmp_path / "hr", moving(2, 64, 64))
    before = tree(tmp_path)
    mend = f"{no_x264} has no libx264: unset IMAGEIO_FFMPEG_EXE"
    assert mend in error(vsr("degrade", source, tmp_path / "lr", "--recipe", "crf25_x4"))
    assert mend in error(vsr("restore", source, tmp_path / "sr.mp4", "--method", "bicubic"))
    assert tree(tmp_path) == before
    assert vsr("degrade", source, tmp_path / "lr", "--recipe", "bi_x4").code == 0  # which needs none


def test_doctor(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_x264: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # where nothing listens
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path / "nowhere"))
    done = vsr("doctor")
    assert done.code == 1 and "Traceback" not in done.err
    found = {line[4:].split(":")[0]: line for line in done.out.splitlines()}
    for name, mending in (
        ("ffmpeg with x264 and MPEG-4", f"{no_x264} has no libx264: unset IMAGEIO_FFMPEG_EXE"),
        ("Ray", "unset RAY_ADDRESS"),
        ("weights", "nowhere is not a folder"),
    ):
        assert found[name].startswith("NO  ") and mending in found[name]
    for name in ("python", "torch", "params.yaml", "MLflow"):
        assert found[name].startswith("ok  ")
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.delenv("VSR_WEIGHTS")
    done = vsr("doctor")
    wrong = {line for line in done.out.splitlines() if line.startswith("NO  ")}
    assert {line[4:].split(":")[0] for line in wrong} <= {"disk", "memory"}  # this machine's, whatever it has
    assert done.code == bool(wrong)
    assert "--  weights: VSR_WEIGHTS is not set" in done.out


def test_doctor_fails_for_what_is_needed_alone(vsr: Vsr, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.runtime import doctor

    monkeypatch.setattr(doctor, "examine", lambda: iter([Check("a", True, "x"), Check("b", False, "y", needed=False)]))
    done = vsr("doctor")
    assert (done.code, done.out) == (0, "ok  a: x\n--  b: y\n")
    monkeypatch.setattr(doctor, "examine", lambda: iter([Check("a", False, "x"), Check("b", True, "y")]))
    done = vsr("doctor")
    assert (done.code, done.out) == (1, "NO  a: x\nok  b: y\n") and done.err.startswith("error: what is marked NO")


@pytest.mark.parametrize(
    ("words", "stop", "code"),
    [
        (("restore", "film.mp4", "new/out.mp4", "--method", "bicubic"), signal.SIGINT, 130),
        (("degrade", "film.mp4", "new/out", "--recipe", "bi_x4"), signal.SIGTERM, 143),
    ],
    ids=["ctrl-c", "kill"],
)
def test_an_interrupted_run(tmp_path: Path, words: tuple[str, ...], stop: signal.Signals, code: int) -> None:
    film(tmp_path / "film.mp4", 1500, size="256x192", rate=Fraction(25))
    before = tree(tmp_path)
    process = subprocess.Popen([VSR, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while not list(tmp_path.glob("new/.out*partial*")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        os.killpg(process.pid, stop)  # as a terminal does: ffmpeg gets it too
        _, shown = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == code and "Traceback" not in shown
    assert shown.splitlines()[-1].startswith("interrupted: ") and shown.count("interrupted") == 1
    assert tree(tmp_path) - before <= {"new"}


# ---------------------------------------------------------------- export


def _store(path: Path, clips: dict[str, list[np.ndarray]]) -> Path:
    for name, frames in clips.items():
        with ClipWriter(path.with_name("parts"), name) as writer:
            for frame in frames:
                writer.append({"rgb": frame})
            writer.finish(ClipAttributes("test", 24000 / 1001, *frames[0].shape[:2]))
    assemble(path.with_name("parts"), list(clips), path)
    return path


def test_export_gives_the_pixels_of_the_store(vsr: Vsr, tmp_path: Path) -> None:
    clips = {"plain": moving(3), "a/b; $(touch x)": moving(2, 20, 24), "..": moving(2, 16, 16), ".hidden": moving(2, 16, 16)}
    store = _store(tmp_path / "store", clips)
    assert vsr("export", store, tmp_path / "out").code == 0
    folders = ["plain", "a%2Fb%3B %24(touch x)", "%2E.", "%2Ehidden"]  # none is elsewhere or hidden
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(folders)
    for folder, frames in zip(folders, clips.values(), strict=True):
        assert all((a == b).all() for a, b in zip(pngs(tmp_path / "out" / folder), frames, strict=True))
    assert vsr("export", store, tmp_path / "films", "--video", "--clip", "plain", "--clip", "..").code == 0
    assert tree(tmp_path / "films") == {"plain.mp4", "%2E..mp4"}
    assert video.probe(tmp_path / "films/plain.mp4").fps == Fraction(24000, 1001)
    for ours, theirs in zip(video.decode(tmp_path / "films/plain.mp4"), clips["plain"], strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 8  # noise in chroma, which 4:2:0 halves
    assert vsr("export", store, tmp_path / "twice", "--clip", "plain", "--clip", "plain").code == 0
    assert len(tree(tmp_path / "twice")) == 4


def test_exports_that_cannot_be(vsr: Vsr, tmp_path: Path) -> None:
    store = _store(tmp_path / "store", {"one": moving(2), "odd": moving(2, 15, 16)})
    put(tmp_path / "frames", moving(1))
    shutil.copytree(store, tmp_path / "cut")
    _cut(next((tmp_path / "cut").glob("*.arrow")), next((tmp_path / "cut").glob("*.arrow")))
    shutil.copytree(store, tmp_path / "lost")
    next((tmp_path / "lost").glob("*.arrow")).unlink()
    before = tree(tmp_path)
    for words, told in (
        ((store, tmp_path / "out", "--clip", "oen"), "unknown clip of .*store 'oen': did you mean 'one'"),
        ((store, tmp_path / "out", "--video", "--clip", "oen"), "unknown clip of .*store 'oen'"),
        ((store, tmp_path / "frames"), "frames already exists"),
        ((store, tmp_path / "out", "--video"), "16x15, both sides must be even"),
        ((tmp_path / "frames", tmp_path / "out"), "is not a clip store"),
        ((tmp_path / "nowhere", tmp_path / "out"), "is not a clip store"),
        ((tmp_path / "cut", tmp_path / "out"), "cannot be read"),
        ((tmp_path / "lost", tmp_path / "out"), "cannot be read"),
    ):
        assert re.search(told, error(vsr("export", *words)))
        assert tree(tmp_path) == before


def test_priors_have_no_pictures_to_export(vsr: Vsr, tmp_path: Path) -> None:
    with ClipWriter(tmp_path / "parts", "clip") as writer:
        writer.append({"flow": np.zeros((4, 4, 2), np.float16)})
        writer.finish(ClipAttributes("test", 25.0, 4, 4))
    assemble(tmp_path / "parts", ["clip"], tmp_path / "flows")
    assert "unknown column" in error(vsr("export", tmp_path / "flows", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
