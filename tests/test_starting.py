"""Networks that begin with others: what is taken, what is new, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from moving import flow, hr_store, lr_store, training
from torch import Tensor

import models
from models import Network
from pipelines.errors import VSRError
from pipelines.training import product
from pipelines.training.restoration import first_network, restoration_task
from pipelines.training.starting import begin_with

BASICVSR = {"channels": 4, "blocks": 1, "upsample_channels": 4}
EDVR = {"channels": 4, "frames": 3, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2, "upsample_channels": 4}
ICONVSR = {"channels": 4, "blocks": 1, "temporal_padding": 1, "extraction_blocks": 1, "groups": 2, "upsample_channels": 4}
NEAR = training(initial="near_base")


def made(folder: Path, name: str, seed: int = 5, **options: Any) -> tuple[Path, dict[str, Tensor]]:
    """A network of random parameters as a stage leaves it, and these."""
    torch.manual_seed(seed)
    network = models.create(name, **options)
    for value in network.state_dict().values():
        value.add_(0.1 * torch.randn_like(value))
    out = folder / f"{name}_{seed}"
    product.write(out, network, {"name": out.name, "notes": ["trained somehow", "more"]})
    return out, network.state_dict()


def check(network: Network, taken: dict[str, Tensor], prefix: str = "") -> None:
    state = network.state_dict()
    assert taken and all(torch.equal(state[prefix + name], value) for name, value in taken.items())


def test_a_flow_network_goes_into_its_place(tmp_path: Path) -> None:
    start, state = made(tmp_path, "spynet")
    for name, options in (("basicvsr", BASICVSR), ("iconvsr", ICONVSR)):
        network = models.create(name, **options)
        assert begin_with(network, start) == "its spynet begins with spynet_5 (trained somehow)"
        check(network, state, "spynet.")
    task = restoration_task("basicvsr", BASICVSR, training(parts=flow(2, 0.5)), *stores(tmp_path), start)
    check(task.network, state, "spynet.")
    outer, inner = task.groups()
    assert sum(parameter.numel() for parameter in inner.parameters) == 1_440_300 and (inner.factor, inner.frozen) == (0.5, 2)
    assert len(outer.parameters) + len(inner.parameters) == len(list(task.network.parameters()))


def stores(folder: Path) -> tuple[Path, Path]:
    hr = hr_store(folder / "hr")
    return hr.path, lr_store(hr, folder / "lr").path


def test_what_is_added_to_a_network_is_new(tmp_path: Path) -> None:
    """Begun near the base, what is taken is as it was, and a network into which SEEM is put gives what it gave."""
    start, state = made(tmp_path, "basicvsr", **BASICVSR)
    guided = first_network("seem_basicvsr", BASICVSR, NEAR, start)
    check(guided, state)
    clip, masks = torch.rand(1, 3, 3, 8, 8), torch.rand(1, 3, 64, 8, 8).round()
    with torch.no_grad():
        assert torch.equal(guided(clip, masks), models.load(start / product.WEIGHTS)(clip))
    note = begin_with(models.create("seem_basicvsr", **BASICVSR), start)
    assert note == "begins with basicvsr_5 (trained somehow); new: seem"
    control = first_network("basicvsr", BASICVSR, NEAR, start)
    check(control, state)
    assert begin_with(control, start) == "begins with basicvsr_5 (trained somehow)"


def test_a_head_takes_the_place_of_the_upsampler(tmp_path: Path) -> None:
    start, state = made(tmp_path, "basicvsr", **BASICVSR)
    options = {"channels": 4, "blocks": 1, "hidden": 8}
    network = first_network("basicvsr_liif", options, NEAR, start)
    check(network, {name: value for name, value in state.items() if not name.startswith(("up", "conv"))})
    note = begin_with(models.create("basicvsr_liif", **options), start)
    assert note == ("begins with basicvsr_5 (trained somehow); not used of it: upconv1, upconv2, conv_hr, conv_last; new: head")
    # What is new begins near the base: its last layer adds nothing.
    assert not network.last.weight.any() and network.head.imnet.layers[0].weight.any()  # type: ignore[operator,union-attr,index]


def test_attention_in_place_of_a_plain_fusion(tmp_path: Path) -> None:
    start, state = made(tmp_path, "edvr_m", **EDVR, tsa=False)
    network = models.create("edvr_m", **EDVR)
    note = begin_with(network, start)
    assert note == "begins with edvr_m_5 (trained somehow); not used of it: fusion; new: fusion"
    check(network, {name: value for name, value in state.items() if not name.startswith("fusion.")})


def join(folder: Path, *starts: Path) -> Path:
    """As `stages.join` leaves it."""
    out = folder / "join"
    out.mkdir()
    parts = []
    for number, start in enumerate(starts):
        (out / f"{number}.safetensors").write_bytes((start / product.WEIGHTS).read_bytes())
        parts.append({**product.read(start), "file": f"{number}.safetensors"})
    (out / product.RECORD).write_text(json.dumps({"name": "join", "notes": [], "parts": parts}))
    return out


def test_two_networks_join_in_a_third(tmp_path: Path) -> None:
    flow_network, of_flow = made(tmp_path, "spynet")
    edvr, of_edvr = made(tmp_path, "edvr_m", **EDVR)
    network = models.create("iconvsr", **ICONVSR)
    note = begin_with(network, join(tmp_path, flow_network, edvr))
    assert note == (
        "its spynet begins with spynet_5 (trained somehow); its edvr begins with edvr_m_5 (trained somehow); "
        "not used of it: reconstruction, upconv1, upconv2, conv_hr, conv_last"
    )
    check(network, of_flow, "spynet.")
    unused = ("reconstruction.", "up", "conv_hr.", "conv_last.")
    check(network, {name: value for name, value in of_edvr.items() if not name.startswith(unused)}, "edvr.")


def test_the_later_of_two_networks_wins(tmp_path: Path) -> None:
    base, state = made(tmp_path, "basicvsr", **BASICVSR)
    flow_network, of_flow = made(tmp_path, "spynet")
    network = models.create("seem_basicvsr", **BASICVSR)
    note = begin_with(network, join(tmp_path, base, flow_network))
    assert note.endswith("; its spynet begins with spynet_5 (trained somehow); new: seem")
    check(network, {name: value for name, value in state.items() if not name.startswith("spynet.")})
    check(network, of_flow, "spynet.")


def test_scratch_is_nothing(tmp_path: Path) -> None:
    (tmp_path / product.RECORD).write_text(json.dumps({"name": "scratch", "notes": [], "parts": []}))
    torch.manual_seed(0)
    network = models.create("basicvsr", **BASICVSR)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert begin_with(network, tmp_path) == ""
    check(network, before)


@pytest.mark.parametrize(
    "name, options, start, of, words",
    [
        ("edvr_m", EDVR, "spynet", {}, "edvr_m has no use for anything of spynet_5 (spynet): choose another start."),
        (
            "basicvsr",
            BASICVSR,
            "basicvsr",
            {**BASICVSR, "channels": 8},
            "basicvsr cannot begin with basicvsr_5 (basicvsr): backward_trunk.main.0.weight is (4, 7, 3, 3) and (8, 11, 3, 3)",
        ),
        (
            "basicvsr",
            {**BASICVSR, "blocks": 2},
            "basicvsr",
            BASICVSR,
            "basicvsr cannot begin with basicvsr_5 (basicvsr): the former alone has backward_trunk.main.2.1.conv1.weight",
        ),
        (
            "basicvsr",
            BASICVSR,
            "basicvsr",
            {**BASICVSR, "blocks": 2},
            "the latter alone has backward_trunk.main.2.1.conv1.weight",
        ),
        (
            "iconvsr",
            ICONVSR,
            "edvr_m",
            {**EDVR, "frames": 5},
            "iconvsr cannot begin with edvr_m_5 (edvr_m): edvr.fusion.feat_fusion.weight is (4, 12, 1, 1) and (4, 20, 1, 1)",
        ),
    ],
)
def test_networks_that_do_not_fit(
    tmp_path: Path, name: str, options: dict[str, Any], start: str, of: dict[str, Any], words: str
) -> None:
    folder, _ = made(tmp_path, start, **of)
    with pytest.raises(VSRError, match=re.escape(words)):
        begin_with(models.create(name, **options), folder)


def test_a_folder_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="holds no trained network"):
        begin_with(models.create("basicvsr", **BASICVSR), tmp_path)
