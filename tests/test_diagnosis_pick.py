"""The method for a clip by results that are there: the nearest tested degradation, and what is said of it."""

from __future__ import annotations

import math
from pathlib import Path

import choices
import fabricated
import moving
import numpy as np
import pytest
import skimage.data
import torch
from front_door import Vsr, error, put

from pipelines import results
from pipelines.clips import footage
from pipelines.degradations import filtering
from pipelines.diagnosis import diagnose
from pipelines.errors import VSRError
from pipelines.report.pick import Point, pick


def window(sigma: float, count: int = 4) -> list[np.ndarray]:
    """(144, 200, 3) uint8 frames of a window that moves over a blurred picture."""
    picture = torch.from_numpy(skimage.data.immunohistochemistry()[:170, :230].copy()).permute(2, 0, 1)[None].double()
    blurred = filtering.blur(picture, filtering.block_kernel(15, sigma, sigma, 0, 1)[None])[0].round().clamp(0, 255).byte()
    frames = blurred.permute(1, 2, 0).numpy()
    return [np.ascontiguousarray(frames[2 * t : 2 * t + 144, 3 * t : 3 * t + 200]) for t in range(count)]


def test_distances_are_doublings() -> None:
    here = Point(1.0, 3.0, 25)
    assert here.away(here) == 0
    assert here.away(Point(2.0, 3.0, 25)) == here.away(Point(1.0, 7.0, 25)) == here.away(Point(1.0, 3.0, 31)) == pytest.approx(1)
    assert here.away(Point(0.5, 1.0, 25)) == pytest.approx(math.sqrt(2))
    assert Point(1, 0, None).away(Point(1, 0, 16)) == pytest.approx(1)  # what is not coded counts as coded finely


def test_the_nearest_degradation_answers(tmp_path: Path) -> None:
    fabricated.results(tmp_path / "results")
    for name, sigma in (("bi_x4", 0.5), ("crf25_x4", 2.5)):
        lr = tmp_path / "data" / "lr" / "parallax" / name
        lr.parent.mkdir(parents=True, exist_ok=True)
        moving.store(lr, {"test_000": ("test", [{"rgb": frame} for frame in window(sigma)])})
    cells, known = results.load(tmp_path / "results"), fabricated.params()
    for name, sigma in (("bi_x4", 0.6), ("crf25_x4", 2.2)):
        put(tmp_path / name, window(sigma, 3))
        (clip,) = footage.open_source(tmp_path / name).values()
        found = pick(diagnose(clip), known, cells, "psnr", "my clip", tmp_path, 4)
        assert found.degradation == name and found.away < 1.2
        said = found.as_json()
        scores = {cell.method: cell.lead.metrics["psnr"] for cell in cells if cell.degradation == name}
        assert said["method"] == max(scores, key=lambda method: scores[method]) and said["psnr"] == max(scores.values())
        assert said["method"] in found.text() and "vsr repro" in found.text() and name in found.text()
    with pytest.raises(VSRError, match="scale 3"):
        pick(diagnose(clip), known, cells, "psnr", "my clip", tmp_path, 3)


def test_without_results_it_says_what_to_run(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices.put(tmp_path, choices.shipped())
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "clip", window(1.0, 2))
    assert "make demo" in error(vsr("pick", tmp_path / "clip"))
