"""The G-buffer of one rendered frame, from an EXR file as renderers write it or from an NPZ file.

Both hold four buffers of one size, (H, W) or (H, W, channels), with their rows from the top:

========= ========================================== ============================ =====================
buffer    Blender's multilayer EXR                   plain EXR                    array of an NPZ
========= ========================================== ============================ =====================
depth     `<layer>.Depth.Z`                          `depth.Z`, or `Z` alone      `depth` (H, W)
normals   `<layer>.Normal.X/Y/Z`                     `normals.X/Y/Z`              `normals` (H, W, 3)
motion    `<layer>.Vector.X/Y`                       `motion.X/Y`                 `motion` (H, W, 2)
albedo    `<layer>.DiffCol.R/G/B`, since Blender 5   `albedo.R/G/B`               `albedo` (H, W, 3)
          `<layer>.Diffuse Color.R/G/B`
========= ========================================== ============================ =====================

Motion is in pixels and leads back in time: where the point seen at a pixel was in the previous frame,
less where it is now, x to the right and y **up**. So it is in Blender's Vector pass, of which the manual
says "motion towards the next and previous frame position in pixel space" (Render > Layers and Passes > Passes).
Its X and Y are previous less current raster position, from the bottom left corner
(Cycles, kernel/geom/primitive.h, `primitive_motion_vector`); Z and W, current less next, are not needed.
Flow here has y down, hence flow_backward = (X, -Y): something that moves 3 pixels to the right and 2 down has
motion (-3, 2) and flow_backward (-3, -2), and frame_t(p) ~ frame_{t-1}(p + flow_backward(p)).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np
import OpenEXR

from pipelines.errors import VSRError

READABLE = frozenset({".exr", ".npz"})

MAX_BYTES = 2**31
"""The most that a file may hold, decoded: beyond 60 channels of 3840x2160. A damaged header can claim anything."""

_COMPONENTS = {"depth": "Z", "normals": "XYZ", "motion": "XY", "albedo": "RGB"}
_PASSES = {
    "depth": {"depth", ""},
    "normals": {"normal", "normals"},
    "motion": {"vector", "motion"},
    "albedo": {"diffcol", "diffuse color", "albedo"},
}
_EXPECTED = {"depth": "Depth.Z", "normals": "Normal.X/Y/Z", "motion": "Vector.X/Y", "albedo": "DiffCol.R/G/B"}

_HALF_STEP = 2**-10
"""Between 1 and the next larger 16-bit float: a unit vector kept as such may come out longer by this much."""


def read(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The G-buffer in a file's bytes, in the columns that the embedded corpus has.

    Args:
        data: the whole file.
        name: what errors call it; its suffix, `.exr` or `.npz`, says how to read it.

    Returns:
        depth: (H, W) float32, as in the file: in Blender the distance along the optical axis, in scene units.
        normals: (H, W, 3) float32, unit vectors (0 where nothing is) in the renderer's axes, in Blender the world's.
        flow_backward: (H, W, 2) float32, pixels to the previous frame, x right, y down: see above.
        albedo: (H, W, 3) uint8. Real values, which have to be within 0..1, become 255 times themselves,
            rounded half up and without a transfer curve; uint8 stays as it is. Any reflectance may stand here:
            RDG's is a mix of Blender's DiffCol and GlossCol.

    Raises:
        VSRError: the file is damaged or cut short, lacks a buffer or has it twice; a buffer is not as large as
            depth, not finite or out of its range.
    """
    buffers = _read_exr(data, name) if name.lower().endswith(".exr") else _read_npz(data, name)
    _check_shapes(buffers, name)
    with np.errstate(over="ignore"):  # what is too large for float32 is found infinite
        buffers = {buffer: _real(buffer, array) for buffer, array in buffers.items()}
    _check_finite(buffers, name)
    return {
        "depth": buffers["depth"],
        "normals": _unit(buffers["normals"], name),
        "flow_backward": buffers["motion"] * np.array([1, -1], np.float32),
        "albedo": _coded(buffers["albedo"], name),
    }


# ---------------------------------------------------------------- files


def _read_exr(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The four buffers as they stand in the file."""
    channels = _channels(data, name)
    layers = _layers(channels, name)
    try:
        file = OpenEXR.File(io.BytesIO(data), separate_channels=True, num_threads=0)
        pixels = {channel.name: channel.pixels for part in file.parts for channel in part.channels.values()}
        planes = {buffer: [pixels[layer + component] for component in _COMPONENTS[buffer]] for buffer, layer in layers.items()}
        return {buffer: np.stack(parts, 2) if len(parts) > 1 else parts[0] for buffer, parts in planes.items()}
    # A part whose pixels cannot be decoded is missing from the parts: a KeyError.
    except (RuntimeError, ValueError, TypeError, OSError, MemoryError, KeyError) as error:
        raise _damaged(name) from error


def _channels(data: bytes, name: str) -> list[str]:
    """The names of all channels, from the header alone, which may not promise more than can be held."""
    try:
        file = OpenEXR.File(io.BytesIO(data), separate_channels=True, header_only=True, num_threads=0)
        headers = [part.header for part in file.parts]
        channels = [channel.name for header in headers for channel in header["channels"]]
        sparse = any((channel.xSampling, channel.ySampling) != (1, 1) for header in headers for channel in header["channels"])
        deep = any(header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile) for header in headers)
        values = sum(len(header["channels"]) * _pixels(header["dataWindow"]) for header in headers)
    except (RuntimeError, ValueError, TypeError, OSError, MemoryError, KeyError) as error:
        raise _damaged(name) from error
    if deep:
        raise VSRError(f"{name} is a deep EXR, with several values per pixel: export a flat one.")
    if sparse:
        raise VSRError(f"{name} has sub-sampled channels: export all of them at the frame's size.")
    if 4 * values > MAX_BYTES:
        raise _too_large(name)
    return channels


def _pixels(window: tuple[np.ndarray, np.ndarray]) -> int:
    (left, top), (right, bottom) = window[0].tolist(), window[1].tolist()
    return int((right - left + 1) * (bottom - top + 1))


def _layers(channels: Sequence[str], name: str) -> dict[str, str]:
    """What stands before the components in the names of each buffer's channels: `ViewLayer.Depth.` or nothing."""
    found = {buffer: _having(buffer, channels) for buffer in _COMPONENTS}
    missing = [f"{buffer} ({_EXPECTED[buffer]} of a Blender layer, or {_plain(buffer)})" for buffer in found if not found[buffer]]
    if missing:
        raise VSRError(
            f"{name} lacks the channels of {', '.join(missing)} and has only {_summary(channels)}: enable these passes and render again."
        )
    for buffer, layers in found.items():
        if len(layers) > 1:
            one, other = (layer + _COMPONENTS[buffer] for layer in layers[:2])
            raise VSRError(f"{name} has {buffer} twice, as {one} and {other}: export one layer alone.")
    return {buffer: layers[0] for buffer, layers in found.items()}


def _having(buffer: str, channels: Sequence[str]) -> list[str]:
    components = _COMPONENTS[buffer]
    split = [(channel[: channel.rfind(".") + 1], channel[channel.rfind(".") + 1 :]) for channel in channels]
    return sorted(
        layer
        for layer, component in split
        if component == components[0]
        and layer[:-1].rpartition(".")[2].lower() in _PASSES[buffer]
        and all((layer, other) in split for other in components)
    )


def _plain(buffer: str) -> str:
    return f"{buffer}.{'/'.join(_COMPONENTS[buffer])}"


def _summary(channels: Iterable[str]) -> str:
    """`ViewLayer.Combined.A/B/G/R, Z`."""
    split = sorted(channel.rpartition(".")[::2] for channel in channels)
    groups = [(layer, "/".join(component for _, component in of)) for layer, of in groupby(split, key=lambda pair: pair[0])]
    return ", ".join(f"{layer}.{components}" if layer else components for layer, components in groups) or "none"


def _read_npz(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The four buffers as they stand in the file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            missing = [buffer for buffer in _COMPONENTS if buffer not in members]
            if missing:
                held = ", ".join(sorted(members)) or "none"
                raise VSRError(f"{name} lacks the arrays {', '.join(missing)} and has only {held}: save all four.")
            wanted = {buffer: members[buffer] for buffer in _COMPONENTS}
            # Other compressions, which NumPy never writes, unpack without regard to the promised size.
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in wanted.values()):
                raise VSRError(f"{name} is compressed as NumPy does not: save it with `numpy.savez_compressed`.")
            if sum(member.file_size for member in wanted.values()) > MAX_BYTES:
                raise _too_large(name)
            raw = {buffer: archive.read(member) for buffer, member in wanted.items()}
    # RuntimeError: encrypted. NotImplementedError, which is one: a feature of ZIP that Python lacks.
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(name) from error
    return {buffer: _array(buffer, content, name) for buffer, content in raw.items()}


def _array(buffer: str, content: bytes, name: str) -> np.ndarray:
    """An array of real numbers from the bytes of a `.npy` file; no objects, which could run code when unpickled."""
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OverflowError, TypeError, SyntaxError) as error:
        if "allow_pickle" in str(error):
            raise VSRError(f"{name}: {buffer} holds Python objects, not numbers: save it as an array of float32.") from error
        raise _damaged(name) from error
    if array.dtype.kind not in "fiu":
        raise VSRError(f"{name}: {buffer} is of type {array.dtype}, not of real numbers: save it as float32.")
    return array


# ---------------------------------------------------------------- values


def _check_shapes(buffers: Mapping[str, np.ndarray], name: str) -> None:
    if buffers["depth"].ndim != 2 or 0 in buffers["depth"].shape:
        raise VSRError(f"{name}: depth has the shape {buffers['depth'].shape}, not (H, W): save one value per pixel.")
    for buffer, components in _COMPONENTS.items():
        size = buffers["depth"].shape
        expected = size if buffer == "depth" else (*size, len(components))
        if buffers[buffer].shape != expected:
            raise VSRError(
                f"{name}: {buffer} has the shape {buffers[buffer].shape}, not {expected} as depth's size asks for: "
                "export all buffers at one size."
            )


def _real(buffer: str, array: np.ndarray) -> np.ndarray:
    """As float32, but 8-bit albedo as it is."""
    return array if buffer == "albedo" and array.dtype == np.uint8 else array.astype(np.float32)


def _check_finite(buffers: Mapping[str, np.ndarray], name: str) -> None:
    for buffer, array in buffers.items():
        finite = np.isfinite(array)
        if not finite.all():
            row, column = np.argwhere(~finite)[0, :2]
            raise VSRError(
                f"{name}: {buffer} is {'NaN' if np.isnan(array).any() else 'infinite'} somewhere, first at column {column}, "
                f"row {row}: give the background finite values, or render the frame again."
            )


def _unit(normals: np.ndarray, name: str) -> np.ndarray:
    longest = float(np.abs(normals).max())
    if longest > 1 + _HALF_STEP:
        raise VSRError(
            f"{name}: normals reach {longest:g}, the components of unit vectors are within ±1: export unit vectors, without loss."
        )
    return np.clip(normals, -1, 1)


def _coded(albedo: np.ndarray, name: str) -> np.ndarray:
    if albedo.dtype == np.uint8:
        return albedo
    # In float64: the product with 255 and the 0.5 are then exact for all 16- and 32-bit values.
    levels = np.floor(255 * albedo.astype(np.float64) + 0.5)
    if levels.min() < 0 or levels.max() > 255:
        low, high = float(albedo.min()), float(albedo.max())
        raise VSRError(f"{name}: albedo goes from {low:g} to {high:g}, it has to be within 0..1: divide it, or save it as uint8.")
    return levels.astype(np.uint8)


def _damaged(name: str) -> VSRError:
    return VSRError(f"{name} is damaged or cut short, or not what its suffix says: copy or export it again.")


def _too_large(name: str) -> VSRError:
    return VSRError(
        f"{name} claims to hold more than {MAX_BYTES / 2**30:g} GiB: it is damaged, or has to be exported with fewer layers."
    )
