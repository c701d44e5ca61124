"""Frames as PNG files: (H, W, 3) uint8 RGB.

Grey and palette images become RGB without loss. Images with transparency or 16 bits would have to be
changed to fit, so they are refused. Specification: W3C, Portable Network Graphics, third edition, 2025.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import cv2
import numpy as np

from pipelines.errors import VSRError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = len(_SIGNATURE) + 8 + 13
"""What tells the size of a PNG file: the signature, then IHDR's length, type and data."""
_ALPHA = frozenset({4, 6})  # colour types


def png_size(path: Path) -> tuple[int, int]:
    """(height, width) of a PNG file, from its header alone.

    Raises:
        VSRError: it cannot be read, is not a PNG, or has transparency or 16 bits.
    """
    with _open(path) as file:
        return header_size(file.read(HEADER_BYTES), str(path))


def header_size(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) from the first `HEADER_BYTES` of a PNG file, or more of it; `name` is what errors call it.

    Raises:
        VSRError: it is not a PNG, is cut short, or has transparency or 16 bits.
    """
    if not data.startswith(_SIGNATURE[: len(data)]):  # an empty file is one cut short
        plain = PurePosixPath(name).name
        raise VSRError(f"{name} is not a PNG file, whatever its name says: convert it, e.g. `ffmpeg -i {plain} frame.png`.")
    if len(data) < HEADER_BYTES:
        raise _damaged(name)
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if depth == 16:
        raise VSRError(f"{name} has 16 bits per channel, frames have 8: convert it, e.g. with ffmpeg's `-pix_fmt rgb24`.")
    if colour in _ALPHA:
        raise _transparent(name)
    return height, width


def read_png(path: Path) -> np.ndarray:
    """The image: (H, W, 3) uint8 RGB.

    Raises:
        VSRError: it cannot be read, is not a PNG, is cut short or damaged, or has transparency or 16 bits.
    """
    with _open(path) as file:
        return decode_png(file.read(), str(path))


def decode_png(data: bytes, name: str) -> np.ndarray:
    """The image in the bytes of a PNG file: (H, W, 3) uint8 RGB; `name` is what errors call it.

    Raises:
        VSRError: it is not a PNG, is cut short or damaged, or has transparency or 16 bits.
    """
    size = header_size(data, name)
    _check_chunks(data, name)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None or image.shape != (*size, 3):
        raise _damaged(name)
    return image


def write_png(path: Path, frame: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the file appears complete.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(encode_png(frame))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def encode_png(frame: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(frame[..., ::-1]))
    return data.tobytes()


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise VSRError(f"{path} cannot be read ({error.strerror}): check the path and its permissions.") from error


def _check_chunks(data: bytes, name: str) -> None:
    """Every chunk up to IEND is whole and has its checksum."""
    position = len(_SIGNATURE)
    view = memoryview(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data) or zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            break
        if kind == b"tRNS":
            raise _transparent(name)
        if kind == b"IEND":
            return
        position = end + 4
    raise _damaged(name)


def _damaged(name: str) -> VSRError:
    return VSRError(f"{name} is damaged or cut short: copy or export it again.")


def _transparent(name: str) -> VSRError:
    return VSRError(f"{name} has transparency, frames are opaque RGB: convert it, e.g. with ffmpeg's `-pix_fmt rgb24`.")
