"""Latent diffusion as it is trained: the autoencoder, then what learns on its latents, each begun with the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moving import FRAMES, MOTION, SPLITS, hr_store, lr_store, schedule, store, training
from test_networks import TINY

import models
from pipelines import networks
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.params import Own
from pipelines.restoring.restore import restore
from pipelines.training import product
from pipelines.training.autoencoding import autoencoding_task
from pipelines.training.loop import fit
from pipelines.training.restoration import restoration_task
from pipelines.training.starting import begin_with
from pipelines.training.state import final_weights

pytest.importorskip("diffusers")
torch.set_num_threads(1)

AUTOENCODER: dict[str, Any] = {
    "channels": [4, 4, 8],
    "layers": 1,
    "latents": 4,
    "groups": 2,
    "attention": False,
    "base": "bicubic",
}


def flow_store(lr: Store, path: Path) -> Store:
    """The motion of the clips, a fourth of that of HR; nothing leads out of a clip."""
    clips = {}
    for name, clip in lr.clips.items():
        size = (clip.attributes.height, clip.attributes.width, 2)
        still, moved = np.zeros(size, np.float32), np.broadcast_to(MOTION / 4, size).astype(np.float32)
        ends = clip.frames - 1
        clips[name] = (
            SPLITS[name],
            [{"flow_forward": moved if t < ends else still, "flow_backward": -moved if t else still} for t in range(clip.frames)],
        )
    return store(path, clips)


def kept(folder: Path, name: str, network: str, options: dict[str, Any], state: Any) -> Path:
    """What a stage leaves of a training."""
    trained = networks.create(network, **options)
    trained.load_state_dict(final_weights(state))
    record = {"name": name, "notes": [f"{name} trained"], "params": {}}
    product.write(folder / name, trained, record)
    return folder / name


def test_every_stage_begins_with_the_one_before(tmp_path: Path) -> None:
    hr = hr_store(tmp_path / "hr")
    lr = lr_store(hr, tmp_path / "lr")
    flow = flow_store(lr, tmp_path / "flow")
    plan = schedule(iterations=30, batch=2, crop=16, clip_length=1, rate=3e-3, ema=None, validate_every=30)
    plain = {**AUTOENCODER, "base": "none"}
    task, psnr = autoencoding_task(plain, plan, hr.path), []
    state = fit(task, plan, on_validate=lambda step, metrics, images: psnr.append(metrics["psnr"]))
    assert psnr[-1] > psnr[0] + 3
    vae = kept(tmp_path, "latents", "autoencoder", plain, state)

    recipe = {"iterations": 2, "batch": 1, "crop": 8, "clip_length": 3, "validate_every": 2}
    own = {name: Own(kind="own", weight=1, of=name) for name in ("noise", "velocity", "frequency")}
    frozen = [{"prefix": "vae.", "rate": 0, "frozen": 0}]
    first = {**TINY["sdatc_mini"], "stage": "denoiser"}
    learning = training(**recipe, losses=[own["noise"], {"kind": "l1", "weight": 1, "of": "cleaned"}], groups=frozen)
    states = []
    for _ in range(2):
        task = restoration_task("sdatc_mini", first, learning, hr.path, lr.path, vae, {"flow": flow.path})
        states.append(fit(task, learning))
    one, again = (final_weights(state) for state in states)
    assert all(torch.equal(one[key], again[key]) for key in one)
    before = networks.load(vae / product.WEIGHTS).state_dict()
    assert all(torch.equal(one[f"vae.{key}"], value) for key, value in before.items())
    denoiser = kept(tmp_path, "denoiser", "sdatc_mini", first, states[0])

    groups = [{"prefix": "", "rate": 0, "frozen": 0}, {"prefix": "cfw.", "rate": 1, "frozen": 0}]
    learning = training(**recipe, losses=[{"kind": "l1", "weight": 1}], groups=groups)
    task = restoration_task("sdatc_mini", TINY["sdatc_mini"], learning, hr.path, lr.path, denoiser, {"flow": flow.path})
    found = []
    after = final_weights(fit(task, learning, on_validate=lambda step, metrics, images: found.append(metrics["psnr"])))
    assert len(found) == 2 and all(torch.equal(one[key], after[key]) for key in one)
    assert not torch.equal(after["cfw.1.correct.4.weight"], torch.zeros_like(after["cfw.1.correct.4.weight"]))

    learning = training(**recipe, losses=[own["velocity"], own["frequency"]], groups=frozen)
    task = restoration_task("star_mini", TINY["star_mini"], learning, hr.path, lr.path, vae)
    assert final_weights(fit(task, learning))["denoiser.out.2.weight"].any()


def test_what_a_network_begins_with_is_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    product.write(tmp_path / "vae", networks.create("autoencoder", **AUTOENCODER), {"name": "vae", "notes": ["an autoencoder"]})
    network = models.create("star_mini", **TINY["star_mini"])
    note, random = begin_with(network, tmp_path / "vae")
    assert note == "its vae begins with vae (an autoencoder)" and random == ()


def test_crops_are_whole_latents(tmp_path: Path) -> None:
    hr = hr_store(tmp_path / "hr")
    with pytest.raises(VSRError, match="^`crop` is 18 and a latent 4 pixels wide: set it to a multiple of that.$"):
        autoencoding_task(AUTOENCODER, schedule(crop=18, clip_length=1), hr.path)


def test_long_clips_are_restored_as_a_whole(tmp_path: Path) -> None:
    """In the pipeline's passes, in 8 bits, twice the same."""
    lr = lr_store(hr_store(tmp_path / "hr"), tmp_path / "lr")
    network = models.create("star_mini", **{**TINY["star_mini"], "chunk": 3})
    clip = next(iter(lr.clips))
    first, again = (list(restore(network, lr.frames(clip), window=100, overlap=10)) for _ in range(2))
    assert len(first) == FRAMES and all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
