"""The packets of a video file, read without decoding: how many frames it shows, when, and whether it is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from pipelines.clips.video.process import DAMAGE, capture, damaged, find_binary, reason_of, url
from pipelines.errors import VSRError

_DISCARD = 4  # AV_PKT_FLAG_DISCARD: decoded but not shown, as frames before the start of an edit list


@dataclass(frozen=True)
class Packet:
    time: int  # of its frame, in units of `base` seconds
    duration: int
    size: int  # in bytes
    base: Fraction


def packets_of(path: Path, **options: Any) -> tuple[list[Packet], str]:
    """The packets of the frames shown, without decoding them, and ffmpeg's description of the file.

    `options` are ffmpeg's for reading it.
    """
    if not path.is_file():
        raise VSRError(f"{path} {'is not a file' if path.exists() else 'does not exist'}: give the path of a video file.")
    if not _boxes_are_whole(path):
        raise damaged(path, "it ends before its header says")
    source = ffmpeg.input(url(path), protocol_whitelist="file,pipe", **options)["v:0"]
    # `-v info` puts the description of the streams on stderr.
    command = [find_binary(), "-hide_banner", "-nostdin", "-v", "info", "-xerror"]
    done = capture([*command, *ffmpeg.output(source, "pipe:", format="framecrc", vcodec="copy").get_args()])
    header, log = done.stdout.decode(), done.stderr.decode(errors="replace")
    if "Stream #0:" in log and not re.search(r"Stream #0:\d+.*?: Video: ", log):
        raise VSRError(f"{path} has no video stream: give a video file.")
    if done.returncode or DAMAGE.search(log):
        raise damaged(path, reason_of(log))
    base = Fraction(*map(int, re.findall(r"#tb 0: (\d+)/(\d+)", header)[0])) if "#tb 0:" in header else Fraction(1)
    packets: list[Packet] = []
    for line in header.splitlines():
        fields = [part.strip() for part in line.split(",")]
        if line.startswith("#") or len(fields) < 6:
            continue
        flags = next((int(part[2:], 16) for part in fields[6:] if part.startswith("F=")), 0)
        if not flags & _DISCARD:
            shown = fields[2] if fields[2] != "NOPTS" else fields[1]
            time = int(shown) if shown != "NOPTS" else len(packets) * int(fields[3])
            packets.append(Packet(time, int(fields[3]), int(fields[4]), base))
    if not packets:
        raise damaged(path, "it has no frames")
    return packets, log


def _boxes_are_whole(path: Path) -> bool:
    """False where a top box of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2) reaches beyond the end of the file.

    Without this a file cut exactly between two frames would read as a shorter, sound one.
    """
    end = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position + 8 <= end:
            file.seek(position)
            header = file.read(16)
            if position == 0 and header[4:8] not in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
                return True
            size = int.from_bytes(header[:4])
            if size == 1:
                size = int.from_bytes(header[8:16])
            if size < 8:  # 0 reaches to the end; less is padding
                return True
            position += size
    return position <= end
