"""Training at any scale: sizes that are drawn, LR against the degradation, and resumed runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moving import HEIGHT, WIDTH, training
from torch import Tensor, nn

import models
from models.parts.resize import imresize_to
from pipelines import params
from pipelines.clips.store import Store
from pipelines.degradations import recipes
from pipelines.errors import VSRError
from pipelines.params import Scales, Training
from pipelines.training import loop
from pipelines.training.any_scale import AnyScaleRestoration, any_scale_task, pair
from pipelines.training.crops import AnyScaleCrops, Window
from pipelines.training.losses import charbonnier

pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(**changes: object) -> Training:
    return training(**{"parts": [], "scales": {"low": 1, "high": 4}, "batch": 2, **changes})


class Enlarged(models.Network):
    """Bicubic interpolation to any size times a learnt gain; remembers the sizes."""

    name = "enlarged"

    scale = 4
    any_scale = True

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.sizes: list[tuple[tuple[int, ...], tuple[int, int]]] = []

    def forward(self, clip: Tensor, size: tuple[int, int]) -> Tensor:
        self.sizes.append((tuple(clip.shape[-2:]), size))
        return self.gain * imresize_to(clip, size)


@settings(max_examples=60, deadline=None)
@given(step=st.integers(0, 10**6), seed=st.integers(-5, 10**12), low=st.floats(1, 2.5), more=st.floats(0, 1.5))
def test_a_step_has_one_size_for_all_workers(hr: Store, step: int, seed: int, low: float, more: float) -> None:
    scales = Scales(low=low, high=low + more)
    crops = AnyScaleCrops(hr, split="train", crop=8, scales=scales, clip_length=3, seed=seed)
    (whole,) = crops.batch(step, range(2)).values()
    side = whole.shape[-1]
    assert whole.shape == (2, 3, 3, side, side) and whole.dtype == torch.uint8 and side == crops.side(step)
    assert 8 * low - 0.5 <= side <= 8 * scales.high + 0.5
    for index in range(2):
        (alone,) = AnyScaleCrops(hr, split="train", crop=8, scales=scales, clip_length=3, seed=seed).batch(step, [index]).values()
        assert torch.equal(alone[0], whole[index])


def test_sizes_are_drawn_evenly_and_apart_from_crops(hr: Store) -> None:
    crops = AnyScaleCrops(hr, split="train", crop=16, scales=Scales(low=1, high=4), clip_length=3, seed=0)
    sides = np.array([crops.side(step) for step in range(2000)])
    assert sides.min() == 16 and sides.max() == 64
    # Four standard errors of the mean, and of a quarter's share, of an even distribution.
    assert abs(sides.mean() / 16 - 2.5) < 4 * 3 / math.sqrt(12 * 2000)
    assert abs((sides < 28).mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 2000)
    # Which clip and frame the first crop of a step is of says nothing of its size.
    firsts = [np.random.default_rng([0, step, 0]).random() for step in range(2000)]
    assert abs(np.corrcoef(firsts, sides)[0, 1]) < 0.1


def test_hr_crops_are_windows_of_the_clips(hr: Store) -> None:
    """One of eight orientations of a window of three frames in a row."""
    crops = AnyScaleCrops(hr, split="train", crop=8, scales=Scales(low=2, high=2), clip_length=3, seed=1)
    stacks = {name: hr.read(name) for name in ("a", "b")}
    for index in range(6):
        sample = crops.sample(0, index)["hr"].numpy().transpose(0, 2, 3, 1)
        turns = [
            view
            for turned in (sample, sample.swapaxes(1, 2))
            for view in (turned, turned[:, ::-1], turned[:, :, ::-1], turned[:, ::-1, ::-1])
        ]
        corners = {tuple(turned[0, 0, 0]) for turned in turns}
        found = any(
            np.array_equal(stack[t : t + 3, y : y + 16, x : x + 16], turned)
            for stack in stacks.values()
            for t in range(len(stack) - 2)
            for y in range(HEIGHT - 15)
            for x in range(WIDTH - 15)
            if tuple(stack[t, y, x]) in corners
            for turned in turns
        )
        assert found


@settings(max_examples=30, deadline=None)
@given(step=st.integers(0, 10**4))
def test_lr_is_what_the_degradation_makes(hr: Store, step: int) -> None:
    """To the bit, of all scales that are drawn."""
    task = AnyScaleRestoration(Enlarged(), recipe(), hr)
    (batch,) = task.batch(step, range(2)).values()
    side = batch.shape[-1]
    lr, truth = pair(batch, (8, 8))
    assert lr.shape == (2, 3, 3, 8, 8) and lr.dtype == truth.dtype == torch.float32
    assert torch.equal(truth, batch.float() / 255)
    for clip, expected in zip(batch, lr, strict=True):
        frames = list(clip.permute(0, 2, 3, 1).numpy())
        made, drawn = recipes.degrade(
            [params.Bicubic(op="bicubic", scale=side / 8)], frames, degradation="x", clip="y", count=3, size=(side, side), fps=25
        )
        assert drawn["crop"] == [side, side]
        assert np.array_equal(np.stack(list(made)), (expected * 255).round().byte().permute(0, 2, 3, 1).numpy())


def test_the_loss_is_that_of_the_size_of_hr(hr: Store) -> None:
    network = Enlarged()
    task = AnyScaleRestoration(network, recipe(), hr)
    for step in range(3):
        (batch,) = task.batch(step, range(2)).values()
        loss = task.loss(network, {"hr": batch})
        size = tuple(batch.shape[-2:])
        assert network.sizes[-1] == ((8, 8), size)
        lr, truth = pair(batch, (8, 8))
        assert torch.equal(loss, charbonnier(imresize_to(lr, size), truth))


def test_validation_is_at_whole_scales(hr: Store) -> None:
    """A network that is bicubic gains nothing; one that is darker loses."""
    network = Enlarged()
    task = AnyScaleRestoration(network, recipe(), hr)
    with torch.no_grad():
        metrics, images = task.validate(network, torch.device("cpu"), 0)
        assert set(metrics) == {"psnr_x2", "psnr_x3", "psnr_x4", "psnr", "gain"}
        assert metrics["gain"] == pytest.approx(0, abs=0.01)
        assert metrics["psnr"] == pytest.approx(np.mean([metrics[f"psnr_x{scale}"] for scale in (2, 3, 4)]))
        assert metrics["psnr_x2"] > metrics["psnr_x3"] > metrics["psnr_x4"]
        assert network.sizes == [((32, 48), (64, 96)), ((21, 32), (63, 96)), ((16, 24), (64, 96))]
        assert set(images) == {"v/lr", "v/bicubic", "v/restored", "v/truth"} and images["v/lr"].shape == (16, 24, 3)
        assert np.array_equal(images["v/truth"], hr.frame("v", 3))
        network.gain.fill_(0.8)
        assert task.validate(network, torch.device("cpu"), 2)[0]["gain"] < -1
    sizes = [scale for scale in (2, 3, 4, 5)]
    for low, high, whole in ((1, 4.9, sizes[:3]), (2.5, 3, [3]), (1, 2, [2])):
        network = Enlarged()
        task = AnyScaleRestoration(network, recipe(scales={"low": low, "high": high}), hr)
        with torch.no_grad():
            found, _ = task.validate(network, torch.device("cpu"), 0)
        assert [name for name in found if "_x" in name] == [f"psnr_x{scale}" for scale in whole]


def test_the_middle_is_a_multiple(hr: Store) -> None:
    window = Window.middle(hr.clips["v"], 3, 50, multiple=4)
    assert (window.height, window.width, window.top, window.left, list(window.frames)) == (48, 48, 8, 24, [2, 3, 4])


def test_what_does_not_fit(hr: Store) -> None:
    with pytest.raises(VSRError, match=r"clip 'a' .* is 96x64, smaller than `crop` 17 at scale 4"):
        AnyScaleRestoration(Enlarged(), recipe(crop=17), hr)
    AnyScaleRestoration(Enlarged(), recipe(crop=16), hr)
    with pytest.raises(VSRError, match="fewer than `clip_length` 7"):
        AnyScaleRestoration(Enlarged(), recipe(clip_length=7), hr)
    with pytest.raises(VSRError, match="none to validate at"):
        AnyScaleRestoration(Enlarged(), recipe(scales={"low": 1.2, "high": 1.9}), hr)
    with pytest.raises(VSRError, match="has no `scales`"):
        AnyScaleRestoration(Enlarged(), recipe(scales=None), hr)
    with pytest.raises(VSRError, match="basicvsr does not restore clips at any scale"):
        any_scale_task("basicvsr", {"channels": 4, "blocks": 1}, recipe(), hr.path)


@pytest.mark.parametrize("name", ["basicvsr_metasr", "basicvsr_dcgu"])
def test_a_resumed_run_ends_with_the_same_bits(hr: Store, tmp_path: Path, name: str) -> None:
    chosen = recipe(batch=1, initial="near_base", recompute=True, parts=[{"prefix": "spynet.", "rate": 0.5, "frozen": 2}])

    def build() -> AnyScaleRestoration:
        return any_scale_task(name, {"channels": 4, "blocks": 1, "hidden": 8}, chosen, hr.path)

    def keep(step: int, state: loop.State) -> None:
        loop.save(state, tmp_path / f"{step}.pt")

    whole = loop.fit(build(), chosen, on_checkpoint=keep)
    resumed = loop.fit(build(), chosen, resume=loop.load(tmp_path / "2.pt"))
    for part in ("network", "average"):
        assert all(torch.equal(value, resumed[part][key]) for key, value in whole[part].items())
