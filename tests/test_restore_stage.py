"""What the stage decides before it restores: whether a method can be applied to a pair, from records and manifests alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.clips import fit
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from stages import restore


def _store(folder: Path, height: int, width: int, frames: int = 2, **parameters: Any) -> Store:
    parts = folder.with_name(f"{folder.name} parts")
    with ClipWriter(parts, "clip") as writer:
        for _ in range(frames):
            writer.append({"rgb": np.zeros((height, width, 3), np.uint8)})
        writer.finish(ClipAttributes("test", 25.0, height, width, "", parameters))
    assemble(parts, ["clip"], folder)
    return Store(folder)


def test_masks_are_those_of_the_model_that_the_network_was_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "data", tmp_path.joinpath)
    model = {"backend": "felzenszwalb", "scale": 60.0}
    folder = tmp_path / "masks" / "lr" / "city" / "bi_x4"
    for name, scale in (("coarse", 90.0), ("fine", 60.0)):
        _store(folder / name, 4, 4, **{**model, "scale": scale})
    assert restore._masks({"masks_model": model}, "city", "bi_x4") == folder / "fine"
    assert restore._masks({"masks_model": {**model, "scale": 30.0}}, "city", "bi_x4") is None
    assert restore._masks({"masks_model": model}, "town", "bi_x4") is None
    assert "trained with (backend felzenszwalb, scale 60.0)" in restore._no_masks({"masks_model": model})
    assert "of which its record says nothing" in restore._no_masks({})


@pytest.mark.parametrize(
    ("scale", "lr", "reason"),
    [
        (4, (4, 6), None),
        (4, (8, 12), "the network enlarges 4 times and the LR clips are 12x8 for 25x17"),
        (4, (4, 7), "the network enlarges 4 times and the LR clips are 7x4 for 25x17"),
        (2.5, (6, 10), None),
        (None, (6, 10), None),
        (None, (1, 2), None),
    ],
)
def test_networks_are_tested_at_their_scale(tmp_path: Path, scale: float | None, lr: tuple[int, int], reason: str | None) -> None:
    hr, small, fewer = (
        store.clip("clip")
        for store in (
            _store(tmp_path / "hr", 17, 25),
            _store(tmp_path / "lr", *lr),
            _store(tmp_path / "fewer", *lr, frames=1),
        )
    )
    assert fit.misfit(hr, small, scale) == reason
    assert fit.misfit(hr, fewer, scale) == "HR has 2 frames, the LR clips have 1, and the network makes none in between"


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.5, 3, 3.5, 4, 8, 12])
def test_what_a_degradation_leaves_fits(scale: float) -> None:
    """LR has floor(HR / scale) pixels; a pixel more or less of LR does not fit any more."""
    for whole in range(int(12 * scale), int(14 * scale)):
        lr = int(whole / scale)
        assert fit.fits((whole, whole), (lr, lr), scale)
        assert not fit.fits((whole, whole), (lr, lr + 2), scale) and not fit.fits((whole, whole), (lr - 2, lr), scale)
        expected = int(scale) if scale == int(scale) else None
        assert expected is None or fit.whole_scale((whole, whole), (lr, lr)) == expected


def test_the_decision_needs_neither_torch_nor_ray() -> None:
    program = (
        "import sys; import stages.restore, stages.score; "
        "print([name for name in ('torch', 'ray', 'mlflow', 'pandas', 'torchvision') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
