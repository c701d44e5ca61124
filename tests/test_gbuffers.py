"""G-buffer files against the embedded corpus, whose buffers are exact, and against images that move as they say."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage import data

from pipelines.clips import gbuffers, parallax
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.errors import VSRError
from pipelines.params import Parallax

SPEC = Parallax(kind="parallax", source="", seed=0, height=54, width=96, frames=3, clips={"train": 6, "validation": 1, "test": 1})
BLENDER = {
    "depth": "ViewLayer.Depth.Z",
    "normals": "ViewLayer.Normal.XYZ",
    "motion": "ViewLayer.Vector.XY",
    "albedo": "ViewLayer.DiffCol.RGB",
}
BLENDER_5 = {**BLENDER, "albedo": "View Layer.Diffuse Color.RGB"}
PLAIN = {"depth": "depth.Z", "normals": "normals.XYZ", "motion": "motion.XY", "albedo": "albedo.RGB"}
BARE = {**PLAIN, "depth": "Z"}


def to_channels(buffers: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """`ViewLayer.Normal.XYZ` stands for the names of the channels of three planes."""
    channels = {}
    for buffer, array in buffers.items():
        layer, _, components = names[buffer].rpartition(".")
        for component, plane in zip(components, np.atleast_3d(array).transpose(2, 0, 1), strict=True):
            channels[f"{layer}.{component}".lstrip(".")] = np.ascontiguousarray(plane)
    return channels


def exr(channels: Mapping[str, np.ndarray], **header: object) -> bytes:
    stream = Path(_folder) / "frame.exr"
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}, dict(channels)).write(
        str(stream)
    )
    return stream.read_bytes()


def npz(buffers: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **buffers)
    return stream.getvalue()


_folder = ""


@pytest.fixture(autouse=True, scope="module")
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> None:
    global _folder
    _folder = str(tmp_path_factory.mktemp("exr"))


def rendered(name: str = "train_004_handheld", number: int = 1) -> dict[str, np.ndarray]:
    return list(parallax.render(SPEC, name))[number]


def exported(frame: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A frame's buffers as a renderer writes them: motion with y up, albedo from 0 to 1."""
    dx, dy = frame["flow_backward"][..., 0], frame["flow_backward"][..., 1]
    return {
        "depth": frame["depth"],
        "normals": frame["normals"],
        "motion": np.stack([dx, -dy], 2),
        "albedo": frame["albedo"].astype(np.float32) / 255,
    }


def small(height: int = 6, width: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((height, width, 3))
    return {
        "depth": rng.uniform(1, 9, (height, width)).astype(np.float32),
        "normals": (normals / np.linalg.norm(normals, axis=2, keepdims=True)).astype(np.float32),
        "motion": rng.normal(0, 5, (height, width, 2)).astype(np.float32),
        "albedo": rng.random((height, width, 3)).astype(np.float32),
    }


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("names", [BLENDER, BLENDER_5, PLAIN, BARE], ids=["blender", "blender5", "plain", "bare"])
def test_an_exported_frame_comes_back_from_exr(names: dict[str, str]) -> None:
    frame = rendered()
    read = gbuffers.read(exr(to_channels(exported(frame), names)), "0001.exr")
    assert set(read) == {"depth", "normals", "flow_backward", "albedo"}
    for column, array in read.items():
        assert array.dtype == frame[column].dtype, column
        np.testing.assert_array_equal(array, frame[column], err_msg=column)


def test_an_exported_frame_comes_back_from_npz() -> None:
    frame = rendered()
    for buffers in (exported(frame), {**exported(frame), "albedo": frame["albedo"]}):
        for column, array in gbuffers.read(npz(buffers), "0001.npz").items():
            assert array.dtype == frame[column].dtype, column
            np.testing.assert_array_equal(array, frame[column], err_msg=column)


def test_half_floats_cost_their_rounding_only() -> None:
    frame = rendered()
    halves = {column: array.astype(np.float16) for column, array in exported(frame).items()}
    read = gbuffers.read(exr(to_channels(halves, BLENDER)), "0001.exr")
    np.testing.assert_array_equal(read["albedo"], frame["albedo"])  # 11 bits hold 8
    for column in ("depth", "normals", "flow_backward"):
        np.testing.assert_allclose(read[column], frame[column], rtol=2**-11, atol=2**-24, err_msg=column)
        assert read[column].dtype == np.float32


def test_motion_is_blenders() -> None:
    """What moves 3 pixels to the right and 2 down was, a frame ago, 3 to the left and 2 *up*: motion (-3, +2)."""
    photo = data.astronaut()
    before, now = photo[102:152, 203:283], photo[100:150, 200:280]
    buffers = small(50, 80)
    buffers["motion"] = np.broadcast_to(np.array([-3, 2], np.float32), (50, 80, 2))
    flow = gbuffers.read(exr(to_channels(buffers, BLENDER)), "0001.exr")["flow_backward"]
    np.testing.assert_array_equal(flow, np.broadcast_to([-3, -2], flow.shape))
    y, x = np.mgrid[5:45, 5:75]
    dx, dy = flow[5:45, 5:75].astype(int).transpose(2, 0, 1)
    np.testing.assert_array_equal(before[y + dy, x + dx], now[y, x])


def test_the_store_takes_what_is_read(tmp_path: Path) -> None:
    frame = rendered()
    read = gbuffers.read(exr(to_channels(exported(frame), BLENDER)), "0001.exr")
    scales = {column: scale for column, scale in parallax.SCALES.items() if column in read}
    with ClipWriter(tmp_path / "parts", "a", scales) as writer:
        writer.append(read)
        writer.finish(ClipAttributes("test", 25.0, 54, 96))
    assemble(tmp_path / "parts", ["a"], tmp_path / "store")
    store = Store(tmp_path / "store")
    for column, array in read.items():
        error = parallax.SCALES.get(column, 0) / 2
        np.testing.assert_allclose(store.frame("a", 0, column), array, atol=1.001 * error, rtol=0, err_msg=column)


def test_other_layers_tiles_and_extra_channels_do_no_harm() -> None:
    buffers = small()
    channels = to_channels(buffers, BLENDER)
    channels |= {f"ViewLayer.Vector.{c}": np.full((6, 9), 7, np.float32) for c in "ZW"}
    channels |= {f"ViewLayer.Combined.{c}": np.zeros((6, 9), np.float16) for c in "RGBA"}
    channels["ViewLayer.IndexOB.X"] = np.zeros((6, 9), np.uint32)
    plain = gbuffers.read(exr(channels), "a.exr")
    tiled = gbuffers.read(exr(channels, type=OpenEXR.tiledimage, tiles=OpenEXR.TileDescription()), "a.exr")
    parts = [
        OpenEXR.Part({}, {name: array for name, array in channels.items() if ("Vector" in name) == own}, name=f"part {own}")
        for own in (False, True)
    ]
    OpenEXR.File(parts).write(f"{_folder}/parts.exr")
    several = gbuffers.read(Path(f"{_folder}/parts.exr").read_bytes(), "a.exr")
    for column, array in plain.items():
        np.testing.assert_array_equal(array, tiled[column])
        np.testing.assert_array_equal(array, several[column])


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ"])
def test_every_lossless_compression(compression: str) -> None:
    frame = rendered()
    content = exr(to_channels(exported(frame), BLENDER), compression=getattr(OpenEXR, f"{compression}_COMPRESSION"))
    for column, array in gbuffers.read(content, "a.exr").items():
        np.testing.assert_array_equal(array, frame[column], err_msg=column)


def test_same_bytes_same_arrays_whatever_the_case_of_the_suffix() -> None:
    content = exr(to_channels(small(), BLENDER))
    one, other = gbuffers.read(content, "A.EXR"), gbuffers.read(content, "a.exr")
    assert all((one[column] == other[column]).all() for column in one)


@pytest.mark.parametrize(
    ("value", "level"), [(0.0, 0), (1.0, 255), (0.5, 128), (1 / 510, 1), (1 / 511, 0), (-0.001, 0), (1.001, 255)]
)
def test_albedo_rounds_half_up(value: float, level: int) -> None:
    buffers = {**small(), "albedo": np.full((6, 9, 3), value, np.float64)}
    assert (gbuffers.read(npz(buffers), "a.npz")["albedo"] == level).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_finite_buffers_survive_both_files(draw: st.DataObject) -> None:
    height, width = draw.draw(st.integers(1, 12)), draw.draw(st.integers(1, 12))

    def values(low: float, high: float, *channels: int) -> np.ndarray:
        elements = st.floats(low, high, width=32)
        return draw.draw(arrays.arrays(np.float32, (height, width, *channels), elements=elements))

    buffers = {
        "depth": values(0, float(np.float32(1e10))),
        "normals": values(-1, 1, 3),
        "motion": values(-1024, 1024, 2),
        "albedo": values(0, 1, 3),
    }
    from_exr = gbuffers.read(exr(to_channels(buffers, PLAIN)), "a.exr")
    from_npz = gbuffers.read(npz(buffers), "a.npz")
    for column in from_exr:
        np.testing.assert_array_equal(from_exr[column], from_npz[column])
    np.testing.assert_array_equal(from_exr["depth"], buffers["depth"])
    np.testing.assert_array_equal(from_exr["normals"], buffers["normals"])
    np.testing.assert_array_equal(from_exr["flow_backward"] * [1, -1], buffers["motion"])
    assert np.abs(from_exr["albedo"] - 255 * buffers["albedo"].astype(np.float64)).max() <= 0.5


# ---------------------------------------------------------------- what is refused


def refused(content: bytes, name: str, *words: str) -> str:
    """The error is one sentence that names the file and says these words."""
    with pytest.raises(VSRError) as caught:
        gbuffers.read(content, name)
    message = str(caught.value)
    assert message.startswith(name) and message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message, message
    return message


def test_missing_channels() -> None:
    channels = to_channels(small(), BLENDER)
    channels |= {f"ViewLayer.Combined.{c}": np.zeros((6, 9), np.float16) for c in "RGBA"}
    for gone, words in {
        "ViewLayer.Depth.Z": ["depth", "Depth.Z"],
        "ViewLayer.Normal.Y": ["normals", "Normal.X/Y/Z", "normals.X/Y/Z"],
        "ViewLayer.Vector.X": ["motion", "Vector.X/Y", "motion.X/Y"],
        "ViewLayer.DiffCol.B": ["albedo", "DiffCol.R/G/B", "albedo.R/G/B"],
    }.items():
        held = {name: array for name, array in channels.items() if name != gone}
        refused(exr(held), "clip/0007.exr", *words, "ViewLayer.Combined.A/B/G/R", "enable these passes")
    refused(
        exr({name: np.zeros((6, 9), np.float16) for name in "RGB"}), "a.exr", "depth", "normals", "motion", "albedo", "only B/G/R"
    )


def test_a_buffer_twice() -> None:
    channels = to_channels(small(), BLENDER)
    refused(
        exr({**channels, "Other.Depth.Z": channels["ViewLayer.Depth.Z"]}), "a.exr", "twice", "Other.Depth.Z", "ViewLayer.Depth.Z"
    )
    parts = [OpenEXR.Part({}, dict(to_channels(small(), PLAIN)), name=name) for name in ("left", "right")]
    OpenEXR.File(parts).write(f"{_folder}/twice.exr")
    refused(Path(f"{_folder}/twice.exr").read_bytes(), "a.exr", "twice")


def test_missing_arrays() -> None:
    buffers = small()
    del buffers["motion"], buffers["albedo"]
    refused(npz(buffers), "a.npz", "lacks the arrays motion, albedo", "depth, normals")


def test_shapes() -> None:
    buffers = small()
    refused(npz({**buffers, "motion": buffers["motion"][:, :-1]}), "a.npz", "motion has the shape (6, 8, 2), not (6, 9, 2)")
    refused(npz({**buffers, "motion": buffers["normals"]}), "a.npz", "motion has the shape (6, 9, 3), not (6, 9, 2)")
    refused(npz({**buffers, "depth": buffers["depth"][..., None]}), "a.npz", "depth has the shape (6, 9, 1)")
    refused(npz({**buffers, "depth": np.zeros((0, 9))}), "a.npz", "depth has the shape (0, 9)")


def test_subsampled_channels() -> None:
    content = exr(to_channels(small(6, 8), BLENDER))
    sampling = content.index(b"DiffCol.R\0") + len(b"DiffCol.R\0") + 8  # after the type and four more bytes
    assert content[sampling : sampling + 8] == struct.pack("<ii", 1, 1)
    refused(content[:sampling] + struct.pack("<ii", 2, 2) + content[sampling + 8 :], "a.exr", "sub-sampled")


@pytest.mark.parametrize("buffer", ["depth", "normals", "motion", "albedo"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(buffer: str, value: float) -> None:
    buffers = small()
    buffers[buffer][4, 7] = value
    word = "NaN" if np.isnan(value) else "infinite"
    refused(npz(buffers), "a.npz", f"{buffer} is {word} somewhere, first at column 7, row 4")
    refused(exr(to_channels(buffers, BLENDER)), "a.exr", f"{buffer} is {word} somewhere")


def test_values_out_of_range() -> None:
    buffers = small()
    refused(npz({**buffers, "normals": 2 * buffers["normals"]}), "a.npz", "unit vectors")
    refused(npz({**buffers, "albedo": 2 * buffers["albedo"]}), "a.npz", "within 0..1")
    refused(npz({**buffers, "albedo": buffers["albedo"] - 0.5}), "a.npz", "within 0..1")
    refused(npz({**buffers, "albedo": np.full((6, 9, 3), 200, np.uint16)}), "a.npz", "within 0..1")
    refused(npz({**buffers, "depth": np.full((6, 9), 1e300)}), "a.npz", "depth is infinite")
    almost = np.array([0, 0, 1 + 2**-10], np.float32) * np.ones((6, 9, 1), np.float32)
    assert gbuffers.read(npz({**buffers, "normals": almost}), "a.npz")["normals"].max() == 1


@pytest.mark.parametrize("name", ["a.exr", "a.npz"])
def test_cut_short_anywhere(name: str) -> None:
    content = exr(to_channels(small(24, 20), BLENDER)) if name == "a.exr" else npz(small(24, 20))
    for length in [0, 1, 4, 40, *range(100, len(content), len(content) // 25), len(content) - 1]:
        refused(content[:length], name, "damaged or cut short")


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_does_no_harm(as_exr: bool, where: float, change: int) -> None:
    """Never another exception, nor an array that is not what it should be."""
    name = "a.exr" if as_exr else "a.npz"
    content = bytearray(exr(to_channels(small(), BLENDER)) if as_exr else npz(small()))
    content[int(where * len(content))] ^= change
    try:
        read = gbuffers.read(bytes(content), name)
    except VSRError as error:
        assert str(error).startswith(name)
        return
    size = read["depth"].shape
    assert [array.shape for array in read.values()] == [size, (*size, 3), (*size, 2), (*size, 3)]
    assert all(np.isfinite(array).all() for array in read.values())


def test_other_files_under_these_names() -> None:
    refused(npz(small()), "a.exr", "damaged")
    refused(exr(to_channels(small(), BLENDER)), "a.npz", "damaged")


def test_pickled_objects_are_not_loaded() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("unpickled",)

    buffers: dict[str, np.ndarray] = {**small(), "depth": np.array([[Trap()]], object)}
    refused(npz(buffers), "a.npz", "depth holds Python objects")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for buffer in small():
            archive.writestr(f"{buffer}.npy", pickle.dumps(Trap()))
    refused(stream.getvalue(), "a.npz", "damaged")
    refused(npz({**small(), "depth": np.full((6, 9), "far")}), "a.npz", "depth is of type")


def test_bombs_are_not_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for buffer, array in small().items():
            saved = io.BytesIO()
            np.save(saved, array)
            archive.writestr(f"{buffer}.npy", saved.getvalue())
    content = stream.getvalue()
    entry = content.rindex(b"PK\x01\x02")
    forged = content[: entry + 24] + struct.pack("<I", 2**31) + content[entry + 28 :]  # the size once unpacked
    refused(forged, "a.npz", "more than 2 GiB")

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_BZIP2) as archive:
        for buffer in small():
            archive.writestr(f"{buffer}.npy", b"0" * 1000)
    refused(stream.getvalue(), "a.npz", "savez_compressed")

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for buffer in small():
            archive.writestr(f"{buffer}.npy", header.getvalue())
    refused(stream.getvalue(), "a.npz", "damaged")


def test_a_header_that_claims_too_much() -> None:
    content = exr(to_channels(small(), BLENDER))
    window = content.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4
    forged = content[: window + 8] + struct.pack("<ii", 2**15 - 1, 2**15 - 1) + content[window + 16 :]
    refused(forged, "a.exr", "more than 2 GiB")


def test_deep_images() -> None:
    samples = np.empty((6, 9), object)
    for index in np.ndindex(samples.shape):
        samples[index] = np.ones(2, np.float32)
    channels = dict.fromkeys(to_channels(small(), BLENDER), samples)
    refused(exr(channels, type=OpenEXR.deepscanline, compression=OpenEXR.ZIPS_COMPRESSION), "a.exr", "deep EXR")
