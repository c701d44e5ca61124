"""Protocols, and the scores of clips by several metrics, with published numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines import metrics
from pipelines.errors import VSRError
from pipelines.evaluation import protocols
from pipelines.evaluation.protocols import Protocol
from pipelines.evaluation.score import ClipScore, assigned, available, score_clip, summarise
from pipelines.metrics import Metric

CLIP = [np.random.default_rng(index).integers(0, 256, (24, 28, 3), np.uint8) for index in range(7)]


def noisy(seed: int, height: int, width: int, amount: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.cumsum(generator.integers(0, 9, (height, width, 3)), axis=1) % 256
    restored = np.clip(truth + generator.integers(-amount, amount + 1, truth.shape), 0, 255)
    return restored.astype(np.uint8), truth.astype(np.uint8)


def frames(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.glob("*.png")):
        yield np.asarray(Image.open(path).convert("RGB"))


def score(
    restored: Sequence[np.ndarray], truth: Sequence[np.ndarray], protocol: Protocol, *names: str, clip: str = "c"
) -> ClipScore:
    return score_clip(restored, truth, protocol, names or ("psnr", "ssim"), clip=clip, frames=len(truth))


class Counting:
    """What a metric was shown, for metrics of each kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.seen: list[tuple[int, ...]] = []

    def add(self, restored: np.ndarray, truth: np.ndarray) -> float | None:
        assert restored.shape == truth.shape and restored.dtype == truth.dtype == np.float64
        self.seen.append(restored.shape)
        return float(len(self.seen)) if self.kind == "frame" else None

    def finish(self) -> Any:
        return {"frame": None, "clip": 10.0 * len(self.seen), "set": self.seen}[self.kind]

    def details(self) -> dict[str, str]:
        return {"version": "1"}


def metric(kind: str, channel: Any, **more: Any) -> Metric:
    return Metric(
        name=f"{kind}_{channel}",
        label=kind,
        unit="",
        decimals=1,
        higher_is_better=True,
        low=0,
        high=math.inf,
        channel=channel,
        reference=True,
        licence="none",
        source="this test",
        build=lambda device: Counting(kind),
        combine=(lambda parts: float(sum(map(len, parts)))) if kind == "set" else None,
        **more,
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics of a frame, of a clip and of a set."""
    for kind, channel in (("frame", "protocol"), ("clip", "luma"), ("set", "rgb"), ("clip", "rgb")):
        monkeypatch.setitem(metrics.METRICS, f"{kind}_{channel}", metric(kind, channel))
    monkeypatch.setitem(metrics.METRICS, "missing", metric("clip", "luma", weights=("sam_vit_h",)))


# ---------------------------------------------------------------- protocols


def test_protocol_leaves_out_borders_and_frames() -> None:
    restored, truth = noisy(0, 30, 40, 20)
    restored[:3] = truth[:3] = 0
    clip, other = [restored] * 5, [truth] * 5
    clip[0] = clip[1] = clip[4] = clip[3] = truth  # would be lossless
    found = score(clip, other, Protocol("p", "rgb", border=8, skip=2), "psnr")
    error = (restored[8:-8, 8:-8].astype(float) - truth[8:-8, 8:-8]) ** 2
    (row,) = found.measured
    assert row["value"] == pytest.approx(10 * math.log10(255**2 / error.mean()))
    assert row == {"clip": "c", "frame": 2, "protocol": "p", "metric": "psnr", "value": row["value"]}
    assert (found.frames, found.lossless, found.values) == (1, 0, {"psnr": row["value"]})


def test_the_centre_frame_alone() -> None:
    """Vimeo-90K-T: the fourth of seven."""
    restored = [frame ^ np.uint8(index) for index, frame in enumerate(CLIP)]
    found = score(restored, CLIP, protocols.get("vimeo90k_t"), "psnr")
    expected = metrics.psnr(metrics.luma(restored[3]), metrics.luma(CLIP[3]))
    assert [(row["frame"], row["value"]) for row in found.measured] == [(3, expected)] and found.frames == 1
    assert [list(Protocol("p", "y", frames="centre").kept(count)) for count in (0, 1, 2, 3, 8)] == [[], [0], [1], [1], [4]]


def test_clips_are_chosen_by_their_motion() -> None:
    fast = protocols.get("vimeo90k_fast")
    assert fast.takes({"motion": "fast"}) and not fast.takes({"motion": "slow"}) and not fast.takes({})
    assert protocols.get("vimeo90k_t").takes({})


def test_protocols_say_who_scores_like_them() -> None:
    names = "reds4 vid4 vid4_duf vimeo90k_t vimeo90k_slow vimeo90k_medium vimeo90k_fast udm10 compressed rendering space_time"
    motions = "vimeo90k_rgb vimeo90k_slow_rgb vimeo90k_medium_rgb vimeo90k_fast_rgb"
    septuplets = "space_time_slow space_time_medium space_time_fast"
    assert set(f"{names} {motions} {septuplets} arbitrary_scale own y rgb".split()) == set(protocols.PROTOCOLS)
    assert all(protocol.source for protocol in protocols.PROTOCOLS.values())
    rgb = {name for name, protocol in protocols.PROTOCOLS.items() if protocol.channel == "rgb"}
    assert rgb == {"rgb", "reds4", "rendering", "arbitrary_scale", *motions.split()}


def test_vimeo_is_restored_forwards_and_backwards() -> None:
    for name, protocol in protocols.PROTOCOLS.items():
        vimeo = name.startswith("vimeo90k")
        assert (protocol.mirrored, protocol.frames) == ((True, "centre") if vimeo else (False, "all"))
        protocols.check_mirrored([protocol], vimeo, "tests.corpora.c")
        way = "as they are" if not vimeo else "forwards and then backwards"
        with pytest.raises(VSRError, match=rf"{name}.* of 'tests.corpora.c' scores clips that were shown to networks {way}"):
            protocols.check_mirrored([protocol], not vimeo, "tests.corpora.c")
    for motion in protocols.MOTIONS:
        y, rgb = protocols.get(f"vimeo90k_{motion}"), protocols.get(f"vimeo90k_{motion}_rgb")
        assert (y.motion, y.channel, rgb.motion, rgb.channel) == (motion, "y", motion, "rgb")
    protocols.check_mirrored([protocols.get("vimeo90k_rgb"), protocols.get("vimeo90k_fast")], True, "t")
    told = "^the protocols 'vimeo90k_t' and 'y' cannot score the same restored clips"
    with pytest.raises(VSRError, match=told):
        protocols.check_mirrored([protocols.get("y"), protocols.get("vimeo90k_t")], False, "t")


@pytest.mark.parametrize(("protocol", "psnr", "ssim"), [("vid4", 23.257, 0.8073), ("vid4_duf", 24.090, 0.8130)])
def test_published_frames_of_duf(shared_data: Path, protocol: str, psnr: float, ssim: float) -> None:
    restored = frames(shared_data / "Vid4/published/DUF-52L_BDx4/calendar")
    truth = frames(shared_data / "Vid4/GT/calendar")
    found = score_clip(restored, truth, protocols.get(protocol), clip="calendar", frames=41)
    assert found.values["psnr"] == pytest.approx(psnr, abs=0.0006)
    assert found.values["ssim"] == pytest.approx(ssim, abs=0.00006)
    assert found.frames == (41 if protocol == "vid4" else 37)


# ---------------------------------------------------------------- metrics of frames, clips and sets


def test_means_are_of_frames_then_of_clips() -> None:
    protocol = protocols.get("y")
    long, truth = noisy(1, 16, 16, 5)
    short, other = noisy(2, 16, 16, 60)
    scores = [score([long, truth, long], [truth] * 3, protocol, clip="long"), score([short], [other], protocol, clip="b")]
    found = summarise(scores, {"vmaf": "no ffmpeg"})
    value = metrics.psnr(metrics.luma(long), metrics.luma(truth))
    single = metrics.psnr(metrics.luma(short), metrics.luma(other))
    assert found.clips["long"].metrics["psnr"] == pytest.approx((2 * value + 100) / 3)
    assert found.metrics["psnr"] == pytest.approx(((2 * value + 100) / 3 + single) / 2)
    assert (found.frames, found.lossless) == (4, 1)
    assert found.clips["long"].frames == 3 and found.clips["long"].lossless == 1
    assert found.skipped == {"vmaf": "no ffmpeg"} and list(found.clips) == ["b", "long"]
    assert set(found.metrics) == {"psnr", "ssim"}


def test_lossless_frames_are_counted_without_psnr_too() -> None:
    other = [frame ^ np.uint8(1) for frame in CLIP]
    mixed = [*CLIP[:3], *other[3:]]
    assert score(mixed, CLIP, protocols.get("rgb"), "ssim").lossless == 3
    found = score(CLIP, CLIP, protocols.get("y"))
    assert (found.lossless, found.values) == (7, {"psnr": 100.0, "ssim": pytest.approx(1)})


def test_each_kind_of_metric(made: None) -> None:
    protocol = Protocol("p", "y", border=2, skip=1)
    names = ["frame_protocol", "clip_luma", "clip_rgb", "set_rgb"]
    first = score(CLIP, CLIP, protocol, *names, clip="a")
    second = score(CLIP[:4], CLIP[:4], protocol, *names, clip="b")
    assert first.values == {"frame_protocol": 3.0, "clip_luma": 50.0, "clip_rgb": 50.0}
    assert [(row["frame"], row["metric"], row["value"]) for row in second.measured] == [
        (1, "frame_protocol", 1.0),
        (2, "frame_protocol", 2.0),
        (-1, "clip_luma", 20.0),
        (-1, "clip_rgb", 20.0),
    ]
    assert first.of_set == {"set_rgb": [(20, 24, 3)] * 5}  # within the protocol's border, in the metric's own colours
    assert first.details["clip_luma"] == {"version": "1"}
    found = summarise([second, first], {})
    assert found.metrics == {"frame_protocol": 2.25, "clip_luma": 35.0, "clip_rgb": 35.0, "set_rgb": 7.0}
    assert found.clips["a"].metrics == first.values


def test_only_the_first_protocol_has_metrics_that_do_not_depend_on_it(made: None) -> None:
    chosen = [protocols.get(name) for name in ("vid4", "rgb", "y")]
    found = assigned(chosen, ["ssim", "clip_luma", "set_rgb", "psnr"])
    assert found == {"vid4": ["ssim", "clip_luma", "set_rgb", "psnr"], "rgb": ["ssim", "psnr"], "y": ["ssim", "psnr"]}


def test_metrics_that_cannot_be_computed_are_skipped_with_a_reason(
    made: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured, skipped = available(["psnr", "missing", "psnr", "ssim"], None)
    assert measured == ["psnr", "ssim"]
    assert set(skipped) == {"missing"} and "sam_vit_h/model.safetensors from https://" in skipped["missing"]
    with pytest.raises(VSRError, match="none of the metrics can be computed here .missing: needs the weights 'sam_vit_h'"):
        available(["missing"], None)
    with pytest.raises(VSRError, match="unknown metric 'pnsr': did you mean 'psnr'"):
        available(["pnsr"], None)


# ---------------------------------------------------------------- what cannot be scored


@pytest.mark.parametrize(
    ("restored", "truth", "protocol", "message"),
    [
        ([(16, 16)] * 2, [(16, 16)] * 3, "y", "restored clip ends after 2 frames"),
        ([(16, 16)] * 3, [(16, 16)] * 2, "y", "truth ends after 2 frames"),
        ([(16, 16), (16, 12)], [(16, 16)] * 2, "y", "frame 1: restored is 12x16 but its truth is 16x16"),
        ([(10, 40)], [(10, 40)], "y", "frame 0 is 40x10, too small"),
        ([(26, 26)] * 9, [(26, 26)] * 9, "vid4_duf", "at least 27x27"),
        ([(32, 32)] * 4, [(32, 32)] * 4, "vid4_duf", "nothing is left to score"),
        ([], [], "rgb", "0 frames"),
        ([], [], "vimeo90k_t", "0 frames"),
    ],
)
def test_clips_that_cannot_be_scored(
    restored: list[tuple[int, int]], truth: list[tuple[int, int]], protocol: str, message: str
) -> None:
    one, other = ([np.zeros((*size, 3), np.uint8) for size in sizes] for sizes in (restored, truth))
    with pytest.raises(VSRError, match=message) as caught:
        score(one, other, protocols.get(protocol), clip="holiday")
    assert "'holiday'" in str(caught.value)


@pytest.mark.parametrize(
    "odd", [np.zeros((16, 16, 3), np.float32), np.zeros((16, 16), np.uint8), np.zeros((16, 16, 4), np.uint8)]
)
def test_frames_of_another_kind(odd: np.ndarray) -> None:
    plain = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(VSRError, match="clip 'c' frame 1: the restored frame is .* give .H, W, 3. uint8 RGB"):
        score([plain, odd], [plain, plain], protocols.get("y"))
    with pytest.raises(VSRError, match="clip 'c' frame 0: the true frame is"):
        score([plain], [odd], protocols.get("y"))


def test_more_frames_than_announced() -> None:
    with pytest.raises(VSRError, match="clip 'c' has 7 frames but 8 were announced"):
        score_clip(CLIP, CLIP, protocols.get("y"), clip="c", frames=8)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_scores(made: None, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(Counting, "add", lambda *_: value)
    with pytest.raises(VSRError, match=f"clip 'c' frame 0: frame_protocol is {value}"):
        score(CLIP, CLIP, protocols.get("y"), "frame_protocol")


def test_a_metric_that_fails_says_where(made: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise VSRError("there is nothing to see.")

    monkeypatch.setattr(Counting, "finish", fail)
    with pytest.raises(VSRError, match="^clip 'c', clip_luma: there is nothing to see.$"):
        score(CLIP, CLIP, protocols.get("y"), "clip_luma")
    monkeypatch.setattr(Counting, "add", fail)
    with pytest.raises(VSRError, match="^clip 'c' frame 0, clip_luma: there is nothing to see.$"):
        score(CLIP, CLIP, protocols.get("y"), "clip_luma")


def test_means_of_several_protocols_are_refused() -> None:
    frame = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(VSRError, match="2 protocols"):
        summarise([score([frame], [frame], protocols.get(name)) for name in ("y", "rgb")], {})
    with pytest.raises(VSRError, match="0 protocols"):
        summarise([], {})
