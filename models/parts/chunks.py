"""Long clips in chunks of few frames, so that memory does not grow with the clip."""

from __future__ import annotations

from collections.abc import Iterator


def chunks(frames: int, length: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """Cut a clip into chunks: the frames of each, and which of these it gives.

    Where two chunks meet, `overlap` frames of each are dropped in favour of the other's. All chunks of a clip that is longer have
    just `length` frames; the last one reaches back as far as that takes.

    Args:
        frames: of the clip.
        length: of a chunk, more than twice the overlap.
        overlap: frames that are dropped on either side of a cut.
    """
    given = start = 0
    while given < frames:
        start = max(0, min(start, frames - length))
        last = frames if start + length >= frames else start + length - overlap
        yield slice(start, min(start + length, frames)), slice(given - start, last - start)
        given, start = last, last - overlap


def check(network: str, length: int, overlap: int) -> None:
    """Raises ValueError: nothing is left of a chunk."""
    if length <= 2 * overlap:
        raise ValueError(
            f"option 'chunk' of {network} is {length}, and 'overlap' {overlap} on either side leaves nothing of it: give a chunk of at "
            f"least {2 * overlap + 1}."
        )
