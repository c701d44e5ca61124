"""params.yaml: what ships is valid, and what is misspelt is met with the nearest valid name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelines import params
from pipelines.errors import VSRError

SHIPPED = params.ROOT / "params.yaml"


def test_shipped_params_are_valid() -> None:
    loaded = params.load(SHIPPED)
    assert loaded.recipes["bi_x4"][0].op == "bicubic"
    published = loaded.methods["basicvsr"]["published"].training
    assert published and (published.iterations, published.batch, published.clip_length) == (300_000, 8, 15)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crf: 25", "crff: 25", "unknown key 'recipes.crf25_x4.1.crff': did you mean 'crf'?"),
        ("op: x264, crf: 25", "op: x265, crf: 25", "recipes.crf25_x4.1: unknown op 'x265': did you mean 'x264'?"),
        ("{op: x264, crf: 25", "{crf: 25", "the key 'recipes.crf25_x4.1.op' is missing"),
        ("crf: 25", "crf: 77", "'recipes.crf25_x4.1.crf' is 77"),
        ("scale: 4}]", "scale: 0}]", "'recipes.bi_x4.0.scale' is 0"),
        ("sigma_x: {low", "sigma_x: {lov", "unknown key 'recipes.aniso_x4.0.sigma_x.lov': did you mean 'low'?"),
        (
            "sigma_x: {low: 0.2",
            "sigma_x: {low: 20",
            "'recipes.aniso_x4.0.sigma_x' is {'low': 20, 'high': 5}: low is 20, above high",
        ),
        ("{share: 0.2, steps: []}", "{share: 0.3, steps: []}", "the shares add up to 1.1, not 1"),
        ("frames: lr/parallax/bi_x4", "frames: parallax/bi_x4", "frames are 'hr/<corpus>' or 'lr/<corpus>/<degradation>'"),
        ("frames: lr/parallax/bi_x4", "frames: lr/parallax/bi_x8", "masks.parallax_bi_x4: unknown degradation 'bi_x8'"),
        ("degradations: [bi_x4, ", "degradations: [bi_x5, ", "degradations: unknown recipe 'bi_x5'"),
        ("experiments:  ", "experimentz:  ", "unknown key 'experimentz': did you mean 'experiments'?"),
        ("seed: 0\n    height", "sed: 0\n    height", "unknown key 'corpora.parallax.sed': did you mean 'seed'?"),
        ("start: spynet_parallax}", "start: spynet}", "unknown start 'spynet': did you mean 'spynet_parallax'?"),
        ("profile: small", "profile: smal", "unknown profile of basicvsr 'smal': did you mean 'small'?"),
        ("basicvsr_bi: {", "basicvsr.bi: {", "lower-case letters, digits and '_' only"),
        ("corpora:  ", "corpora: [  ", "not valid YAML"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(VSRError, match=re.escape(message)):
        params.load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="does not exist"):
        params.load(tmp_path / "params.yaml")


def test_every_map_of_params_drives_the_graph() -> None:
    """Contract: one line adds one thing, so each of these is iterated by a stage and no entry is named in dvc.yaml."""
    text = (params.ROOT / "dvc.yaml").read_text()
    loaded = yaml.safe_load(SHIPPED.read_text())
    for name in ("corpora", "degradations", "masks", "flows", "starts", "experiments", "baselines"):
        assert f"${{{name}}}" in text
        for entry in loaded[name]:
            assert not re.search(rf"\b{entry}\b", text.split("stages:", 1)[1].replace("bicubic.py", "")), entry
    assert "cache: false" not in text
