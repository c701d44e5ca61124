"""Frames in between: clips that have fewer LR frames, networks that make the others, and learning from a clip before it is restored."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import choices
import numpy as np
import pytest
import torch
from front_door import NTSC, Vsr, film, pngs, put, run_ffmpeg, tree
from moving import MOTION, SPLITS, picture, store, training
from torch import Tensor

import models
from models import Network
from models.parts.in_between import along_flow, in_between
from pipelines import params
from pipelines.clips import fit, video
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.degradations import filtering, recipes
from pipelines.errors import VSRError
from pipelines.evaluation import protocols
from pipelines.evaluation.clips import Score, apart
from pipelines.params import Adaptation, Passes
from pipelines.restoring import kernel
from pipelines.restoring.adapting import adapted
from pipelines.restoring.clips import Restore
from pipelines.restoring.live import lookahead
from pipelines.restoring.restore import restore
from pipelines.training import loop
from pipelines.training.meta import Learns, MetaTransfer
from pipelines.training.restoration import restoration_task
from pipelines.training.sources import Degraded, Tasks

pytestmark = pytest.mark.usefixtures("one_thread")

TINY: dict[str, dict[str, Any]] = {
    "ada_vsr": {"tsr_channels": 3, "tsr_blocks": 1, "channels": 3, "blocks": 1},
    "temporal_profile": {"channels": 4, "profile_blocks": 1, "blocks": 1},
    "zooming_slowmo": {"channels": 4, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2},
}
SECOND = {"op": "temporal", "factor": 2, "window": 1}
MEAN = {"op": "temporal", "factor": 2, "window": 3}
BLUR = {
    "op": "anisotropic",
    "sigma_x": {"low": 0.8, "high": 3},
    "sigma_y": {"low": 0.8, "high": 3},
    "theta": 0.5,
    "size": 21,
    "scale": 4,
}
CHOICE = {"op": "choice", "of": [{"share": 0.5, "steps": [SECOND]}, {"share": 0.5, "steps": [MEAN]}]}
LOSSES = [{"kind": "l1", "weight": 1}, {"kind": "l1", "weight": 1, "of": "between"}]
LEARNS = Adaptation(steps=3, rate=1e-3, optimiser="adam", kernel="oracle")


def lively(name: str, seed: int = 0, **options: object) -> Network:
    """A tiny network whose layers all do something."""
    torch.manual_seed(seed)
    network = models.create(name, **{**TINY[name], **options})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def in_step(*steps: dict[str, Any], **changes: object) -> params.Training:
    recipe = {"degradation": [*steps], "groups": [], "losses": LOSSES, "clip_length": 5, "batch": 2, "ema": None}
    return training(**{**recipe, **changes})


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Clips of 12 to 14 frames: two to train on, one to validate and one to test."""
    splits = {**SPLITS, "z": "test"}
    clips = {name: (splits[name], [{"rgb": picture(t, seed)} for t in range(12 + seed)]) for seed, name in enumerate(splits)}
    return store(tmp_path_factory.mktemp("hr") / "hr", clips)


def degraded(hr: Store, folder: Path, name: str, steps: list[dict[str, Any]]) -> Store:
    from pydantic import TypeAdapter

    worker = recipes.Degrade(TypeAdapter(params.Recipe).validate_python(steps), name)
    for clip in hr.clips:
        with ClipWriter(folder / f"{name}-parts", clip) as writer:
            for batch in worker(recipes.ClipJob(hr.path, clip)):
                if isinstance(batch, ClipAttributes):
                    writer.finish(batch)
                else:
                    for frame in batch:
                        writer.append(frame)
    assemble(folder / f"{name}-parts", list(hr.clips), folder / name)
    return Store(folder / name)


@pytest.fixture(scope="module")
def pairs(hr: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("lr")
    made = {"second": [SECOND, BLUR], "mean": [MEAN, BLUR], "all": [BLUR]}
    return {name: degraded(hr, folder, name, steps) for name, steps in made.items()}


# ---------------------------------------------------------------- in closed form


def test_frames_in_between_by_the_definition() -> None:
    """A cubic of time away from the ends, a line everywhere but where an end frame is repeated, and given frames as they are."""
    times = torch.arange(6, dtype=torch.float64)
    halves = torch.arange(11, dtype=torch.float64) / 2

    def clip(t: Tensor, power: int) -> Tensor:
        return (t**power).view(1, -1, 1, 1, 1)

    made = in_between(clip(times, 2))
    assert torch.allclose(made[:, 2:-2], clip(halves, 2)[:, 2:-2]) and torch.equal(made[:, ::2], clip(times, 2))
    assert torch.allclose(in_between(clip(times, 1), "linear"), clip(halves, 1))
    assert torch.equal(in_between(clip(times[:1], 1)), clip(times[:1], 1))


def shift(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By how many pixels, (right, down), a smooth picture moved by less than two: least squares on its slopes, repeated from where it led."""
    first, second = (frame.mean(-1) for frame in (one.astype(float), other.astype(float)))
    down, right = np.gradient(first)
    inner = (slice(8, -8), slice(8, -8))
    slopes = np.stack([right[inner].ravel(), down[inner].ravel()], 1)
    moved: np.ndarray = -np.linalg.lstsq(slopes, (second - first)[inner].ravel(), rcond=None)[0]
    return moved


def test_what_pans_is_half_way_in_between() -> None:
    """By cascades along flow, to a tenth of an LR pixel; interpolated pixel by pixel nothing moves."""
    frames = [picture(t, 3) for t in range(3)]
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None].float() / 255
    flow = torch.from_numpy(np.concatenate([MOTION, -MOTION])).float().view(1, 1, 4, 1, 1).expand(1, 3, 4, *clip.shape[-2:])
    made = (255 * along_flow(clip, flow)[0]).permute(0, 2, 3, 1).numpy()
    truth = picture(0.5, 3)  # type: ignore[arg-type]
    assert np.abs(made[1] - truth)[8:-8, 8:-8].mean() < 1.0
    assert np.abs(shift(truth, made[1])).max() < 0.1
    assert np.abs(shift(made[0], made[1]) - MOTION / 2).max() < 0.1
    clip, flow = clip[..., :16, :20], flow[..., :16, :20]
    restored = models.create("cascade", interpolate="flow")(clip, flow=flow)
    assert restored.shape == (1, 5, 3, 64, 80) and torch.equal(restored, models.create("bicubic")(along_flow(clip, flow)))


@pytest.mark.parametrize("options", [{}, {"tsr": "profile2d"}])
@pytest.mark.parametrize("name", ["ada_vsr", "temporal_profile"])
def test_what_is_still_stays_still(name: str, options: dict[str, Any]) -> None:
    network = lively(name, **(options if name == "ada_vsr" else {})).double()
    clip = torch.rand(1, 1, 3, 9, 10, dtype=torch.float64).expand(1, 4, 3, 9, 10)
    restored = network(clip)
    assert restored.shape[1] == 7 and torch.allclose(restored, restored[:, :1].expand_as(restored), atol=1e-12)


def test_parameters_are_those_of_their_layers() -> None:
    """Of the closed form of each layer; Zooming Slow-Mo's paper prints 11.10 million."""

    def conv(inputs: int, outputs: int, taps: int = 9) -> int:
        return inputs * outputs * taps + outputs

    tsr = conv(3, 64, 27) + conv(64, 64, 27) + 5 * conv(64, 64) + conv(64, 3, 27)
    ssr = conv(3, 64) + 32 * conv(64, 64) + conv(64, 64) + 2 * conv(64, 256) + conv(64, 3)
    with torch.device("meta"):
        found = {name: sum(p.numel() for p in models.create(name).parameters()) for name in ("ada_tsr", "ada_ssr", "ada_vsr")}
        slowmo = sum(p.numel() for p in models.create("zooming_slowmo").parameters())
    assert found == {"ada_tsr": tsr, "ada_ssr": ssr, "ada_vsr": tsr + ssr} and ssr == 1_517_571
    assert slowmo == 11_102_771 and abs(slowmo / 11.10e6 - 1) < 0.005


@pytest.mark.parametrize("name", TINY)
def test_a_clip_of_one_frame(name: str) -> None:
    network = lively(name)
    with pytest.raises(ValueError, match=f"^{name} restores clips of at least 2 frames but got 1: give a longer clip.$"):
        network(torch.rand(1, 1, 3, 8, 8))
    with pytest.raises(VSRError, match=f"the clip has 1 frames but {name} needs 2: give a longer clip"):
        list(restore(network, [picture(0, 0)[:16, :16]], window=10, overlap=1))


# ---------------------------------------------------------------- restoring and scoring


def test_passes_tiles_and_streams_give_the_frames_of_the_whole_clip() -> None:
    network = lively("ada_vsr")
    frames = [picture(t, 1)[:32, :36] for t in range(11)]
    whole = list(restore(network, frames, window=20, overlap=0))
    assert len(whole) == 21 and network.lookahead == 3
    around = network.lookahead
    for window, overlap in ((2 * around + 1, around), (9, around)):
        passes = list(restore(network, frames, window=window, overlap=overlap))
        assert all(np.array_equal(one, other) for one, other in zip(passes, whole, strict=True))
    assert len(list(restore(network, frames, window=5, overlap=0))) == 21  # a frame is dropped, or those in between would lack
    tiled = list(restore(network, frames, window=20, overlap=0, tile=28, tile_overlap=12))
    differences = [np.abs(one.astype(int) - other).max() for one, other in zip(tiled, whole, strict=True)]
    assert len(tiled) == 21 and max(differences) <= 1
    passes = lookahead(network, 30, 5)
    assert (passes.window, passes.overlap) == (2 * around + 1, around)
    mirrored = list(restore(network, frames[:4], window=20, overlap=0, mirrored=True))
    with torch.no_grad():
        clip = torch.from_numpy(np.stack(frames[:4])).permute(0, 3, 1, 2)[None].float() / 255
        both = network(torch.cat([clip, clip.flip(1)], dim=1))[0]
    expected = [(both[t] + both[14 - t]) / 2 for t in range(7)]
    assert np.abs(mirrored[3].astype(float) - 255 * expected[3].clamp(0, 1).permute(1, 2, 0).numpy()).max() <= 0.51


def test_frames_are_matched_by_the_time_of_the_manifest(hr: Store, pairs: dict[str, Store]) -> None:
    """HR of 12 to 15 frames: every second, from the first on, or means of three around every second, from the second on."""
    for name, first in (("second", 0), ("mean", 1)):
        for clip in pairs[name].clips.values():
            of = hr.clip(clip.name)
            last = first + 2 * (clip.frames - 1)
            assert fit.spanned(clip) == range(first, last + 1) and fit.spanned(clip, range(1, 3)) == range(first + 2, first + 5)
            assert fit.misfit(of, clip, 4, 2) is None
            assert "the network makes none in between" in str(fit.misfit(of, clip, 4))
            short = replace(of, frames=last)
            assert fit.lacking(short, clip) and fit.lacking(replace(of, frames=last + 4 + first), clip)
    every = pairs["all"].clip("a")
    assert fit.misfit(hr.clip("a"), every, 4) is None
    assert (
        fit.misfit(hr.clip("a"), every, 4, 2) == "the network makes 2 times the frames, and the LR clips have one of 1 HR frames"
    )


@pytest.mark.parametrize("name", ["second", "mean"])
def test_restored_frames_are_scored_beside_theirs(hr: Store, pairs: dict[str, Store], tmp_path: Path, name: str) -> None:
    """All, those that were given and those made; what stands beside a frame is HR at its time."""
    models.save(models.create("cascade"), tmp_path / "cascade.safetensors")
    work = Restore(tmp_path / "cascade.safetensors", pairs[name].path, Passes(window=100, overlap=1))
    with ClipWriter(tmp_path / "parts", "z") as writer:
        for batch in work("z"):
            if isinstance(batch, ClipAttributes):
                assert batch.fps == 25
                writer.finish(batch)
            else:
                for frame in batch:
                    writer.append(frame)
    assemble(tmp_path / "parts", ["z"], tmp_path / "restored")
    (found,) = Score(tmp_path / "restored", hr.path, pairs[name].path, ["y"], ["psnr"])("z")
    scores = {score.protocol: score for score in found.scores}
    assert list(scores) == ["y", "y_given", "y_made"]
    seen = fit.spanned(pairs[name].clip("z"))
    values = {}
    for index, t in enumerate(seen):
        restored, truth = (
            protocols.get("y").select(frame) for frame in (Store(tmp_path / "restored").frame("z", index), hr.frame("z", t))
        )
        values[index] = 10 * np.log10(255**2 / ((restored - truth) ** 2).mean())
    for part, chosen in (("y", range(len(seen))), ("y_given", range(0, len(seen), 2)), ("y_made", range(1, len(seen), 2))):
        assert scores[part].values["psnr"] == pytest.approx(np.mean([values[index] for index in chosen]))
        assert scores[part].frames == len(chosen)
    assert {"lr.png", "profile.png", "clip.mp4"} <= set(found.pictures)
    assert [one.name for one in apart([protocols.get("y")], 1)] == ["y"] and protocols.get("rgb_made").frames == "made"
    with pytest.raises(VSRError, match="unknown protocol 'y_mad'"):
        protocols.get("y_mad")


# ---------------------------------------------------------------- training


def test_pairs_to_learn_from_are_aligned_in_time(hr: Store, pairs: dict[str, Store]) -> None:
    """Crops of a store, and frames degraded in the step; of both the LR frames lie on every second HR frame."""
    recipe = training(groups=[], losses=LOSSES, clip_length=3)
    task = restoration_task("ada_vsr", TINY["ada_vsr"], recipe, hr.path, pairs["second"].path)
    batch = task.batch(0, range(2))
    assert batch["lr"].shape == (2, 3, 3, 8, 8) and batch["hr"].shape == (2, 5, 3, 32, 32)
    blurred = [recipes.spatial({"scale": [4, 4], "steps": [{"op": "bicubic", "scale": [4, 4]}]}, (32, 32))]
    like = recipes.apply(blurred[0], 255 * batch["hr"][0].double())[::2] / 255
    beside, off = ((frames - batch["lr"][0]).abs().mean() for frames in (like, like.roll(1, 0)))
    assert 2 * beside < off
    loss = task.loss("restorer", batch)
    assert set(loss) == {"l1", "l1_between"} and all(torch.isfinite(value) for value in loss.values())
    scale, compared = task.validate(task.network, task.views[0], torch.device("cpu"))
    assert scale == 4 and np.isfinite([compared.restored, compared.bicubic]).all()

    source = Degraded(in_step(CHOICE, BLUR), hr)
    assert source.time_scale == 2
    firsts = set()
    for index in range(6):
        sample, drawn = source.sample(0, index)
        firsts.add(drawn["time"]["first"])
        assert [len(sample[name]) for name in ("lr", "hr", "between")] == [5, 9, 9]
        if drawn["time"]["first"] == 0:
            assert torch.equal(sample["between"][::2], sample["lr"])
        else:  # the mean of three is not the frame in their middle, which is what is to be made
            assert torch.allclose(sample["between"][:3].mean(0), sample["lr"][0], atol=1) and not torch.equal(
                sample["between"][0], sample["lr"][0]
            )
    assert firsts == {0, 1}


def test_pairs_that_do_not_fit_in_time(hr: Store, pairs: dict[str, Store]) -> None:
    recipe = training(groups=[], losses=LOSSES[:1], clip_length=3)
    with pytest.raises(
        VSRError,
        match="makes 2 times the frames and the LR clips have all of them: train it on a degradation with a temporal step",
    ):
        restoration_task("ada_vsr", TINY["ada_vsr"], recipe, hr.path, pairs["all"].path)
    with pytest.raises(VSRError, match="LR clips have one of 2 frames and the network makes none in between"):
        restoration_task("ada_ssr", {"channels": 4, "blocks": 1}, recipe, hr.path, pairs["second"].path)
    with pytest.raises(VSRError, match="a mirrored clip has none where it turns"):
        restoration_task("ada_vsr", TINY["ada_vsr"], recipe.model_copy(update={"mirror": True}), hr.path, pairs["second"].path)
    with pytest.raises(VSRError, match="`crop` 10 once more by the scale"):
        Tasks(in_step(CHOICE, BLUR, crop=10, meta={"steps": 1, "rate": 0.1, "order": 1}), hr)
    with pytest.raises(VSRError, match="takes at least 2: raise `clip_length` from 4 to 5"):
        restoration_task("ada_vsr", TINY["ada_vsr"], meta(1, 1, clip_length=4), hr.path)
    with pytest.raises(VSRError, match="give their temporal steps the same factor"):
        Degraded(in_step({"op": "choice", "of": [{"share": 0.5, "steps": [SECOND]}, {"share": 0.5, "steps": []}]}, BLUR), hr)
    with pytest.raises(VSRError, match="the step jpeg cannot be done again"):
        Degraded(in_step(SECOND, BLUR, {"op": "jpeg", "quality": 50}), hr)


def meta(steps: int, order: int, rate: float = 0.05, **changes: object) -> params.Training:
    return in_step(CHOICE, BLUR, **{"meta": {"steps": steps, "rate": rate, "order": order}, "batch": 1, **changes})


def slow_gradient(network: Network, sample: dict[str, Tensor], steps: int, rate: float, order: int) -> list[Tensor]:
    """The gradient of the outer loss by differences of outer losses alone (second order), or of those with the inner steps held (first)."""
    names = [name for name, _ in network.named_parameters()]

    def l1(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).abs().mean()

    def inner(weights: list[Tensor]) -> list[Tensor]:
        work = copy.deepcopy(network)
        for _ in range(steps):
            for parameter, value in zip(work.parameters(), weights, strict=True):
                parameter.data.copy_(value)
            between = work.tsr(sample["inner_lr"][None])
            first, count = int(sample["inner_first"]), between.shape[1]
            loss = l1(between[0], sample["inner"][first : first + count]) + l1(
                work.ssr(between)[0], sample["lr"][first : first + count]
            )
            found = torch.autograd.grad(loss, list(work.parameters()))
            weights = [value - rate * gradient for value, gradient in zip(weights, found, strict=True)]
        return weights

    def outer(weights: list[Tensor]) -> Tensor:
        work = copy.deepcopy(network)
        for parameter, value in zip(work.parameters(), weights, strict=True):
            parameter.data.copy_(value)
        with torch.no_grad():
            between = work.tsr(sample["lr"][None])
            return l1(work.ssr(between)[0], sample["hr"]) + l1(between[0], sample["between"])

    start = [parameter.detach().clone() for parameter in network.parameters()]
    moved = [after - before for after, before in zip(inner(start), start, strict=True)]
    found = []
    for index in range(len(names)):
        gradient = torch.zeros_like(start[index])
        for place in itertools.islice(np.ndindex(*start[index].shape), 2):  # differences of all would take minutes
            sides = []
            for sign in (1, -1):
                weights = [value.clone() for value in start]
                weights[index][place] += sign * 1e-6
                weights = inner(weights) if order == 2 else [value + step for value, step in zip(weights, moved, strict=True)]
                sides.append(outer(weights))
            gradient[place] = (sides[0] - sides[1]) / 2e-6
        found.append(gradient)
    return found


@pytest.mark.parametrize(("steps", "order"), [(2, 1), (2, 2)])
def test_the_meta_gradient_is_that_of_the_outer_loss(hr: Store, steps: int, order: int) -> None:
    """In double precision, against differences of the outer loss around an inner loop written out step by step."""
    network = lively("ada_vsr", tsr_channels=2, channels=2).double()
    sample = {name.partition(".")[2]: value for name, value in Tasks(meta(steps, order), hr).batch(0, [0]).items()}
    sample = {name: value if name == "inner_first" else value.double() for name, value in sample.items()}
    task = MetaTransfer(network, meta(steps, order), Tasks(meta(steps, order), hr))
    terms = task.loss("restorer", {f"0.{name}": value for name, value in sample.items()})
    exact = torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(network.parameters()))
    plain = task.terms(
        Learns(network)(sample["lr"][None]), {name: value[None] for name, value in sample.items()}, sample["hr"][None]
    )
    assert not torch.isclose(sum(terms.values()), sum(plain.values()), rtol=1e-3)  # type: ignore[arg-type]
    for found, wanted in zip(exact, slow_gradient(network, sample, steps, 0.05, order), strict=True):
        where = wanted != 0
        assert torch.allclose(found[where], wanted[where], rtol=2e-3, atol=1e-6)


def test_without_inner_steps_it_is_plain_training(hr: Store) -> None:
    """Bit for bit, from the data to the weights."""
    plain = in_step(CHOICE, BLUR, batch=1)
    ends = []
    for recipe in (plain, meta(0, 1), meta(0, 2), meta(1, 1)):
        task = restoration_task("ada_vsr", TINY["ada_vsr"], recipe, hr.path)
        ends.append(loop.fit(task, recipe)["learners"]["restorer"]["network"])
    same = [all(torch.equal(end[key], ends[0][key]) for key in end) for end in ends]
    assert same == [True, True, True, False]


def test_tasks_are_shared_by_workers(hr: Store) -> None:
    """The mean over workers of what each of them has is what one has of all tasks."""
    recipe = meta(2, 1, batch=2)
    task = restoration_task("ada_vsr", TINY["ada_vsr"], recipe, hr.path)
    whole = task.loss("restorer", task.batch(0, [0, 1]))
    parts = [task.loss("restorer", task.batch(0, [index])) for index in (0, 1)]
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([part[name] for part in parts]).mean())


def test_a_meta_training_goes_on_where_it_stopped(hr: Store) -> None:
    recipe = meta(2, 1, batch=2)
    states: dict[int, Any] = {}

    def build() -> Any:
        return restoration_task("ada_vsr", TINY["ada_vsr"], recipe, hr.path)

    whole = loop.fit(build(), recipe, on_checkpoint=lambda step, state: states.update({step: copy.deepcopy(state)}))
    resumed = loop.fit(build(), recipe, resume=states[2])
    network, again = (state["learners"]["restorer"]["network"] for state in (whole, resumed))
    assert all(torch.equal(network[key], again[key]) for key in network)


# ---------------------------------------------------------------- internal learning


def clip_of(lr: Store, name: str = "z") -> list[np.ndarray]:
    return list(lr.read(name))


def test_a_copy_learns_and_the_network_stays(pairs: dict[str, Store]) -> None:
    network = lively("ada_vsr")
    before = copy.deepcopy(network.state_dict())
    lr = pairs["second"]
    drawn = lr.clip("z").attributes.parameters
    learnt = {}
    for kind, optimiser in itertools.product(("oracle", "estimated", "bicubic"), ("adam", "sgd")):
        how = Adaptation(steps=3, rate=1e-3, optimiser=optimiser, kernel=kind)  # type: ignore[arg-type]
        learnt[kind, optimiser] = adapted(network, clip_of(lr), how, drawn=drawn)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    assert not any(parameter.grad is not None for parameter in network.parameters())
    firsts = [one.ssr.conv_first.weight for one in learnt.values()]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations([*firsts, network.ssr.conv_first.weight], 2))


def test_the_first_step_is_that_of_the_equation(pairs: dict[str, Store]) -> None:
    """Eq. 10 written out: the clip by its own kernel, every second frame of that, one step of gradient descent on L1."""
    network, lr = lively("ada_vsr"), pairs["mean"]
    drawn, frames = lr.clip("z").attributes.parameters, clip_of(lr)
    how = Adaptation(steps=1, rate=0.1, optimiser="sgd", kernel="oracle")
    found = adapted(network, frames, how, drawn=drawn)
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).double()
    shape = torch.tensor(drawn["steps"][1]["kernel"], dtype=torch.float64)
    small = filtering.anisotropic(clip, shape[None], 4).add(0.5).floor().clamp(0, 255)[::2].float() / 255
    count = 2 * len(small) - 1
    loss = (network(small[None]) - clip[None, :count].float() / 255).abs().mean()
    for key, gradient in zip(
        dict(network.named_parameters()), torch.autograd.grad(loss, list(network.parameters())), strict=True
    ):
        before, after = network.get_parameter(key), found.get_parameter(key)
        torch.testing.assert_close(after, before - 0.1 * gradient, atol=1e-6, rtol=1e-4)


def test_clips_do_not_learn_from_each_other(pairs: dict[str, Store], tmp_path: Path) -> None:
    models.save(lively("ada_vsr"), tmp_path / "net.safetensors")

    def frames(names: list[str]) -> dict[str, list[np.ndarray]]:
        work = Restore(tmp_path / "net.safetensors", pairs["second"].path, Passes(window=9, overlap=1), adaptation=LEARNS)
        return {name: [frame["rgb"] for batch in list(work(name))[:-1] for frame in batch] for name in names}  # type: ignore[union-attr]

    one, other = frames(["a", "z"]), frames(["z", "a"])
    assert all(np.array_equal(one[name], other[name]) for name in one)
    plain = Restore(tmp_path / "net.safetensors", pairs["second"].path, Passes(window=9, overlap=1))
    unlearnt = [frame["rgb"] for batch in list(plain("a"))[:-1] for frame in batch]  # type: ignore[union-attr]
    assert not np.array_equal(one["a"], unlearnt)


def test_what_cannot_be_learnt_from(pairs: dict[str, Store]) -> None:
    network, frames = lively("ada_vsr"), clip_of(pairs["second"])
    for given, drawn, words in (
        (frames[:2], {}, "has 2 frames, and ada_vsr learns from clips of at least 3: give a longer clip"),
        (
            [frame[:12] for frame in frames],
            {},
            "frames are 24x12, and internal learning makes them 4 times smaller: give frames of at least 16x16",
        ),
        (frames, None, "nothing says by which kernel the clip was reduced: set `kernel`"),
    ):
        with pytest.raises(VSRError, match=words):
            adapted(network, given, LEARNS, drawn=drawn)
    with pytest.raises(VSRError, match="bicubic cannot learn from a clip"):
        adapted(models.create("bicubic"), frames, LEARNS)
    wild = Adaptation(steps=30, rate=1e30, optimiser="sgd", kernel="bicubic")
    with pytest.raises(VSRError, match="diverged at step .*: lower the `rate`"):
        adapted(network, frames, wild)


@pytest.mark.parametrize(("sigma_x", "sigma_y", "theta"), [(1.6, 1.6, 0.0), (2.4, 2.4, 0.0), (4.0, 1.6, 0.6)])
def test_the_kernel_of_a_clip_is_found(sigma_x: float, sigma_y: float, theta: float) -> None:
    """On pictures whose spectrum falls by a power of the frequency, the variances to 1.5 squared HR pixels."""
    height = width = 288
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    radius[0, 0] = 1
    noise = np.random.default_rng(0).normal(size=(2, 3, height, width))
    flat = np.fft.irfft2(np.fft.rfft2(noise) * radius**-1.2, s=(height, width))
    pictures = torch.from_numpy(127 + 40 * (flat - flat.mean()) / flat.std())
    shape = filtering.block_kernel(21, sigma_x, sigma_y, theta, 4)
    clip = filtering.anisotropic(pictures, shape[None], 4).round().clamp(0, 255) / 255
    entry = kernel.estimated(clip.float(), 4)["steps"][0]

    def covariance(sigma_x: float, sigma_y: float, theta: float) -> np.ndarray:
        axes = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
        return axes @ np.diag([sigma_x**2, sigma_y**2]) @ axes.T

    found, wanted = covariance(entry["sigma_x"], entry["sigma_y"], entry["theta"]), covariance(sigma_x, sigma_y, theta)
    assert np.abs(found - wanted).max() < 1.5
    assert torch.allclose(torch.tensor(entry["kernel"]).sum(), torch.tensor(1.0)) and np.shape(entry["kernel"]) == (21, 21)


def test_a_clip_without_detail_has_a_kernel_all_the_same() -> None:
    entry = kernel.estimated(torch.full((2, 3, 16, 16), 0.5), 4)["steps"][0]
    assert entry["sigma_x"] == entry["sigma_y"] and np.isfinite(entry["kernel"]).all()


# ---------------------------------------------------------------- the command


def test_a_video_has_twice_the_rate_and_its_sound_stays_in_time(vsr: Vsr, tmp_path: Path) -> None:
    source, target = film(tmp_path / "in.mp4", 8, sound=True), tmp_path / "out.mp4"
    done = vsr("restore", source, target, "--method", "cascade")
    assert done.code == 0, done.err
    assert "in: 8 frames became 15, 29.97 per second became 59.9401, and its sound keeps its time" in done.err
    info = video.probe(target)
    assert (info.width, info.height, info.frames, info.fps, info.has_audio) == (192, 128, 15, 2 * NTSC, True)
    tracks = [run_ffmpeg("-i", path, "-map", "0:a", "-f", "s16le", "pipe:").stdout for path in (source, target)]
    assert tracks[0] == tracks[1] and len(tracks[0]) > 8000
    header = video.raw_header("48x32:yuv420p@30000/1001")
    assert header.faster(2).fps == 2 * NTSC and header.faster(1) is header


def test_frames_are_numbered_anew_and_a_network_learns_from_them(vsr: Vsr, tmp_path: Path) -> None:
    models.save(lively("ada_vsr"), tmp_path / "net.safetensors")
    source = put(tmp_path / "in", [picture(t, 0)[:16, :20] for t in range(4)])
    for steps in (0, 2):
        done = vsr("restore", source, tmp_path / f"out{steps}", "--weights", tmp_path / "net.safetensors", "--adapt", steps)
        assert done.code == 0 and "in: 4 frames became 7" in done.err
        assert tree(tmp_path / f"out{steps}") == {f"{index:08d}.png" for index in range(7)}
    plain, learnt = pngs(tmp_path / "out0"), pngs(tmp_path / "out2")
    assert plain[0].shape == (64, 80, 3) and not np.array_equal(plain, learnt)
    alone = put(tmp_path / "alone", [picture(0, 0)[:16, :20]])
    done = vsr("restore", alone, tmp_path / "none", "--weights", tmp_path / "net.safetensors")
    assert done.code == 1 and "the clip has 1 frames but ada_vsr needs 2" in done.err and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"degradation": "bi_x4"}, "learns from every clip what it is reduced by: set its degradation to in_step"),
        ({"start": "scratch"}, "has no `training`: add it, or name a `start` that ada_vsr_meta_internal is as it stands"),
    ],
)
def test_what_is_not_trained_is_something_else(tmp_path: Path, change: dict[str, str], words: str) -> None:
    tree = choices.shipped()
    tree["experiments"]["ada_vsr_meta_internal"] |= change
    with pytest.raises(VSRError, match=words):
        params.load(choices.put(tmp_path, tree))
