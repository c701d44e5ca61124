"""Consistency against degrading and comparing written out, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moving import FRAMES, HEIGHT, WIDTH, hr_store, picture, store

from pipelines import params
from pipelines.clips.images import decode_picture
from pipelines.clips.store import ClipWriter, Store, assemble
from pipelines.degradations.recipes import ClipJob, Degrade
from pipelines.errors import VSRError
from pipelines.evaluation.clips import Score
from pipelines.evaluation.score import available
from pipelines.metrics import consistency
from pipelines.report import pictures

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = [
    {"op": "gaussian", "sigma": 1.6, "scale": 4, "convention": "basicvsr"},
    {"op": "gaussian_noise", "sigma": {"low": 1, "high": 20}, "grey": 0.4},
    {"op": "x264", "crf": 30, "preset": "medium"},
]


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return hr_store(tmp_path_factory.mktemp("hr") / "hr")


@pytest.fixture(scope="module")
def lr(hr: Store) -> Store:
    """As the stage degrade makes it."""
    path = hr.path.with_name("lr")
    recipe = params.Params.model_fields["recipes"].annotation  # dict[Name, Recipe]
    from pydantic import TypeAdapter

    steps = TypeAdapter(recipe).validate_python({"noisy_x4": RECIPE})["noisy_x4"]
    for name in hr.clips:
        with ClipWriter(path.with_name("lr-parts"), name) as writer:
            for part in Degrade(steps, "noisy_x4")(ClipJob(hr.path, name)):
                if isinstance(part, list):
                    for frame in part:
                        writer.append(frame)
                else:
                    writer.finish(part)
    assemble(path.with_name("lr-parts"), list(hr.clips), path)
    return Store(path)


def test_the_truth_gives_lr_again(hr: Store, lr: Store) -> None:
    """Noise and coding included: to the bit."""
    (found,) = Score(hr.path, hr.path, lr.path, ["y", "rgb"], ["psnr", "consistency"])("b")
    leading, other = found.scores
    assert leading.values == {"psnr": 100.0, "consistency": 100.0} and other.values == {"psnr": 100.0}
    assert not decode_picture(found.pictures["invented.png"], "invented").any()


def test_it_is_the_psnr_of_frames_degraded_again(hr: Store, lr: Store, tmp_path: Path) -> None:
    restored = [np.clip(picture(t, 1).astype(int) + 8 * (t % 3), 0, 255).astype(np.uint8) for t in range(FRAMES + 1)]
    path = store(tmp_path / "restored", {"b": ("train", [{"rgb": frame} for frame in restored])}).path
    (found,) = Score(path, hr.path, lr.path, ["vid4_duf"], ["psnr", "consistency"])("b")
    # What was drawn for the clip stands in its manifest, whose entries another degradation of these frames takes over.
    from pipelines.degradations.recipes import remake

    drawn = lr.clips["b"].attributes.parameters
    again = list(remake({**drawn, "steps": [dict(entry) for entry in drawn["steps"]]}, restored))
    wanted = list(lr.frames("b"))
    values = []
    for frame in range(2, FRAMES - 1):  # as the protocol keeps frames; of LR none has a border
        total = 0.0
        for ours, theirs in zip(again[frame].reshape(-1).tolist(), wanted[frame].reshape(-1).tolist(), strict=True):
            total += (ours - theirs) ** 2
        values.append(10 * np.log10(255**2 / (total / again[frame].size)))
    (score,) = found.scores
    assert score.values["consistency"] == pytest.approx(np.mean(values), abs=1e-9) and 15 < np.mean(values) < 45
    assert [one["frame"] for one in score.measured if one["metric"] == "consistency"] == list(range(2, FRAMES - 1))
    shown = decode_picture(found.pictures["invented.png"], "invented")
    middle = (FRAMES + 1) // 2
    assert np.array_equal(shown[..., 0], np.rint(np.abs(again[middle].astype(float) - wanted[middle]).mean(-1)))


def test_what_no_recipe_made_is_skipped_with_the_reason() -> None:
    why = consistency.unlike({})
    assert why is not None and available(["psnr", "consistency"], why) == (["psnr"], {"consistency": why})
    assert consistency.unlike({"steps": [], "time": {"first": 0, "factor": 2}}) == "needs a recipe that keeps all frames"
    assert available(["consistency"], None) == (["consistency"], {})
    with pytest.raises(VSRError, match="none of the metrics can be computed here"):
        available(["consistency"], why)


def test_the_map_is_red_where_frames_are_far_from_lr() -> None:
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    doubt = np.zeros_like(frame)
    doubt[:8], doubt[8:16] = 200, 16
    shown = pictures.overlay(frame, doubt)
    assert (
        shown[0, 0].tolist() == [220, 0, 0] and shown[8, 0].tolist() == [155, 45, 45] and shown[-1, -1].tolist() == [90, 90, 90]
    )
