"""Frames as picture files: (H, W, 3) uint8 RGB. PNG is written; PNG, JPEG, TIFF, WebP and BMP are read.

Grey and palette images become RGB without loss, and transparency that nowhere is any is left out. Pictures that are transparent or
have 16 bits would have to be changed to fit, so they are refused. They are turned as their EXIF says, as viewers do.
Specifications: W3C, Portable Network Graphics, third edition, 2025; CIPA DC-008 (Exif), tag Orientation.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.errors import VSRError

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"})
"""Suffixes of the files that are read."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 65536
"""What tells the size of a picture: of a PNG 33 bytes, of a JPEG what stands before it, with a small picture of it."""
_PNG_HEADER = len(_SIGNATURE) + 8 + 13  # IHDR's length, type and data
_EXACT = {"1", "L", "P", "RGB"}  # Pillow's names of what becomes 8-bit RGB without loss
_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}
_ORIENTATION, _ACROSS = 0x0112, {5, 6, 7, 8}


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as it is shown, from its header alone.

    Raises:
        VSRError: it cannot be read, is no picture, or has 16 bits.
    """
    with _open(path) as file:
        return header_size(file.read(HEADER_BYTES), str(path))


def header_size(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) from the first `HEADER_BYTES` of a picture, or more of it; `name` is what errors call it.

    Raises:
        VSRError: it is no picture, is cut short, or has 16 bits.
    """
    plain = PurePosixPath(name)
    if data.startswith(_SIGNATURE[: len(data)]):  # an empty file is one cut short
        if len(data) < _PNG_HEADER:
            raise _damaged(name)
        width, height, depth = struct.unpack(">IIB", data[16:25])
        if depth == 16:
            raise _deep(name)
        return (width, height) if _orientation_of_png(data) in _ACROSS else (height, width)
    if plain.suffix.lower() not in PICTURES - {".png"} and data[:3] != b"\xff\xd8\xff":
        raise VSRError(f"{name} is not a PNG file, whatever its name says: convert it, e.g. `ffmpeg -i {plain.name} frame.png`.")
    with _opened(data, name) as picture:
        width, height = picture.size
        return (width, height) if picture.getexif().get(_ORIENTATION) in _ACROSS else (height, width)


def read_picture(path: Path) -> np.ndarray:
    """The picture: (H, W, 3) uint8 RGB.

    Raises:
        VSRError: it cannot be read, is no picture, is cut short or damaged, or has transparency or 16 bits.
    """
    with _open(path) as file:
        return decode_picture(file.read(), str(path))


def decode_picture(data: bytes, name: str) -> np.ndarray:
    """The picture in the bytes of a file: (H, W, 3) uint8 RGB; `name` is what errors call it.

    Raises:
        VSRError: it is no picture, is cut short or damaged, or has transparency or 16 bits.
    """
    size = header_size(data, name)
    if data.startswith(_SIGNATURE) and _check_chunks(data, name):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None or image.shape != (*size, 3):
            raise _damaged(name)
        return image
    with _opened(data, name) as picture:
        try:
            picture.load()
        except (OSError, SyntaxError, ValueError, struct.error) as error:
            raise _damaged(name) from error
        shown: Image.Image = ImageOps.exif_transpose(picture) or picture
        if shown.mode in _ALPHA or "transparency" in shown.info:
            shown = shown.convert("RGBA")
            if shown.getchannel("A").getextrema() != (255, 255):
                raise _transparent(name)
        elif shown.mode not in _EXACT:
            raise _deep(name) if shown.mode.startswith(("I", "F")) else _other(name, shown.mode)
        return np.array(shown.convert("RGB"))


def write_png(path: Path, frame: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; the file appears complete.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    partial = path.with_name(f".{zlib.crc32(path.name.encode()):08x}.{os.getpid()}.partial")  # a name may be as long as names are
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


def _check_chunks(data: bytes, name: str) -> bool:
    """Every chunk up to IEND is whole and has its checksum; whether pixels are all that it has, and opaque by their kind."""
    position, plain = len(_SIGNATURE), data[25] not in (4, 6)
    view = memoryview(data)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data) or zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            break
        plain = plain and kind not in (b"tRNS", b"eXIf")
        if kind == b"IEND":
            return plain
        position = end + 4
    raise _damaged(name)


def _orientation_of_png(data: bytes) -> int:
    """The orientation by its chunk eXIf, which stands before the pixels; 1, as they are, where there is none."""
    position = len(_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            exif = Image.Exif()
            with contextlib.suppress(Exception):
                exif.load(data[position + 8 : position + 8 + length])
            return int(exif.get(_ORIENTATION, 1))
        if kind in (b"IDAT", b"IEND"):
            break
        position += 12 + length
    return 1


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error) as error:
        raise _damaged(name) from error


def _deep(name: str) -> VSRError:
    return VSRError(f"{name} has 16 bits per channel, frames have 8: convert it, e.g. with ffmpeg's `-pix_fmt rgb24`.")


def _other(name: str, mode: str) -> VSRError:
    return VSRError(f"{name} is a picture of {mode}, frames are RGB: convert it, e.g. with ffmpeg's `-pix_fmt rgb24`.")


def _damaged(name: str) -> VSRError:
    return VSRError(f"{name} is damaged or cut short: copy or export it again.")


def _transparent(name: str) -> VSRError:
    return VSRError(f"{name} has transparency, frames are opaque RGB: convert it, e.g. with ffmpeg's `-pix_fmt rgb24`.")
