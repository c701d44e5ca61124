"""A clip that can be read, and what it is read from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from pipelines import params
from pipelines.clips import gbuffers
from pipelines.clips.images import HEADER_BYTES, PICTURES, decode_picture, header_size
from pipelines.clips.places import Place, at_once
from pipelines.clips.store import Frame
from pipelines.errors import VSRError

FRAMES_FPS = 25.0
"""The rate of frames that are given none: what ffmpeg takes images for."""

_HEADERS = 1000


@dataclass(frozen=True)
class Frames:
    """A clip's picture files, in order.

    `size` is the (height, width) that all have to have, None for that of the first; `buffers` are the
    files of their G-buffers, one for each or none.
    """

    place: Place
    names: tuple[str, ...]
    size: tuple[int, int] | None = None
    buffers: tuple[str, ...] = ()

    def check_first(self) -> None:
        """Look at the first frame's header.

        Raises:
            VSRError: it is no picture that can be taken, or has another size than it should.
        """
        found = self.first_size()
        self._check_size(found, self.names[0], self.size or found)

    def first_size(self) -> tuple[int, int]:
        """(height, width) of the first frame, by its header.

        Raises:
            VSRError: it is no picture that can be taken.
        """
        name = self.names[0]
        return header_size(self.place.head(name, HEADER_BYTES), str(self.place / name))

    def read(self) -> Iterator[Frame]:
        """The frames one at a time: `rgb` (H, W, 3) uint8, and the columns of `gbuffers.read`.

        Raises:
            VSRError: a file is missing or damaged, or has another size than it should.
        """
        size = self.size
        for index, name in enumerate(self.names):
            rgb = decode_picture(self.place.read(name), str(self.place / name))
            size = size or (rgb.shape[0], rgb.shape[1])
            self._check_size((rgb.shape[0], rgb.shape[1]), name, size)
            buffers = self._buffers(self.buffers[index], size) if self.buffers else {}
            yield {"rgb": rgb, **buffers}

    def _buffers(self, name: str, size: tuple[int, int]) -> Frame:
        buffers = gbuffers.read(self.place.read(name), str(self.place / name))
        for array in buffers.values():
            if array.shape[:2] != size:
                raise VSRError(
                    f"{self.place / name} is {array.shape[1]}x{array.shape[0]} but its frame is {size[1]}x{size[0]}: "
                    "render both at one size."
                )
        return buffers

    def _check_size(self, found: tuple[int, int], name: str, size: tuple[int, int]) -> None:
        if found == size:
            return
        is_but = f"{self.place / name} is {found[1]}x{found[0]} but"
        if self.size:
            raise VSRError(f"{is_but} the corpus is published with {size[1]}x{size[0]}: unpack it again.")
        raise VSRError(f"{is_but} {self.names[0]} is {size[1]}x{size[0]}: the frames of a clip need one size.")


@dataclass(frozen=True)
class Video:
    """A clip's video file."""

    place: Place
    name: str


@dataclass(frozen=True)
class SmallRender:
    """A clip that the embedded corpus draws at LR size."""

    corpus: params.Parallax


@dataclass(frozen=True)
class SourceClip:
    """A clip that can be read: `location` says from what, or which corpus it is rendered from.

    `source` is where it is in the corpus, with `/` whatever the system; `fps` in frames per second,
    None for a video, which knows its own; `parameters` are what its layout knows of it beside (JSON values).
    """

    name: str
    split: params.Split
    source: str
    fps: float | None
    location: Frames | Video | params.Parallax | SmallRender
    parameters: dict[str, Any] = field(default_factory=dict)


def check_sizes(clips: Sequence[SourceClip]) -> None:
    """Look at the first frame of every clip, of evenly chosen ones where there are more than 1,000.

    The rest is looked at when it is read: even headers of all frames take minutes to fetch from a bucket.

    Raises:
        VSRError: see `Frames.check_first`.
    """
    chosen = clips[:: -(-len(clips) // _HEADERS)] if clips else []
    at_once(Frames.check_first, [clip.location for clip in chosen if isinstance(clip.location, Frames)])


def png_names(files: Sequence[str]) -> tuple[str, ...]:
    """The PNG files among those of a clip, in the order given."""
    return tuple(name for name in files if name.lower().endswith(".png"))


def picture_names(files: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The frames among the files of a clip, in the order given, and what else there is.

    Where some pictures are one prefix and a number, those without a number, as a cover or a preview, are none of its frames.
    """
    pictures = [name for name in files if PurePosixPath(name).suffix.lower() in PICTURES]
    numbered = [name for name in pictures if _number(name)]
    prefixes = {found[0] for name in numbered if (found := _number(name))}
    taken = numbered if len(numbered) > 1 and len(prefixes) == 1 else pictures
    return tuple(taken), tuple(name for name in files if name not in set(taken))


def _number(name: str) -> tuple[str, int] | None:
    """A file's name as its prefix and number, None where it does not end in one."""
    found = re.fullmatch(r"(.*?)(\d+)", name.rpartition(".")[0])
    return (found[1], int(found[2])) if found else None


def fault_of(names: Sequence[str]) -> str | None:
    """What is wrong with a clip's frames by their names, in natural order; None where nothing is.

    Where all names are one prefix and a number, the numbers go up in equal steps; or, as times do, in steps that are nearly so and
    no multiples of the least one.
    """
    if not names:
        return "has no frames, PNG or other pictures"
    numbered = [found for name in names if (found := _number(name))]
    if len(numbered) < len(names) or len({prefix for prefix, _ in numbered}) > 1 or len(names) < 2:
        return None
    numbers = [number for _, number in numbered]
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    step = min(steps)
    if 0 not in steps and max(steps) - step == 1 and step > 1:  # times, rounded to a unit
        return None
    for index, gone in enumerate(steps):
        if gone == 0:
            return f"has {names[index]} and {names[index + 1]}, the same number"
        if step and gone != step:
            return f"lacks frame {numbers[index] + step}, after {names[index]}"
    return None
