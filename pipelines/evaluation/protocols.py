"""How papers score: on which channel, without which border, on which frames of which clips.

Numbers of different protocols are not comparable: the border and the skipped frames alone move a Vid4 clip by
0.8 dB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from pipelines import metrics
from pipelines.errors import VSRError, unknown
from pipelines.metrics import luma
from pipelines.params import Params

Motion = Literal["slow", "medium", "fast"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)
Frames = Literal["all", "centre", "given", "made"]


@dataclass(frozen=True)
class Protocol:
    """What of a clip is scored, and of which clips.

    Args:
        name: how params and results call it.
        channel: "y", luma of BT.601 unrounded, or "rgb", all three channels together.
        border: pixels left out at each side of a frame.
        skip: frames left out at each end of a clip.
        frames: "all" of them, the "centre" one alone, or of clips with frames made in between those that were "given", or the
            ones "made".
        motion: only clips whose HR clip has this as its parameter `motion`; None for all clips.
        mirrored: networks are shown the clip forwards and then backwards, see `restore`.
        source: who scores like this.

    Raises:
        VSRError: the channel, the frames or the motion is not one of these, or a number is negative.
    """

    name: str
    channel: Literal["y", "rgb"]
    border: int = 0
    skip: int = 0
    frames: Frames = "all"
    motion: Motion | None = None
    mirrored: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        if self.channel not in ("y", "rgb"):
            raise unknown("channel", self.channel, ("y", "rgb"))
        if self.frames not in get_args(Frames):
            raise unknown("choice of frames", self.frames, get_args(Frames))
        if self.motion is not None and self.motion not in MOTIONS:
            raise unknown("motion", self.motion, MOTIONS)
        if self.border < 0 or self.skip < 0:
            raise VSRError(f"protocol {self.name!r} leaves out {self.border} px and {self.skip} frames: give 0 or more.")

    def takes(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a clip is scored, by the parameters that the manifest of HR clips has of it."""
        return self.motion is None or parameters.get("motion") == self.motion

    def kept(self, frames: int, time_scale: int = 2) -> list[int]:
        """Which frames are scored of a clip of so many, of which every `time_scale`-th was given; may be none."""
        if self.frames == "centre":
            return list(range(frames // 2, min(frames, frames // 2 + 1)))
        inner = range(self.skip, frames - self.skip)
        return [frame for frame in inner if self.frames == "all" or (frame % time_scale == 0) == (self.frames == "given")]

    def apart(self) -> list[Protocol]:
        """Itself, and where it scores all frames the same of those that were given and of those made in between, as `<name>_given`
        and `<name>_made`."""
        if self.frames != "all":
            return [self]
        parts: tuple[Frames, ...] = ("given", "made")
        told = {"given": "the frames that were given alone", "made": "the frames made in between alone"}
        return [
            self,
            *(replace(self, name=f"{self.name}_{part}", frames=part, source=f"{self.source}; {told[part]}") for part in parts),
        ]

    def select(self, frame: np.ndarray, channel: Literal["protocol", "rgb", "luma"] = "protocol") -> np.ndarray:
        """What is scored of a frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            channel: the protocol's own, or what a metric looks at whatever the protocol says.

        Returns:
            (H - 2 border, W - 2 border) or the same with 3 channels, float64 on the 8-bit scale.
        """
        height, width = frame.shape[:2]
        inside = frame[self.border : height - self.border, self.border : width - self.border]
        grey = self.channel == "y" if channel == "protocol" else channel == "luma"
        return luma(inside) if grey else inside.astype(np.float64)


def _vimeo90k(channel: Literal["y", "rgb"], every: str, moving: str, source: str) -> Iterator[Protocol]:
    """Vimeo-90K-T: all clips, and those of each motion."""
    shared: dict[str, Any] = {"channel": channel, "frames": "centre", "mirrored": True}
    scored = "the fourth of seven frames, which recurrent networks see forwards and then backwards"
    yield Protocol(f"vimeo90k_{every}", **shared, source=f"Vimeo-90K-T as {source}, {scored}")
    for motion in MOTIONS:
        listed = f"the {motion} clips of Vimeo-90K-T as RBPN lists them (Haris et al., CVPR 2019)"
        yield Protocol(f"vimeo90k_{moving.format(motion)}", **shared, motion=motion, source=f"{listed}, as {source}, {scored}")


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("own", "y", source="this project's: luma, whole frame, all frames"),
        Protocol("y", "y", source="luma, whole frame, all frames"),
        Protocol("rgb", "rgb", source="RGB, whole frame, all frames"),
        Protocol("reds4", "rgb", source="REDS4 as EDVR and its successors score it (Wang et al., CVPRW 2019)"),
        Protocol("vid4", "y", source="Vid4 as BasicVSR and its successors score it (Chan et al., CVPR 2021)"),
        Protocol("vid4_duf", "y", border=8, skip=2, source="Vid4 as DUF scores it (Jo et al., CVPR 2018)"),
        *_vimeo90k("y", "t", "{}", "EDVR and BasicVSR score it (Wang et al., CVPRW 2019; Chan et al., CVPR 2021)"),
        *_vimeo90k("rgb", "rgb", "{}_rgb", "SEEM scores it: RGB"),
        Protocol("udm10", "y", source="UDM10 as BasicVSR and its successors score it (Chan et al., CVPR 2021)"),
        Protocol("compressed", "y", source="H.264 at CRF 15, 25 and 35 as SDATC scores it: luma on REDS4 too"),
        Protocol("rendering", "rgb", source="rendered scenes as RDG scores them: RGB, all frames"),
        Protocol(
            "space_time",
            "y",
            source="space-time super-resolution as Zooming Slow-Mo scores it (Xiang et al., CVPR 2020): luma of all frames that "
            "come out, those that were given and those made in between",
        ),
        *(
            Protocol(
                f"space_time_{motion}",
                "y",
                motion=motion,
                source=f"the {motion} clips of Vimeo-90K-T as RBPN lists them (Haris et al., CVPR 2019), from frames 1, 3, 5 and 7, as "
                "Zooming Slow-Mo scores them (Xiang et al., CVPR 2020): luma of all seven frames",
            )
            for motion in MOTIONS
        ),
        Protocol("arbitrary_scale", "rgb", source="REDS4 at any scale as DCGU scores it: RGB, all frames"),
    )
}


def get(name: str) -> Protocol:
    """The protocol of that name, or a part of one, see `Protocol.apart`.

    Raises:
        VSRError: there is none.
    """
    whole = PROTOCOLS.get(name.removesuffix("_given").removesuffix("_made"))
    found = next((part for part in whole.apart() if part.name == name), None) if whole else None
    if found is None:
        raise unknown("protocol", name, PROTOCOLS)
    return found


def check(params: Params) -> None:
    """Make sure, before any work, that all protocols and metrics of params.yaml are there and go together.

    Raises:
        VSRError: one is not; says where it is named.
    """
    for corpus, test in params.tests.corpora.items():
        with _named(f"tests.corpora.{corpus}"):
            check_mirrored([get(name) for name in test.protocols], test.passes.mirrored, f"tests.corpora.{corpus}")
            for name in test.metrics:
                metrics.get(name)
    for key, suite in params.suites.items():
        with _named(f"suites.{key}"):
            for name in suite.metrics:
                metrics.get(name)


@contextmanager
def _named(place: str) -> Iterator[None]:
    try:
        yield
    except VSRError as error:
        raise VSRError(f"params.yaml: {place}: {error}") from error


def check_mirrored(protocols: Sequence[Protocol], mirrored: bool, test: str) -> None:
    """Check that clips restored so, `mirrored` or not, are those that all of these protocols score.

    Raises:
        VSRError: they disagree, or have them restored otherwise; `test` is the entry of params.yaml.
    """
    ways = {protocol.mirrored: protocol.name for protocol in protocols}
    if len(ways) > 1:
        raise VSRError(
            f"the protocols {ways[True]!r} and {ways[False]!r} cannot score the same restored clips: the first has them restored "
            "forwards and backwards and the second does not, leave one of them out of the test."
        )
    if mirrored not in ways:
        way = "as they are" if mirrored else "forwards and then backwards"
        raise VSRError(
            f"the protocol {ways[not mirrored]!r} of '{test}' scores clips that were shown to networks {way}: "
            f"set its `passes.mirrored` to {str(not mirrored).lower()}."
        )
