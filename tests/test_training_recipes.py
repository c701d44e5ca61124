"""Parts of networks, priors, mirrored clips, windows and recomputed activations, against slices, sums and plain gradients."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from moving import HEIGHT, MOTION, SPLITS, WIDTH, flow, levels, losses, masks_store, store, training
from torch import Tensor, nn

import models
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics
from pipelines.params import Training
from pipelines.priors import flows
from pipelines.training import groups, loop, product
from pipelines.training.crops import PairCrops
from pipelines.training.losses import charbonnier
from pipelines.training.recompute import recompute
from pipelines.training.restoration import Restoration, restoration_task
from pipelines.training.sources import Stored
from pipelines.training.starting import begin_with
from pipelines.training.state import State, final_weights, load, save

WINDOW = {"channels": 4, "frames": 3, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2, "upsample_channels": 4}
TINY: dict[str, dict[str, Any]] = {
    "basicvsr": {"channels": 4, "blocks": 2, "upsample_channels": 4},
    "basicvsr_plusplus": {"channels": 4, "blocks": 1, "outer_blocks": 1, "groups": 2, "upsample_channels": 4},
    "iconvsr": {"channels": 4, "blocks": 1, "temporal_padding": 1, "extraction_blocks": 1, "groups": 2, "upsample_channels": 4},
    "edvr_m": WINDOW,
    "seem_edvr": WINDOW,
    "seem_basicvsr": {"channels": 4, "blocks": 1, "upsample_channels": 4},
    "basicvsr_liif": {"channels": 4, "blocks": 1, "hidden": 8},
    "basicvsr_dcgu": {"channels": 4, "blocks": 1, "hidden": 8},
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def masks(lr: Store) -> Store:
    return masks_store(lr, lr.path.with_name("masks"))


def validated(task: Restoration) -> tuple[Metrics, Images]:
    """What the loop makes of all views."""
    return task.summary([task.validate(task.network, view, torch.device("cpu")) for view in task.views], 0)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# ---------------------------------------------------------------- parts


class Nested(models.Network):
    """Parameters whose names begin alike."""

    def __init__(self) -> None:
        super().__init__()
        self.seem = nn.ModuleDict({"fr": nn.Linear(1, 1), "pre": nn.Linear(1, 1)})
        self.fusion = nn.Linear(1, 1)
        self.fusion_more = nn.Linear(1, 1)
        self.gain = nn.Parameter(torch.zeros(1))


@settings(max_examples=100, deadline=None)
@given(
    chosen=st.dictionaries(
        st.sampled_from(["", "seem.", "seem.fr.", "seem.fr.weight", "fusion.", "fusion", "gain"]),
        st.tuples(st.sampled_from([0.0, 0.1, 1.0]), st.integers(0, 3)),
    )
)
def test_the_longest_prefix_wins(chosen: dict[str, tuple[float, int]]) -> None:
    network = Nested()
    recipe = training(groups=[{"prefix": prefix, "rate": rate, "frozen": frozen} for prefix, (rate, frozen) in chosen.items()])
    expected = {}
    for name, _ in network.named_parameters():
        best: str | None = None
        for prefix in chosen:
            if name[: len(prefix)] == prefix and (best is None or len(prefix) > len(best)):
                best = prefix
        rate, frozen = (1.0, 0) if best is None else chosen[best]
        expected[name] = (rate, frozen if rate > 0 else recipe.iterations)
    if all(frozen for _, frozen in expected.values()):
        with pytest.raises(VSRError, match="no parameter learns"):
            groups.groups(network, recipe)
        return
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    made = groups.groups(network, recipe)
    found = [(names[id(parameter)], (group.factor, group.frozen)) for group in made for parameter in group.parameters]
    assert len(found) == len(names) and dict(found) == expected


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(
        VSRError, match=r"unknown prefix of parameters 'sem\.': did you mean 'seem\.'\? Known: fusion\., fusion_more"
    ):
        groups.groups(Nested(), training(groups=[{"prefix": "sem.", "rate": 1, "frozen": 0}]))
    with pytest.raises(VSRError, match="'seem.' stands twice"):
        groups.groups(Nested(), training(groups=[{"prefix": "seem.", "rate": rate, "frozen": 0} for rate in (0, 1)]))


def test_what_never_learns_has_no_gradient(hr: Store, lr: Store, masks: Store) -> None:
    """Only what SEEM adds is trained; the rest is as it was, to the bit."""
    only = [{"prefix": "", "rate": 0, "frozen": 0}, {"prefix": "seem.", "rate": 1, "frozen": 0}]
    recipe = training(groups=only, ema=None, iterations=3, batch=1)
    task = restoration_task("seem_basicvsr", TINY["seem_basicvsr"], recipe, hr.path, lr.path, None, {"masks": masks.path})
    first = copy.deepcopy(task.network.state_dict())
    state = loop.fit(task, recipe)
    for name, parameter in task.network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == name.startswith("seem.")
    network = state["learners"]["restorer"]["network"]
    for name, value in network.items():
        assert torch.equal(value, first[name]) or name.startswith("seem.")
    assert not torch.equal(network["seem.forward_pre.conv2.weight"], first["seem.forward_pre.conv2.weight"])


# ---------------------------------------------------------------- masks


@settings(max_examples=40, deadline=None)
@given(step=st.integers(0, 1000), index=st.integers(0, 7), seed=st.integers(0, 100))
def test_masks_are_cropped_and_turned_with_their_frames(
    hr: Store, lr: Store, masks: Store, step: int, index: int, seed: int
) -> None:
    """They can be read off the frames, so they have to fit them after whatever was done to both."""
    crops = PairCrops(hr, lr, split="train", crop=8, clip_length=3, seed=seed, priors={"masks": masks})
    small, _, planes = crops.sample(step, index).values()
    assert planes.shape == (3, 64, 8, 8) and planes.dtype == torch.float32
    present = []
    for frame, plane in zip((small * 255).round().byte().numpy(), planes.numpy(), strict=True):
        expected = levels(np.moveaxis(frame, 0, -1))
        assert np.array_equal(plane[:2], expected[:2]) and not plane[3:].any()
        present.append(np.array_equal(plane[2], expected[2]))
        assert present[-1] or not plane[2].any()
    assert any(present[:2])  # of two neighbours one has all three
    without = PairCrops(hr, lr, split="train", crop=8, clip_length=3, seed=seed).sample(step, index)
    assert torch.equal(without["lr"], small)


def test_masks_of_other_frames(hr: Store, lr: Store, masks: Store, tmp_path: Path) -> None:
    def odd(name: str, frames: list[np.ndarray], called: str = "a") -> Store:
        return store(tmp_path / name, {called: ("train", [{"masks": levels(frame)} for frame in frames])})

    whole = list(lr.frames("a"))
    for made in (odd("short", whole[:-1]), odd("small", [frame[:-1] for frame in whole]), odd("other", whole, "c")):
        with pytest.raises(VSRError, match="is not of the frames of clip 'a'"):
            PairCrops(hr, lr, split="train", crop=8, clip_length=3, seed=0, priors={"masks": made})
    options = TINY["seem_basicvsr"]
    with pytest.raises(VSRError, match="the network sees masks and is given no priors"):
        restoration_task("seem_basicvsr", options, training(), hr.path, lr.path)
    with pytest.raises(VSRError, match="the network sees no priors and is given masks"):
        restoration_task("basicvsr", TINY["basicvsr"], training(), hr.path, lr.path, None, {"masks": masks.path})


class Seen(models.Network):
    """Bicubic times a learnt gain, which remembers what it was given."""

    scale = 4
    priors = ("masks",)

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.base = models.create("bicubic", scale=4)
        self.given: list[tuple[Tensor, ...]] = []

    def forward(self, clip: Tensor, *, masks: Tensor) -> Tensor:
        self.given.append((clip, masks))
        # Frames know their place in the clip, so that mirrored clips can be told from others.
        place = torch.arange(clip.shape[1]).view(1, -1, 1, 1, 1) * 1e-3
        return self.gain * self.base(clip) + place


def test_mirrored_clips_are_shown_forwards_and_backwards(hr: Store, lr: Store, masks: Store) -> None:
    network = Seen()
    recipe = training(mirror=True, groups=[])
    task = Restoration(network, recipe, Stored(recipe, hr, lr, {"masks": masks}))
    small, large, planes = Stored(training(groups=[]), hr, lr, {"masks": masks}).batch(0, range(2)).values()
    loss = task.loss("restorer", task.batch(0, range(2)))["charbonnier"]
    clip, seen = network.given[-1]
    order = [0, 1, 2, 2, 1, 0]
    assert torch.equal(clip, small[:, order]) and torch.equal(seen, planes[:, order])
    with torch.no_grad():
        assert torch.equal(loss, charbonnier(network(small[:, order], masks=planes[:, order]), large[:, order]))
    # In validation the two that are made of every frame are averaged.
    restored = task.restored(network, small[0], {"masks": planes[0]})
    both = network(small[:1, order], masks=planes[:1, order])[0]
    torch.testing.assert_close(restored, torch.stack([(both[t] + both[5 - t]) / 2 for t in range(3)]))
    metrics, _ = validated(task)
    assert network.given[-1][0].shape[1] == network.given[-1][1].shape[1] == 6 and np.isfinite(metrics["psnr"])


def test_the_sum_is_that_of_all_workers(hr: Store, lr: Store) -> None:
    """The mean over workers, which is what they learn from, is the sum over the global batch."""
    recipe = training(losses=losses("sum"))
    task = restoration_task("basicvsr", TINY["basicvsr"], recipe, hr.path, lr.path)
    whole = task.batch(0, range(4))
    with torch.no_grad():
        expected = torch.sqrt((task.network(whole["lr"]) - whole["hr"]).square() + 1e-12).sum()
        halves = [task.loss("restorer", task.batch(0, range(first, first + 2)))["charbonnier"] for first in (0, 2)]
        torch.testing.assert_close(task.loss("restorer", whole)["charbonnier"], expected)
        torch.testing.assert_close(torch.stack(halves).mean(), expected)


# ---------------------------------------------------------------- given flow


def test_a_network_that_is_given_flow_learns(hr: Store, lr: Store, tmp_path: Path) -> None:
    """Also mirrored, and begun with a network that has a flow network of its own."""
    options = {**TINY["basicvsr"], "flow": "given"}
    still = np.zeros((HEIGHT // 4, WIDTH // 4, 2), np.float32)
    clips = {
        name: (SPLITS[name], [{"flow_forward": still + MOTION / 4, "flow_backward": still - MOTION / 4}] * clip.frames)
        for name, clip in lr.clips.items()
    }
    made = store(tmp_path / "flows", clips, flows.SCALES)
    with pytest.raises(VSRError, match="the network sees flow and is given no priors: train it with flow"):
        restoration_task("basicvsr", options, training(groups=[]), hr.path, lr.path)
    torch.manual_seed(1)
    product.write(tmp_path / "own", models.create("basicvsr", **TINY["basicvsr"]), {"name": "own", "notes": ["made here"]})
    network = models.create("basicvsr", **options)
    assert "begins with own (made here); not used of it: spynet" in begin_with(network, tmp_path / "own").note
    recipe = training(groups=[], mirror=True, batch=1, iterations=2)
    task = restoration_task("basicvsr", options, recipe, hr.path, lr.path, tmp_path / "own", {"flow": made.path})
    batch = task.batch(0, [0])
    turned = [batch["flow"][0, 0, 2 * way : 2 * way + 2, 0, 0] for way in (0, 1)]
    assert batch["flow"].shape == (1, 6, 4, 8, 8) and torch.equal(turned[0], -turned[1])
    assert sorted(turned[0].abs().tolist()) == sorted(np.abs(MOTION / 4).tolist())
    first = copy.deepcopy(task.network.state_dict())
    learnt = loop.fit(task, recipe)["learners"]["restorer"]["network"]
    assert all(value.isfinite().all() for value in learnt.values())
    assert not torch.equal(learnt["fusion.weight"], first["fusion.weight"])


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("name", ["edvr_m", "seem_edvr"])
def test_windows_teach_the_frame_in_the_middle(hr: Store, lr: Store, masks: Store, name: str) -> None:
    recipe = training(groups=[])
    priors = {"masks": masks.path} if name.startswith("seem") else {}
    task = restoration_task(name, TINY[name], recipe, hr.path, lr.path, None, priors)
    batch = task.batch(0, range(2))
    small, large, *planes = batch.values()
    with torch.no_grad():
        loss = task.loss("restorer", batch)["charbonnier"]
        restored = task.network(small, **dict(zip(priors, planes, strict=True)))
        assert torch.equal(loss, charbonnier(restored, large[:, 1]))
        metrics, images = validated(task)
    # Of eight frames, 2 to 4 are the window in the middle.
    assert np.array_equal(images["v/truth"], hr.frame("v", 3)) and np.array_equal(images["v/lr"], lr.frame("v", 3))
    bicubic = models.create("bicubic", scale=4)(torch.tensor(lr.frame("v", 3)).permute(2, 0, 1) / 255)
    shown = torch.tensor(images["v/bicubic"]).permute(2, 0, 1) / 255
    assert (bicubic.clamp(0, 1) - shown).abs().max() <= 0.51 / 255
    assert images["v/restored"].shape == (HEIGHT, WIDTH, 3) and np.isfinite(metrics["gain"])


def test_recipes_that_do_not_fit_the_window(hr: Store, lr: Store) -> None:
    for changes, words in (
        ({"clip_length": 4}, "set `clip_length`, 4 now, to that"),
        ({"mirror": True}, "set `mirror` to false"),
    ):
        with pytest.raises(VSRError, match=words):
            restoration_task("edvr_m", TINY["edvr_m"], training(groups=[], **changes), hr.path, lr.path)
    short = training(groups=[], clip_length=2)
    with pytest.raises(VSRError, match="takes at least 3 frames: raise `clip_length` from 2"):
        restoration_task("iconvsr", TINY["iconvsr"], short, hr.path, lr.path)
    # Shown twice they are long enough.
    restoration_task("iconvsr", TINY["iconvsr"], short.model_copy(update={"mirror": True}), hr.path, lr.path)


def test_a_clip_too_short_to_validate(hr: Store, lr: Store, tmp_path: Path) -> None:
    def cut(name: str, of: Store) -> Store:
        return store(
            tmp_path / name,
            {
                clip: (split, [{"rgb": frame} for frame in of.read(clip, 0, 2 if clip == "v" else None)])
                for clip, split in SPLITS.items()
            },
        )

    with pytest.raises(VSRError, match="clip 'v', which is validated, has 2 frames and the network takes at least 3"):
        restoration_task("edvr_m", TINY["edvr_m"], training(groups=[]), cut("hr", hr).path, cut("lr", lr).path)


# ---------------------------------------------------------------- recomputed activations


@pytest.mark.parametrize("name", TINY)
def test_recomputed_gradients_are_the_same(name: str) -> None:
    """To the bit, with fewer activations kept; an average kept beside it calls its own layers."""
    torch.manual_seed(0)
    network = models.create(name, **TINY[name])
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # nothing is zero, or gradients would be
    clip = torch.rand(1, 3, 3, 12, 12)
    priors = {name: torch.rand(1, 3, 64, 12, 12).round() for name in network.priors}

    def gradients(network: nn.Module) -> tuple[list[Tensor], int]:
        kept: dict[int, int] = {}

        def pack(saved: Tensor) -> Tensor:
            kept[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            loss = network(clip, **priors).square().mean()
        return list(torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)), sum(kept.values())

    plain, memory = gradients(network)
    recompute(network)
    again, less = gradients(network)
    assert less < memory
    for one, other in zip(plain, again, strict=True):
        assert (one is None) == (other is None) and (one is None or torch.equal(one, other))
    average = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.zero_()
        assert not torch.equal(average(clip, **priors), network(clip, **priors))
        still = models.create(name, **TINY[name])
        still.load_state_dict(average.state_dict())
        assert torch.equal(average(clip, **priors), still(clip, **priors))
    assert network.state_dict().keys() == still.state_dict().keys()


# ---------------------------------------------------------------- resumed


def resumes(build: Any, recipe: Training, folder: Path) -> None:
    def keep(step: int, state: State) -> None:
        save(state, folder / f"{step}.pt")

    whole = loop.fit(build(), recipe, on_checkpoint=keep)
    resumed = loop.fit(build(), recipe, resume=load(folder / "2.pt"))
    for part in ("network", "average"):
        assert equal(*(state["learners"]["restorer"][part] for state in (resumed, whole)))
    assert equal(final_weights(whole), whole["learners"]["restorer"]["average"])


def test_a_resumed_guided_run_ends_with_the_same_bits(hr: Store, lr: Store, masks: Store, tmp_path: Path) -> None:
    """With everything on: periods, a thaw, mirrored clips, recomputed activations."""
    recipe = training(
        batch=1,
        groups=flow(3, 0.5),
        periods=[{"iterations": 3, "weight": 1.0}, {"iterations": 1, "weight": 0.5}],
        mirror=True,
        recompute=True,
        losses=losses("sum"),
    )

    def build() -> Restoration:
        return restoration_task("seem_basicvsr", TINY["seem_basicvsr"], recipe, hr.path, lr.path, None, {"masks": masks.path})

    resumes(build, recipe, tmp_path)
