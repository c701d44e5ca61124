"""`vsr degrade` with every shipped recipe, its record and its preview, through the front door."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from front_door import Vsr, error, moving, put, tree
from PIL import Image

from pipelines import params
from pipelines.clips import video
from pipelines.degradations import recipes

RECIPES = params.load(params.ROOT / "params.yaml").recipes


def frames_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe(vsr: Vsr, tmp_path: Path, recipe: str) -> None:
    frames = moving(5, 64, 96)
    put(tmp_path / "in" / "one", frames)
    put(tmp_path / "in" / "two", moving(5, 64, 96, seed=1))
    assert vsr("degrade", tmp_path / "in", tmp_path / "out", "--recipe", recipe).code == 0
    made = frames_of(tmp_path / "out" / "one")
    factor = 2 if "_t2" in recipe else 1
    scale = float(recipe.split("_x")[1].partition("_t2")[0].replace("_", "."))
    whole = range(1, 4, 2) if recipe.endswith("_mean") else range(0, 5, factor)  # the mean of three has one before and one after
    assert [path.name for path in sorted((tmp_path / "out/one").iterdir())] == [f"{index:03d}.png" for index in whole]
    assert all(frame.shape == (int(64 // scale), int(96 // scale), 3) for frame in made)
    record = json.loads((tmp_path / "out/one.json").read_text())
    assert record["degradation"] == recipe
    remade = list(recipes.remake(record, frames))
    assert len(remade) == len(made) and all((one == other).all() for one, other in zip(remade, made, strict=True))
    assert json.loads((tmp_path / "out/two.json").read_text())["scale"] == [scale, scale]


def test_half_the_frames_of_a_video_have_half_its_rate(vsr: Vsr, tmp_path: Path) -> None:
    video.encode(moving(9, 64, 96), tmp_path / "in.mp4", Fraction(30))
    assert vsr("degrade", tmp_path / "in.mp4", tmp_path / "out.mp4", "--recipe", "aniso_x4_t2").code == 0
    info = video.probe(tmp_path / "out.mp4")
    assert (info.frames, info.fps, info.width, info.height) == (5, 15, 24, 16)


def test_preview(vsr: Vsr, tmp_path: Path) -> None:
    put(tmp_path / "in", moving(3, 66, 98))
    for name in ("one.png", "two.png"):
        assert vsr("degrade", tmp_path / "in", tmp_path / name, "--recipe", "realworld_x4", "--preview").code == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    width, height = Image.open(tmp_path / "one.png").size
    assert width > 1000 and height > 1000
    before = tree(tmp_path)
    told = error(vsr("degrade", tmp_path / "in", tmp_path / "sheet", "--recipe", "bi_x4", "--preview"))
    assert "give a name that ends in .png" in told
    told = error(vsr("degrade", tmp_path / "in", tmp_path / "one.png", "--recipe", "bi_x4", "--preview"))
    assert "already exists" in told
    assert tree(tmp_path) == before


def test_a_record_is_not_overwritten(vsr: Vsr, tmp_path: Path) -> None:
    put(tmp_path / "in", moving(2))
    (tmp_path / "out.json").write_text("mine")
    assert "out.json already exists" in error(vsr("degrade", tmp_path / "in", tmp_path / "out", "--recipe", "bi_x4"))
    assert (tmp_path / "out.json").read_text() == "mine" and not (tmp_path / "out").exists()
