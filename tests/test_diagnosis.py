"""What `vsr diagnose` reads and estimates, against what was done; and the recipe that it writes."""

from __future__ import annotations

import difflib
import json
import math
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from front_door import Vsr, error, moving, put, tree

from pipelines import params
from pipelines.clips import footage, video
from pipelines.clips.video import quantisers
from pipelines.degradations import filtering, recipes
from pipelines.degradations.jpeg import jpeg
from pipelines.diagnosis import Diagnosis, Estimate, Unknown, coding, diagnose, estimator, frames, recipe
from pipelines.diagnosis import noise as kinds
from pipelines.diagnosis.look import eight, look, luma
from pipelines.diagnosis.spectra import mirrored, spectra, transposed
from pipelines.errors import VSRError

RATE = Fraction(25)


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    """A window that moves over a picture which nothing was fitted to: (216, 384, 3) uint8 frames that all differ."""
    picture = skimage.data.immunohistochemistry()
    return [np.ascontiguousarray(picture[40 + 2 * t : 256 + 2 * t, 20 + 3 * t : 404 + 3 * t]) for t in range(16)]


def tensor(clip: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(clip)).permute(0, 3, 1, 2).double()


def pixels(clip: torch.Tensor) -> list[np.ndarray]:
    return list(clip.add(0.5).floor().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy())


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    generator = np.random.default_rng(0)
    measured = spectra([128 + 7 * generator.standard_normal((256, 256))])
    assert measured is not None
    inside = np.abs(np.fft.fftfreq(16)) > 0.1
    assert np.exp(measured[1, 0][inside][:, inside]).mean() == pytest.approx(49, rel=0.2)
    assert (measured[:, 0] >= measured[:, 1]).all()  # the mean of a logarithm is below that of the mean


def test_spectra_turn_as_frames_do(clip: list[np.ndarray]) -> None:
    light = luma(clip[0])[:208, :208]
    measured = spectra([light])
    assert measured is not None
    np.testing.assert_allclose(spectra([light.T]), transposed(measured), atol=1e-3)
    mirror = spectra([light[:, ::-1]])  # the window's middle is a pixel's, so that it lies a little otherwise on a mirrored patch
    assert mirror is not None
    away = [np.abs(mirror - other)[1:].mean() for other in (mirrored(measured), measured)]
    assert away[0] < 0.1 and away[0] < away[1] / 2


def test_too_small_a_clip_says_nothing() -> None:
    assert spectra([np.zeros((64, 64))]) is None and spectra([np.full((8, 8), 9.0)]) is None


def test_the_axes_of_a_kernel_and_back() -> None:
    from pipelines.diagnosis.fitting import log_covariance

    for sigma_x, sigma_y, theta in ((2.0, 0.7, 0.3), (1.5, 1.4, -1.2), (3.0, 0.5, math.pi / 2)):
        assert estimator.axes(np.array(log_covariance(sigma_x, sigma_y, theta))) == pytest.approx((sigma_x, sigma_y, theta))


def test_blur_and_noise_of_a_clip_that_was_not_learnt_from(clip: list[np.ndarray]) -> None:
    sigmas = (2.4, 1.0, 0.6)
    shape = filtering.block_kernel(19, *sigmas, 1)
    blurred = pixels(filtering.anisotropic(tensor(clip[:3]), shape[None], 1))
    found = estimator.estimate(spectra(map(luma, blurred)), None)
    blur = estimator.blur(found)
    for name, truth in (("sigma_x", 2.4), ("sigma_y", 1.0)):
        assert blur[name].value == pytest.approx(truth, rel=0.35)
        assert blur[name].low < blur[name].value < blur[name].high
    assert blur["theta"].value == pytest.approx(0.6, abs=math.radians(15))
    assert estimator.noise(found).value < 1.5
    loud = [
        np.clip(each + np.random.default_rng(1).normal(0, 12, each.shape[:2])[..., None], 0, 255).astype(np.uint8)
        for each in blurred
    ]
    assert estimator.noise(estimator.estimate(spectra(map(luma, loud)), None)).value == pytest.approx(12, rel=0.25)


def kind(frames: list[np.ndarray], sigma: float) -> str | Unknown:
    return kinds.kind(kinds.of_luma(frames), sigma)


def grey(frames: list[np.ndarray]) -> bool:
    return kinds.grey(kinds.of_luma(frames), frames)


def test_kinds_of_noise(clip: list[np.ndarray]) -> None:
    generator = np.random.default_rng(2)
    ramp = np.broadcast_to(np.linspace(20, 220, 384)[None, :, None], (216, 384, 3))
    own = [np.clip(ramp + generator.normal(0, 8, ramp.shape), 0, 255).astype(np.uint8) for _ in range(3)]
    same = [np.clip(ramp + generator.normal(0, 8, ramp.shape[:2])[..., None], 0, 255).astype(np.uint8) for _ in range(3)]
    shot = [np.clip(generator.poisson(ramp), 0, 255).astype(np.uint8) for _ in range(3)]
    assert kind(own, 8) == kind(same, 8) == "gaussian" and kind(shot, 10) == "shot"
    assert isinstance(kind(own, 0.2), Unknown)
    assert grey(same) and not grey(own)


@pytest.mark.parametrize("quality", [35, 80])
def test_the_quality_of_jpeg(clip: list[np.ndarray], quality: int) -> None:
    assert isinstance(coding.jpeg(clip[:2]), Unknown)
    found = coding.jpeg(pixels(jpeg(tensor(clip[:2]), [quality] * 2)))
    assert isinstance(found, Estimate) and found.value == quality


def test_frames_that_are_there_twice_and_cuts(clip: list[np.ndarray]) -> None:
    order = [0, 1, 1, 2, 3, 4, 4, 4, 5, 6, 7]
    seen = look([clip[index] for index in order], len(order), "clip")
    assert frames.doubled(seen) == [2, 6, 7]
    other = [255 - frame[::-1] for frame in clip[:8]]
    assert frames.cuts(look([*clip[:8], *other], 16, "clip")) == [8]


def test_more_bits_are_rounded_to_eight() -> None:
    levels = np.arange(256, dtype=np.uint16)
    np.testing.assert_array_equal(eight(257 * levels), levels)
    assert eight(np.array([128, 129], np.uint16)).tolist() == [0, 1] and eight(levels.astype(np.uint8)) is not None


def test_fields(clip: list[np.ndarray]) -> None:
    woven = [np.where(np.arange(216)[:, None, None] % 2, after, now) for now, after in zip(clip[:-4:2], clip[3::2], strict=False)]
    said = [frames.fields(look(made, len(made), "clip")) for made in (woven, clip)]
    assert [each["kind"] for each in said if isinstance(each, dict)] == ["interlaced", "progressive"]
    still = look([clip[0]] * 4, 4, "clip")
    assert isinstance(frames.fields(still), Unknown)


def test_borders_and_levels(clip: list[np.ndarray]) -> None:
    boxed = [np.pad(frame // 2 + 30, ((12, 10), (6, 0), (0, 0))) for frame in clip[:3]]
    seen = look(boxed, 3, "clip")
    assert frames.letterbox(seen) == {"top": 12, "bottom": 10, "left": 6, "right": 0}
    said = frames.levels(seen)
    lines = 1 - 216 * 384 / (238 * 390)
    assert said["black"] == pytest.approx(lines, abs=1e-3) and said["white"] == 0 and said["high"] <= 158


@pytest.mark.parametrize("factor", [17, 33])
def test_the_rate_factor_from_the_message_and_without(clip: list[np.ndarray], tmp_path: Path, factor: int) -> None:
    import ffmpeg

    from pipelines.clips.video.process import find_binary

    path, silent = tmp_path / "clip.mp4", tmp_path / "silent.mp4"
    video.encode(clip, path, RATE, video.coding(path, None, "h264", factor))
    ffmpeg.input(str(path)).output(str(silent), codec="copy", **{"bsf:v": "filter_units=remove_types=6"}).run(
        find_binary(), quiet=True
    )
    told, mute = quantisers.stream(path, RATE), quantisers.stream(silent, RATE)
    assert coding.crf(told) == Estimate.exact(factor) and mute.settings is None
    alone = coding.crf(mute)
    assert isinstance(alone, Estimate) and abs(alone.value - factor) <= 2
    assert told.bit_rate > mute.bit_rate and told.kinds[0] == "I" and told.keys[0] == 0
    quantiser = coding.quantiser(told)
    assert isinstance(quantiser, Estimate) and quantiser.low <= quantiser.value <= quantiser.high
    assert isinstance(coding.crf(None), Unknown)


@pytest.fixture(scope="module")
def found(clip: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Diagnosis:
    path = tmp_path_factory.mktemp("found") / "tape.mp4"
    video.encode(clip, path, RATE, video.coding(path, None, "h264", 24))
    return diagnose(next(iter(footage.open_source(path).values())))


def test_what_is_said(found: Diagnosis) -> None:
    said = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert (said["codec"], said["fps"], said["variable_rate"], said["size"], said["frames"]) == (
        "h264",
        25,
        False,
        [216, 384],
        16,
    )
    assert said["crf"] == {"value": 24, "low": 24, "high": 24} and set(said["blur"]) == {"sigma_x", "sigma_y", "theta"}
    assert said["jpeg"] is None and "jpeg" in said["unknown"]
    assert all(said[name] is None for name in said["unknown"] if name in said)


def copied(folder: Path) -> Path:
    (folder / "recipes").mkdir()
    for name in ("params.yaml", *map(str, params.FILES.values())):
        shutil.copy(params.ROOT / name, folder / name)
    return folder / "params.yaml"


def test_a_recipe_is_added_and_the_rest_stays(found: Diagnosis, clip: list[np.ndarray], tmp_path: Path) -> None:
    path = copied(tmp_path)
    before = path.read_text()
    assert "mine" in recipe.add(path, "mine", [found], 4)
    gone = [line for line in difflib.ndiff(before.splitlines(), path.read_text().splitlines()) if line.startswith("- ")]
    assert len(gone) == 2 and all(", " in line and "degradations:" in line for line in gone)  # two lists have grown
    known = params.load(path)
    assert known.degradations[-1] == known.tests.degradations[-1] == "mine" and known.suites["mine"].degradations == ["mine"]
    made = known.recipes["mine"]
    blur = found.found["blur"]
    assert isinstance(made[0], params.Anisotropic) and made[0].sigma_x == pytest.approx(4 * blur["sigma_x"].value, abs=1e-3)
    assert isinstance(made[-1], params.X264) and made[-1].crf == 24
    lr, _ = recipes.degrade(made, clip[:3], degradation="mine", clip="c", count=3, size=(216, 384), fps=RATE)
    assert [frame.shape for frame in lr] == [(54, 96, 3)] * 3
    for name in ("mine", "bi_x4"):
        with pytest.raises(VSRError, match="choose another name"):
            recipe.add(path, name, [found], 4)
    whole = {file: file.read_bytes() for file in tmp_path.rglob("*.yaml")}
    with pytest.raises(VSRError, match="lower-case"):
        recipe.add(path, "My own", [found], 4)
    assert whole == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_several_clips_give_ranges(found: Diagnosis, tmp_path: Path) -> None:
    other = dict(found.found, crf=Estimate.exact(31), blur={**found.found["blur"], "sigma_x": Estimate(2.0, 1.5, 2.5)})
    two = [found, Diagnosis("other", found.facts, other, found.seen, found.measured, found.stream)]
    path = copied(tmp_path)
    recipe.add(path, "ours", two, 4)
    first, *_, last = params.load(path).recipes["ours"]
    assert isinstance(first, params.Anisotropic) and isinstance(first.sigma_x, params.Range) and first.sigma_x.high == 8
    assert isinstance(last, params.Choice) and [option.steps[0].crf for option in last.of] == [24, 31]  # type: ignore[union-attr]


def test_a_list_in_block_style_grows_too(found: Diagnosis, tmp_path: Path) -> None:
    path = copied(tmp_path)
    text = path.read_text()
    names = params.load(path).degradations
    line = next(line for line in text.splitlines() if line.startswith("degradations:"))
    path.write_text(text.replace(line, "degradations:\n" + "\n".join(f"  - {name}" for name in names)))
    recipe.add(path, "mine", [found], 4)
    assert params.load(path).degradations == [*names, "mine"]


def test_the_command(vsr: Vsr, found: Diagnosis, clip: list[np.ndarray], tmp_path: Path) -> None:
    put(tmp_path / "scans", clip[:4])
    done = vsr("diagnose", tmp_path / "scans", "--json", "--picture", tmp_path / "look.png")
    assert done.code == 0
    said = json.loads(done.out)["clips"]["scans"]
    assert said["codec"] is None and "crf" in said["unknown"] and said["blur"]["sigma_x"]["value"] > 0
    assert (tmp_path / "look.png").read_bytes()[:4] == b"\x89PNG"
    shown = vsr("diagnose", tmp_path / "scans")
    assert shown.code == 0 and "blur" in shown.out and "cannot tell" in shown.out


def test_bad_input_is_one_sentence(vsr: Vsr, tmp_path: Path) -> None:
    put(tmp_path / "one", moving(1, 64, 96))
    put(tmp_path / "black", [np.zeros((64, 96, 3), np.uint8)] * 3)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    picture = next((tmp_path / "one").iterdir())
    before = tree(tmp_path)
    for name, words in (
        (picture, "is a picture"),
        (tmp_path / "one", "a single frame"),
        (tmp_path / "black", "is black"),
        (tmp_path / "empty.mp4", "is empty"),
        (tmp_path / "noise.mp4", "noise.mp4"),
    ):
        assert words in error(vsr("diagnose", name, "--recipe", "mine"))
    assert tree(tmp_path) == before


def test_blur_of_real_frames(shared_data: Path) -> None:
    """A few of the draws that docs/diagnose.md has the table of."""
    (walk,) = footage.open_source(shared_data / "Vid4" / "GT" / "walk").values()
    real = [frame for frame, _ in zip(walk.frames(), range(3), strict=False)]
    away, turned = [], []
    for sigmas in ((3.5, 1.8, 0.5), (2.6, 2.0, -1.0), (3.8, 2.6, 1.3)):
        small = filtering.anisotropic(tensor(real), filtering.block_kernel(27, *sigmas, 4)[None], 4)
        blur = estimator.blur(estimator.estimate(spectra(map(luma, pixels(small))), None))
        away += [abs(4 * blur[name].value / truth - 1) for name, truth in zip(("sigma_x", "sigma_y"), sigmas, strict=False)]
        if isinstance(blur["theta"], Estimate) and sigmas[0] > 1.4 * sigmas[1]:
            off = abs(blur["theta"].value - sigmas[2]) % math.pi
            turned.append(math.degrees(min(off, math.pi - off)))
    assert np.median(away) < 0.15 and np.median(turned) < 15
