"""The networks that `vsr restore` runs and `vsr card` counts, by the options that choose them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from front_door import Vsr, cut, error, moving, nonsense, pngs, put, resized, round_half_up, tree

import models
from pipelines import params
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.priors import flows
from pipelines.training import product


def test_card(vsr: Vsr) -> None:
    found = json.loads(vsr("card", "basicvsr", "--json").out)
    assert set(found) == {"method", "parameters", "gmacs", "gmacs_without_deform"}
    assert found["method"] == "basicvsr" and found["parameters"] == 6_291_311
    assert abs(found["gmacs"] - 376.7) < 0.05 and found["gmacs"] == found["gmacs_without_deform"]
    plain = vsr("card", "bicubic", "--lr", "90x160").out
    assert plain.startswith("bicubic at 90x160, per frame") and re.search(r"parameters +0\n", plain)
    for size in ("180", "0x320", "axb", "180x-2"):
        assert "give height x width" in error(vsr("card", "basicvsr", "--lr", size))
    plus = vsr("card", "basicvsr_plusplus", "--lr", "32x32").out
    both = re.findall(r"GMAC +([\d.]+)\n|GMAC without deformable convolution +([\d.]+)\n", plus)
    assert len(both) == 2 and float(both[0][0]) > float(both[1][1])
    assert vsr("card", "bicubic", "--lr", "16x20", "--scale", 2.5).out.startswith("bicubic at 16x20 to 40x50, per frame")
    assert "basicvsr enlarges 4 times and no other" in error(vsr("card", "basicvsr", "--scale", 2))
    assert "unknown network 'basicvrs': did you mean 'basicvsr'?" in error(vsr("card", "basicvrs"))
    assert "spynet is a part of other networks" in error(vsr("card", "spynet"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small BasicVSR with random parameters."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    models.save(models.create("basicvsr", channels=4, blocks=1, upsample_channels=4), path)
    return path


def test_a_network_with_its_weights(vsr: Vsr, tmp_path: Path, tiny: Path) -> None:
    source = put(tmp_path / "lr", moving(4, 16, 20))
    assert vsr("restore", source, tmp_path / "sr", "--weights", tiny).code == 0
    clip = torch.from_numpy(np.stack(pngs(source))).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        expected = round_half_up(255 * models.load(tiny)(clip)[0].double()).permute(0, 2, 3, 1).numpy()
    for ours, theirs in zip(pngs(tmp_path / "sr"), expected, strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1
    passes = ("--window", 3, "--overlap", 1)
    assert vsr("restore", source, tmp_path / "passes", "--method", "basicvsr", "--weights", tiny, *passes).code == 0
    assert "give --weights FILE" in error(vsr("restore", source, tmp_path / "none"))
    assert [frame.shape for frame in pngs(tmp_path / "passes")] == [(64, 80, 3)] * 4


def test_a_protocol_restores_as_it_scores(vsr: Vsr, tmp_path: Path, tiny: Path) -> None:
    """A pass is the whole clip, longer than passes are by default; that of Vimeo-90K is shown it forwards and backwards."""
    source = put(tmp_path / "lr", moving(33, 16, 16))
    clip = torch.from_numpy(np.stack(pngs(source))).permute(0, 3, 1, 2)[None].float() / 255
    network = models.load(tiny)
    with torch.inference_mode():
        whole = network(clip)[0]
        both = network(torch.cat([clip, clip.flip(1)], dim=1))[0]
    mirrored = (both[:33] + both[33:].flip(0)) / 2
    for protocol, expected in (("reds4", whole), ("vimeo90k_t", mirrored)):
        target = tmp_path / protocol
        assert vsr("restore", source, target, "--weights", tiny, "--protocol", protocol).code == 0
        rounded = round_half_up(255 * expected.double()).permute(0, 2, 3, 1).numpy()
        for ours, theirs in zip(pngs(target), rounded, strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 1
    told = error(vsr("restore", source, tmp_path / "sr", "--weights", tiny, "--protocol", "red4"))
    assert "unknown protocol 'red4': did you mean 'reds4'?" in told
    told = error(vsr("restore", source, tmp_path / "sr", "--weights", tiny, "--protocol", "reds4", "--window", 5))
    assert "restores whole clips and frames" in " ".join(told.split())


def test_memory_that_does_not_reach(
    vsr: Vsr, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(tmp_path / "lr", moving(2))

    def exhausted(self: object, clip: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(type(models.load(tiny)), "forward", exhausted)
    before = tree(tmp_path)
    told = error(vsr("restore", source, tmp_path / "sr", "--method", "basicvsr", "--weights", tiny))
    assert "30 frames of 64x48 at once do not fit" in told and "--window" in told and tree(tmp_path) == before


def test_any_scale_and_tiles(vsr: Vsr, tmp_path: Path) -> None:
    source = put(tmp_path / "lr", moving(3, 20, 24))
    bicubic = ("--method", "bicubic")
    assert vsr("restore", source, tmp_path / "a", *bicubic, "--scale", 2.5).code == 0
    assert vsr("restore", source, tmp_path / "b", *bicubic, "--size", "50x60").code == 0
    assert vsr("restore", source, tmp_path / "c", *bicubic, "--scale", 2.5, "--tile", 16, "--tile-overlap", 3).code == 0
    assert pngs(tmp_path / "a")[0].shape == (50, 60, 3)
    for a, b, c, low in zip(*(pngs(tmp_path / name) for name in "abc"), pngs(source), strict=True):
        assert (a == b).all() and np.abs(a.astype(int) - c).max() <= 1
        assert np.abs(a.astype(int) - resized(low, 2.5)).max() <= 1
    assert vsr("restore", source, tmp_path / "d", *bicubic, "--size", "41x77").code == 0
    assert pngs(tmp_path / "d")[2].shape == (41, 77, 3)


def test_ways_to_run_a_network(vsr: Vsr, tmp_path: Path, tiny: Path) -> None:
    source = put(tmp_path / "lr", moving(3, 32, 40))
    network = ("--method", "basicvsr", "--weights", tiny)
    ways = {"plain": (), "half": ("--precision", "bfloat16")}
    made = {}
    for name, options in ways.items():
        assert vsr("restore", source, tmp_path / name, *network, *options).code == 0
        made[name] = np.stack(pngs(tmp_path / name)).astype(int)
    assert np.abs(made["half"] - made["plain"]).max() <= 4
    assert (made["half"] != made["plain"]).any()


def _guided(tmp: Path) -> Path:
    """A checkpoint of a small network that masks guide, with random parameters."""
    torch.manual_seed(0)
    network = models.create("seem_basicvsr", channels=4, blocks=1, upsample_channels=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    models.save(network, tmp / "guided.safetensors")
    return tmp / "guided.safetensors"


def test_masks_are_made_of_the_footage(vsr: Vsr, tmp_path: Path) -> None:
    from skimage.segmentation import felzenszwalb

    source, weights = put(tmp_path / "lr", moving(3, 24, 32)), _guided(tmp_path)
    words = ("--method", "seem_basicvsr", "--weights", weights, "--prior", "segments")
    assert vsr("restore", source, tmp_path / "sr", *words).code == 0
    model = params.load().priors["segments"]
    assert isinstance(model, params.Felzenszwalb)
    planes = torch.zeros(1, 3, 64, 24, 32)
    for t, frame in enumerate(pngs(source)):
        labels = felzenszwalb(frame, scale=model.scale, sigma=model.sigma, min_size=model.min_size, channel_axis=-1)
        masks = sorted((labels == label for label in np.unique(labels)), key=lambda mask: (-mask.sum(), np.flatnonzero(mask)[0]))
        planes[0, t, : len(masks)] = torch.from_numpy(np.stack(masks))
    clip = torch.from_numpy(np.stack(pngs(source))).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        network = models.load(weights)
        expected, without = (
            round_half_up(255 * network(clip, masks=x)[0]).permute(0, 2, 3, 1).numpy() for x in (planes, 0 * planes)
        )
    found = np.stack(pngs(tmp_path / "sr")).astype(int)
    assert np.abs(found - expected).max() <= 1 and np.abs(found - without).max() > 2


def _trained(folder: Path, name: str, prior: dict[str, Any], **options: Any) -> Path:
    """A network with random parameters as a stage leaves it, with the record of what it was trained with."""
    torch.manual_seed(0)
    network = models.create(name, channels=4, blocks=1, upsample_channels=4, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    product.write(folder, network, {"name": "trained", "notes": [], "prior": prior})
    return folder / product.WEIGHTS


def test_flow_is_that_which_the_network_was_trained_with(vsr: Vsr, tmp_path: Path) -> None:
    """By its record, without being named; frames are what the network makes of the flow that the stage would store."""
    model = params.load().priors["motion"]
    assert isinstance(model, params.Dis)
    prior = {"kind": "flow", "name": "motion", "model": model.model_dump()}
    weights = _trained(tmp_path / "trained", "basicvsr", prior, flow="given")
    source = put(tmp_path / "lr", moving(4, 24, 32))
    assert vsr("restore", source, tmp_path / "sr", "--weights", weights).code == 0
    frames = pngs(source)
    with ClipWriter(tmp_path / "parts", "clip", flows.SCALES) as writer:
        for frame in flows.Flows(model, "cpu").stream(frames, (24, 32)):
            writer.append(frame)
        writer.finish(ClipAttributes("test", 25.0, 24, 32))
    assemble(tmp_path / "parts", ["clip"], tmp_path / "flows")
    store = Store(tmp_path / "flows")
    ways = [store.read("clip", column=f"flow_{way}") for way in ("forward", "backward")]
    flow = torch.from_numpy(np.concatenate(ways, axis=3)).permute(0, 3, 1, 2)[None]
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255
    with torch.inference_mode():
        network = models.load(weights)
        expected, still = (round_half_up(255 * network(clip, flow=x)[0]).permute(0, 2, 3, 1).numpy() for x in (flow, 0 * flow))
    found = np.stack(pngs(tmp_path / "sr")).astype(int)
    assert np.abs(found - expected).max() <= 1 and np.abs(found - still).max() > 2


def test_another_prior_than_that_of_the_training_is_refused(vsr: Vsr, tmp_path: Path) -> None:
    source = put(tmp_path / "lr", moving(3, 24, 32))
    model = params.load().priors["segments"].model_dump()
    prior = {"kind": "masks", "name": "fine", "model": {**model, "scale": 30.0}}
    weights = _trained(tmp_path / "fine", "seem_basicvsr", prior)
    told = error(vsr("restore", source, tmp_path / "sr", "--weights", weights, "--prior", "segments"))
    assert re.search(r"was trained with fine \(.*scale 30.0.*\), and segments is another prior \(.*scale 60.0", told)
    assert "unknown prior 'fine'" in error(vsr("restore", source, tmp_path / "sr", "--weights", weights))
    same = _trained(tmp_path / "same", "seem_basicvsr", {**prior, "model": model})  # by another name
    assert vsr("restore", source, tmp_path / "sr", "--weights", same, "--prior", "segments").code == 0
    prior = {"kind": "rendered", "name": "rendered", "model": {"backend": "rendered"}}
    weights = _trained(tmp_path / "rendered", "basicvsr", prior, flow="given")
    told = error(vsr("restore", source, tmp_path / "no", "--weights", weights, "--prior", "segments"))
    assert "basicvsr sees flow, which footage brings and nothing computes: evaluate it on a rendered corpus" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (lambda tmp, tiny: ["bicubi"], "unknown network 'bicubi': did you mean 'bicubic'?"),
        (lambda tmp, tiny: ["spynet"], "spynet is a part of other networks"),
        (lambda tmp, tiny: ["basicvsr"], "basicvsr has to be trained: give its parameters with --weights FILE"),
        (
            lambda tmp, tiny: ["basicvsr", "--weights", tiny, "--scale", 2],
            "basicvsr enlarges 4 times and no other: leave --scale out",
        ),
        (
            lambda tmp, tiny: ["basicvsr", "--weights", tiny, "--size", "9x9"],
            "basicvsr enlarges 4 times and no other: leave --size",
        ),
        (lambda tmp, tiny: ["bicubic", "--scale", 2, "--size", "90x90"], "--scale and --size do not go together"),
        (lambda tmp, tiny: ["bicubic", "--scale", "inf"], "--scale is inf: give a number of at least 1"),
        (lambda tmp, tiny: ["bicubic", "--size", "90"], "--size is '90': give height x width"),
        (lambda tmp, tiny: ["bicubic", "--size", "90x0"], "--size is '90x0': give height x width"),
        (lambda tmp, tiny: ["bicubic", "--tile", 10], "tiles of 10 pixels with an overlap of 16: give multiples of 4"),
        (lambda tmp, tiny: ["bicubic", "--tile", 32], "give tiles of at least 36, or less overlap"),
        (
            lambda tmp, tiny: ["bicubic", "--size", "101x101", "--tile", 40],
            "48 pixels restored to 101 cannot be cut into tiles of 40",
        ),
        (lambda tmp, tiny: ["bicubic", "--precision", "bf16"], "unknown precision 'bf16': did you mean 'bfloat16'"),
        (lambda tmp, tiny: ["bicubic", "--prior", "segments"], "bicubic sees no prior of the frames: leave --prior out"),
        (
            lambda tmp, tiny: ["seem_basicvsr", "--weights", _guided(tmp)],
            "guided by masks: name what makes them with --prior, one of segments",
        ),
        (
            lambda tmp, tiny: ["seem_basicvsr", "--weights", _guided(tmp), "--prior", "segment"],
            "unknown prior 'segment': did you mean 'segments'",
        ),
        (
            lambda tmp, tiny: ["bicubic", "--weights", tiny],
            r"tiny\.safetensors looks like a checkpoint of basicvsr, not of bicubic",
        ),
        (lambda tmp, tiny: ["basicvsr", "--weights", tmp / "none.pth"], r"none\.pth does not exist"),
        (lambda tmp, tiny: ["basicvsr", "--weights", tmp], "does not exist|is a folder"),
        (lambda tmp, tiny: ["basicvsr", "--weights", nonsense(tmp / "a.pth")], r"a\.pth .*checkpoint"),
        (lambda tmp, tiny: ["basicvsr", "--weights", nonsense(tmp / "a.safetensors")], r"cannot be read as safetensors"),
        (lambda tmp, tiny: ["basicvsr", "--weights", cut(tiny, tmp / "b.safetensors")], r"b\.safetensors cannot be read"),
        (lambda tmp, tiny: ["bicubic", "--window", 5, "--overlap", 5], "window of at least 11"),
        (lambda tmp, tiny: ["bicubic", "--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_methods_that_cannot_run(
    vsr: Vsr, tmp_path: Path, tiny: Path, words: Callable[[Path, Path], list[object]], told: str
) -> None:
    source = put(tmp_path / "lr", moving(2))
    rest = words(tmp_path, tiny)
    before = tree(tmp_path)
    assert re.search(told, error(vsr("restore", source, tmp_path / "sr", "--method", *rest)))
    assert tree(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said(vsr: Vsr, tmp_path: Path) -> None:
    source = put(tmp_path / "lr", moving(2))
    assert "no CUDA device" in error(vsr("restore", source, tmp_path / "sr", "--method", "bicubic", "--device", "cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_what_the_cpu_does(vsr: Vsr, tmp_path: Path, tiny: Path) -> None:
    source = put(tmp_path / "lr", moving(4))
    for device in ("cpu", "cuda"):
        words = ("--method", "basicvsr", "--weights", tiny, "--device", device)
        assert vsr("restore", source, tmp_path / device, *words).code == 0
    for ours, theirs in zip(pngs(tmp_path / "cuda"), pngs(tmp_path / "cpu"), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1
