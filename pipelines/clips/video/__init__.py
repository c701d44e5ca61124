"""Video files in and out, coding as a degradation, and VMAF: the only package that knows ffmpeg and its libraries.

Files are read through PyAV, whose wheel brings libav: what they hold comes from its structures, not from lines that a program
prints. They are written by the program that imageio-ffmpeg ships (`IMAGEIO_FFMPEG_EXE` names another), whose argument
lists are built by ffmpeg-python; it takes frames through a pipe. Memory does not grow with the length of a video.

Colour: a file's own matrix and range tags are used to read it; where it has none, BT.601 limited below 720 lines and BT.709 from there,
as players do. A video made of another keeps its tags. `encode` writes frames that say nothing of themselves as BT.709 limited and
says so in the file, so that a player and `decode` both get the same colours back. `coded` uses BT.601 limited in both directions: what
`ffmpeg -i %08d.png -pix_fmt yuv420p` does, the command behind published compressed test sets.

Frames have 8 bits and no transparency, or on demand 16 bits for videos of more than 8. What a file has beyond that is an error and
never dropped in passing.
"""

from __future__ import annotations

from pipelines.clips.video.coding import coded
from pipelines.clips.video.decoding import READABLE, check_pixels, decode, unsteady
from pipelines.clips.video.encoding import CODECS, WRITABLE, Coding, coding, encode
from pipelines.clips.video.facts import VideoInfo, probe
from pipelines.clips.video.film import Plan, notes_of, plan, remake
from pipelines.clips.video.frames import PixelFormat, check_size, rational
from pipelines.clips.video.process import Encoder, check_encoder, check_vmaf
from pipelines.clips.video.stream import Matrix, Stream, raw_header
from pipelines.clips.video.stream import write as write_stream
from pipelines.clips.video.vmaf import VMAF_SMALLEST, Vmaf

__all__ = [
    "CODECS",
    "READABLE",
    "VMAF_SMALLEST",
    "WRITABLE",
    "Coding",
    "Encoder",
    "Matrix",
    "PixelFormat",
    "Plan",
    "Stream",
    "VideoInfo",
    "Vmaf",
    "check_encoder",
    "check_pixels",
    "check_size",
    "check_vmaf",
    "coded",
    "coding",
    "decode",
    "encode",
    "notes_of",
    "plan",
    "probe",
    "rational",
    "raw_header",
    "remake",
    "unsteady",
    "write_stream",
]
