"""Losses, schedules and the loop, against closed forms and moving pictures in closed form."""

from __future__ import annotations

import copy
import math
import multiprocessing
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from hypothesis import given, settings
from hypothesis import strategies as st
from moving import MOTION, SPLITS, flow, losses, picture, schedule, store, training
from torch import Tensor, nn

import models
from models.parts.blocks import residual_blocks
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics, validation
from pipelines.monitoring.progress import TrainingLog
from pipelines.params import Period, Training
from pipelines.training import loop
from pipelines.training.crops import Batch
from pipelines.training.flow import FlowTask, flow_task
from pipelines.training.initial import stay_near_the_base
from pipelines.training.learners import Learner
from pipelines.training.losses import charbonnier, endpoint_error
from pipelines.training.restoration import Restoration, restoration_task
from pipelines.training.schedules import cosine, rate
from pipelines.training.sources import Stored
from pipelines.training.state import State, final_weights, load, newest, save

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- closed forms


def test_cosine_is_its_closed_form() -> None:
    assert cosine(0, 300, 2e-4, 1e-7) == 2e-4
    assert cosine(300, 300, 2e-4, 1e-7) == pytest.approx(1e-7)
    assert cosine(150, 300, 2e-4, 1e-7) == pytest.approx((2e-4 + 1e-7) / 2)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], 2e-4)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 300, 1e-7)
    for step in range(300):
        assert cosine(step, 300, 2e-4, 1e-7) == pytest.approx(reference.get_last_lr()[0], rel=1e-6)
        optimiser.step()
        reference.step()


@settings(max_examples=30, deadline=None)
@given(
    periods=st.lists(st.tuples(st.integers(1, 12), st.floats(0.05, 1)), min_size=1, max_size=4),
    factor=st.sampled_from([1.0, 0.125]),
)
def test_the_rate_restarts_with_every_period(periods: list[tuple[int, float]], factor: float) -> None:
    """Against PyTorch's cosine, made anew for each period."""
    iterations = sum(length for length, _ in periods)
    recipe = schedule(iterations=iterations, periods=[Period(iterations=length, weight=weight) for length, weight in periods])
    expected = []
    for length, weight in periods:
        above = recipe.rate * factor - recipe.final_rate
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], recipe.final_rate + weight * above)
        cosines = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, length, recipe.final_rate)
        for _ in range(length):
            expected.append(cosines.get_last_lr()[0])
            optimiser.step()
            cosines.step()
    assert [rate(recipe, iterations, step, factor) for step in range(iterations)] == pytest.approx(expected, rel=1e-6)
    assert rate(recipe, iterations, iterations, factor) == pytest.approx(recipe.final_rate)


def test_without_periods_the_rate_is_one_cosine() -> None:
    recipe = schedule(iterations=7)
    for step in range(8):
        assert rate(recipe, 7, step, 0.5) == cosine(step, 7, recipe.rate * 0.5, recipe.final_rate)


def test_charbonnier_is_its_closed_form() -> None:
    a, b = torch.tensor([0.0, 3.0]), torch.tensor([4.0, 3.0])
    assert charbonnier(a, b, eps=9.0).item() == pytest.approx((5 + 3) / 2)
    assert charbonnier(a, b).item() == pytest.approx(2, abs=1e-5)
    assert charbonnier(a, b, "sum", eps=9.0).item() == pytest.approx(5 + 3)
    same = torch.zeros(3, requires_grad=True)
    charbonnier(same, torch.zeros(3)).backward()
    assert torch.equal(same.grad, torch.zeros(3))


def test_endpoint_error_is_its_closed_form() -> None:
    flow, true = torch.zeros(1, 2, 1, 2), torch.tensor([[[[3.0, 0.0]], [[4.0, 1.0]]]])
    assert endpoint_error(flow, true, eps=0).item() == pytest.approx(3)
    assert endpoint_error(flow, true, torch.tensor([[[[1.0, 3.0]]]]), eps=0).item() == pytest.approx((5 + 3) / 4)
    assert endpoint_error(flow, true, torch.zeros(1, 1, 1, 2)).item() == 0
    assert torch.isfinite(torch.autograd.grad(endpoint_error(flow.requires_grad_(), torch.zeros_like(flow)), flow)[0]).all()


# ---------------------------------------------------------------- the loop


class Small(models.Network):
    """Bicubic plus what two convolutions add; the first stands for a flow network."""

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        self.spynet = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = residual_blocks(8, 1)
        self.head = nn.Conv2d(8, 48, 3, padding=1)
        self.base = models.create("bicubic", scale=4)

    def forward(self, clip: Tensor) -> Tensor:
        residual = nn.functional.pixel_shuffle(self.head(self.blocks(torch.tanh(self.spynet(clip.flatten(0, 1))))), 4)
        return self.base(clip) + residual.unflatten(0, clip.shape[:2])


def small_task(hr: Store, lr: Store, recipe: Training) -> Restoration:
    torch.manual_seed(0)
    return Restoration(Small(), recipe, Stored(recipe, hr, lr))


def plain(state: State) -> dict[str, Tensor]:
    """The weights of a restorer that are not averaged."""
    return state["learners"]["restorer"]["network"]


def validated(task: loop.Task, network: nn.Module, step: int) -> tuple[Metrics, Images]:
    """What the loop makes of all views."""
    return task.summary([task.validate(network, view, torch.device("cpu")) for view in task.views], step)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_resumed_run_ends_with_the_same_bits(hr: Store, lr: Store, tmp_path: Path) -> None:
    """Interrupted before the thaw of the flow network, at it and after it."""
    recipe = training(iterations=8, groups=flow(4, 0.5), clip_gradients=0.1)

    def keep(step: int, state: State) -> None:
        save(state, tmp_path / f"{step}.pt")

    whole = loop.fit(small_task(hr, lr, recipe), recipe, on_checkpoint=keep)
    for step in (2, 4, 6, 8):
        saved = load(tmp_path / f"{step}.pt")
        assert saved["step"] == step
        resumed = loop.fit(small_task(hr, lr, recipe), recipe, resume=saved)
        assert equal(plain(resumed), plain(whole)) and equal(final_weights(resumed), final_weights(whole))
    assert not list(tmp_path.glob("*.partial"))
    average = whole["learners"]["restorer"]["average"]
    assert equal(final_weights(whole), average) and not equal(average, plain(whole))


def test_the_flow_network_stands_still_then_learns_slowly(hr: Store, lr: Store) -> None:
    recipe = training(iterations=6, groups=flow(3, 0.125), ema=None)
    task = small_task(hr, lr, recipe)
    first = copy.deepcopy(task.network.state_dict())
    seen: dict[int, dict[str, Tensor]] = {0: first}
    loop.fit(task, recipe, on_log=lambda step, _: seen.update({step: copy.deepcopy(task.network.state_dict())}))
    for step in range(1, 7):
        before, after = seen[step - 1], seen[step]
        assert torch.equal(before["spynet.weight"], after["spynet.weight"]) == (step <= 3)
        assert not torch.equal(before["head.weight"], after["head.weight"])
    # Adam's first step moves every weight by the rate, whatever the gradient.
    slow = cosine(3, 6, recipe.rate * 0.125, recipe.final_rate)
    moved = (seen[4]["spynet.weight"] - seen[3]["spynet.weight"]).abs().max().item()
    assert moved == pytest.approx(slow, rel=1e-2)


def test_the_average_is_its_recurrence(hr: Store, lr: Store) -> None:
    recipe = training(iterations=5, groups=flow(0, 0.5), ema=0.8)
    task = small_task(hr, lr, recipe)
    expected = copy.deepcopy(task.network.state_dict())

    def follow(step: int, metrics: Metrics) -> None:
        for key, value in task.network.state_dict().items():
            expected[key] = 0.8 * expected[key] + 0.2 * value

    state = loop.fit(task, recipe, on_log=follow)
    for key, value in final_weights(state).items():
        torch.testing.assert_close(value, expected[key])


def test_validation_is_that_of_the_kept_weights_on_schedule(hr: Store, lr: Store) -> None:
    recipe = training(iterations=5, validate_every=2)
    validated: dict[int, tuple[Metrics, Images]] = {}
    saved: list[int] = []
    task = small_task(hr, lr, recipe)
    loop.fit(
        task,
        recipe,
        on_validate=lambda step, metrics, images: validated.update({step: (metrics, images)}),
        on_checkpoint=lambda step, _: saved.append(step),
    )
    assert list(validated) == [0, 2, 4, 5] and saved == [2, 4, 5]
    assert set(validated[0][1]) == {"v/lr", "v/bicubic", "v/restored", "v/truth"}
    assert set(validated[5][1]) == {"v/restored"}
    shown = validated[0][1]
    assert np.array_equal(shown["v/truth"], hr.frame("v", 3))  # of the frames 2, 3, 4
    assert np.array_equal(shown["v/lr"], lr.frame("v", 3))

    def luma_psnr(name: str) -> float:
        weights = np.array([65.481, 128.553, 24.966]) / 255
        error = (shown[f"v/{name}"].astype(float) - shown["v/truth"]) @ weights
        return -10 * math.log10((error**2).mean() / 255**2)

    # The metrics are means over three frames, which look alike.
    metrics = validated[0][0]
    assert metrics["psnr"] == pytest.approx(luma_psnr("restored"), abs=0.5)
    assert metrics["psnr"] - metrics["gain"] == pytest.approx(luma_psnr("bicubic"), abs=0.5)


class Enlarged(models.Network):
    """Bicubic times a learnt gain; counts what it restores."""

    scale = 4

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.base = models.create("bicubic", scale=4)
        self.restored = 0

    def forward(self, clip: Tensor) -> Tensor:
        self.restored += 1
        return self.gain * self.base(clip)


def in_splits(folder: Path, splits: dict[str, str]) -> tuple[Store, Store]:
    """Clips by name and split, unlike each other, and the same smaller by four."""
    frames = {name: [picture(t, seed, 32, 48) for t in range(3)] for seed, name in enumerate(splits)}
    hr = {name: (split, [{"rgb": frame} for frame in frames[name]]) for name, split in splits.items()}
    lr = {name: (split, [{"rgb": frame[::4, ::4].copy()} for frame in frames[name]]) for name, split in splits.items()}
    return store(folder / "hr", hr), store(folder / "lr", lr)


def bicubic_psnr(hr: Store, lr: Store, clip: str) -> float:
    """On Y, the mean over the frames of a clip."""
    found = []
    for t in range(hr.clips[clip].frames):
        small = torch.tensor(lr.frame(clip, t)).permute(2, 0, 1)[None] / 255
        enlarged = (models.create("bicubic", scale=4)(small).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
        error = (enlarged.astype(float) - hr.frame(clip, t)) @ (np.array([65.481, 128.553, 24.966]) / 255)
        found.append(-10 * math.log10((error**2).mean() / 255**2))
    return float(np.mean(found))


@pytest.mark.parametrize(("split", "seen"), [("test", 8), ("validation", 11)])
def test_of_many_test_clips_the_first_are_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, seen: int
) -> None:
    """Of a validation split all are, of the test split that stands in for one the first eight; two are kept to be shown."""
    names = [f"z{9 - index % 10}_{index}" for index in range(11)]  # in the store's order, not that of their names
    hr, lr = in_splits(tmp_path, {"a": "train", **dict.fromkeys(names, split), **({"t": "test"} if split != "test" else {})})
    assert [clip.name for clip in validation.clips(lr)] == names[:seen]
    kept: list[validation.Compared] = []
    images = validation.images

    def look(found: list[validation.Compared], step: int) -> Images:
        kept.extend(found)
        return images(found, step)

    monkeypatch.setattr(validation, "images", look)
    network = Enlarged()
    with torch.no_grad():
        recipe = training(groups=[])
        task = Restoration(network, recipe, Stored(recipe, hr, lr))
        metrics, shown = validated(task, network, 0)
    assert network.restored == seen and metrics["gain"] == 0
    assert metrics["psnr"] == pytest.approx(np.mean([bicubic_psnr(hr, lr, name) for name in names[:seen]]), abs=1e-4)
    assert [bool(one.frames) for one in kept] == [True] * 2 + [False] * (seen - 2)
    assert set(shown) == {f"{name}/{part}" for name in names[:2] for part in ("lr", "bicubic", "restored", "truth")}
    assert all(np.array_equal(shown[f"{name}/truth"], hr.frame(name, 1)) for name in names[:2])


class Broken:
    """A task whose loss is not a number."""

    frozen: dict[str, str] = {}
    views: tuple[()] = ()

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1)
        self.learners = [Learner("line", self.network, schedule())]

    def batch(self, step: int, indices: Iterable[int], device: torch.device) -> Batch:
        return {"x": torch.full((len(list(indices)), 1), math.nan if step == 2 else 1.0)}

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        return {"square": self.network(batch["x"]).square().mean()}

    def validate(self, network: nn.Module, view: object, device: torch.device) -> None:
        """There is nothing to validate."""

    def summary(self, found: list[None], step: int) -> tuple[Metrics, Images]:
        return {}, {}


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(VSRError, match=r"the loss is nan .* at step 2 with the rate 0\.0005"):
        loop.fit(Broken(), schedule())


class Overflowing(Broken):
    """A task whose loss has no end, and therefore no gradient."""

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        return {"distance": charbonnier(self.network(batch["x"] * 1e30), torch.zeros(1))}


def test_a_loss_without_an_end_ends_the_run() -> None:
    with pytest.raises(VSRError, match=r"the loss is inf and its gradient 0 at step 0 with the rate"):
        loop.fit(Overflowing(), schedule())


def test_a_batch_that_cannot_be_shared() -> None:
    with pytest.raises(VSRError, match="a batch of 4 cannot be shared evenly by 3 workers"):
        loop.fit(Broken(), schedule(), world=3)


def test_states_that_are_not_of_this_run(hr: Store, lr: Store, tmp_path: Path) -> None:
    state = loop.fit(small_task(hr, lr, training(iterations=1)), training(iterations=1))
    with pytest.raises(VSRError, match="disagree on `ema`"):
        loop.fit(small_task(hr, lr, training(ema=None)), training(ema=None), resume=state)
    with pytest.raises(VSRError, match="of another network"):
        loop.fit(Broken(), schedule(), resume=state)
    (tmp_path / "torn.pt").write_bytes(b"PK torn")
    with pytest.raises(VSRError, match="cannot be read"):
        load(tmp_path / "torn.pt")


def _rank(rank: int, folder: Path, recipe: Training) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    task = small_task(Store(folder / "hr"), Store(folder / "lr"), recipe)
    state = loop.fit(task, recipe, rank=rank, world=2)
    save(state, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_learn_what_one_does(hr: Store, lr: Store, tmp_path: Path) -> None:
    recipe = training(iterations=5, groups=flow(2, 0.5), ema=None, recompute=True, losses=losses("sum"))
    (tmp_path / "hr").symlink_to(hr.path)
    (tmp_path / "lr").symlink_to(lr.path)
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(rank, tmp_path, recipe)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    alone = loop.fit(small_task(hr, lr, recipe), recipe)
    first, second = (plain(load(tmp_path / f"rank{rank}.pt")) for rank in range(2))
    assert equal(first, second)
    for key, value in plain(alone).items():
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-6)


def test_a_small_network_learns_one_crop_by_heart(hr: Store, lr: Store) -> None:
    recipe = training(iterations=600, rate=5e-3, batch=1, groups=flow(0, 1.0), ema=None, validate_every=600)
    task = small_task(hr, lr, recipe)
    crop = task.batch(0, [0])
    task.batch = lambda step, indices, device: dict(crop)  # type: ignore[method-assign]
    losses: list[float] = []
    loop.fit(task, recipe, on_log=lambda step, metrics: losses.append(metrics["loss"]))
    assert losses[-1] < 0.25 * losses[0]


# ---------------------------------------------------------------- tasks of params.yaml


def test_first_weights_are_near_the_base(hr: Store, lr: Store) -> None:
    """`near_base` begins at bicubic, with features in all layers but the last, `default` with PyTorch's own weights."""
    options = {"channels": 8, "blocks": 1, "upsample_channels": 8, "base": "bicubic"}
    near = training(initial="near_base")
    clip = torch.rand(1, 3, 3, 8, 8)
    network = restoration_task("basicvsr", options, near, hr.path, lr.path).network
    difference = (network(clip) - models.create("bicubic", scale=4)(clip)).abs().mean().item()
    assert difference < 1e-7
    seen: list[float] = []
    network.conv_last.register_forward_pre_hook(lambda layer, x: seen.append(x[0].std().item()))
    network(clip)
    assert all(0.05 < spread < 5 for spread in seen) and not network.conv_last.weight.any()
    torch.manual_seed(0)
    plain = models.create("basicvsr", **options)
    published = restoration_task("basicvsr", options, training(), hr.path, lr.path).network
    assert equal(dict(plain.state_dict()), dict(published.state_dict()))


OPTIONS = {
    "basicvsr_plusplus": {"channels": 8, "blocks": 1, "outer_blocks": 1, "groups": 2, "upsample_channels": 8},
    "edvr_m": {
        "channels": 8,
        "frames": 3,
        "extraction_blocks": 1,
        "reconstruction_blocks": 1,
        "groups": 2,
        "upsample_channels": 8,
    },
    "seem_basicvsr": {"channels": 8, "blocks": 1, "upsample_channels": 8},
    "basicvsr_metasr": {"channels": 8, "blocks": 1, "hidden": 16},
    "basicvsr_liif": {"channels": 8, "blocks": 1, "hidden": 16},
    "basicvsr_lte": {"channels": 8, "blocks": 1, "hidden": 16},
    "basicvsr_dcgu": {"channels": 8, "blocks": 1, "hidden": 16},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_first_weights_leave_what_begins_at_zero(name: str) -> None:
    """What was zero is; nothing is added to the base at first, and what is added soon learns from all layers."""
    torch.manual_seed(0)
    network = models.create(name, **OPTIONS[name], base="bicubic")
    still = {key for key, value in network.state_dict().items() if key.endswith("weight") and not value.any()}
    stay_near_the_base(network)
    (last,) = (key for key, module in network.named_modules() if module is network.last)
    zero = {key for key, value in network.state_dict().items() if key.endswith("weight") and not value.any()}
    assert zero == still | {f"{last}.weight"}
    clip = torch.rand(1, 3, 3, 8, 8)
    priors = {name: torch.rand(1, 3, 64, 8, 8).round() for name in network.priors}
    base = models.create("bicubic", scale=4)(clip)
    truth = base if network.window is None else base[:, 1]
    assert torch.equal(network(clip, **priors), truth)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        (network(clip, **priors) - truth - 0.1 * clip.mean()).square().mean().backward()
        optimiser.step()
    earlier = [parameter for key, parameter in network.named_parameters() if "extract" in key or "trunk.main.0" in key]
    assert earlier and all(parameter.grad is not None and parameter.grad.any() for parameter in earlier)


def test_first_weights_of_a_flow_network_see_change(hr: Store, truth: Store) -> None:
    """The first layer answers far more to what differs between frames than to what is the same in them."""
    task = flow_task("spynet", {}, schedule(crop=16, clip_length=2), hr.path, truth.path)
    first = task.network.basic_module[5].basic_module[0].weight  # type: ignore[union-attr,index]
    ref, supp = first[:, :3].detach(), first[:, 3:6].detach()  # type: ignore[index]
    assert ((ref - supp).std() / (ref + supp).std()).item() == pytest.approx(8, rel=0.05)
    flow = task.network(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    assert 0 < flow.abs().mean() < 5
    with pytest.raises(VSRError, match="bicubic is not a flow network"):
        flow_task("bicubic", {}, schedule(crop=16, clip_length=2), hr.path, truth.path)


def test_a_pair_of_another_scale(hr: Store, tmp_path: Path) -> None:
    clips = {name: (SPLITS[name], [{"rgb": frame[::2, ::2].copy()} for frame in hr.frames(name)]) for name in SPLITS}
    half = store(tmp_path / "half", clips)
    with pytest.raises(VSRError, match="enlarges by 4 and the LR clips are smaller by 2"):
        Restoration(Small(), training(), Stored(training(), hr, half))


class Constant(nn.Module):
    """The same flow everywhere, learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Parameter(torch.zeros(1, 2, 1, 1))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        return self.flow.expand(ref.shape[0], 2, *ref.shape[-2:])


def test_flow_validation_is_in_pixels_of_a_quarter(hr: Store, truth: Store) -> None:
    task = FlowTask(Constant(), schedule(crop=16, clip_length=2), hr, truth)
    metrics, _ = validated(task, task.network, 0)
    assert metrics["epe"] == pytest.approx(np.linalg.norm(MOTION) / 4, rel=1e-3)
    assert metrics["epe_zero"] == metrics["epe"]
    with pytest.raises(VSRError, match="flow is between 2 frames"):
        FlowTask(Constant(), schedule(clip_length=3), hr, truth)


def test_spynet_learns(hr: Store, truth: Store) -> None:
    torch.manual_seed(0)
    recipe = schedule(iterations=3, crop=16, clip_length=2, batch=2)
    losses: list[float] = []
    validated: list[float] = []
    loop.fit(
        FlowTask(models.create("spynet"), recipe, hr, truth),
        recipe,
        on_log=lambda step, metrics: losses.append(metrics["loss"]),
        on_validate=lambda step, metrics, images: validated.append(metrics["epe"]),
    )
    assert len(losses) == 3 and all(math.isfinite(loss) for loss in losses) and validated[0] != validated[-1]


def test_progress_says_and_tracks() -> None:
    lines: list[str] = []
    points: list[tuple[int, dict[str, float]]] = []

    class Kept:
        def metrics(self, step: int, values: dict[str, float]) -> None:
            points.append((step, values))

        def images(self, step: int, images: dict[str, np.ndarray]) -> None:
            assert step == 2 and set(images) == {"x"}

    progress = TrainingLog(400, lines.append, Kept())
    progress.log(1, {"loss": 3.0, "discriminator/loss/real": 5.0, "rate": 2.0})
    progress.log(2, {"loss": 1.0, "discriminator/loss/real": 7.0, "rate": 1.0})
    progress.validated(2, {"psnr": 30.0}, {"x": np.zeros((1, 1, 3), np.uint8)})
    progress.log(400, {"loss": 0.5})
    assert (
        points[0][0] == 2
        and points[0][1]["loss"] == 2.0
        and points[0][1]["discriminator/loss/real"] == 6.0
        and points[0][1]["rate"] == 1.0
    )
    assert points[1] == (2, {"validation/psnr": 30.0})
    assert lines == [lines[-1]] and lines[-1].startswith("step 400/400  loss 0.50000  psnr 30.000")


def test_a_state_is_whole_or_not_there(small_disk: Path) -> None:
    """The disk has room for one state and not for two more."""
    path, large = small_disk / "state.pt", {"step": 1, "frozen": {}, "learners": {"x": torch.zeros(10**5)}}
    save(large, path)
    save({**large, "step": 2}, path)
    assert {file.name for file in small_disk.iterdir()} == {"state.pt", "before_state.pt"}
    with pytest.raises(VSRError, match=r"state.pt cannot be written \(No space left on device\): make room on its disk"):
        save({"step": 3, "learners": torch.zeros(10**6)}, path)
    assert load(path)["step"] == 2 and {file.name for file in small_disk.iterdir()} == {"state.pt", "before_state.pt"}


@pytest.mark.parametrize("kept", [0, 100])
def test_where_the_last_state_cannot_be_read_the_one_before_is_taken(tmp_path: Path, kept: int) -> None:
    path, said = tmp_path / "last.pt", list[str]()
    assert newest(path, said.append) is None
    save({"step": 4}, path)
    data = path.read_bytes()
    path.write_bytes(data[:kept])
    with pytest.raises(VSRError, match=r"last.pt cannot be read \(\w.*\): remove it to start over"):
        newest(path, said.append)
    path.write_bytes(data)
    save({"step": 8}, path)
    assert newest(path, said.append) == {"step": 8} and not said
    path.write_bytes(data[:kept])
    assert newest(path, said.append) == {"step": 4}
    assert said[0].startswith(f"the state before it is taken, of step 4: the training state {path} cannot be read (")
    path.unlink()  # as a kill between two renames leaves it
    assert newest(path, said.append) == {"step": 4} and len(said) == 1
