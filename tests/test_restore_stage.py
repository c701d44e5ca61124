"""What the stage decides before it restores: whether a method can be applied to a pair, from records and manifests alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from moving import black_store

from pipelines.clips import fit
from stages import restore


def test_the_prior_is_the_one_that_the_guide_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "ROOT", tmp_path)
    monkeypatch.setattr(restore, "data", lambda *parts: tmp_path.joinpath("data", *parts))
    folder = tmp_path / "data" / "guides" / "seem" / "city"
    folder.mkdir(parents=True)
    (folder / "bi_x4.json").write_text('{"prior": "data/priors/masks/city", "sha256": "0"}')
    (folder / "bd_x4.json").write_text('{"prior": null, "sha256": null}')
    assert restore._prior("seem", "city", "bi_x4") == tmp_path / "data" / "priors" / "masks" / "city"
    assert restore._prior("seem", "city", "bd_x4") is None


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
            black_store(tmp_path / "hr", 17, 25),
            black_store(tmp_path / "lr", *lr),
            black_store(tmp_path / "fewer", *lr, frames=1),
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
