"""The `vsr` command as it is called, and what it is called with: small footage, stores, and files that are damaged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from moving import store
from PIL import Image

from models.parts.resize import imresize

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

VSR = Path(sys.executable).with_name("vsr")
NTSC = Fraction(30000, 1001)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Vsr = Callable[..., Done]


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
    """The frames of a folder, (H, W, 3) uint8 each."""
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


def stored(path: Path, clips: dict[str, list[np.ndarray]]) -> Path:
    """A clip store of frames."""
    return store(
        path, {name: ("test", [{"rgb": frame} for frame in frames]) for name, frames in clips.items()}, fps=24000 / 1001
    ).path


def nonsense(path: Path) -> Path:
    """A file that is not what its name says."""
    path.write_text("these are not weights")
    return path


def cut(source: Path, path: Path, share: float = 0.5) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def round_half_up(values: torch.Tensor) -> torch.Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def resized(frame: np.ndarray, scale: float) -> np.ndarray:
    """MATLAB's bicubic of 8-bit values, in float64."""
    values = torch.from_numpy(frame.copy()).permute(2, 0, 1).double()
    return round_half_up(imresize(values, scale)).byte().permute(1, 2, 0).numpy()
