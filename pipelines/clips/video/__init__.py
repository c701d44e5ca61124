"""Video files in and out, coding as a degradation, and VMAF: the only package that knows ffmpeg.

The binary is the one that imageio-ffmpeg ships (`IMAGEIO_FFMPEG_EXE` names another); its argument
lists are built by ffmpeg-python. Frames pass through pipes, decoded ones as binary PPM, whose header
says their size: memory does not grow with the length of a video.

Colour: a file's own matrix and range tags are used to read it, ITU-R BT.601 limited where it has
none (ffmpeg's rule). `encode` writes BT.709 limited and says so in the file, so that a player and
`decode` both get the same colours back. `coded` uses BT.601 limited in both directions: what
`ffmpeg -i %08d.png -pix_fmt yuv420p` does, the command behind published compressed test sets.

Frames have 8 bits and no transparency. What a file has beyond that is an error and never dropped in passing.
"""

from __future__ import annotations

from pipelines.clips.video.coding import coded
from pipelines.clips.video.decoding import READABLE, VideoInfo, decode, probe, unsteady
from pipelines.clips.video.encoding import WRITABLE, encode
from pipelines.clips.video.frames import PixelFormat, check_size, rational
from pipelines.clips.video.process import Encoder, check_encoder, check_vmaf
from pipelines.clips.video.stream import Matrix, Stream, raw_header
from pipelines.clips.video.stream import write as write_stream
from pipelines.clips.video.vmaf import VMAF_SMALLEST, Vmaf

__all__ = [
    "READABLE",
    "VMAF_SMALLEST",
    "WRITABLE",
    "Encoder",
    "Matrix",
    "PixelFormat",
    "Stream",
    "VideoInfo",
    "Vmaf",
    "check_encoder",
    "check_size",
    "check_vmaf",
    "coded",
    "decode",
    "encode",
    "probe",
    "rational",
    "raw_header",
    "unsteady",
    "write_stream",
]
