"""RealBasicVSR: published counts, the form of its checkpoints, cleaning that goes on while frames change, and how it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from moving import training
from torch import Tensor

import models
from models.parts.cleaning import Cleaning
from pipelines import params
from pipelines.clips.store import Store
from pipelines.degradations import recipes
from pipelines.degradations.draw import draw
from pipelines.degradations.sharpen import unsharp
from pipelines.errors import VSRError
from pipelines.params import Training
from pipelines.restoring.cost import cost
from pipelines.training import loop
from pipelines.training.crops import generator
from pipelines.training.initial import stay_near_the_base
from pipelines.training.restoration import Restoration, restoration_task
from pipelines.training.sources import Degraded
from stages.train import _check_discriminator

pytestmark = pytest.mark.usefixtures("one_thread")

TINY: dict[str, Any] = {"channels": 4, "blocks": 1, "upsample_channels": 4, "cleaning_blocks": 1}
WALK = {"low": 20, "high": 90, "walk": 3}
STEPS = [
    {"op": "sharpen", "weight": 0.5, "radius": 5, "threshold": 2},
    {"op": "bicubic", "scale": 4},
    {"op": "jpeg", "quality": WALK},
]


@pytest.fixture
def hr(tmp_path: Path) -> Store:
    from moving import hr_store

    return hr_store(tmp_path / "hr")


def tiny(**options: Any) -> models.Network:
    torch.manual_seed(0)
    return models.create("realbasicvsr", **{**TINY, **options}).eval()


def test_it_is_as_large_as_published() -> None:
    with torch.device("meta"):
        network = models.create("realbasicvsr")
        without = models.create("basicvsr", blocks=20)
    assert sum(parameter.numel() for parameter in network.parameters()) == 6_294_834
    assert sum(parameter.numel() for parameter in network.image_cleaning.parameters()) == 1_480_643
    one, other = (cost(each, 18, 32, frames=1)["gmacs"] for each in (network, without))
    assert one - other == pytest.approx(0.851, abs=0.0005)  # a pass of cleaning; 85.1 of 180x320


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters under the names of mmagic's checkpoints."""
    named = {}
    for key, value in state.items():
        name = key if key.startswith("image_cleaning.") else f"basicvsr.{key}"
        for ours, theirs in (
            ("_trunk.", "_resblocks."),
            ("upconv1.", "upsample1.upsample_conv."),
            ("upconv2.", "upsample2.upsample_conv."),
        ):
            name = name.replace(ours, theirs)
        if ".basic_module." in name:
            head, _, rest = name.rpartition(".basic_module.")
            index, kind = rest.split(".")
            name = f"{head}.basic_module.{int(index) // 2}.conv.{kind}"
        named[name] = value
    return named


def test_a_checkpoint_of_published_form_loads(tmp_path: Path) -> None:
    """The averaged generator is taken, whatever stands beside it."""
    network = tiny()
    named = published(network.state_dict())
    assert (
        "basicvsr.spynet.basic_module.0.basic_module.3.conv.bias" in named and "image_cleaning.0.main.2.0.conv1.weight" in named
    )
    averaged = {f"generator_ema.{key}": value for key, value in named.items()}
    learning = {f"generator.{key}": value + 1 for key, value in named.items()}
    beside = {
        "discriminator.conv_0.weight": torch.zeros(3),
        "perceptual_loss.vgg.mean": torch.zeros(3),
        "generator.step_counter": torch.ones(1),
    }
    torch.save({"state_dict": {**learning, **averaged, **beside}}, tmp_path / "both.pth")
    torch.save({"state_dict": learning}, tmp_path / "learning.pth")
    found = models.load(tmp_path / "both.pth")
    assert (found.name, found.options) == ("realbasicvsr", {**network.options, "threshold": 5})
    clip = torch.rand(1, 2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(found(clip), network(clip))
    alone = models.load(tmp_path / "learning.pth")
    assert torch.equal(alone.state_dict()["fusion.weight"], network.state_dict()["fusion.weight"] + 1)
    # What has the parameters of BasicVSR alone is BasicVSR.
    torch.manual_seed(1)
    plain = models.create("basicvsr", channels=4, blocks=1, upsample_channels=4)
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    assert models.load(tmp_path / "plain.pth").name == "basicvsr"


def constant(network: models.Network, change: list[float]) -> None:
    """Let cleaning change all pixels by the next of these levels every time."""
    left = iter(change)
    network.image_cleaning.forward = lambda frames: torch.full_like(frames, next(left) / 255)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("changes", "sum_of"),
    [([4.9, 9, 9], 4.9), ([6, 4.9, 9], 10.9), ([6, -5.1, 4], 4.9), ([9, 8, 7], 24), ([-4.9, 9], -4.9)],
)
def test_cleaning_goes_on_while_frames_change_much(changes: list[float], sum_of: float) -> None:
    network = tiny()
    constant(network, changes)
    clip = torch.rand(1, 2, 3, 8, 8)
    torch.testing.assert_close(network.clean(clip), clip + sum_of / 255)


def test_cleaning_is_decided_clip_by_clip_and_written_out() -> None:
    network = tiny(threshold=1e-3)
    clips = torch.rand(2, 3, 3, 8, 8)
    clips[1] *= 0.1
    with torch.no_grad():
        both = network(clips)
        for clip, found in zip(clips, both, strict=True):
            frames, passes = clip, 0
            while passes < 3:
                change = torch.stack([network.image_cleaning(frame[None])[0] for frame in frames])
                frames, passes = frames + change, passes + 1
                if change.abs().mean().item() * 255 < 1e-3:
                    break
            torch.testing.assert_close(network.clean(clip[None])[0], frames)
            torch.testing.assert_close(network(clip[None])[0], found, atol=1e-5, rtol=1e-4)
        # While it learns it cleans once, and gives what it restored from.
        network.train()
        outputs = network.learn(clips)
        once = torch.stack([clip + network.image_cleaning(clip) for clip in clips])
        torch.testing.assert_close(outputs["cleaned"], once)
        plain = models.create("basicvsr", channels=4, blocks=1, upsample_channels=4)
        plain.load_state_dict(
            {key: value for key, value in network.state_dict().items() if not key.startswith("image_cleaning.")}
        )
        torch.testing.assert_close(outputs["restored"], plain(once))
        torch.testing.assert_close(network(clips), outputs["restored"])


def test_first_weights_clean_nothing() -> None:
    network = tiny(base="bicubic")
    stay_near_the_base(network)
    assert isinstance(network.image_cleaning, Cleaning) and network.image_cleaning[0].main[0].weight.any()
    clip = torch.rand(1, 2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(network.clean(clip), clip)


@pytest.mark.parametrize(("option", "value"), [("threshold", 0), ("threshold", True), ("cleaning_blocks", 0)])
def test_options_are_checked(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"option '{option}' of realbasicvsr is {value!r}"):
        models.create("realbasicvsr", **{option: value})


# ---------------------------------------------------------------- learning


def recipe(**changes: Any) -> Training:
    values: dict[str, Any] = {"losses": [{"kind": "l1", "weight": 1}, {"kind": "l1", "weight": 1, "of": "cleaned"}]}
    return training(**{"groups": [], **values, "degradation": STEPS, "sharpened": True, **changes})


def test_losses_compare_with_hr_that_is_sharpened(hr: Store) -> None:
    chosen = recipe(mirror=True)
    task = restoration_task("realbasicvsr", TINY, chosen, hr.path)
    batch = task.batch(0, range(2))
    assert {name: tuple(clip.shape[:2]) for name, clip in batch.items()} == dict.fromkeys(("hr", "sharpened", "lr"), (2, 6))
    levels = (batch["hr"] * 255).double()
    sharp = torch.stack([unsharp(clip, 0.5, 5, 2) for clip in levels]).float() / 255
    torch.testing.assert_close(batch["sharpened"], sharp)
    assert (sharp - batch["hr"]).abs().max() > 0.01
    # Degraded as one clip of twice the length: what walks from frame to frame does not come back.
    order = [5, 4, 3, 2, 1, 0]
    assert torch.equal(batch["hr"][:, order], batch["hr"]) and not torch.equal(batch["lr"][:, order], batch["lr"])
    clip = hr.clips[Degraded(chosen, hr)._crops.sample(0, 0)[0]]
    drawn = draw(chosen.degradation, generator(chosen.seed, 0, 0, 2), 6, (32, 32), clip.attributes.fps)  # type: ignore[arg-type]
    torch.testing.assert_close(batch["lr"][0], recipes.apply(drawn, levels[0]).float() / 255)
    found = task.loss("restorer", batch)
    with torch.no_grad():
        outputs = task.network.learn(batch["lr"])
        small = F.avg_pool2d(sharp.flatten(0, 1), 4).view_as(outputs["cleaned"])
        assert found["l1"].item() == pytest.approx((outputs["restored"] - sharp).abs().mean().item(), rel=1e-5)
        assert found["l1_cleaned"].item() == pytest.approx((outputs["cleaned"] - small).abs().mean().item(), rel=1e-5)


def test_the_discriminator_sees_hr_as_it_is(hr: Store) -> None:
    adam = {"kind": "adam", "betas": [0.9, 0.99], "decay": 0}
    learning = {"optimiser": adam, "rate": 1e-3, "final_rate": 1e-3, "clip_gradients": None, "ema": None}
    judge = {"network": "unet_discriminator", "options": {"channels": 2}, **learning}
    gan = {"kind": "adversarial", "weight": 0.05, "form": "vanilla", "discriminator": judge}
    chosen = recipe(losses=[{"kind": "l1", "weight": 1}, gan], iterations=2, batch=1)
    task = Restoration(models.create("realbasicvsr", **TINY), chosen, Degraded(chosen, hr))
    seen: list[Tensor] = []
    task.learners[1].network.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    batch = task.batch(0, [0])
    task.loss("restorer", batch)
    task.loss("discriminator", batch)
    assert len(seen) == 3 and torch.equal(seen[0], seen[1]) and torch.equal(seen[2], batch["hr"][0])
    state = loop.fit(task, chosen)
    assert all(value.isfinite().all() for learner in state["learners"].values() for value in learner["network"].values())
    _check_discriminator(task.network, chosen)
    with pytest.raises(VSRError, match="basicvsr name the discriminator 'unet_discriminator', and its file sets none: import"):
        _check_discriminator(models.create("basicvsr", channels=4, blocks=1), chosen)


def test_recipes_degrade_in_the_step_as_the_degradations_of_their_name() -> None:
    loaded = params.load()
    for method, name in (("realbasicvsr", "realworld_x4"), ("realesrgan", "realworld_image_x4")):
        for profile in loaded.methods[method].values():
            assert profile.training and profile.training.sharpened and profile.training.degradation == loaded.recipes[name]


def test_a_recipe_that_cannot_sharpen_says_so() -> None:
    with pytest.raises(ValueError, match="has no `degradation` that begins with `sharpen`"):
        recipe(degradation=STEPS[1:])
