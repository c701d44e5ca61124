"""The numbers of `vsr score`: by their definitions, as published, and refused where they would mean nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from front_door import Vsr, cut, error, moving, pngs, put, resized
from PIL import Image
from skimage.metrics import structural_similarity


def quality(ours: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """PSNR and SSIM of luma, by NumPy and scikit-image."""
    one, other = (16 + (65.481 * a[..., 0] + 128.553 * a[..., 1] + 24.966 * a[..., 2]) / 255 for a in (ours, truth))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return 10 * np.log10(255**2 / np.mean((one - other) ** 2)), structural_similarity(one, other, **options)


def test_degrade_restore_score_by_their_definitions(vsr: Vsr, tmp_path: Path) -> None:
    clips = {"one": moving(3, 48, 64, 1), "two": moving(4, 52, 60, 2)}
    for name, frames in clips.items():
        put(tmp_path / "hr" / name, frames)
    assert vsr("degrade", tmp_path / "hr", tmp_path / "lr", "--recipe", "bi_x4").code == 0
    assert vsr("restore", tmp_path / "lr", tmp_path / "sr", "--method", "bicubic").code == 0
    expected = {}
    for name, frames in clips.items():
        low = [resized(frame, 1 / 4) for frame in frames]
        high = [resized(frame, 4) for frame in low]
        assert all((a == b).all() for a, b in zip(pngs(tmp_path / "lr" / name), low, strict=True))
        for ours, theirs in zip(pngs(tmp_path / "sr" / name), high, strict=True):
            off = np.abs(ours.astype(int) - theirs)  # the network computes in float32: a tie may round the other way
            assert off.max() <= 1 and np.mean(off > 0) < 1e-3
        pairs = [quality(a, b) for a, b in zip(high, frames, strict=True)]
        expected[name] = [float(np.mean(column)) for column in zip(*pairs, strict=True)]
    done = vsr("score", tmp_path / "sr", tmp_path / "hr", "--json")
    found = json.loads(done.out)
    assert set(found) == {"psnr", "ssim", "frames", "lossless", "skipped", "clips"} and list(found["clips"]) == ["one", "two"]
    assert (found["frames"], found["lossless"], found["skipped"]) == (7, 0, {})
    for name, (psnr, ssim) in expected.items():
        clip = found["clips"][name]
        assert set(clip) == {"psnr", "ssim", "frames", "lossless"} and clip["frames"] == len(clips[name])
        assert abs(clip["psnr"] - psnr) < 0.002 and abs(clip["ssim"] - ssim) < 1e-4
    for key, column in (("psnr", 0), ("ssim", 1)):  # clips count alike, whatever their length
        assert abs(found[key] - np.mean([value[column] for value in expected.values()])) < 0.002
    shown = vsr("score", tmp_path / "sr", tmp_path / "hr")
    assert re.search(r"^one: psnr \d+\.\d{4}, ssim 0\.\d{4} \(3 frames\)$", shown.out, re.MULTILINE)
    assert re.search(rf"^mean: psnr {found['psnr']:.4f}, ssim {found['ssim']:.4f} \(7 frames\)$", shown.out, re.MULTILINE)


def test_score_leaves_out_what_it_is_told_to(vsr: Vsr, tmp_path: Path) -> None:
    truth = moving(6)
    noisy = [frame ^ np.uint8(2 * index) for index, frame in enumerate(truth)]
    put(tmp_path / "sr", noisy)
    put(tmp_path / "gt", truth)
    found = json.loads(vsr("score", tmp_path / "sr", tmp_path / "gt", "--crop", 8, "--skip", 2, "--json").out)
    pairs = [quality(noisy[index][8:-8, 8:-8], truth[index][8:-8, 8:-8]) for index in (2, 3)]
    assert found["frames"] == 2 and list(found["clips"]) == ["gt"]
    assert abs(found["psnr"] - np.mean([psnr for psnr, _ in pairs])) < 1e-6
    assert abs(found["ssim"] - np.mean([ssim for _, ssim in pairs])) < 1e-6
    rgb = json.loads(vsr("score", tmp_path / "sr", tmp_path / "gt", "--channel", "rgb", "--metrics", "psnr", "--json").out)
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(noisy, truth, strict=True)]
    assert set(rgb) == {"psnr", "frames", "lossless", "skipped", "clips"} and rgb["lossless"] == 1
    values = [10 * np.log10(255**2 / value) if value else 100 for value in errors]  # an equal frame counts 100 dB
    assert abs(rgb["psnr"] - np.mean(values)) < 1e-9


def test_vid4_numbers(vsr: Vsr, tmp_path: Path, shared_data: Path) -> None:
    """Bicubic on two clips of Vid4; with the other two of the set it averages to the published 23.78 / 0.6347."""
    truth = shared_data / "Vid4/GT"
    assert vsr("degrade", truth, tmp_path / "lr", "--recipe", "bi_x4").code == 0
    assert vsr("restore", tmp_path / "lr", tmp_path / "sr", "--method", "bicubic").code == 0
    found = json.loads(vsr("score", tmp_path / "sr", truth, "--json").out)
    for clip, frames, psnr, ssim in (("calendar", 41, 20.394, 0.5720), ("walk", 47, 26.104, 0.7974)):
        value = found["clips"][clip]
        assert value["frames"] == frames
        assert abs(value["psnr"] - psnr) < 0.005 and abs(value["ssim"] - ssim) < 0.0002


def test_published_frames_score_as_published(vsr: Vsr, shared_data: Path) -> None:
    """DUF-52L's frames, whole and as its authors score (Jo et al., CVPR 2018)."""
    sr, gt = shared_data / "Vid4/published/DUF-52L_BDx4/calendar", shared_data / "Vid4/GT/calendar"
    whole = json.loads(vsr("score", sr, gt, "--json").out)
    assert whole["frames"] == 41 and abs(whole["psnr"] - 23.257) < 0.005 and abs(whole["ssim"] - 0.8073) < 0.0002
    inner = json.loads(vsr("score", sr, gt, "--crop", 8, "--skip", 2, "--json").out)
    assert inner == json.loads(vsr("score", sr, gt, "--protocol", "vid4_duf", "--json").out)
    assert whole == json.loads(vsr("score", sr, gt, "--protocol", "vid4", "--json").out)
    assert inner["frames"] == 37 and abs(inner["psnr"] - 24.090) < 0.005 and abs(inner["ssim"] - 0.8130) < 0.0002


def test_scores_that_mean_nothing(vsr: Vsr, tmp_path: Path) -> None:
    short, truth, other = (
        put(tmp_path / "short", moving(3)),
        put(tmp_path / "gt", moving(4)),
        put(tmp_path / "o", moving(4, 48, 60)),
    )
    tiny = put(tmp_path / "tiny", moving(2, 8, 8))
    put(tmp_path / "many/a", moving(2))
    put(tmp_path / "many/b", moving(2))
    put(tmp_path / "fewer/a", moving(2))
    put(tmp_path / "fewer/c", moving(2))
    for words, told in (
        ((truth, truth, "--channel", "yuv"), "unknown channel 'yuv'"),
        ((truth, truth, "--metrics", "psnr,ssmi"), "unknown metric 'ssmi': did you mean 'ssim'?"),
        ((truth, truth, "--protocol", "vid5"), "unknown protocol 'vid5': did you mean 'vid4'?"),
        ((truth, truth, "--protocol", "vid4", "--crop", 0), "--crop cannot be given beside --protocol vid4"),
        ((truth, truth, "--protocol", "y", "--channel", "y", "--skip", 1), "--channel and --skip cannot be given beside"),
        ((truth, truth, "--protocol", "vimeo90k_slow"), "give these clips alone, with --protocol vimeo90k_t"),
        ((truth, truth, "--protocol", "vimeo90k_fast_rgb"), "give these clips alone, with --protocol vimeo90k_rgb"),
        ((truth, truth, "--metrics", "ms_ssim"), "too small for protocol 'score' with ms_ssim: give frames of at least 176x176"),
        ((truth, truth, "--metrics", ""), "unknown metric ''"),
        ((truth, truth, "--skip", 2), "nothing is left to score"),
        ((truth, truth, "--crop", 20), "too small"),
        ((tiny, tiny), "too small"),
        ((short, truth), "the restored clip ends after 3 frames but its truth goes on"),
        ((truth, short), "the truth ends after 3 frames but the restored clip goes on"),
        ((other, truth), "restored is 60x48 but its truth is 64x48"),
        ((tmp_path / "fewer", tmp_path / "many"), "the restored footage lacks the clip 'b'"),
        ((tmp_path / "many/a", tmp_path / "many"), "the restored footage lacks the clip 'b'"),
        ((tmp_path / "many", tmp_path / "many/a"), "its truth lacks the clip 'b'"),
    ):
        assert told in error(vsr("score", *words, "--json"))


def test_a_clip_that_cannot_be_scored_costs_no_other(vsr: Vsr, tmp_path: Path) -> None:
    truth, other = moving(3), moving(3, seed=1)
    for name in ("corrupt", "counts", "fine", "glass", "grey", "sizes", "wide"):
        put(tmp_path / "gt" / name, truth)
        put(tmp_path / "sr" / name, other)
    shutil.rmtree(tmp_path / "sr/counts")
    put(tmp_path / "sr/counts", other[:2])
    shutil.rmtree(tmp_path / "sr/wide")
    put(tmp_path / "sr/wide", moving(3, 48, 66))
    cut(tmp_path / "sr/corrupt/001.png", tmp_path / "sr/corrupt/001.png")
    Image.fromarray(moving(1, 40, 40)[0]).save(tmp_path / "gt/sizes/002.png")
    Image.fromarray(np.dstack([other[1], other[1][..., :1]])).save(tmp_path / "sr/glass/001.png")
    for frames, folder in ((truth, tmp_path / "gt/grey"), (other, tmp_path / "sr/grey")):
        for index, frame in enumerate(frames):
            Image.fromarray(frame[..., 0]).save(folder / f"{index:03d}.png")
    done = vsr("score", tmp_path / "sr", tmp_path / "gt", "--json")
    assert done.code == 1 and "Traceback" not in done.err
    found = json.loads(done.out)
    assert list(found["clips"]) == ["fine", "grey"] and found["frames"] == 6
    grey = [np.repeat(frame[..., :1], 3, axis=2) for frame in (truth[0], other[0])]
    assert abs(found["clips"]["grey"]["psnr"] - quality(grey[1], grey[0])[0]) < 1
    assert set(found["failed"]) == {"corrupt", "counts", "glass", "sizes", "wide"}
    for clip, told in (
        ("corrupt", r"sr/corrupt/001\.png is damaged or cut short"),
        ("counts", "'counts': the restored clip ends after 2 frames but its truth goes on"),
        ("glass", r"sr/glass/001\.png has transparency"),
        ("sizes", r"gt/sizes/002\.png is 40x40 but 000\.png is 64x48"),
        ("wide", "'wide' frame 0: restored is 66x48 but its truth is 64x48"),
    ):
        assert re.search(told, found["failed"][clip])
        assert re.search(rf"\n  {clip}: .*{told}", done.err)
    assert "error: 5 of 7 clips failed, the others are scored:\n" in done.err
    shown = vsr("score", tmp_path / "sr", tmp_path / "gt").out.splitlines()
    assert [line.split(":")[0] for line in shown] == ["fine", "grey", "mean of 2 of 7 clips"]


def test_metrics_of_every_kind(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of frames, one of clips and one whose weights are not here."""
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    truth = moving(3, 64, 64)
    put(tmp_path / "gt/a", truth)
    put(tmp_path / "sr/a", [truth[0], *moving(2, 64, 64, seed=1)])
    put(tmp_path / "gt/b", truth)
    put(tmp_path / "sr/b", truth)
    words = "score", tmp_path / "sr", tmp_path / "gt", "--protocol", "rgb", "--metrics", "psnr,niqe,tof_farneback,psnr"
    found = json.loads(vsr(*words, "--json").out)
    assert set(found) == {"psnr", "tof_farneback", "frames", "lossless", "skipped", "clips"}
    assert found["clips"]["b"] == {"psnr": 100, "tof_farneback": 0, "frames": 3, "lossless": 3} and found["lossless"] == 4
    assert found["clips"]["a"]["tof_farneback"] > 0
    assert found["tof_farneback"] == found["clips"]["a"]["tof_farneback"] / 2
    assert list(found["skipped"]) == ["niqe"] and "put niqe_pris_params.npz from https://" in found["skipped"]["niqe"]
    shown = vsr(*words).out.splitlines()
    assert re.fullmatch(r"a: psnr \d+\.\d{4}, tof_farneback \d+\.\d{4} \(3 frames, 1 lossless\)", shown[0])
    assert shown[1] == "b: psnr 100.0000, tof_farneback 0.0000 (3 frames, 3 lossless)" and shown[2].startswith("mean: psnr ")
    assert shown[3] == f"skipped niqe: {found['skipped']['niqe']}" and len(shown) == 4
    assert "none of the metrics can be computed here (niqe: needs" in error(vsr(*words[:-1], "niqe"))


def test_list_of_metrics(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    entries = {entry["name"]: entry for entry in json.loads(vsr("score", "--list-metrics", "--json").out)}
    assert entries["psnr"]["unavailable"] is None and entries["psnr"]["better"] == "higher" and entries["psnr"]["reference"]
    assert entries["niqe"]["weights"] == ["niqe"] and entries["niqe"]["better"] == "lower" and not entries["niqe"]["reference"]
    assert entries["niqe"]["range"] == [0, None] and "non-commercial" in entries["musiq"]["licence"]
    shown = vsr("score", "--list-metrics").out
    for name, entry in entries.items():
        assert re.search(rf"^ *{name} .* {'no' if entry['unavailable'] else 'yes'} ", shown, re.MULTILINE)
    assert f"\nniqe cannot be computed here: {entries['niqe']['unavailable']}\n" in shown


def test_truth_that_gave_no_whole_lr_pixel_is_left_out(vsr: Vsr, tmp_path: Path) -> None:
    """102x70 is reduced to 25x17, and restored to 100x68: scored as what the upper left of the truth is."""
    frames = moving(2, 70, 102)
    put(tmp_path / "gt", frames)
    put(tmp_path / "part", [frame[:68, :100] for frame in frames])
    assert vsr("degrade", tmp_path / "gt", tmp_path / "lr", "--recipe", "crf25_x4").code == 0
    assert vsr("restore", tmp_path / "lr", tmp_path / "sr", "--method", "bicubic", "--window", 4).code == 0
    found = vsr("score", tmp_path / "sr", tmp_path / "gt")
    assert "of its truth 100x68 are scored" in found.err
    assert found.out.split(": ")[1:] == vsr("score", tmp_path / "sr", tmp_path / "part").out.split(": ")[1:]
    put(tmp_path / "less", [frame[:66, :98] for frame in frames])
    assert "give frames of one size" in error(vsr("score", tmp_path / "less", tmp_path / "gt"))
