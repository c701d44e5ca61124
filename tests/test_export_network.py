"""Networks as ONNX files, run by onnxruntime and held against PyTorch here too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from front_door import Vsr, error
from test_edvr import liven

import models
from models.parts.online import OnlineNetwork
from pipelines.errors import VSRError
from pipelines.exporting import export as exporting
from pipelines.exporting.export import beginning, export

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SMALL: dict[str, dict[str, Any]] = {
    "edvr_m": {"channels": 8, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2, "upsample_channels": 8},
    "dap_64": {"channels": 8, "encoder_channels": 4, "levels": 2, "samples": 2, "blocks": 1},
    "safmn": {"channels": 8, "blocks": 1},
}


def made(name: str) -> models.Network:
    torch.manual_seed(0)
    network = models.create(name, **SMALL[name])
    liven(network)
    return network.eval()


def sessions(*files: Path) -> list[Any]:
    onnxruntime = pytest.importorskip("onnxruntime")
    return [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files]


def there() -> None:
    for package in PACKAGES:
        pytest.importorskip(package)


def test_bicubic_at_any_scale(vsr: Vsr, tmp_path: Path) -> None:
    there()
    told = vsr("export-network", "bicubic", tmp_path / "b.onnx", "--lr", "20x14", "--scale", 2.5)
    assert told.code == 0 and "random:" in told.out and "embedded corpus:" in told.out and "onnxruntime" in told.out
    (session,) = sessions(tmp_path / "b.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["vsr"])["size"] == [50, 35]
    clip = torch.rand(1, 1, 3, 20, 14)
    (found,) = session.run(None, {"clip": clip.numpy()})
    np.testing.assert_allclose(found, models.create("bicubic")(clip, size=(50, 35)), atol=1e-5)


def test_deformable_convolution(tmp_path: Path) -> None:
    """EDVR's window of five frames, in ONNX's own operator."""
    there()
    network = made("edvr_m")
    random, rendered = export(network, tmp_path / "e.onnx", (12, 16), 1)
    assert max(random.difference, rendered.difference) < 1e-4
    (session,) = sessions(tmp_path / "e.onnx")
    assert b"DeformConv" in (tmp_path / "e.onnx").read_bytes()
    clip = torch.rand(1, 5, 3, 12, 16)
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"clip": clip.numpy()})[0], network(clip), atol=1e-4)


def test_a_state_goes_in_and_out(tmp_path: Path) -> None:
    """Frame after frame, as the network restores the clip."""
    there()
    network = made("dap_64")
    assert isinstance(network, OnlineNetwork)
    export(network, tmp_path / "d.onnx", (12, 16), 1)
    step, first = sessions(tmp_path / "d.onnx", beginning(tmp_path / "d.onnx"))
    clip = torch.rand(1, 3, 3, 12, 16)
    found, state = [], []
    for t in range(3):
        session = step if t else first
        assert [node.name for node in session.get_inputs()] == ["frame", *(f"state_{i}" for i in range(len(state)))]
        restored, *state = session.run(
            None, {"frame": clip[:, t].numpy(), **{f"state_{i}": part for i, part in enumerate(state)}}
        )
        found.append(restored)
    with torch.no_grad():
        np.testing.assert_allclose(np.stack(found, axis=1), network(clip), atol=1e-4)


def test_maxima_of_areas_of_any_size(tmp_path: Path) -> None:
    """SAFMN at sizes that its areas do not divide."""
    there()
    random, _ = export(made("safmn"), tmp_path / "s.onnx", (19, 23), 1)
    assert random.difference < 1e-4


def test_what_differs_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there()
    monkeypatch.setattr(exporting, "TOLERANCE", -1)
    with pytest.raises(VSRError, match="onnxruntime makes something else of bicubic than PyTorch.*no file is left"):
        export(models.create("bicubic"), tmp_path / "b.onnx", (8, 8), 1)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ends in .onnx" in error(vsr("export-network", "bicubic", tmp_path / "b.pt"))
    (tmp_path / "there.onnx").touch()
    assert "already exists" in error(vsr("export-network", "bicubic", tmp_path / "there.onnx"))
    assert "has to be trained" in error(vsr("export-network", "basicvsr", tmp_path / "b.onnx"))
    assert "unknown weights" in error(vsr("export-network", "basicvrs", tmp_path / "b.onnx"))
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VSRError, match=r"need onnx and onnxscript and onnxruntime: `pip install 'vsr\[onnx\]'`"):
        export(models.create("bicubic"), tmp_path / "b.onnx", (8, 8), 1)
