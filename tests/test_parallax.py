"""The embedded corpus against independent geometry: rays cast by hand, depth carried from frame to frame, images warped."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clips import parallax
from pipelines.clips.parallax import images, textures
from pipelines.clips.parallax.scene import Camera, Ellipse, Endless, Polygon, Rectangle, Scene, Shape, facing
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.errors import VSRError
from pipelines.params import Parallax, Rendered, Split

SPEC = Parallax(
    kind="parallax",
    source="pipelines/clips/parallax",
    seed=0,
    height=216,
    width=384,
    frames=4,
    clips={"train": 12, "validation": 2, "test": 4},
)
SMALL = SPEC.model_copy(update={"height": 54, "width": 96, "frames": 3})
VARIED = ["train_000_dolly", "train_001_pan", "train_002_orbit", "test_001_zoom", "test_002_handheld", "test_003_whip"]
"""Every path, every layout."""


@functools.lru_cache(maxsize=len(VARIED))
def frames(name: str) -> list[dict[str, np.ndarray]]:
    return list(parallax.render(SPEC, name))


def sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear interpolation in float64."""
    left = np.clip(np.floor(x).astype(int), 0, image.shape[1] - 2)
    top = np.clip(np.floor(y).astype(int), 0, image.shape[0] - 2)
    a, b = x - left, y - top
    if image.ndim == 3:
        a, b = a[..., None], b[..., None]
    image = image.astype(np.float64)
    upper = image[top, left] * (1 - a) + image[top, left + 1] * a
    lower = image[top + 1, left] * (1 - a) + image[top + 1, left + 1] * a
    return np.asarray(upper * (1 - b) + lower * b)


def planes(frame: dict[str, np.ndarray]) -> np.ndarray:
    """A label per plane (an id has several if it is a box): equal labels, equal normals and ids."""
    keys = np.concatenate([frame["ids"][..., None], np.rint(frame["normals"] * 4096)], 2).reshape(-1, 4)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(frame["ids"].shape)


def inside(frame: dict[str, np.ndarray], margin: int) -> np.ndarray:
    """Pixels whose neighbourhood lies on one plane."""
    labels = planes(frame).astype(np.float32)
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate(labels, kernel) == cv2.erode(labels, kernel)


def target(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = flow.shape[:2]
    return np.arange(width) + flow[..., 0].astype(np.float64), np.arange(height)[:, None] + flow[..., 1].astype(np.float64)


def test_names_and_splits() -> None:
    clips = parallax.clips(SPEC)
    assert len(clips) == 18
    assert clips[0] == ("train_000_dolly", "train")
    assert [split for _, split in clips] == ["train"] * 12 + ["validation"] * 2 + ["test"] * 4
    assert {name.split("_")[2] for name, _ in clips} == {"dolly", "pan", "orbit", "zoom", "handheld", "whip"}


def test_columns() -> None:
    clip = list(parallax.render(SMALL, "train_004_handheld"))
    assert len(clip) == 3
    for frame in clip:
        assert {name: (array.shape, array.dtype.name) for name, array in frame.items()} == {
            "rgb": ((54, 96, 3), "uint8"),
            "albedo": ((54, 96, 3), "uint8"),
            "flow_forward": ((54, 96, 2), "float32"),
            "flow_backward": ((54, 96, 2), "float32"),
            "occlusion_forward": ((54, 96), "bool"),
            "occlusion_backward": ((54, 96), "bool"),
            "depth": ((54, 96), "float32"),
            "normals": ((54, 96, 3), "float32"),
            "ids": ((54, 96), "uint8"),
        }
        assert all(np.isfinite(array).all() for array in frame.values())
    assert clip[0]["occlusion_backward"].all() and not clip[0]["flow_backward"].any()
    assert clip[-1]["occlusion_forward"].all() and not clip[-1]["flow_forward"].any()
    assert not clip[0]["occlusion_forward"].all() and not clip[-1]["occlusion_backward"].all()


def test_misspelt_clip() -> None:
    with pytest.raises(VSRError, match="did you mean 'train_000_dolly'"):
        next(parallax.render(SPEC, "train_000_doly"))


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("name", VARIED)
def test_exact_flow_warps_one_frame_onto_the_other(name: str) -> None:
    now, after = frames(name)[1:3]
    keep = ~now["occlusion_forward"] & inside(now, 2)
    rgb, other = now["rgb"].astype(np.float32), after["rgb"].astype(np.float32)

    def error(flow: np.ndarray) -> float:
        x, y = (part.astype(np.float32) for part in target(flow))
        warped = cv2.remap(other, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return float(np.abs(warped - rgb)[keep].mean())

    exact = error(now["flow_forward"])
    assert keep.mean() > 0.5
    assert exact < 4
    assert exact < 0.2 * error(np.zeros_like(now["flow_forward"]))
    for shift in ((0.3, 0), (-0.3, 0), (0, 0.3), (0, -0.3)):  # the images lie where the flow says, not beside it
        assert exact < error(now["flow_forward"] + np.array(shift, np.float32))


@pytest.mark.parametrize("name", VARIED)
def test_image_is_the_average_of_a_finer_one(name: str) -> None:
    """Anti-aliasing: the frame is what averaging a rendering of four times the size gives."""
    fine_spec = SMALL.model_copy(update={"height": 4 * SMALL.height, "width": 4 * SMALL.width})
    coarse = next(parallax.render(SMALL, name))["rgb"].astype(np.float64)
    fine = next(parallax.render(fine_spec, name))["rgb"].astype(np.float64)
    averaged = fine.reshape(54, 4, 96, 4, 3).mean((1, 3))
    assert 10 * np.log10(255**2 / np.mean((coarse - averaged) ** 2)) > 27
    assert abs((coarse - averaged).mean()) < 1


@pytest.mark.parametrize("name", VARIED)
def test_image_is_albedo_under_a_lamp(name: str) -> None:
    lamp = parallax.scene(SPEC, name).lamp
    frame = frames(name)[0]
    albedo, rgb = frame["albedo"].astype(np.float64), frame["rgb"].astype(np.float64)
    rounding = 0.5 + 0.5 * (lamp.ambient + lamp.strength) + 1e-3
    assert (rgb >= np.minimum(lamp.ambient * albedo - rounding, 254)).all()
    assert (rgb <= (lamp.ambient + lamp.strength) * albedo + rounding).all()
    assert np.abs(rgb - albedo).mean() > 3


def test_there_is_detail_to_restore() -> None:
    """PSNR on Y of bicubic down and up again by 4: between noise and a blank wall, as footage is."""
    scores = []
    for name in VARIED:
        y = torch.from_numpy(frames(name)[1]["rgb"] @ np.array([65.481, 128.553, 24.966]) / 255 + 16)[None, None]
        low = functional.interpolate(y, scale_factor=1 / 4, mode="bicubic", antialias=True)
        error = functional.interpolate(low, scale_factor=4, mode="bicubic") - y
        scores.append(float(10 * torch.log10(255**2 / error.square().mean())))
    assert all(22 < score < 34 for score in scores), scores
    assert 23.5 < np.mean(scores) < 29


# ---------------------------------------------------------------- geometry


def meets(shape: Shape, s: float, t: float) -> bool:
    """A silhouette's definition, point by point."""
    if isinstance(shape, Endless):
        return True
    if isinstance(shape, Ellipse):
        return shape.hole <= float(np.hypot(s / shape.a, t / shape.b)) <= 1
    if isinstance(shape, Rectangle):
        centre = np.clip(
            [s, t], [shape.radius - shape.a, shape.radius - shape.b], [shape.a - shape.radius, shape.b - shape.radius]
        )
        return float(np.hypot(*(np.array([s, t]) - centre))) <= shape.radius + 1e-12
    assert isinstance(shape, Polygon)
    corners = np.array([complex(*vertex) for vertex in shape.vertices]) - complex(s, t)
    winding = np.angle(np.roll(corners, -1) / corners).sum() / (2 * np.pi)
    return abs(round(float(winding))) == 1


def cast(scene: Scene, seconds: float, eye: np.ndarray, ray: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """The first surface along a ray, by the textbook: its index, the point in the world, its normal."""
    best: tuple[float, int, np.ndarray, np.ndarray] = (np.inf, -1, eye, ray)
    for number, surface in enumerate(scene.surfaces):
        pose = surface.at(seconds)
        normal = pose.axes[:, 2]
        if abs(ray @ normal) < 1e-12:
            continue
        length = float((pose.origin - eye) @ normal / (ray @ normal))
        local = pose.axes.T @ (eye + length * ray - pose.origin)
        if 1e-9 < length < best[0] and meets(surface.shape, local[0], local[1]):
            best = (length, number, eye + length * ray, -normal * np.sign(ray @ normal))
    return best[1], best[2], best[3]


def intrinsics(camera: Camera, width: int, height: int) -> np.ndarray:
    return np.array([[camera.focal, 0, (width - 1) / 2], [0, camera.focal, (height - 1) / 2], [0, 0, 1]])


@pytest.mark.parametrize("name", VARIED)
def test_against_rays_cast_by_hand(name: str) -> None:
    scene = parallax.scene(SPEC, name)
    clip = frames(name)
    rng = np.random.default_rng(5)
    # Half of the pixels from where something is hidden, if there are any.
    hidden = np.argwhere(clip[1]["occlusion_forward"] | clip[1]["occlusion_backward"])
    pixels = [*rng.integers((0, 0), (216, 384), (50, 2)), *hidden[rng.integers(len(hidden), size=50)]]
    now = 1 / parallax.FPS
    camera = scene.camera(now)
    for row, column in pixels:
        back = np.linalg.inv(intrinsics(camera, 384, 216)) @ (column, row, 1)
        number, point, normal = cast(scene, now, camera.centre, camera.axes @ back)
        surface, frame = scene.surfaces[number], clip[1]
        assert frame["ids"][row, column] == surface.id
        np.testing.assert_allclose(frame["depth"][row, column], (camera.axes.T @ (point - camera.centre))[2], rtol=1e-5)
        np.testing.assert_allclose(frame["normals"][row, column], camera.axes.T @ normal, atol=1e-6)
        on_surface = surface.at(now)
        local = on_surface.axes.T @ (point - on_surface.origin)
        for direction, step in (("forward", 1), ("backward", -1)):
            then = now + step / parallax.FPS
            other, there = scene.camera(then), surface.at(then)
            moved = there.axes @ local + there.origin
            image = intrinsics(other, 384, 216) @ other.axes.T @ (moved - other.centre)
            expected = image[:2] / image[2] - (column, row)
            np.testing.assert_allclose(frame[f"flow_{direction}"][row, column], expected, atol=1e-4)
            x, y = image[:2] / image[2]
            outside = not (0 <= x <= 383 and 0 <= y <= 215)
            seen = cast(scene, then, other.centre, moved - other.centre)[0]
            assert frame[f"occlusion_{direction}"][row, column] == (outside or seen != number)


@pytest.mark.parametrize("name", VARIED)
def test_forward_then_backward_comes_home(name: str) -> None:
    now, after = frames(name)[1:3]
    x, y = target(now["flow_forward"])
    home = now["flow_forward"] + sample(after["flow_backward"], x, y)
    flat = sample(inside(after, 1).astype(np.float64), x, y) == 1
    keep = ~now["occlusion_forward"] & flat
    assert keep.mean() > 0.5
    assert np.abs(home[keep]).max() < 0.01
    # What is seen in both frames is the same object at the same place.
    nearest = after["ids"][np.rint(y).astype(int).clip(0, 215), np.rint(x).astype(int).clip(0, 383)]
    assert (nearest == now["ids"])[keep].all()


@pytest.mark.parametrize("name", VARIED)
def test_depth_of_what_stands_still_is_carried_by_the_camera(name: str) -> None:
    """Depth and the cameras alone give the flow of static points, and their depth in the next frame."""
    scene = parallax.scene(SPEC, name)
    now, after = frames(name)[1:3]
    first, second = scene.camera(1 / parallax.FPS), scene.camera(2 / parallax.FPS)
    still = [surface.id for surface in scene.surfaces if not any(surface.body.swing) and surface.body.spin == 0]
    y, x = np.mgrid[0:216, 0:384].astype(np.float64)
    rays = np.linalg.inv(intrinsics(first, 384, 216)) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    world = first.axes @ (rays * now["depth"].ravel()) + first.centre[:, None]
    image = intrinsics(second, 384, 216) @ second.axes.T @ (world - second.centre[:, None])
    flow = (image[:2] / image[2] - np.stack([x.ravel(), y.ravel()])).T.reshape(216, 384, 2)
    static = np.isin(now["ids"], still)
    assert static.mean() > 0.4
    np.testing.assert_allclose(flow[static], now["flow_forward"][static], atol=1e-3)
    u, v = target(now["flow_forward"])
    keep = static & ~now["occlusion_forward"] & (sample(inside(after, 1).astype(np.float64), u, v) == 1)
    # The inverse depth of a plane is affine in the image, so bilinear interpolation is exact on it.
    np.testing.assert_allclose(1 / sample(1 / after["depth"], u, v)[keep], image[2].reshape(216, 384)[keep], rtol=1e-4)


@pytest.mark.parametrize("name", VARIED)
def test_normals_belong_to_planes(name: str) -> None:
    scene = parallax.scene(SPEC, name)
    frame = frames(name)[2]
    camera = scene.camera(2 / parallax.FPS)
    normals = frame["normals"].astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1, atol=1e-6)
    y, x = np.mgrid[0:216, 0:384].astype(np.float64)
    rays = np.stack([(x - 191.5) / camera.focal, (y - 107.5) / camera.focal, np.ones_like(x)], 2)
    assert ((normals * rays).sum(2) < 0).all()
    distance = (normals * rays).sum(2) * frame["depth"]
    labels = planes(frame)
    for label in range(labels.max() + 1):
        values = distance[labels == label]
        if len(np.unique(frame["ids"][labels == label])) == 1 and not _box(scene, int(frame["ids"][labels == label][0])):
            assert np.ptp(values) < 1e-4 * np.abs(values).max()
    for surface in scene.surfaces:
        seen = normals[frame["ids"] == surface.id]
        if not _box(scene, surface.id) and len(seen):
            assert (seen == seen[0]).all()


def _box(scene: Scene, id: int) -> bool:
    return sum(surface.id == id for surface in scene.surfaces) > 1


@pytest.mark.parametrize("name", VARIED)
def test_ids_and_motion(name: str) -> None:
    scene = parallax.scene(SPEC, name)
    seen = {int(id) for frame in frames(name) for id in np.unique(frame["ids"])}
    assert 0 in seen and len(seen) >= 7
    assert seen <= {surface.id for surface in scene.surfaces}
    moving = {surface.id for surface in scene.surfaces if any(surface.body.swing)}
    assert len(moving & seen) >= 2
    sizes = np.concatenate([np.linalg.norm(frame["flow_forward"], axis=2).ravel() for frame in frames(name)[:-1]])
    assert sizes.max() < 60
    assert np.mean([frame["occlusion_forward"].mean() for frame in frames(name)[:-1]]) > 0.005


def test_a_whip_is_fast_but_fits_the_store() -> None:
    clip = list(parallax.render(SMALL.model_copy(update={"frames": 20}), "test_003_whip"))
    per_frame = [np.linalg.norm(frame["flow_forward"], axis=2).mean() * 384 / 96 for frame in clip[:-1]]
    assert max(per_frame) > 25
    large = SPEC.model_copy(update={"width": 3840, "height": 2160})
    scene = parallax.scene(large, "test_003_whip")
    directions = [scene.camera(number / parallax.FPS).axes[:, 2] for number in range(20)]
    turn = max(float(np.arccos(a @ b)) for a, b in zip(directions, directions[1:], strict=False))
    assert turn * 0.9 * 3840 < 100


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.2, 2),
    st.floats(0.2, 2),
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20),
)
def test_silhouettes(a: float, b: float, share: float, points: list[tuple[float, float]]) -> None:
    star = tuple(
        (float(r * np.cos(angle)), float(r * np.sin(angle)))
        for r, angle in zip([a, 0.4 * b] * 5, np.linspace(0, 2 * np.pi, 10, endpoint=False), strict=True)
    )
    shapes: list[Shape] = [
        Ellipse(a, b, 0.9 * share),
        Rectangle(a, b, share * min(a, b)),
        Rectangle(a, b),
        Polygon(star),
        Endless(),
    ]
    s, t = (np.array(values) for values in zip(*points, strict=True))
    for shape in shapes:
        clear = [
            all(meets(shape, s0 + d, t0 + e) == meets(shape, s0, t0) for d in (-1e-6, 1e-6) for e in (-1e-6, 1e-6))
            for s0, t0 in points
        ]
        expected = np.array([meets(shape, s0, t0) for s0, t0 in points])
        np.testing.assert_array_equal(shape.contains(s, t)[clear], expected[clear])
        if shape.extent is not None:
            assert not (expected & ((np.abs(s) > shape.extent[0] + 1e-9) | (np.abs(t) > shape.extent[1] + 1e-9))).any()


@given(st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(-3, 3))
def test_facing_is_a_rotation_that_looks_there(yaw: float, pitch: float, roll: float) -> None:
    axes = facing(yaw, pitch, roll)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.isclose(np.linalg.det(axes), 1)
    look = (np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch))
    np.testing.assert_allclose(axes[:, 2], look, atol=1e-12)


# ---------------------------------------------------------------- splits and determinism


def test_splits_share_no_texture() -> None:
    names: dict[Split, set[str]] = {"train": set(), "validation": set(), "test": set()}
    for clip, part in parallax.clips(SPEC):
        names[part] |= {surface.texture for surface in parallax.scene(SPEC, clip).surfaces}
    for split, used in names.items():
        photographs = {name.removeprefix("photo/") for name in used if name.startswith("photo/")}
        assert len(photographs) >= 3
        assert photographs <= {*textures.PICTURES[split], *textures.GROUNDS[split], *textures.VIEWS[split]}
        assert all(name.startswith((f"{split}/", "photo/")) for name in used)
    allowed = [{*textures.PICTURES[split], *textures.GROUNDS[split], *textures.VIEWS[split]} for split in textures.PICTURES]
    content = [{hashlib.sha256(textures.load(SPEC.seed, name).tobytes()).digest() for name in used} for used in names.values()]
    for sets in (list(names.values()), allowed, content):
        assert sum(map(len, sets)) == len(set().union(*sets))


def digest(spec: Parallax, name: str) -> str:
    found = hashlib.sha256()
    for frame in parallax.render(spec, name):
        for column, array in frame.items():
            found.update(column.encode() + array.tobytes())
    return found.hexdigest()


def test_a_clip_is_a_function_of_seed_and_name() -> None:
    names = ["train_001_pan", "test_002_handheld", "train_000_dolly"]
    before = {name: digest(SMALL, name) for name in names}
    threads = cv2.getNumThreads()
    textures.load.cache_clear()
    try:
        cv2.setNumThreads(1 if threads > 1 else 2)
        other = SMALL.model_copy(update={"clips": {"test": 3, "train": 2}})  # neither the other clips nor their order matter
        assert {name: digest(other, name) for name in reversed(names)} == before
    finally:
        cv2.setNumThreads(threads)
    assert len(set(before.values())) == 3
    assert digest(SMALL.model_copy(update={"seed": 1}), names[0]) != before[names[0]]


def test_a_frame_does_not_depend_on_the_clip_s_length() -> None:
    longer = SMALL.model_copy(update={"frames": 5})
    pairs = zip(parallax.render(SMALL, "train_003_zoom"), parallax.render(longer, "train_003_zoom"), strict=False)
    for number, (frame, same) in enumerate(pairs):
        for column in frame:
            if number < 2 or "forward" not in column:
                np.testing.assert_array_equal(frame[column], same[column])


def test_store_keeps_the_truth(tmp_path: Path) -> None:
    name = "test_003_whip"
    clip = list(parallax.render(SMALL, name))
    with ClipWriter(tmp_path / "parts", name, parallax.SCALES) as writer:
        for frame in clip:
            writer.append(frame)
        writer.finish(ClipAttributes("test", parallax.FPS, SMALL.height, SMALL.width))
    assemble(tmp_path / "parts", [name], tmp_path / "store")
    store = Store(tmp_path / "store")
    for number, frame in enumerate(clip):
        for column, array in frame.items():
            step = parallax.SCALES.get(column, 0)
            np.testing.assert_allclose(store.frame(name, number, column), array, rtol=0, atol=0.5001 * step)


def test_rays_of_a_pixel_are_spread_evenly() -> None:
    for axis in (0, 1):
        steps = np.diff(sorted(offset[axis] for offset in images.LENS.offsets))
        np.testing.assert_allclose(steps, images.LENS.aperture / 6)
        assert abs(sum(offset[axis] for offset in images.LENS.offsets)) < 1e-12
    assert images.POINT.offsets == ((0.0, 0.0),)


# ---------------------------------------------------------------- rendered at LR size


def small(scale: float, **changes: int) -> Parallax:
    return SPEC.model_copy(update={"frames": 2, "rendered": Rendered(scale=scale), **changes})


@pytest.mark.parametrize("scale", [3, 4.5, 8])
def test_sizes_at_any_scale(scale: float) -> None:
    spec = small(scale, height=60, width=100)
    height, width = int(60 / scale), int(100 / scale)
    first, _ = parallax.rendered(spec, "train_000_dolly")
    assert all(array.shape[:2] == (height, width) for array in first.values())
    assert parallax.covered(spec) == (round(height * scale), round(width * scale))
    assert {name: array.dtype for name, array in first.items()} == {
        name: array.dtype for name, array in next(parallax.render(spec, "train_000_dolly")).items()
    }
    with pytest.raises(VSRError, match="60x100 at scale 80|100x60 at scale 80"):
        parallax.rendered(small(80, height=60, width=100), "train_000_dolly")


@pytest.mark.parametrize("name", ["train_001_pan", "test_001_zoom"])
def test_buffers_at_a_third_are_those_at_the_middle_of_three_pixels(name: str) -> None:
    """There the centres of LR pixels are centres of HR pixels; the sides are no multiples of three."""
    spec = small(3, height=107, width=190)
    for large, few in zip(parallax.render(spec, name), parallax.rendered(spec, name), strict=True):
        height, width = few["depth"].shape
        assert (height, width) == (35, 63)

        def middle(column: str, frame: dict[str, np.ndarray] = large) -> np.ndarray:
            return frame[column][1::3, 1::3][:35, :63]

        # A centre that lies on a silhouette may fall to either side of it by rounding.
        same = few["ids"] == middle("ids")
        assert same.mean() > 0.999
        np.testing.assert_allclose(few["depth"][same], middle("depth")[same], rtol=1e-5)
        np.testing.assert_array_equal(few["normals"][same], middle("normals")[same])
        for way in ("forward", "backward"):
            np.testing.assert_allclose(few[f"flow_{way}"][same], middle(f"flow_{way}")[same] / 3, atol=1e-4)
            # Beyond the outermost centres of LR, HR still has a pixel.
            x, y = target(few[f"flow_{way}"])
            within = same & (x >= 0) & (x <= 62) & (y >= 0) & (y <= 34)
            assert (few[f"occlusion_{way}"] == middle(f"occlusion_{way}"))[within].mean() > 0.999
            assert few[f"occlusion_{way}"][~within & same].all()


@pytest.mark.parametrize("name", ["train_000_dolly", "test_002_handheld"])
def test_rendered_frames_look_as_reduced_ones_but_are_sampled_once(name: str) -> None:
    spec = small(4)
    large, few = next(parallax.render(spec, name)), next(parallax.rendered(spec, name))
    for column in ("rgb", "albedo"):
        mean = large[column].reshape(54, 4, 96, 4, 3).mean((1, 3))
        flat = cv2.erode(inside(few, 1).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        difference = np.abs(few[column] - mean)
        assert difference[flat].mean() < 8 and difference[~flat].mean() > 1.1 * difference[flat].mean()
        assert difference[~flat].max() > 60  # silhouettes alias


def test_rendered_flow_warps_one_frame_onto_the_other() -> None:
    now, after = parallax.rendered(small(4), "train_000_dolly")
    keep = ~now["occlusion_forward"] & inside(now, 1)
    x, y = target(now["flow_forward"])
    grey, other = now["rgb"].mean(2), after["rgb"].mean(2)
    still = np.abs(other - grey)[keep].mean()
    assert np.abs(sample(other, x, y) - grey)[keep].mean() < 0.5 * still
