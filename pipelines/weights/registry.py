"""What is published: of priors and metrics here, of networks beside each of them in `models/`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.errors import unknown

if TYPE_CHECKING:  # networks need torch, which takes seconds to import, and most names are none of theirs
    from models.parts.weights import Published


@dataclass(frozen=True)
class Weights:
    """The files that are published under one name.

    `files` maps the publisher's file names to their sha256: all 64 hex digits, or the 8 that the publisher puts
    in the file's name where no more are known; None for a small file whose content only a commit in the address
    pins. `url` is the address of the one file, or, where it ends in a slash, what their names continue. With `folder`,
    the files make one folder named like the weights (a model of transformers); otherwise there is one file.
    `ports` are other files that hold the same parameters under the names this project loads; they are accepted
    from a local folder and never downloaded. `trained_on` and `differs` are those of a network, see
    `models.parts.weights.Published`.
    """

    url: str
    files: Mapping[str, str | None]
    licence: str
    folder: bool = False
    ports: Mapping[str, str] = field(default_factory=dict)
    trained_on: str | None = None
    differs: str | None = None

    def address(self, file: str) -> str:
        """Where one of the files is."""
        return self.url + file if self.url.endswith("/") else self.url


_TORCHVISION = "https://download.pytorch.org/models/"


def _torchvision(file: str, sha256: str, **ports: str) -> Weights:
    return Weights(_TORCHVISION, {file: sha256}, "BSD-3-Clause", ports={f"{k}.pth": v for k, v in ports.items()})


def _sam(size: str, revision: str, sha256: str, config: str | None = None) -> Weights:
    url = f"https://huggingface.co/facebook/sam-vit-{size}/resolve/{revision}/"
    return Weights(url, {"config.json": config, "model.safetensors": sha256}, "Apache-2.0", folder=True)


REGISTRY: dict[str, Weights] = {
    # RAFT-small: trained on FlyingChairs and FlyingThings3D by torchvision; the port holds the
    # original authors' parameters, trained on the same, under torchvision's key names.
    "raft_small": _torchvision(
        "raft_small_C_T_V2-01064c6d.pth",
        "01064c6dba73b0fc9fc8edf772248560a00a3acfd62ac6677e9eeebad9680e27",
        raft_small_torchvision="944a08988a60eaf765f9f653378d382d63669acafb6613d083ed95875668856c",
    ),
    "raft_large": _torchvision(
        "raft_large_C_T_SKHT_V2-ff5fadd5.pth", "ff5fadd56d26b40647388883af1547351ea17868b765c05b27231e72dd16a322"
    ),
    "sam_vit_b": _sam(
        "base",
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
        "892c410e496344e527255ccdcb2cb7244a609acb5389c7c4fdba1288f861c579",
        "5ebd0d8643b486f3a716bf17c2a15531eb818b2b96ff0c6c5dcc88fa015161af",
    ),
    "sam_vit_l": _sam(
        "large",
        "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
        "a57e1b13cd1545938dfcbc9fb26df7f60de6650237a9383382a874a623564b81",
    ),
    "sam_vit_h": _sam(
        "huge",
        "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
        "edfb0462392541fca9af44ff039bfb32dbd0c939997f3abb77a26e23af7afd7c",
    ),
    # NIQE's pristine model, the original release's for MATLAB as BasicSR converted it. The address is BasicSR's; the
    # publisher names no checksum, this one is of the copy that the tests run with.
    "niqe": Weights(
        "https://raw.githubusercontent.com/XPixelGroup/BasicSR/master/basicsr/metrics/",
        {"niqe_pris_params.npz": "2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296"},
        "Apache-2.0",
    ),
    # Backbones of LPIPS, DISTS and FID, trained on ImageNet. The port is a whole LPIPS with SqueezeNet as ONNX.
    "squeezenet1_1": Weights(
        _TORCHVISION,
        {"squeezenet1_1-b8a52dc0.pth": "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"},
        "BSD-3-Clause",
        ports={"lpips_squeeze.onnx": "1402626680d5b69a793e647edda2c32f04e192f5cf1e7837bec8bde14187a261"},
    ),
    "alexnet": _torchvision("alexnet-owt-7be5be79.pth", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
    # Of its sha256 the publisher names the first 8 digits.
    "vgg19": _torchvision("vgg19-dcbb9e9d.pth", "dcbb9e9d"),
    "vgg16": _torchvision("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    "inception_v3_fid": Weights(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/",
        {"weights-inception-2015-12-05-6726825d.pth": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"},
        "Apache-2.0",
    ),
}


def published(name: str) -> Weights | None:
    """What is published under a name, if anything. Of the networks, only the one whose name it begins with is imported."""
    if name in REGISTRY:
        return REGISTRY[name]
    import models
    from models.parts import registry

    networks = [network for network in models.names() if name.startswith(f"{network}_")]
    found = registry.weights(max(networks, key=len)).get(name) if networks else None
    if found is None:
        return None
    return Weights(found.url, {found.file: found.sha256}, found.licence, trained_on=found.trained_on, differs=found.differs)


def find(name: str) -> Weights:
    """What is published under a name.

    Raises:
        VSRError: nothing is.
    """
    found = published(name)
    if found is None:
        raise unknown("weights", name, {**REGISTRY, **of_networks()})
    return found


@functools.cache
def of_networks() -> dict[str, Published]:
    """What is published of all networks, by its names. Imports them all."""
    import models
    from models.parts import registry

    return {name: known for network in models.names() for name, known in registry.weights(network).items()}
