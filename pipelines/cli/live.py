"""`vsr restore - -`: a stream, frame by frame as it arrives."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import typer

from pipelines.errors import VSRError, unknown

STREAM = Path("-")
BROKEN_PIPE = 141  # 128 and the number of SIGPIPE, by which other tools end


def asked(source: Path, destination: Path, raw: str | None, matrix: str | None) -> bool:
    """Whether SRC and DST name standard input and output.

    Raises:
        VSRError: one of them does, or neither and an option is of streams alone.
    """
    if (source == STREAM) != (destination == STREAM):
        raise VSRError("a stream goes from standard input to standard output: give - for both SRC and DST, or for neither.")
    for option, value in (("--raw", raw), ("--matrix", matrix)):
        if value is not None and source != STREAM:
            raise VSRError(f"{option} describes a stream, and {source} is none: leave it out, or give - for SRC and DST.")
    return source == STREAM


def restore(
    network: Any,
    sized: Callable[[tuple[int, int]], tuple[int, int] | None],
    raw: str | None,
    matrix: str,
    window: int,
    overlap: int,
    device: str,
    speed: Any,
) -> None:
    """Restore standard input to standard output; the arguments are the command's options.

    Raises:
        VSRError: the stream cannot be read, or ends where it should not; then its whole frames are restored before.
        SystemExit: nobody reads standard output any more.
    """
    import torch

    from pipelines.clips import video
    from pipelines.restoring.live import live, lookahead

    if matrix not in get_args(video.Matrix):
        raise unknown("matrix", matrix, get_args(video.Matrix))
    passes = lookahead(network, window, overlap)
    headerless = video.raw_header(raw) if raw is not None else None
    for stream, what in ((sys.stdin, "input"), (sys.stdout, "output")):
        if stream is None or stream.isatty():
            raise VSRError(f"standard {what} is no pipe: give it a stream, e.g. `ffmpeg … | vsr restore - - | ffmpeg …`.")
    source = video.Stream(sys.stdin.buffer, "standard input", headerless, matrix)  # type: ignore[arg-type]  # it is checked above
    header = source.header
    rate = f" at {float(header.fps):g} frames per second" if header.fps else ""
    typer.echo(f"{network.name}: {header.width}x{header.height}{rate}, {_delay(passes, header.fps)}", err=True)
    frames = live(network, source.frames(), passes, device=device, size=sized((header.height, header.width)), speed=speed)
    began = time.monotonic()
    try:
        like = header.faster(network.time_scale)
        count = video.write_stream(frames, sys.stdout.buffer, like, "standard output", matrix)  # type: ignore[arg-type]
    except BrokenPipeError:
        # What is left in the buffer would be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN_PIPE) from None
    except torch.OutOfMemoryError as error:
        raise VSRError(
            f"{passes.window} frames of {header.width}x{header.height} at once do not fit into the memory of the GPU: "
            "give a smaller --window where the network takes one, or --device cpu."
        ) from error
    seconds = time.monotonic() - began
    typer.echo(f"{network.name}: {count} frames in {seconds:.1f} s, {count / seconds:.1f} per second", err=True)
    if source.fault:
        raise source.fault


def _delay(passes: Any, fps: Any) -> str:
    """What is said of when frames come."""
    if not passes.first:
        return "delay 0 frames: each is restored as it arrives"

    def told(frames: int) -> str:
        return f"{frames} frames ({float(frames / fps):.3g} s)" if fps else f"{frames} frames"

    return f"delay {told(passes.delay)}, of the first frame {told(passes.first)}, and the time to restore them"
