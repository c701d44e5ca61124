"""Losses against closed forms and second implementations, and how a recipe's are put together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from moving import training
from torch import Tensor, nn

import models
from models.parts import registry as networks
from pipelines import params, weights
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.training import loop, losses, objective
from pipelines.training.restoration import DISCRIMINATOR, Restoration
from pipelines.training.sources import Stored
from pipelines.training.state import State, load, save
from pipelines.weights import registry

pytestmark = pytest.mark.usefixtures("one_thread")


def term(network: models.Network | None = None, **loss: Any) -> objective.Term:
    """The only loss of a recipe."""
    chosen = training(losses=[{"weight": 1, **loss}]).losses
    (found,) = objective.terms(chosen, network or Shifted())
    return found


def value(output: Tensor, truth: Tensor, **loss: Any) -> float:
    found = term(**loss)
    assert found.loss is not None
    return found.loss(output, truth).item()


def test_plain_losses_are_their_closed_forms() -> None:
    a, b = torch.tensor([[[[0.0, 3.0, 0.5]]]]), torch.tensor([[[[4.0, 3.0, 0.2]]]])
    assert value(a, b, kind="l1") == pytest.approx((4 + 0 + 0.3) / 3)
    assert value(a, b, kind="mse") == pytest.approx((16 + 0 + 0.09) / 3)
    assert value(a, b, kind="huber", delta=1) == pytest.approx((3.5 + 0 + 0.045) / 3)
    assert value(a, b, kind="charbonnier", reduction="mean") == pytest.approx(4.3 / 3, abs=1e-5)
    assert value(a, b, kind="charbonnier", reduction="sum") == pytest.approx(4.3, abs=1e-5)


def test_fourier_loss_against_the_definition() -> None:
    """The coefficients as sums of cosines and sines, written out."""
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 5, 6)), generator.random((2, 5, 6))
    rows, columns = np.mgrid[:5, :6]
    total, count = 0.0, 0
    for frame in range(2):
        for u in range(5):
            for v in range(4):  # the others of a real frame are conjugates of these
                phase = 2 * np.pi * (u * rows / 5 + v * columns / 6)
                total += abs(((a - b)[frame] * np.cos(phase)).sum()) + abs(((a - b)[frame] * np.sin(phase)).sum())
                count += 2
    assert value(torch.tensor(a), torch.tensor(b), kind="fft") == pytest.approx(total / count, rel=1e-5)


def test_frame_differences_do_not_see_what_stands() -> None:
    """A constant error counts nothing, one that flickers all."""
    truth = torch.rand(1, 4, 3, 2, 2)
    assert value(truth + 0.3, truth, kind="frame_difference") == pytest.approx(0, abs=1e-6)
    flicker = 0.1 * torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 4, 1, 1, 1)
    assert value(truth + flicker, truth, kind="frame_difference") == pytest.approx(0.2, abs=1e-6)
    assert value(truth + flicker, truth, kind="frame_difference", squared=True) == pytest.approx(0.04, abs=1e-6)
    with pytest.raises(VSRError, match="restores one frame, and frame_difference"):
        term(models.create("edvr_m", channels=4, frames=3, groups=2, upsample_channels=4), kind="frame_difference")


@pytest.mark.parametrize("form", ["vanilla", "lsgan", "hinge"])
def test_adversarial_losses_are_their_closed_forms(form: losses.Form) -> None:
    real, fake = torch.tensor([2.0, -0.5]), torch.tensor([0.3, -3.0])
    found = losses.discriminate(form, fake, real)
    one, other, deceived = found["real"].item(), found["restored"].item(), losses.deceive(form, fake).item()
    if form == "vanilla":
        log = [math.log(1 + math.exp(-x)) for x in (2.0, -0.5)], [math.log(1 + math.exp(x)) for x in (0.3, -3.0)]
        assert (one, other) == (pytest.approx(np.mean(log[0])), pytest.approx(np.mean(log[1])))
        assert deceived == pytest.approx(np.mean([math.log(1 + math.exp(-x)) for x in (0.3, -3.0)]))
    elif form == "lsgan":
        assert (one, other) == (pytest.approx((1 + 2.25) / 2), pytest.approx((0.09 + 9) / 2))
        assert deceived == pytest.approx((0.49 + 16) / 2)
    else:
        assert (one, other) == (pytest.approx((0 + 1.5) / 2), pytest.approx((1.3 + 0) / 2))
        assert deceived == pytest.approx((-0.3 + 3) / 2)


# ---------------------------------------------------------------- perceptual


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random parameters of VGG-16's first convolutions under the name that its publisher gives the file."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = torchvision.models.vgg16().features.state_dict()
    state = {f"features.{name}": 0.1 * torch.randn(shape.shape) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg16-397923af.pth"
    torch.save(state, path)
    return path


def test_layers_have_the_names_of_the_paper() -> None:
    with torch.device("meta"):
        places = losses.convolutions(torchvision.models.vgg19().features)
    layers = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
    assert [places[layer] for layer in layers] == [2, 7, 16, 25, 34] and len(places) == 16


def test_perceptual_loss_against_the_layers_one_by_one(vgg: Path) -> None:
    loss = losses.Perceptual("vgg16", vgg, {"conv2_1": 0.5, "conv1_2": 2.0})
    state = torch.load(vgg, weights_only=True)
    generator = torch.Generator().manual_seed(1)
    clips = torch.rand(2, 1, 2, 3, 12, 10, generator=generator)

    def features(clip: Tensor) -> tuple[Tensor, Tensor]:
        x = clip.flatten(0, 1).clone()
        for channel, (mean, deviation) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
            x[:, channel] = (x[:, channel] - mean) / deviation

        def conv(x: Tensor, index: int) -> Tensor:
            return nn.functional.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)

        first = conv(conv(x, 0).clamp_min(0), 2)
        return first, conv(nn.functional.max_pool2d(first.clamp_min(0), 2), 5)

    (one, two), (three, four) = features(clips[0]), features(clips[1])
    expected = 2 * (one - three).abs().mean() + 0.5 * (two - four).abs().mean()
    torch.testing.assert_close(loss(clips[0], clips[1]), expected)
    restored = clips[0].requires_grad_()
    loss(restored, clips[1]).backward()
    assert restored.grad is not None and restored.grad.any()


def test_perceptual_parameters_are_named_and_checked(vgg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VSRError, match=r"unknown layer of vgg16 'conv3_4': did you mean 'conv3_3'"):
        losses.Perceptual("vgg16", vgg, {"conv3_4": 1})
    (tmp_path / "torn.pth").write_bytes(b"PK torn")
    with pytest.raises(VSRError, match="does not hold the parameters of vgg16"):
        losses.Perceptual("vgg16", tmp_path / "torn.pth", {"conv1_1": 1})
    monkeypatch.setenv("VSR_WEIGHTS", str(vgg.parent))
    chosen = training(losses=[{"kind": "perceptual", "weight": 1, "weights": "vgg16", "layers": {"conv1_1": 1}}]).losses
    with pytest.raises(VSRError, match="is not the published vgg16"):
        objective.backbones(chosen)
    # These parameters take the place of the published ones.
    sha256 = weights.digest(vgg)
    monkeypatch.setitem(registry.REGISTRY, "vgg16", registry.Weights("https://nowhere/", {vgg.name: sha256}, "none"))
    assert objective.backbones(chosen) == {"vgg16": sha256}
    assert [found.name for found in objective.terms(chosen, Shifted())] == ["perceptual"]


# ---------------------------------------------------------------- what a network gives while it learns


class Shifted(models.Network):
    """Bicubic plus a learnt number, of LR frames from which another number is taken first; says how large the second is."""

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.1))
        self.dirt = nn.Parameter(torch.tensor(0.02))
        self.base = models.create("bicubic", scale=4)

    def forward(self, clip: Tensor) -> Tensor:
        return self.base(clip - self.dirt) + self.shift

    def learn(self, clip: Tensor, **given: Any) -> dict[str, Tensor]:
        cleaned = clip - self.dirt
        return {"restored": self.base(cleaned) + self.shift, "cleaned": cleaned, "size": self.dirt.square()}


def test_terms_look_at_what_the_network_gives(hr: Store, lr: Store) -> None:
    """The cleaned LR clip beside HR reduced by means over squares, and a loss of the network's own."""
    chosen = [
        {"kind": "mse", "weight": 2},
        {"kind": "l1", "weight": 0.5, "of": "cleaned"},
        {"kind": "own", "weight": 10, "of": "size"},
    ]
    recipe = training(losses=chosen, groups=[])
    network = Shifted()
    task = Restoration(network, recipe, Stored(recipe, hr, lr))
    batch = task.batch(0, range(2))
    found = task.loss("restorer", batch)
    assert list(found) == ["mse", "l1_cleaned", "size"]
    small = batch["hr"].reshape(2, 3, 3, 8, 4, 8, 4).mean((-1, -3))
    assert found["mse"].item() == pytest.approx(2 * (network(batch["lr"]) - batch["hr"]).square().mean().item(), rel=1e-5)
    assert found["l1_cleaned"].item() == pytest.approx(0.5 * (batch["lr"] - 0.02 - small).abs().mean().item(), rel=1e-5)
    assert found["size"].item() == pytest.approx(10 * 0.02**2)
    seen: list[dict[str, float]] = []
    loop.fit(task, recipe, on_log=lambda step, metrics: seen.append(metrics))
    assert {"loss", "loss/mse", "loss/l1_cleaned", "loss/size", "rate", "gradient"} == set(seen[0])
    assert seen[0]["loss"] == pytest.approx(sum(seen[0][f"loss/{name}"] for name in found), rel=1e-5)


def test_terms_that_do_not_fit(hr: Store, lr: Store) -> None:
    recipe = training(losses=[{"kind": "l1", "weight": 1, "of": "cleand"}], groups=[])
    task = Restoration(Shifted(), recipe, Stored(recipe, hr, lr))
    with pytest.raises(VSRError, match="unknown output of the network, for its losses, 'cleand': did you mean 'cleaned'"):
        task.loss("restorer", task.batch(0, range(1)))
    with pytest.raises(VSRError, match="l1 stands twice"):
        objective.terms(training(losses=[{"kind": "l1", "weight": 1}, {"kind": "l1", "weight": 2}]).losses, Shifted())


# ---------------------------------------------------------------- an adversarial recipe


class Judge(models.Network):
    """A discriminator of frames."""

    restores = False

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        normed = torch.nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(normed(nn.Conv2d(3, channels, 3)), nn.LeakyReLU(0.2), nn.Conv2d(channels, 1, 3))

    def forward(self, frames: Tensor) -> Tensor:
        return self.layers(frames)


def adversarial(**changes: Any) -> params.Training:
    adam = {"kind": "adam", "betas": [0.9, 0.99], "decay": 0}
    learning = {"optimiser": adam, "rate": 1e-3, "final_rate": 1e-3, "clip_gradients": None, "ema": None}
    judge = {"network": "judge", "options": {"channels": 3}, **learning}
    gan = {"kind": "adversarial", "weight": 0.05, "form": "vanilla", "discriminator": judge}
    return training(losses=[{"kind": "l1", "weight": 1}, gan], groups=[], **changes)


def test_an_adversarial_recipe_trains_and_resumes(hr: Store, lr: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(networks._IMPORTED, "judge", Judge)
    Judge.name = "judge"
    recipe = adversarial(iterations=4)

    def build() -> Restoration:
        return Restoration(Shifted(), recipe, Stored(recipe, hr, lr))

    task = build()
    assert [learner.name for learner in task.learners] == ["restorer", DISCRIMINATOR]
    judge = task.learners[1].network
    assert isinstance(judge, Judge) and judge.options == {"channels": 3}
    batch = task.batch(0, range(2))
    with torch.no_grad():
        restored = task.network(batch["lr"])
        logits = judge(restored.flatten(0, 1)), judge(batch["hr"].flatten(0, 1))
        found, told = task.loss("restorer", batch), task.loss(DISCRIMINATOR, batch)
    # Spectral norms iterate once with every pass, so that passes differ a little.
    assert found["adversarial"].item() == pytest.approx(0.05 * nn.functional.softplus(-logits[0]).mean().item(), rel=0.05)
    assert told["restored"].item() == pytest.approx(nn.functional.softplus(logits[0]).mean().item(), rel=0.05)
    assert told["real"].item() == pytest.approx(nn.functional.softplus(-logits[1]).mean().item(), rel=0.05)

    def keep(step: int, state: State) -> None:
        save(state, tmp_path / f"{step}.pt")

    whole = loop.fit(build(), recipe, on_checkpoint=keep)
    resumed = loop.fit(build(), recipe, resume=load(tmp_path / "2.pt"))
    for name in ("restorer", DISCRIMINATOR):
        ours, theirs = (state["learners"][name]["network"] for state in (resumed, whole))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)
    first = build().learners[1].network.state_dict()
    assert any(not torch.equal(value, whole["learners"][DISCRIMINATOR]["network"][key]) for key, value in first.items())


def test_a_discriminator_that_there_is_not(hr: Store, lr: Store) -> None:
    recipe = adversarial()
    with pytest.raises(VSRError, match="unknown network 'judge'"):
        Restoration(Shifted(), recipe, Stored(recipe, hr, lr))
