"""ffmpeg as a program: which one, what it can do, how it is run on frames, and what its faults are called."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal, cast

import imageio_ffmpeg
import numpy as np

from pipelines.errors import VSRError

Encoder = Literal["libx264", "mpeg4"]
"""ffmpeg's names for what `coded` codes with: H.264 by x264, and its own MPEG-4 part 2."""

DAMAGE = re.compile(r"^\[.*(?:ended prematurely|corrupt|partial file|moov atom not found)", re.IGNORECASE | re.MULTILINE)
"""Lines of ffmpeg's log that tell of a damaged file, whether or not it fails over them."""


def check_vmaf() -> None:
    """Make sure that ffmpeg has libvmaf.

    Raises:
        VSRError: there is no ffmpeg, or it was built without; says what to run.
    """
    binary = find_binary()
    if not _has_filter(binary, "libvmaf"):
        raise _lacking(binary, "libvmaf")


def check_encoder(encoder: str) -> None:
    """Make sure that ffmpeg has an encoder.

    Raises:
        VSRError: there is no ffmpeg, or it was built without; says what to run.
    """
    binary = find_binary()
    if not _has_encoder(binary, encoder):
        raise _lacking(binary, encoder)


def find_binary() -> str:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise VSRError("there is no ffmpeg: run `pip install imageio-ffmpeg`, or set IMAGEIO_FFMPEG_EXE to one.") from error


@lru_cache(maxsize=8)
def _has_encoder(binary: str, encoder: str) -> bool:
    return f"Encoder {encoder} ".encode() in capture([binary, "-hide_banner", "-h", f"encoder={encoder}"]).stdout


@lru_cache(maxsize=8)
def _has_filter(binary: str, name: str) -> bool:
    return f"Filter {name}\n".encode() in capture([binary, "-hide_banner", "-h", f"filter={name}"]).stdout


def _lacking(binary: str, part: str) -> VSRError:
    return VSRError(
        f"{binary} has no {part}: unset IMAGEIO_FFMPEG_EXE or set it to an ffmpeg that has, "
        "or run `pip install --force-reinstall imageio-ffmpeg`."
    )


@lru_cache(maxsize=8)
def version(binary: str, pattern: str) -> str:
    found = re.search(pattern, capture([binary, "-version"]).stdout.decode(errors="replace"))
    return found[1] if found else "unknown"


@lru_cache(maxsize=8)
def pixel_formats(binary: str) -> dict[str, tuple[int, int]]:
    """ffmpeg's pixel formats: their number of components, even where one is transparency, and the bits of the finest."""
    lines = re.findall(
        r"^[I.][O.]\S+ (\w+) +(\d+) +\d+ +([\d-]+)$",
        capture([binary, "-hide_banner", "-pix_fmts"]).stdout.decode(),
        re.MULTILINE,
    )
    return {name: (int(components), max(map(int, depths.split("-")))) for name, components, depths in lines}


def capture(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise _cannot_run(command[0], error) from error


def _cannot_run(binary: str, error: OSError) -> VSRError:
    return VSRError(f"{binary} cannot be run ({error.strerror}): unset IMAGEIO_FFMPEG_EXE, or set it to an ffmpeg.")


# ---------------------------------------------------------------- running it


def url(path: Path) -> str:
    """A path that ffmpeg takes for nothing but a file."""
    return f"file:{path.resolve()}"


def arguments_of(output: Any, level: str = "error") -> list[str]:
    return ["-hide_banner", "-v", level, "-xerror", "-y", "-filter_complex_threads", "1", *output.get_args()]


def start(arguments: Sequence[str], **options: Any) -> tuple[subprocess.Popen[bytes], Callable[[], str]]:
    """An ffmpeg, and a call that gives what it said, once it has ended.

    It is read as it comes: a pipe left full would stop ffmpeg, and a file may have no room on a full disk.
    """
    binary = find_binary()
    try:
        process = subprocess.Popen([binary, *arguments], stderr=subprocess.PIPE, **options)
    except OSError as error:
        raise _cannot_run(binary, error) from error
    stderr = cast(IO[bytes], process.stderr)
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(stderr.read()), daemon=True)
    reader.start()

    def log() -> str:
        reader.join()
        stderr.close()
        return b"".join(said).decode(errors="replace")

    return process, log


class Sink:
    """An ffmpeg that takes raw frames on its stdin as they come; it does not outlive this object.

    Args:
        arguments: ffmpeg's.
        target: what it makes, as the subject of an error.
        folder: where it runs.
    """

    def __init__(self, arguments: Sequence[str], target: str, folder: Path | None = None) -> None:
        self._process, self._log = start(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=folder)
        self._target = target
        self.close = weakref.finalize(self, _stop, self._process, self._log)

    def write(self, frame: np.ndarray) -> bool:
        """Give it the next frame; False where it has ended early, and `finish` says why."""
        try:
            cast(IO[bytes], self._process.stdin).write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            return False
        return True

    def finish(self) -> None:
        """Let it finish.

        Raises:
            VSRError: it failed, or the disk is full.
        """
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self._process.stdin).close()
        self._process.wait()
        message = self._log()
        if "No space left on device" in message:
            raise VSRError(f"{self._target} cannot be written, the disk is full: free some space and run again.")
        if self._process.returncode:
            raise VSRError(f"{self._target} failed, ffmpeg says: {reason_of(message)}.")


class Converter:
    """An ffmpeg through which frames go one at a time, each out before the next goes in; it does not outlive this object.

    Args:
        arguments: ffmpeg's, which reads stdin and writes raw frames to stdout, with `SINGLE` threads at both ends.
        size: of a frame that comes out, in bytes.
        what: it does, as the subject of an error.
    """

    def __init__(self, arguments: Sequence[str], size: int, what: str) -> None:
        # In a group of its own, Ctrl-C does not end it before what it works for.
        self._process, self._log = start(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
        self._size, self._what = size, what
        self.close = weakref.finalize(self, _stop, self._process, self._log)

    def __call__(self, *data: bytes | memoryview) -> bytearray:
        """The bytes of a frame in, those of the converted frame out.

        Raises:
            VSRError: ffmpeg has failed.
        """
        source, result = cast(IO[bytes], self._process.stdin), bytearray(self._size)
        with contextlib.suppress(BrokenPipeError):
            for part in data:
                source.write(part)
            source.flush()
        if cast(io.BufferedReader, self._process.stdout).readinto(result) != self._size:
            self._process.kill()
            self._process.wait()
            raise VSRError(f"{self._what} failed, ffmpeg says: {reason_of(self._log())}.")
        return result


SINGLE = {"threads": 1}
"""Decoders and encoders that work on several frames at a time hold frames back."""


def _stop(process: subprocess.Popen[bytes], log: Callable[[], str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        cast(IO[bytes], process.stdin).close()
    if process.stdout:
        process.stdout.close()
    process.kill()
    process.wait()
    log()


def feed(arguments: Sequence[str], frames: Iterable[np.ndarray], target: str, folder: Path | None = None) -> int:
    """Run ffmpeg on raw frames given to its stdin; how many they were."""
    count = 0
    with contextlib.closing(Sink(arguments, target, folder)) as sink:
        for frame in frames:
            if not sink.write(frame):
                break
            count += 1
        sink.finish()
    return count


# ---------------------------------------------------------------- its faults


def damaged(path: Path, reason: str) -> VSRError:
    return VSRError(f"{path} is damaged or cut short ({reason}): copy or encode it again.")


def reason_of(log: str) -> str:
    """The first fault of ffmpeg's log, without the addresses of its objects."""
    damage = DAMAGE.search(log)
    faults = [line for line in log[damage.start() if damage else 0 :].splitlines() if line.strip()]
    # A tag in brackets says which part of ffmpeg speaks: of faults, and not of the streams it found.
    told = next((line for line in faults if line.startswith("[")), faults[0] if faults else "no reason given")
    return re.sub(r"^(\[[^]]*\] ?)+", "", told).strip().rstrip(".")
