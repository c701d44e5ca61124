"""Clips of a test pair, restored and scored, with the published numbers of Vid4."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from test_restore import noise, small

import models
from models import Network
from models.parts.resize import imresize, imresize_to
from pipelines import metrics, params, results
from pipelines.clips import video
from pipelines.clips.images import decode_picture
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.degradations import recipes
from pipelines.errors import VSRError
from pipelines.evaluation.clips import Clip, ClipResult, Score, result, score
from pipelines.evaluation.profiles import most_active_row
from pipelines.evaluation.protocols import get
from pipelines.params import Passes
from pipelines.restoring.clips import Restore
from pipelines.restoring.restore import restore
from pipelines.results import FrameValue, Restored, Result

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other


def shrink(frame: np.ndarray) -> np.ndarray:
    height, width = (side // 4 * 4 for side in frame.shape[:2])
    return to_frame(imresize(to_tensor([frame[:height, :width]])[0].double(), 0.25))


def clip_of(name: str, network: Network, hr: list[np.ndarray], lr: list[np.ndarray], count: int | None = None) -> Clip:
    restored = restore(network, lr, window=3, overlap=1)
    return Clip(name, restored, hr, lr, len(lr) if count is None else count, fps=25, row=3)


@pytest.mark.parametrize(("clip", "psnr", "ssim"), [("calendar", 20.394, 0.5720), ("walk", 26.104, 0.7974)])
def test_published_numbers_of_bicubic_on_vid4(clip: str, psnr: float, ssim: float, shared_data: Path) -> None:
    truth = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((shared_data / "Vid4/GT" / clip).glob("*.png"))]
    found = score(clip_of(clip, models.create("bicubic"), truth, [shrink(frame) for frame in truth]), [get("vid4")], BOTH)
    (one,) = found.scores
    assert one.values["psnr"] == pytest.approx(psnr, abs=0.0006)
    assert one.values["ssim"] == pytest.approx(ssim, abs=0.00006)


BOTH = {name: ["psnr", "ssim"] for name in ("rgb", "y", "vid4", "vimeo90k_slow")}
NOTHING_SKIPPED: dict[str, dict[str, str]] = {"rgb": {}, "y": {}}


def values(result: ClipResult) -> list[FrameValue]:
    return [value for one in result.scores for value in one.measured]


def picture(result: ClipResult, name: str) -> np.ndarray:
    return decode_picture(result.pictures[f"{name}.png"], name)


def scored(clip: str, seed: int, count: int = 5, height: int = 26, width: int = 31) -> ClipResult:
    """Bicubic on noise whose sides are no multiples of four."""
    hr = noise(seed, count, height, width)
    return score(clip_of(clip, models.create("bicubic"), hr, [shrink(frame) for frame in hr]), [get("rgb"), get("y")], BOTH)


def test_scoring_a_clip() -> None:
    found = scored("c", 3)
    hr = noise(3, 5, 26, 31)
    enlarged = to_frame(imresize(to_tensor([shrink(hr[2])])[0], 4))
    error = (enlarged.astype(float) - hr[2][:24, :28]) ** 2
    chosen = [one for one in values(found) if (one["frame"], one["protocol"], one["metric"]) == (2, "rgb", "psnr")]
    assert len(values(found)) == 5 * 2 * 2 and found.frames == 5
    assert chosen[0]["value"] == pytest.approx(10 * np.log10(255**2 / error.mean()))
    assert np.array_equal(picture(found, "restored"), enlarged) and np.array_equal(picture(found, "bicubic"), enlarged)
    assert np.array_equal(picture(found, "truth"), hr[2][:24, :28]) and np.array_equal(picture(found, "lr"), shrink(hr[2]))


@pytest.mark.parametrize(
    ("hr", "lr", "counted", "message"),
    [
        (noise(0, 2, 24, 28), noise(0, 2, 5, 7), 2, "'c' frame 0: restored is 28x20 but its truth is 28x24"),
        (noise(0, 2, 24, 28), noise(0, 2, 6, 8), 2, "restored is 32x24 but its truth is 28x24"),
        (noise(0, 3, 24, 28), noise(0, 2, 6, 7), 3, "restored clip ends after 2 frames"),
        (noise(0, 2, 24, 28), noise(0, 2, 6, 7), 3, "'c' has 2 frames but 3 were announced"),
        ([], [], 0, "clip 'c' has 0 frames: nothing is left to score"),
        (noise(0, 1, 8, 8), noise(0, 1, 2, 2), 1, "'c' frame 0 is 8x8, too small"),
    ],
)
def test_clips_that_do_not_belong_together(hr: list[np.ndarray], lr: list[np.ndarray], counted: int, message: str) -> None:
    with pytest.raises(VSRError, match=message):
        score(clip_of("c", models.create("bicubic"), hr, lr, counted), [get("y")], BOTH)


def make_store(
    path: Path, clips: dict[str, list[np.ndarray]], parameters: dict[str, dict[str, Any]] | None = None, column: str = "rgb"
) -> Path:
    for name, frames in clips.items():
        with ClipWriter(path.with_suffix(".parts"), name) as writer:
            for frame in frames:
                writer.append({column: frame})
            size = frames[0].shape[:2]
            writer.finish(ClipAttributes("test", 25.0, *size, parameters=(parameters or {}).get(name, {})))
    assemble(path.with_suffix(".parts"), list(clips), path)
    return path


def shrunk(path: Path, hr: dict[str, list[np.ndarray]]) -> Path:
    """A store of LR clips and of what was drawn for them."""
    crops = {name: {"crop": [side // 4 * 4 for side in frames[0].shape[:2]]} for name, frames in hr.items()}
    return make_store(path, {name: [shrink(frame) for frame in frames] for name, frames in hr.items()}, crops)


def frames_of(worker: Restore, clip: str) -> list[np.ndarray]:
    """What a worker restores; its last word is of which size."""
    *batches, attributes = worker(clip)
    found = [frame["rgb"] for batch in batches for frame in batch]  # type: ignore[union-attr]
    assert isinstance(attributes, ClipAttributes) and (attributes.height, attributes.width) == found[0].shape[:2]
    return found


def saved(path: Path, network: Network) -> Path:
    models.save(network, path)
    return path


def same(one: list[np.ndarray], other: Iterable[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_worker_restores_clips(tmp_path: Path) -> None:
    hr = {name: noise(seed, 4, 24, 28) for seed, name in enumerate(("a", "b"))}
    lr, network = shrunk(tmp_path / "lr", hr), small()
    worker = Restore(saved(tmp_path / "model.safetensors", network), lr, Passes(window=10, overlap=2))
    assert same(frames_of(worker, "b"), restore(network, Store(lr).frames("b"), window=10, overlap=2))
    with pytest.raises(VSRError, match="unknown clip"):
        list(worker("c"))
    with pytest.raises(VSRError, match="does not exist"):
        Restore(tmp_path / "none.safetensors", lr, Passes(window=10, overlap=2))
    short = Restore(saved(tmp_path / "model.safetensors", models.create("edvr_m")), lr, Passes(window=10, overlap=2))
    with pytest.raises(VSRError, match="^clip 'a': the clip has 4 frames but edvr_m needs 5"):
        list(short("a"))


def test_a_worker_scores_restored_clips(tmp_path: Path) -> None:
    hr = {name: noise(seed, 4, 24, 28) for seed, name in enumerate(("a", "b"))}
    lr, truth = shrunk(tmp_path / "lr", hr), make_store(tmp_path / "hr", hr)
    made = {name: list(restore(models.create("bicubic"), Store(lr).frames(name), window=9, overlap=0)) for name in hr}
    restored = make_store(tmp_path / "restored", made)
    (found,) = Score(restored, truth, lr, ["y", "rgb"], ["psnr", "ssim"])("b")
    row = most_active_row(hr["b"])
    clip = Clip("b", made["b"], hr["b"], Store(lr).read("b"), 4, 25, row)
    assert found == score(clip, [get("y"), get("rgb")], BOTH)
    with pytest.raises(VSRError, match="unknown clip"):
        list(Score(restored, truth, lr, ["y"], ["psnr"])("c"))
    with pytest.raises(VSRError, match="unknown protocol"):
        Score(restored, truth, lr, ["yy"], ["psnr"])
    with pytest.raises(VSRError, match="unknown metric"):
        Score(restored, truth, lr, ["y"], ["psrn"])


def test_a_worker_scores_a_clip_by_the_protocols_that_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics of the first protocol stay with it where it does not take a clip."""
    own = replace(metrics.get("psnr"), name="own", channel="rgb")
    monkeypatch.setitem(metrics.METRICS, "own", own)
    hr = {name: noise(seed, 7, 24, 28) for seed, name in enumerate(("slow", "fast"))}
    truth = make_store(tmp_path / "hr", hr, {name: {"motion": name} for name in hr})
    worker = Score(truth, truth, shrunk(tmp_path / "lr", hr), ["vimeo90k_slow", "vimeo90k_t"], ["psnr", "own"])
    ((slow,), (fast,)) = worker("slow"), worker("fast")
    found = [[(one.protocol, one.frames, list(one.values)) for one in result.scores] for result in (slow, fast)]
    assert found == [[("vimeo90k_slow", 1, ["psnr", "own"]), ("vimeo90k_t", 1, ["psnr"])], [("vimeo90k_t", 1, ["psnr"])]]


@pytest.mark.parametrize(
    ("scale", "hr", "lr", "crop"), [(2.5, (26, 31), (10, 12), (25, 30)), (12, (250, 400), (20, 33), (240, 396))]
)
def test_workers_at_any_scale(
    tmp_path: Path, scale: float, hr: tuple[int, int], lr: tuple[int, int], crop: tuple[int, int]
) -> None:
    """HR is cropped to what LR was made of: round(LR x scale)."""
    recipe = [params.Bicubic(op="bicubic", scale=scale)]
    frames = noise(6, 3, *hr)
    degraded, drawn = recipes.degrade(recipe, frames, degradation="d", clip="c", count=3, size=hr, fps=25)
    low = list(degraded)
    assert low[0].shape == (*lr, 3) and tuple(drawn["crop"]) == crop
    stores = make_store(tmp_path / "hr", {"c": frames}), make_store(tmp_path / "lr", {"c": low}, {"c": drawn})
    worker = Restore(saved(tmp_path / "bicubic.safetensors", models.create("bicubic")), stores[1], Passes(window=10, overlap=2))
    restored = make_store(tmp_path / "restored", {"c": frames_of(worker, "c")})
    (found,) = Score(restored, *stores, ["arbitrary_scale"], ["psnr"])("c")
    enlarged = [to_frame(imresize_to(to_tensor([frame])[0], crop)) for frame in low]
    cropped = [frame[: crop[0], : crop[1]] for frame in frames]
    assert [one["value"] for one in values(found)] == pytest.approx(
        [metrics.psnr(a.astype(float), b.astype(float)) for a, b in zip(enlarged, cropped, strict=True)]
    )
    assert all(picture(found, name).shape[:2] == crop for name in ("bicubic", "restored", "truth"))
    (tmp_path / "film.mp4").write_bytes(found.pictures["clip.mp4"])
    info = video.probe(tmp_path / "film.mp4")
    pane = min(crop[0], 240) // 2 * 2, min(crop[1], 320) // 2 * 2
    assert (info.frames, info.height, info.width) == (3, pane[0], 3 * pane[1])


def test_a_worker_needs_to_know_what_lr_was_made_of(tmp_path: Path) -> None:
    lr = make_store(tmp_path / "lr", {"c": noise(7, 2, 6, 7)})
    worker = Restore(saved(tmp_path / "bicubic.safetensors", models.create("bicubic")), lr, Passes(window=10, overlap=2))
    with pytest.raises(VSRError, match="does not say which part of HR its clip 'c' was made of"):
        list(worker("c"))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_worker_mirrors_clips(tmp_path: Path, mirrored: bool) -> None:
    lr, network = shrunk(tmp_path / "lr", {"c": noise(8, 7, 24, 28)}), small()
    worker = Restore(saved(tmp_path / "model.safetensors", network), lr, Passes(window=7, overlap=0, mirrored=mirrored))
    found, low = frames_of(worker, "c"), list(Store(lr).frames("c"))
    assert same(found, restore(network, low, window=7, overlap=0, mirrored=mirrored))
    assert not same(found, restore(network, low, window=7, overlap=0, mirrored=not mirrored))


def test_a_worker_with_masks(tmp_path: Path) -> None:
    lr = shrunk(tmp_path / "lr", {"c": noise(9, 4, 48, 56)})
    low = list(Store(lr).frames("c"))
    masks = [np.stack([frame[..., 0] > level for level in range(20 + t, 200, 30)]) for t, frame in enumerate(low)]
    torch.manual_seed(0)
    network = models.create("seem_basicvsr", channels=4, blocks=1, upsample_channels=4)
    with torch.no_grad():  # as training does, so that masks matter
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    store = make_store(tmp_path / "masks", {"c": masks}, column="masks")
    arguments: Any = (saved(tmp_path / "model.safetensors", network), lr, Passes(window=10, overlap=2))
    found = frames_of(Restore(*arguments, prior=store), "c")
    padded = np.zeros((1, 4, 64, 12, 14), np.float32)
    for t, planes in enumerate(masks):
        padded[0, t, : len(planes)] = planes
    with torch.no_grad():
        expected, without = (network(to_tensor(low)[None], masks=torch.from_numpy(x))[0] for x in (padded, 0 * padded))
    assert same(found, map(to_frame, expected)) and not same(found, map(to_frame, without))
    with pytest.raises(VSRError, match="seem_basicvsr is guided by masks of the LR frames"):
        Restore(*arguments)
    other = make_store(tmp_path / "others", {"d": masks}, column="masks")
    with pytest.raises(VSRError, match="unknown clip of .*others 'c'"):
        list(Restore(*arguments, prior=other)("c"))


ABOUT = Restored(
    method="bicubic",
    network="bicubic",
    corpus="noise",
    degradation="bi_x4",
    split="test",
    applicable=True,
    notes=("flow by DIS",),
    inputs={"data/hr/noise": "abc"},
)


def write(folder: Path, clips: list[ClipResult]) -> Result:
    found = result(ABOUT, clips, NOTHING_SKIPPED, {"data/restored": "def"})
    results.write(folder, found, [value for one in clips for value in values(one)], {one.clip: one.pictures for one in clips})
    return found


def test_results_on_disk(tmp_path: Path) -> None:
    clips = [scored("day", 2, count=3), scored("night/1", 1)]
    folder = tmp_path / "bicubic" / "noise" / "bi_x4"
    written = write(folder, clips)
    assert results.read(folder) == written
    (cell,) = results.load(tmp_path)
    by_hand: dict[tuple[str, str, str], list[float]] = {}
    for row in pq.read_table(folder / "frames.parquet").to_pylist():
        by_hand.setdefault((row["clip"], row["protocol"], row["metric"]), []).append(row["value"])
    assert len(by_hand) == 2 * 2 * 2
    for (clip, protocol, metric), frames in by_hand.items():
        assert cell.protocols[protocol].clips[clip].metrics[metric] == pytest.approx(np.mean(frames))
    both = [np.mean(by_hand[clip, "y", "ssim"]) for clip in ("day", "night/1")]
    assert cell.protocols["y"].metrics["ssim"] == pytest.approx(np.mean(both))
    assert cell.protocols["y"].frames == 8 and cell.lead_protocol == "rgb" and cell.lead == cell.protocols["rgb"]
    assert cell.inputs == {"data/hr/noise": "abc", "data/restored": "def"} and cell.cost is cell.timing is None
    assert list(cell.samples()) == ["day", "night/1"]
    for name in ("lr", "bicubic", "restored", "truth", "profile", "profile_truth"):
        found = np.asarray(Image.open(cell.samples()["night/1"] / f"{name}.png"))
        assert np.array_equal(found, picture(clips[1], name))
    profile = picture(clips[1], "profile_truth")
    assert profile.shape == (5, 28, 3) and (profile[2] == picture(clips[1], "truth")[3]).all()  # row 3 of the middle frame
    info = video.probe(cell.samples()["night/1"] / "clip.mp4")
    assert (info.frames, info.width, info.height, info.fps) == (5, 3 * 28, 24, 25)
    assert [path.name for path in folder.parent.iterdir()] == ["bi_x4"]


def test_results_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("one", "two", "two"):  # the last replaces its like
        write(tmp_path / name, [scored("a", 1, count=2), scored("b", 2, count=2)])
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 2 + 2 * 7
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_a_method_that_does_not_apply(tmp_path: Path) -> None:
    about = ABOUT.model_copy(update={"applicable": False, "reason": "the network enlarges 4 times"})
    results.write(tmp_path / "bicubic" / "noise" / "bi_x4", Result(**about.model_dump()), [], {})
    (cell,) = results.load(tmp_path)
    assert (cell.applicable, cell.reason, cell.protocols) == (False, "the network enlarges 4 times", {})
    assert [path.name for path in cell.folder.iterdir()] == ["metrics.json"]
    with pytest.raises(ValueError, match="must say why"):
        Restored(**{**ABOUT.model_dump(), "applicable": False})


def test_results_without_clips_are_refused() -> None:
    with pytest.raises(VSRError, match="at least one"):
        result(ABOUT, [], NOTHING_SKIPPED, {})
    with pytest.raises(VSRError, match="each once"):
        result(ABOUT, [scored("a", 1, count=1)] * 2, NOTHING_SKIPPED, {})
