"""Degradation inside the step: scales and recipes that are drawn, LR against the degradation, and resumed runs."""

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
from pipelines.monitoring import Images, Metrics
from pipelines.params import Training
from pipelines.training import loop
from pipelines.training.crops import Window
from pipelines.training.losses import charbonnier
from pipelines.training.restoration import Restoration, restoration_task
from pipelines.training.sources import Degraded
from pipelines.training.state import State, load, save

pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(low: float = 1, high: float = 4, **changes: object) -> Training:
    steps = [{"op": "bicubic", "scale": {"low": low, "high": high}}]
    return training(**{"groups": [], "degradation": steps, "batch": 2, **changes})


def made(network: models.Network, hr: Store, chosen: Training) -> Restoration:
    return Restoration(network, chosen, Degraded(chosen, hr))


def validated(task: Restoration, step: int = 0) -> tuple[Metrics, Images]:
    """What the loop makes of all views."""
    with torch.no_grad():
        return task.summary([task.validate(task.network, view, torch.device("cpu")) for view in task.views], step)


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
@given(step=st.integers(0, 10**6), seed=st.integers(0, 10**12), low=st.floats(1, 2.5), more=st.floats(1, 1.5))
def test_a_step_has_one_size_for_all_workers(hr: Store, step: int, seed: int, low: float, more: float) -> None:
    chosen = recipe(low, low + more, seed=seed)
    crops = Degraded(chosen, hr)
    whole = crops.batch(step, range(2))
    side = whole["hr"].shape[-1]
    assert whole["hr"].shape == (2, 3, 3, side, side) and whole["lr"].shape == (2, 3, 3, 8, 8) and side == crops.side(step)
    assert whole["hr"].dtype == whole["lr"].dtype == torch.float32 and 8 * low - 0.5 <= side <= 8 * (low + more) + 0.5
    for index in range(2):
        alone = Degraded(chosen, hr).batch(step, [index])
        assert all(torch.equal(alone[name][0], whole[name][index]) for name in ("lr", "hr"))


def test_sizes_are_drawn_evenly_and_apart_from_crops(hr: Store) -> None:
    crops = Degraded(recipe(crop=16), hr)
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
    batch = Degraded(recipe(2, 2, seed=1), hr).batch(0, range(6))["hr"]
    stacks = {name: hr.read(name) for name in ("a", "b")}
    for index in range(6):
        sample = (batch[index] * 255).round().byte().numpy().transpose(0, 2, 3, 1)
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
    batch = Degraded(recipe(), hr).batch(step, range(2))
    side = batch["hr"].shape[-1]
    for clip, expected in zip(batch["hr"], batch["lr"], strict=True):
        frames = list((clip * 255).round().byte().permute(0, 2, 3, 1).numpy())
        made, drawn = recipes.degrade(
            [params.Bicubic(op="bicubic", scale=side / 8)], frames, degradation="x", clip="y", count=3, size=(side, side), fps=25
        )
        assert drawn["crop"] == [side, side]
        assert np.array_equal(np.stack(list(made)), (expected * 255).round().byte().permute(0, 2, 3, 1).numpy())


def test_the_loss_is_that_of_the_size_of_hr(hr: Store) -> None:
    network = Enlarged()
    task = made(network, hr, recipe())
    for step in range(3):
        batch = task.batch(step, range(2))
        loss = task.loss("restorer", batch)["charbonnier"]
        height, width = batch["hr"].shape[-2:]
        assert network.sizes[-1] == ((8, 8), (height, width))
        assert torch.equal(loss, charbonnier(imresize_to(batch["lr"], (height, width)), batch["hr"]))


def test_validation_is_at_whole_scales(hr: Store) -> None:
    """A network that is bicubic gains nothing; one that is darker loses."""
    network = Enlarged()
    task = made(network, hr, recipe())
    with torch.no_grad():
        metrics, images = validated(task)
        assert set(metrics) == {"psnr_x2", "psnr_x3", "psnr_x4", "psnr", "gain"}
        assert metrics["gain"] == pytest.approx(0, abs=0.01)
        assert metrics["psnr"] == pytest.approx(np.mean([metrics[f"psnr_x{scale}"] for scale in (2, 3, 4)]))
        assert metrics["psnr_x2"] > metrics["psnr_x3"] > metrics["psnr_x4"]
        assert network.sizes == [((32, 48), (64, 96)), ((21, 32), (63, 96)), ((16, 24), (64, 96))]
        assert set(images) == {"v/lr", "v/bicubic", "v/restored", "v/truth"} and images["v/lr"].shape == (16, 24, 3)
        assert np.array_equal(images["v/truth"], hr.frame("v", 3))
        network.gain.fill_(0.8)
        assert validated(task, 2)[0]["gain"] < -1
    sizes = [scale for scale in (2, 3, 4, 5)]
    for low, high, whole in ((1, 4.9, sizes[:3]), (2.5, 3, [3]), (1, 2, [2])):
        found, _ = validated(made(Enlarged(), hr, recipe(low, high)))
        assert [name for name in found if "_x" in name] == [f"psnr_x{scale}" for scale in whole]


def test_the_middle_is_a_multiple(hr: Store) -> None:
    window = Window.middle(hr.clips["v"], 3, 50, multiple=4)
    assert (window.height, window.width, window.top, window.left, list(window.frames)) == (48, 48, 8, 24, [2, 3, 4])


def test_what_does_not_fit(hr: Store) -> None:
    with pytest.raises(VSRError, match=r"clip 'a' .* is 96x64, smaller than `crop` 17 at scale 4"):
        Degraded(recipe(crop=17), hr)
    Degraded(recipe(crop=16), hr)
    with pytest.raises(VSRError, match="fewer than `clip_length` 7"):
        Degraded(recipe(clip_length=7), hr)
    with pytest.raises(VSRError, match="none to validate at"):
        Degraded(recipe(1.2, 1.9), hr)
    options = {"channels": 4, "blocks": 1}
    with pytest.raises(VSRError, match="no `degradation` to make LR clips by"):
        restoration_task("basicvsr", options, training(), hr.path)
    with pytest.raises(VSRError, match="degrades HR clips in every step, and there are neither LR clips"):
        restoration_task("basicvsr", options, recipe(), hr.path, hr.path)
    with pytest.raises(VSRError, match="enlarges by 4 and the LR clips are smaller in every step by another scale"):
        restoration_task("basicvsr", options, recipe(), hr.path)
    with pytest.raises(VSRError, match="the network makes none in between"):
        every_second = training(degradation=[{"op": "temporal", "factor": 2, "window": 1}, {"op": "bicubic", "scale": 4}])
        restoration_task("basicvsr", options, every_second, hr.path)
    steps = [{"op": "bicubic", "scale": {"low": 1, "high": 2}}, {"op": "gaussian", "sigma": 1, "scale": 2, "convention": "duf"}]
    with pytest.raises(VSRError, match="no other step of a `degradation` may reduce frames"):
        Degraded(training(degradation=steps), hr)
    with pytest.raises(VSRError, match="by 2 and 4: train with one scale"):
        Degraded(training(degradation=[{"op": "bicubic", "scale": [2, 4]}]), hr)


SECOND_ORDER = [
    {
        "op": "blur",
        "shares": {"iso": 0.5, "sinc": 0.5},
        "smallest": 7,
        "largest": 9,
        "sigma": {"low": 0.2, "high": 3},
        "theta": 0,
    },
    {
        "op": "resize",
        "shares": {"up": 0.4, "down": 0.4, "keep": 0.2},
        "factor": {"low": 0.5, "high": 1.5},
        "modes": ["area", "bicubic"],
    },
    {"op": "gaussian_noise", "sigma": {"low": 1, "high": 30}, "grey": 0.4},
    {"op": "jpeg", "quality": {"low": 30, "high": 95}},
    {"op": "fit", "scale": 4, "modes": ["bilinear"]},
    {"op": "choice", "of": [{"share": 1, "steps": [{"op": "x264", "crf": 25, "preset": "fast"}]}]},
]


def test_any_degradation_is_drawn_in_the_step(hr: Store) -> None:
    """By clip and step, whoever draws it; what is drawn is what the degradation makes of these HR clips."""
    chosen = training(degradation=SECOND_ORDER, groups=[], crop=16)
    crops = Degraded(chosen, hr)
    assert crops.scale == 4
    whole = crops.batch(5, range(2))
    assert whole["lr"].shape == (2, 3, 3, 16, 16) and whole["hr"].shape == (2, 3, 3, 64, 64)
    alone = Degraded(chosen, hr).batch(5, [1])
    assert torch.equal(alone["lr"][0], whole["lr"][1]) and torch.equal(alone["hr"][0], whole["hr"][1])
    assert not torch.equal(crops.batch(6, [1])["lr"], alone["lr"])
    assert torch.equal((whole["lr"] * 255).round() / 255, whole["lr"])
    # It looks like its HR clip, and not like bicubic reduction.
    small = imresize_to(whole["hr"], (16, 16))
    assert 0.002 < (whole["lr"] - small).abs().mean() < 0.15
    other = training(degradation=SECOND_ORDER, groups=[], crop=16, seed=1)
    assert not torch.equal(Degraded(other, hr).batch(5, [1])["lr"], alone["lr"])


def test_crops_of_scales_that_are_not_whole(hr: Store) -> None:
    """The LR crop has the side of the recipe, and HR is as large as the degradation uses of it."""
    for scale, crop in ((2.7, 11), (3.3, 16), (1.1, 9)):
        batch = Degraded(training(degradation=[{"op": "bicubic", "scale": scale}], groups=[], crop=crop), hr).batch(0, range(2))
        assert batch["lr"].shape[-2:] == (crop, crop) and batch["hr"].shape[-1] == round(crop * scale)


@pytest.mark.parametrize("name", ["basicvsr_metasr", "basicvsr_dcgu"])
def test_a_resumed_run_ends_with_the_same_bits(hr: Store, tmp_path: Path, name: str) -> None:
    chosen = recipe(batch=1, initial="near_base", recompute=True, groups=[{"prefix": "spynet.", "rate": 0.5, "frozen": 2}])

    def build() -> Restoration:
        return restoration_task(name, {"channels": 4, "blocks": 1, "hidden": 8}, chosen, hr.path)

    def keep(step: int, state: State) -> None:
        save(state, tmp_path / f"{step}.pt")

    whole = loop.fit(build(), chosen, on_checkpoint=keep)
    resumed = loop.fit(build(), chosen, resume=load(tmp_path / "2.pt"))
    for part in ("network", "average"):
        ours, theirs = (state["learners"]["restorer"][part] for state in (resumed, whole))
        assert all(torch.equal(value, ours[key]) for key, value in theirs.items())
