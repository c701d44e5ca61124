"""Recipes of every kind: sizes, counts and ranges, the manifest as the one source, and offline against in memory."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipelines import params
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.degradations import recipes
from pipelines.degradations.draw import CODECS, draw, rng
from pipelines.errors import VSRError

SHIPPED = params.load(params.ROOT / "params.yaml").recipes
RECIPE: TypeAdapter[params.Recipe] = TypeAdapter(params.Recipe)


def moving(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth colours and fine detail that drift by a pixel and more per frame."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    frames = []
    for t in range(count):
        waves = [np.sin((x + 1.5 * t) / 7), np.cos((y - t) / 5), np.sin((x + y + 2 * t) / 2.2)]
        frames.append(np.rint(127.5 + 90 * np.stack([waves[k] * waves[(k + 1) % 3] for k in range(3)], -1)).astype(np.uint8))
    return frames


def degraded(
    recipe: params.Recipe, frames: list[np.ndarray], clip: str = "clip", fps: float = 25
) -> tuple[list[np.ndarray], Any]:
    size = frames[0].shape[0], frames[0].shape[1]
    stream, drawn = recipes.degrade(recipe, iter(frames), degradation="test", clip=clip, count=len(frames), size=size, fps=fps)
    return list(stream), drawn


def read_back(drawn: dict[str, Any]) -> dict[str, Any]:
    """What was drawn as a manifest gives it."""
    return json.loads(json.dumps(drawn))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all((a == b).all() for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- the shipped recipes


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_is_remade_from_its_manifest(name: str) -> None:
    frames = moving(6, 98, 130)  # x4 leaves 24 x 32, and two rows and columns over
    scale = {"bi_x2": 2, "bi_x2_5": 2.5, "bi_x3": 3, "bi_x3_5": 3.5, "bi_x8": 8, "bi_x12": 12}.get(name, 4)
    for clip in ("one", "two"):
        lr, drawn = degraded(SHIPPED[name], frames, clip)
        assert len(lr) == (2 if name.endswith("_mean") else 3 if name.endswith("_t2") else 6)
        assert all(frame.shape == (98 // scale, 130 // scale, 3) and frame.dtype == np.uint8 for frame in lr)
        entry = read_back(drawn)
        assert same(list(recipes.remake(entry, frames)), lr)
        for index in (0, len(lr) - 1):
            assert (recipes.remake_frame(entry, frames, index) == lr[index]).all()
        assert len(recipes.stages(entry, frames, 2)) == len(entry["steps"])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_offline_and_in_memory(name: str) -> None:
    """A batch in a training step sees what the stage writes, to within one level."""
    frames = moving(4, 96, 128)
    lr, drawn = degraded(SHIPPED[name], frames)
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    exact = recipes.apply(drawn, clip.double()).permute(0, 2, 3, 1).numpy()
    assert np.abs(exact - np.stack(lr)).max() <= 1
    single = recipes.apply(drawn, clip.float())
    assert single.dtype == torch.float32
    if not any(entry["op"] in (*CODECS, "jpeg", "poisson_noise") for entry in drawn["steps"]):
        assert np.abs(single.permute(0, 2, 3, 1).numpy() - np.stack(lr)).max() <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_on_a_gpu(name: str) -> None:
    frames = moving(4, 96, 128)
    lr, drawn = degraded(SHIPPED[name], frames)
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).cuda()
    assert np.abs(recipes.apply(drawn, clip.double()).permute(0, 2, 3, 1).cpu().numpy() - np.stack(lr)).max() <= 1


def test_clips_are_drawn_apart_and_always_alike() -> None:
    frames = moving(3, 64, 64)
    (_, one), (_, other), (_, again) = (degraded(SHIPPED["aniso_x4"], frames, clip) for clip in ("a", "b", "a"))
    assert one == again and one != other
    assert np.array(one["steps"][0]["kernel"]).shape == (21, 21)


# ---------------------------------------------------------------- any recipe


def ranges(low: float, high: float, walk: float) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.floats(low, high),
        st.tuples(st.floats(low, high), st.floats(low, high), st.sampled_from([0.0, walk])).map(
            lambda drawn: {"low": min(drawn[:2]), "high": max(drawn[:2]), "walk": drawn[2]}
        ),
    )


MODES = st.lists(st.sampled_from(["area", "bilinear", "bicubic"]), min_size=1)
PLAIN = st.one_of(
    st.fixed_dictionaries({"op": st.just("gaussian_noise"), "sigma": ranges(0, 30, 0.5), "grey": st.floats(0, 1)}),
    st.fixed_dictionaries({"op": st.just("poisson_noise"), "scale": ranges(0, 3, 0.1), "grey": st.floats(0, 1)}),
    st.fixed_dictionaries({"op": st.just("jpeg"), "quality": ranges(1, 100, 3)}),
    st.fixed_dictionaries(
        {
            "op": st.just("blur"),
            "shares": st.sampled_from([{"iso": 0.5, "aniso": 0.5}, {"generalized_aniso": 1}, {"plateau_iso": 1}, {"sinc": 1}]),
            "smallest": st.just(3),
            "largest": st.sampled_from([3, 7]),
            "sigma": ranges(0.2, 3, 0.05),
            "theta": ranges(-3, 3, 0.3),
            "beta_generalized": ranges(0.5, 4, 0.1),
            "beta_plateau": ranges(1, 2, 0.1),
        }
    ),
    st.fixed_dictionaries(
        {"op": st.just("sharpen"), "weight": st.floats(0.1, 1), "radius": st.just(5), "threshold": st.floats(0, 20)}
    ),
)
SMALLER = st.one_of(
    st.fixed_dictionaries(
        {"op": st.just("bicubic"), "scale": st.one_of(st.floats(1, 5), st.tuples(st.floats(1, 4), st.floats(1, 4)))}
    ),
    st.fixed_dictionaries(
        {
            "op": st.just("gaussian"),
            "sigma": st.floats(0.4, 2),
            "scale": st.sampled_from([2, 4]),
            "convention": st.sampled_from(["basicvsr", "duf"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "op": st.just("anisotropic"),
            "sigma_x": ranges(0.3, 4, 0.1),
            "sigma_y": ranges(0.3, 4, 0.1),
            "theta": ranges(-3, 3, 0.2),
            "size": st.sampled_from([9, 12]),
            "scale": st.integers(1, 5),
        }
    ),
    st.fixed_dictionaries({"op": st.just("fit"), "scale": st.floats(1, 5), "modes": MODES}),
)
RESIZE = st.fixed_dictionaries(
    {
        "op": st.just("resize"),
        "shares": st.sampled_from([{"up": 0.5, "down": 0.5}, {"keep": 1.0}]),
        "factor": st.just({"low": 0.4, "high": 1.4, "walk": 0.1}),
        "modes": MODES,
    }
)
TEMPORAL = st.fixed_dictionaries({"op": st.just("temporal"), "factor": st.integers(1, 3), "window": st.sampled_from([1, 3])})


@st.composite
def any_recipe(draw_: st.DrawFn) -> list[dict[str, Any]]:
    """Steps in any order; what a resize leaves in different sizes is brought back to LR's."""
    steps = draw_(st.lists(PLAIN, max_size=2))
    steps.insert(draw_(st.integers(0, len(steps))), draw_(SMALLER))
    if draw_(st.booleans()):
        fit = {"op": "fit", "scale": draw_(st.floats(1, 4)), "modes": ["bilinear"]}
        steps = [draw_(RESIZE), *draw_(st.lists(PLAIN, max_size=1)), fit]
    if draw_(st.booleans()):
        steps.insert(draw_(st.sampled_from([0, len(steps)])), draw_(TEMPORAL))
    if draw_(st.booleans()):
        split = draw_(st.integers(0, len(steps)))
        share = draw_(st.floats(0, 1))
        extra = draw_(PLAIN)
        options = [{"share": share, "steps": []}, {"share": 1 - share, "steps": [extra]}]
        steps.insert(split, {"op": "choice", "of": options})
    return steps


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(any_recipe(), st.integers(1, 6), st.integers(5, 33), st.integers(5, 33), st.text(max_size=5))
def test_any_recipe(steps: list[dict[str, Any]], count: int, height: int, width: int, clip: str) -> None:
    recipe = RECIPE.validate_python(steps)
    frames = moving(count, height, width)
    times = [step for step in recipe if isinstance(step, params.Temporal)]
    try:
        lr, drawn = degraded(recipe, frames, clip)
    except VSRError as error:
        few = any(step.window > count for step in times)
        assert few or "reduced by" in str(error), error
        return
    scale = drawn["scale"]
    expected = [math.floor(side / factor + 1e-9) for side, factor in zip((height, width), scale, strict=True)]
    assert all(list(frame.shape) == [*expected, 3] and frame.dtype == np.uint8 for frame in lr)
    kept = recipes.kept(drawn)
    if times:
        (step,) = times
        assert kept == range(step.window // 2, count - step.window // 2, step.factor)[: len(lr)]
    assert len(lr) == len(kept) == drawn["count"] and kept[-1] < count
    entry = read_back(drawn)
    assert same(list(recipes.remake(entry, frames)), lr)
    index = len(lr) // 2
    assert (recipes.remake_frame(entry, frames, index) == lr[index]).all()


def test_walks_stay_in_range_and_move() -> None:
    recipe = RECIPE.validate_python(
        [{"op": "gaussian_noise", "sigma": {"low": 5, "high": 6, "walk": 0.4}, "grey": 0}, {"op": "bicubic", "scale": 2}]
    )
    drawn = draw(recipe, rng("d", "c"), 200, (32, 32), 25)
    sigmas = np.array(drawn["steps"][0]["frames"]["sigma"])
    assert len(sigmas) == 200 and sigmas.min() >= 5 and sigmas.max() <= 6
    assert 0 < np.abs(np.diff(sigmas)).max() <= 0.4 and np.unique(sigmas).size > 100


def test_shares_of_a_choice_are_met() -> None:
    options = [{"share": 0.7, "steps": [{"op": "jpeg", "quality": 50}]}, {"share": 0.3, "steps": []}]
    recipe = RECIPE.validate_python([{"op": "choice", "of": options}])
    taken = sum(len(draw(recipe, rng("d", str(clip)), 1, (8, 8), 25)["steps"]) for clip in range(1000))
    assert abs(taken - 700) < 60  # four standard deviations


def test_a_frame_alone_reads_only_what_it_needs() -> None:
    recipe = RECIPE.validate_python([{"op": "temporal", "factor": 2, "window": 3}, {"op": "bicubic", "scale": 2}])
    frames = moving(9, 20, 20)
    lr, drawn = degraded(recipe, frames)
    assert len(lr) == 4 and recipes.kept(drawn) == range(1, 9, 2) and drawn["fps"] == 12.5

    class Counted(list):  # type: ignore[type-arg]
        read: list[int] = []

        def __getitem__(self, index: Any) -> Any:
            self.read.append(index)
            return super().__getitem__(index)

    counted = Counted(frames)
    assert (recipes.remake_frame(drawn, counted, 2) == lr[2]).all()
    assert counted.read == [4, 5, 6]


def test_mean_of_a_window_in_closed_form() -> None:
    recipe = RECIPE.validate_python([{"op": "temporal", "factor": 2, "window": 3}])
    lr, _ = degraded(recipe, [np.full((4, 4, 3), level, np.uint8) for level in (0, 1, 5, 9, 20, 40, 0)])
    # (0+1+5)/3 = 2, (5+9+20)/3 = 11.33, (20+40+0)/3 = 20
    assert [int(frame[0, 0, 0]) for frame in lr] == [2, 11, 20]


def test_refusals_come_before_the_work() -> None:
    def refuse(steps: list[dict[str, Any]], count: int, height: int, width: int, match: str) -> None:
        def never() -> Iterator[np.ndarray]:
            raise AssertionError("a frame was read")
            yield

        with pytest.raises(VSRError, match=match):
            recipes.degrade(
                RECIPE.validate_python(steps), never(), degradation="d", clip="c", count=count, size=(height, width), fps=25
            )

    refuse([{"op": "bicubic", "scale": 4}], 3, 3, 100, "smaller scale or larger frames")
    refuse([{"op": "temporal", "factor": 2, "window": 5}], 3, 32, 32, "3 frames has no window of 5")
    resize = {"op": "resize", "shares": {"up": 1}, "factor": {"low": 0.5, "high": 2}, "modes": ["area"]}
    refuse([resize], 3, 64, 64, "`fit`")


# ---------------------------------------------------------------- the worker


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    with ClipWriter(tmp_path / "work", "waves") as writer:
        for frame in moving(9, 66, 98):
            writer.append({"rgb": frame})
        writer.finish(ClipAttributes("train", 30000 / 1001, 66, 98, "waves.mp4"))
    assemble(tmp_path / "work", ["waves"], tmp_path / "hr")
    yield tmp_path / "hr"


def test_worker_gives_frames_then_attributes(store: Path) -> None:
    *batches, attributes = recipes.Degrade(SHIPPED["crf25_x4"], "test")(recipes.ClipJob(store, "waves"))
    frames = [frame["rgb"] for batch in batches for frame in batch]  # type: ignore[union-attr]
    assert isinstance(attributes, ClipAttributes)
    expected, drawn = degraded(SHIPPED["crf25_x4"], list(Store(store).frames("waves")), "waves", 30000 / 1001)
    assert [hashlib.sha256(frame).digest() for frame in frames] == [hashlib.sha256(frame).digest() for frame in expected]
    assert (attributes.height, attributes.width, attributes.fps, attributes.split) == (16, 24, 30000 / 1001, "train")
    assert attributes.parameters == {"degradation": "test", **drawn}
    assert [step["op"] for step in attributes.parameters["steps"]] == ["bicubic", "x264"]


def test_worker_halves_the_rate(store: Path) -> None:
    *batches, attributes = recipes.Degrade(SHIPPED["aniso_x4_t2"], "t2")(recipes.ClipJob(store, "waves"))
    assert isinstance(attributes, ClipAttributes) and attributes.fps == 15000 / 1001
    assert sum(len(batch) for batch in batches) == 5  # type: ignore[arg-type]
