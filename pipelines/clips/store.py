"""The clip store: frames, masks, flows and G-buffers as memory-mapped Arrow files.

A store is a directory of Arrow IPC files, one record batch per frame, whole clips per file, and a
Parquet manifest with one row per clip. Each column holds raw array bytes, so that reading a crop
touches only the pages of that crop. The field metadata says how to read the bytes back:

============= ==============================================================================
`dtype`       the NumPy type of the array; `bool` arrays are packed eight to a byte
`scale`       for `int16` columns written from real values: value = stored integer x scale
`compression` `zstd` where Arrow compresses the buffers: a frame is then read as a whole
`predictor`   `differences` where 8-bit values are stored as differences, see `_differences`
============= ==============================================================================

Every array's shape stands beside it in the column `<name>.shape`, so frames may carry any number
of masks. Everything written is a function of the data alone: no time, host or path.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import files
from pipelines.atomic import atomic_folder, file_name
from pipelines.errors import VSRError, unknown

MANIFEST = "manifest.parquet"
SHARD_BYTES = 256 * 2**20
"""A shard takes whole clips until it would grow past this many bytes."""

_OPEN = 16
"""Copied shards that a store keeps open: others may then be removed."""

_ABOUT = b"about"
_CODEC, _LEVEL = "zstd", 1  # higher levels save a tenth and take several times as long

Frame = Mapping[str, np.ndarray]
"""The arrays of one frame by column name, e.g. `{"rgb": (H, W, 3) uint8}`."""


@dataclass(frozen=True)
class ClipAttributes:
    """What a store knows of a clip beside its arrays.

    `height` and `width` are in pixels of the frames that the clip's arrays belong to, `fps` in
    frames per second, `source` names where the clip came from relative to its corpus, and
    `parameters` are the drawn degradation parameters or a prior's provenance (JSON values).
    """

    split: str
    fps: float
    height: int
    width: int
    source: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """A manifest row: a clip of `frames` frames, found at batch `first` of shard `file`."""

    name: str
    frames: int
    attributes: ClipAttributes
    sha256: str
    file: str = ""
    first: int = 0


class ClipWriter:
    """Writes one clip to `<folder>/<clip>.arrow` and its manifest row beside it.

    Nothing is visible under the final names until `finish`; leaving the context without it removes
    the partial file.

    Args:
        folder: where finished clips wait to be assembled.
        name: the clip's name; any text, quoted for the file system.
        scales: columns of real values to keep as `int16` multiples of the given step.
        compress: store frames compressed, without loss: for those that are read whole, not cropped.
    """

    def __init__(self, folder: Path, name: str, scales: Mapping[str, float] | None = None, *, compress: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.path = part_path(folder, name)
        self.frames = 0
        self._scales = dict(scales or {})
        self._compress = compress
        self._partial = self.path.with_suffix(".partial")
        self._hash = hashlib.sha256()
        self._schema: pa.Schema | None = None
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.discard()

    def append(self, frame: Frame) -> None:
        """Add one frame. Every frame has the same columns and types; shapes may differ.

        Raises:
            VSRError: a value does not fit the column's `int16` range.
        """
        encoded = {name: self._encode(name, array) for name, array in frame.items()}
        if self._writer is None:
            self._schema = pa.schema(
                [
                    item
                    for name, (_, dtype, _) in encoded.items()
                    for item in (
                        pa.field(name, pa.binary(), metadata=self._metadata(name, dtype)),
                        pa.field(f"{name}.shape", pa.list_(pa.int32())),
                    )
                ]
            )
            self._writer = _new_file(self._partial, self._schema)
        columns = []
        for name, (raw, dtype, shape) in encoded.items():
            self._hash.update(f"{name} {dtype} {shape}".encode())
            self._hash.update(raw.data)
            stored = _differences(raw) if self._predicted(dtype) else raw
            columns += [_binary(stored), pa.array([list(shape)], pa.list_(pa.int32()))]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        self.frames += 1

    def finish(self, attributes: ClipAttributes) -> Clip:
        """Make the clip visible, complete.

        Raises:
            VSRError: the clip has no frames.
        """
        if self._writer is None:
            raise VSRError(f"clip {self.name!r} has no frames: remove it from its source.")
        self._writer.close()
        self._writer = None
        clip = Clip(self.name, self.frames, attributes, self._hash.hexdigest())
        os.replace(self._partial, self.path)
        row = self.path.with_suffix(".json")
        partial = row.with_suffix(".json-partial")
        partial.write_text(json.dumps(asdict(clip), sort_keys=True))
        os.replace(partial, row)
        return clip

    def discard(self) -> None:
        """Drop whatever was not finished."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None
        self._partial.unlink(missing_ok=True)

    def _metadata(self, name: str, dtype: str) -> dict[str, str]:
        metadata = {"dtype": dtype}
        if name in self._scales:
            metadata["scale"] = repr(self._scales[name])
        if self._compress:
            metadata["compression"] = _CODEC
        if self._predicted(dtype):
            metadata["predictor"] = "differences"
        return metadata

    def _predicted(self, dtype: str) -> bool:
        return self._compress and dtype == "u1"

    def _encode(self, name: str, array: np.ndarray) -> tuple[np.ndarray, str, tuple[int, ...]]:
        shape = array.shape
        if name in self._scales:
            steps = np.rint(array / self._scales[name])
            if not np.all(np.abs(steps) <= 32767):
                limit = 32767 * self._scales[name]
                raise VSRError(f"clip {self.name!r} frame {self.frames}: {name} is not within ±{limit:g}, its column's range.")
            array = steps.astype("<i2")
        if array.dtype == np.bool_:
            return np.packbits(array), "bool", shape
        return np.ascontiguousarray(array), array.dtype.str.replace("|", ""), shape


def part_path(folder: Path, name: str) -> Path:
    """Where `ClipWriter` puts a finished clip of this name; never outside `folder`."""
    return folder / f"{file_name(name)}.arrow"


def finished(folder: Path, name: str) -> Clip | None:
    """The clip of that name if it was written to the end, else None."""
    row = part_path(folder, name).with_suffix(".json")
    return _clip(json.loads(row.read_text())) if row.exists() else None


def assemble(folder: Path, names: Sequence[str], out: Path, about: Mapping[str, Any] | None = None) -> None:
    """Join finished clips, in the given order, into the store `out`, which appears whole.

    Args:
        folder: where `ClipWriter` left them; the clips stay there.
        names: the clips of the store, in manifest order; may be none.
        out: the store; an older one is replaced.
        about: what is true of the whole store (JSON values), kept in the manifest: `Store.about`.
    """
    clips: list[Clip] = []
    with atomic_folder(out) as building:
        for index, shard in enumerate(_shards(folder, names)):
            file = f"clips-{index:05d}.arrow"
            paths = [part_path(folder, clip.name) for clip in shard]
            if len(paths) == 1:
                _link(paths[0], building / file)
            else:
                _concatenate(paths, building / file)
            first = 0
            for clip in shard:
                clips.append(Clip(clip.name, clip.frames, clip.attributes, clip.sha256, file, first))
                first += clip.frames
        _write_manifest(clips, about or {}, building / MANIFEST)


class Store:
    """Reads a clip store. Safe to send to other processes, also on other nodes: each maps the files itself, see `pipelines.files`.

    Args:
        path: the store's directory.

    Raises:
        VSRError: there is no store there, or it is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        manifest = files.local(self.path / MANIFEST)
        if not manifest.is_file():
            raise VSRError(f"{self.path} is not a clip store (no {MANIFEST}): run its stage, or `dvc pull {self.path}`.")
        try:
            table = pq.read_table(manifest)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path / MANIFEST, error) from error
        self.clips: Mapping[str, Clip] = _Rows(table)
        self.about: dict[str, Any] = json.loads((table.schema.metadata or {}).get(_ABOUT, b"{}"))
        self._readers: dict[str, pa.ipc.RecordBatchFileReader] = {}
        self._views: dict[tuple[str, int, str], np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "clips": self.clips, "about": self.about, "_readers": {}, "_views": {}}

    def clip(self, name: str) -> Clip:
        """The manifest row of a clip.

        Raises:
            VSRError: there is no clip of that name.
        """
        try:
            return self.clips[name]
        except KeyError:
            raise unknown(f"clip of {self.path}", name, self.clips) from None

    def split(self, name: str) -> list[Clip]:
        """The clips of a split, in manifest order.

        Raises:
            VSRError: the store has no clip in that split.
        """
        if not self.clips:
            raise VSRError(f"{self.path} holds no clips, as its corpus brings none: choose another corpus.")
        clips = [clip for clip in self.clips.values() if clip.attributes.split == name]
        if not clips:
            raise unknown(f"split of {self.path}", name, {clip.attributes.split for clip in self.clips.values()})
        return clips

    def frame(self, clip: str, index: int, column: str = "rgb") -> np.ndarray:
        """One frame's array; for plain columns a read-only view of the file, nothing is copied. Packed and
        compressed ones are unpacked anew every time.

        Returns:
            `rgb`: (H, W, 3) uint8. Columns with a scale come back as float32, packed ones as bool.
        """
        key = (clip, index, column)
        view = self._views.get(key)
        if view is None:
            view = self._map(clip, index, column)
            if view.dtype == np.bool_ or b"compression" in self._metadata(clip, column):  # copies, too large to keep
                return self._decode(view, clip, column)
            self._views[key] = view
        return self._decode(view, clip, column)

    def read(self, clip: str, start: int = 0, stop: int | None = None, column: str = "rgb") -> np.ndarray:
        """Frames `start` to `stop` of a clip, stacked: (T, ...) as `frame` gives them."""
        frames = self.clip(clip).frames
        return np.stack([self.frame(clip, index, column) for index in range(*slice(start, stop).indices(frames))])

    def frames(self, clip: str, column: str = "rgb") -> Iterator[np.ndarray]:
        """All frames of a clip, one at a time."""
        for index in range(self.clip(clip).frames):
            yield self.frame(clip, index, column)

    def columns(self, clip: str) -> list[str]:
        """The names of the arrays that a clip's frames have."""
        return [name for name in self._reader(self.clip(clip).file).schema.names if not name.endswith(".shape")]

    def scale(self, clip: str, column: str) -> float | None:
        """The step of a column of scaled integers (its largest error is half of it), else None."""
        scale = self._metadata(clip, column).get(b"scale")
        return float(scale) if scale else None

    def _reader(self, file: str) -> pa.ipc.RecordBatchFileReader:
        if file not in self._readers:
            try:
                self._readers[file] = pa.ipc.open_file(pa.memory_map(str(files.local(self.path / file))))
            except (pa.ArrowException, OSError) as error:
                raise _damaged(self.path / file, error) from error
            if files.far() and len(self._readers) > _OPEN:
                self._close(next(iter(self._readers)))
        return self._readers[file]

    def _close(self, file: str) -> None:
        del self._readers[file]
        self._views = {key: view for key, view in self._views.items() if self.clips[key[0]].file != file}

    def _metadata(self, clip: str, column: str) -> dict[bytes, bytes]:
        if column not in self.columns(clip):
            raise unknown(f"column of {self.path}", column, self.columns(clip))
        return dict(self._reader(self.clip(clip).file).schema.field(column).metadata)

    def _map(self, clip: str, index: int, column: str) -> np.ndarray:
        row = self.clip(clip)
        if not 0 <= index < row.frames:
            raise VSRError(f"clip {clip!r} of {self.path} has no frame {index}: it has {row.frames}.")
        metadata = self._metadata(clip, column)
        dtype = metadata[b"dtype"].decode()
        batch = self._reader(row.file).get_batch(row.first + index)
        shape = batch.column(f"{column}.shape")[0].as_py()
        raw = batch.column(column).buffers()[2]
        if dtype == "bool":
            count = int(np.prod(shape, dtype=np.int64))
            return np.unpackbits(np.frombuffer(raw, np.uint8), count=count).astype(bool).reshape(shape)
        array = np.frombuffer(raw, dtype, count=int(np.prod(shape, dtype=np.int64))).reshape(shape)
        return _sums(array) if b"predictor" in metadata else array

    def _decode(self, view: np.ndarray, clip: str, column: str) -> np.ndarray:
        if view.dtype != np.int16:
            return view
        scale = self.scale(clip, column)
        return view if scale is None else view.astype(np.float32) * np.float32(scale)


class _Rows(Mapping[str, Clip]):
    """The rows of a manifest by clip, in its order, made of the table as they are asked for: there may be a million."""

    _AT_ONCE = 256

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._places = {name: place for place, name in enumerate(table["clip"].to_pylist())}
        self._made = lru_cache(maxsize=64)(self._make)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Rows, (self._table,)

    def __getitem__(self, name: str) -> Clip:
        place = self._places[name]
        return self._made(place // self._AT_ONCE)[place % self._AT_ONCE]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _make(self, part: int) -> list[Clip]:
        return [_from_row(row) for row in self._table.slice(part * self._AT_ONCE, self._AT_ONCE).to_pylist()]


def _damaged(path: Path, error: Exception) -> VSRError:
    return VSRError(f"{path} cannot be read ({error}): remove {path.parent} and run its stage again.")


def _differences(array: np.ndarray) -> np.ndarray:
    """Each 8-bit value less its neighbours' prediction, modulo 256: differences along the first axis, then along the
    second (PNG, W3C 2025, Sec. 9.2, filters Up and Sub one after the other). They compress to half of what pixels do."""
    for axis in range(min(2, array.ndim)):
        array = np.diff(array, axis=axis, prepend=np.zeros_like(array.take([0], axis)))
    return array


def _sums(differences: np.ndarray) -> np.ndarray:
    """What `_differences` was made of."""
    for axis in range(min(2, differences.ndim)):
        differences = np.add.accumulate(differences, axis=axis, dtype=np.uint8)
    return differences


def _new_file(path: Path, schema: pa.Schema) -> pa.ipc.RecordBatchFileWriter:
    """A file of frames, its buffers compressed if the fields say so."""
    compressed = any(b"compression" in (field.metadata or {}) for field in schema)
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec(_CODEC, _LEVEL) if compressed else None)
    return pa.ipc.new_file(path, schema, options=options)


def _binary(raw: np.ndarray) -> pa.Array:
    """A binary array of one value that shares the bytes of `raw`."""
    offsets = np.array([0, raw.nbytes], np.int32)
    return pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(raw)])


def _shards(folder: Path, names: Iterable[str]) -> Iterator[list[Clip]]:
    shard: list[Clip] = []
    size = 0
    for name in names:
        clip = finished(folder, name)
        if clip is None:
            raise VSRError(f"clip {name!r} was not finished in {folder}: run the stage again.")
        bytes_ = part_path(folder, name).stat().st_size
        if shard and (size + bytes_ > SHARD_BYTES or _schema(folder, name) != _schema(folder, shard[0].name)):
            yield shard
            shard, size = [], 0
        shard.append(clip)
        size += bytes_
    if shard:
        yield shard


def _schema(folder: Path, name: str) -> pa.Schema:
    with pa.memory_map(str(part_path(folder, name))) as source:
        return pa.ipc.open_file(source).schema


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _concatenate(paths: Sequence[Path], target: Path) -> None:
    with pa.memory_map(str(paths[0])) as first:
        schema = pa.ipc.open_file(first).schema
    with _new_file(target, schema) as writer:
        for path in paths:  # small clips are thousands: one is open at a time
            with pa.memory_map(str(path)) as source:
                reader = pa.ipc.open_file(source)
                for index in range(reader.num_record_batches):
                    writer.write_batch(reader.get_batch(index))


def _write_manifest(clips: Sequence[Clip], about: Mapping[str, Any], path: Path) -> None:
    rows = [
        {
            "clip": clip.name,
            "frames": clip.frames,
            "height": clip.attributes.height,
            "width": clip.attributes.width,
            "fps": clip.attributes.fps,
            "split": clip.attributes.split,
            "source": clip.attributes.source,
            "sha256": clip.sha256,
            "file": clip.file,
            "first": clip.first,
            "parameters": json.dumps(clip.attributes.parameters, sort_keys=True),
        }
        for clip in clips
    ]
    text, integer = pa.string(), pa.int32()
    schema = pa.schema(
        [
            ("clip", text),
            ("frames", integer),
            ("height", integer),
            ("width", integer),
            ("fps", pa.float64()),
            ("split", text),
            ("source", text),
            ("sha256", text),
            ("file", text),
            ("first", integer),
            ("parameters", text),
        ],
        metadata={_ABOUT: json.dumps(about, sort_keys=True)} if about else None,
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _from_row(row: Mapping[str, Any]) -> Clip:
    attributes = ClipAttributes(
        row["split"], row["fps"], row["height"], row["width"], row["source"], json.loads(row["parameters"])
    )
    return Clip(row["clip"], row["frames"], attributes, row["sha256"], row["file"], row["first"])


def _clip(saved: Mapping[str, Any]) -> Clip:
    return Clip(**{**saved, "attributes": ClipAttributes(**saved["attributes"])})
