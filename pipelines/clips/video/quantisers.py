"""How a video file was coded: its encoder's own message, the quantisers of its frames as the decoder exports them, and key frames.

x264 and x265 write their settings into the stream as user data (ITU-T H.264 and H.265, annex D, unregistered SEI message). The quantiser of
every block comes from libavcodec (`export_side_data=venc_params`), which has it for H.264, MPEG-1, 2 and 4 and VP9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.sidedata.sidedata import Type as SideData

from pipelines.clips.video.facts import Reading
from pipelines.clips.video.process import url


@dataclass(frozen=True)
class Stream:
    """What is known of the coding of a stream.

    `container` is libavformat's name; `bit_rate` in bits per second, of the picture alone; `settings` the encoder's message; `kinds`
    I, P or B for every frame shown, `quantisers` the mean over its blocks, None where the decoder tells none; `initial`
    the quantiser that H.264's picture parameters begin with; `keys` the key frames.
    """

    container: str
    bit_rate: int
    settings: str | None
    kinds: tuple[str, ...]
    quantisers: tuple[float | None, ...]
    initial: int | None
    keys: tuple[int, ...]

    def setting(self, name: str) -> str | None:
        """A setting of the encoder's message, e.g. `crf`."""
        found = re.search(rf"(?:^|\s){re.escape(name)}=(\S+)", self.settings or "")
        return found[1] if found else None

    @property
    def gop(self) -> int | None:
        """The largest distance between key frames; None where there is but one."""
        return max((after - before for before, after in zip(self.keys, self.keys[1:], strict=False)), default=None)


def stream(path: Path, fps: Fraction) -> Stream:
    """Decode a video once and say how it was coded.

    Raises:
        VSRError: see `facts.probe`.
    """
    settings, kinds, levels, keys, initial = None, [], [], [], None
    with Reading(path) as file:
        context = file.stream.codec_context
        context.options = {**context.options, "export_side_data": "venc_params"}
        for index, frame in enumerate(file.frames()):
            beside: Any = frame.side_data
            told = beside.get(SideData.SEI_UNREGISTERED)
            if settings is None and told is not None:
                text = bytes(told)[16:].split(b"\0")[0].decode("ascii", errors="replace")
                settings = text if "options:" in text else None
            coded = beside.get(SideData.VIDEO_ENC_PARAMS)
            blocks = coded.qp_map() if coded is not None and coded.nb_blocks else None
            levels.append(None if blocks is None else float(blocks.mean()))
            if coded is not None and initial is None and context.name == "h264":
                initial = int(coded.qp)
            kinds.append(av.video.frame.PictureType(frame.pict_type).name)
            if frame.key_frame:
                keys.append(index)
        name = file.container.format.name
    with av.open(url(path)) as container:
        size = sum(packet.size for packet in container.demux(container.streams.video[0]))
    rate = round(size * 8 * fps / max(len(kinds), 1))
    return Stream(name, rate, settings, tuple(kinds), tuple(levels), initial, tuple(keys))
