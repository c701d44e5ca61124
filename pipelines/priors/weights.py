"""Parameters by name or by folder. A published name is looked for in a local folder first, else at the
publisher's own address, checksum verified; a path is a folder of transformers' files, taken as it is.

`VSR_WEIGHTS` names a folder of weights that is looked in first; what is downloaded is kept in
`$XDG_CACHE_HOME/vsr` (`~/.cache/vsr`). A published file is used only if its sha256 is the published one.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import params
from pipelines.errors import VSRError, unknown

_CHUNK = 2**20
_TIMEOUT = 30.0
_EVERY = 5.0


@dataclass(frozen=True)
class Weights:
    """What is published under one name.

    `files` maps the publisher's file names, which continue the address `url`, to their sha256: all 64
    hex digits, or the 8 that the publisher puts in the file's name where no more are known; None for
    a small file whose content only a commit in the address pins. With `folder`, all of them make
    one folder named like the weights (a model of transformers); otherwise there is one file.
    `ports` are other files that hold the same network's published parameters under the names this
    project loads; they are accepted from a local folder and never downloaded. `trained_on` says of a
    network that restores clips what its authors trained it on, `<corpus>/<degradation>` under the names
    that corpora and recipes have here.
    """

    url: str
    files: Mapping[str, str | None]
    licence: str
    folder: bool = False
    ports: Mapping[str, str] = field(default_factory=dict)
    trained_on: str | None = None


_TORCHVISION = "https://download.pytorch.org/models/"


def _torchvision(file: str, sha256: str, **ports: str) -> Weights:
    return Weights(_TORCHVISION, {file: sha256}, "BSD-3-Clause", ports={f"{k}.pth": v for k, v in ports.items()})


def _openmmlab(file: str, trained_on: str) -> Weights:
    """The file name ends in the first 8 digits of its sha256; no more are published."""
    prefix = file.removesuffix(".pth")[-8:]
    url = "https://download.openmmlab.com/mmediting/restorers/basicvsr/"
    return Weights(url, {file: prefix}, "Apache-2.0", trained_on=trained_on)


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
    # SPyNet as BasicSR converted it, published again by the authors of VRT.
    "spynet_sintel": Weights(
        "https://github.com/JingyunLiang/VRT/releases/download/v0.0/",
        {"spynet_sintel_final-3d2a1287.pth": "3d2a1287666aa71752ebaedc06999212886ef476f77d691a1b0006107088e714"},
        "CC-BY-NC-4.0",
    ),
    "basicvsr_reds4": _openmmlab("basicvsr_reds4_20120409-0e599677.pth", "reds/bi_x4"),
    "basicvsr_vimeo90k_bi": _openmmlab("basicvsr_vimeo90k_bi_20210409-d2d8f760.pth", "vimeo90k/bi_x4"),
    "basicvsr_vimeo90k_bd": _openmmlab("basicvsr_vimeo90k_bd_20210409-0154dd64.pth", "vimeo90k/bd_x4"),
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
    # Of its sha256 the publisher names the first 8 digits.
    "vgg19": _torchvision("vgg19-dcbb9e9d.pth", "dcbb9e9d"),
    "alexnet": _torchvision("alexnet-owt-7be5be79.pth", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
    "vgg16": _torchvision("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
    "inception_v3_fid": Weights(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/",
        {"weights-inception-2015-12-05-6726825d.pth": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"},
        "Apache-2.0",
    ),
}


_TYPES = {"sam": ("sam",), "sam2": ("sam2", "sam2_video")}
"""The model types of transformers that hold a backend's network; SAM 2 is published as its video model."""

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def resolve(name: str) -> Path:
    """The verified file of these weights, or the folder of a model of transformers.

    Args:
        name: a published name, or the path of a folder (with a `/`, or beginning with `.` or `~`; relative
            to the repository) that holds `config.json` and `model.safetensors`.

    Raises:
        VSRError: the name is unknown, a file found is not the published one, or it is nowhere and
            cannot be downloaded; the folder lacks a file or holds pickled weights. The error says
            where it was looked for and what to do.
    """
    if is_folder(name):
        return _model_folder(name)
    found = local(name)
    if found is not None:
        return found
    weights, cache = REGISTRY[name], _cache()
    target = cache / name if weights.folder else cache
    for file, sha256 in weights.files.items():
        if not (target / file).exists():
            _download(name, weights.url + file, target / file, sha256)
    found = _find(cache, name, weights)
    assert found is not None
    return found


def local(name: str) -> Path | None:
    """The verified file or folder of published weights on this machine, or None if they are not here.

    Raises:
        VSRError: the name is unknown, or a file found is not the published one.
    """
    if name not in REGISTRY:
        raise unknown("weights", name, REGISTRY)
    found = (_find(folder, name, REGISTRY[name]) for folder in (*_local(), _cache()))
    return next((path for path in found if path is not None), None)


def how_to_get(name: str) -> str:
    """What is missing where published weights are not on this machine, and how to get it; the end of a sentence, the same
    on every machine."""
    weights = REGISTRY[name]
    files = " and ".join(f"{name}/{file}" if weights.folder else file for file in weights.files)
    return f"needs the weights {name!r}: put {files} from {weights.url} into the folder that VSR_WEIGHTS names"


def is_folder(name: str) -> bool:
    """Whether weights are named by a folder of one's own and not by what is published."""
    return "/" in name or name.startswith((".", "~"))


def digest(path: Path) -> str:
    """The sha256 of a weights file, or of the parameters in a folder of a model of transformers."""
    return _sha256(path / "model.safetensors" if path.is_dir() else path)


def provenance(model: params.Sam | params.Felzenszwalb | params.Raft | params.Dis) -> dict[str, Any]:
    """What made a clip's prior: the model's parameters, and the sha256 of its weights if it has any.

    A local folder is known by what it holds, so its path is left out: `weights` is `local` and
    `model_type` what its `config.json` says.

    Finds the weights, downloading them where they must be: call it before the work starts.

    Raises:
        VSRError: they are not found, or hold another network than the model's backend.
    """
    if not isinstance(model, params.Sam | params.Raft):
        return model.model_dump()
    path = resolve(model.weights)
    made = {**model.model_dump(), "sha256": digest(path)}
    if isinstance(model, params.Sam):
        model_type = _model_type(path)
        if model_type not in _TYPES[model.backend]:
            raise VSRError(
                f"weights {model.weights!r}: {path / 'config.json'} says model_type {model_type!r}, which the backend "
                f"{model.backend!r} does not run: give weights of type {' or '.join(map(repr, _TYPES[model.backend]))}, or "
                f"another backend of {', '.join(_TYPES)}."
            )
        if is_folder(model.weights):
            made |= {"weights": "local", "model_type": model_type}
    return made


def _model_folder(name: str) -> Path:
    """The folder that a path names, if it holds a model of transformers as safetensors."""
    folder = params.ROOT / Path(name).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise VSRError(
            f"weights {name!r}: the folder {folder} {what}: give a folder with config.json and model.safetensors, "
            f"or a published name such as {next(key for key, known in REGISTRY.items() if known.folder)!r}."
        )
    absent = [file for file in ("config.json", "model.safetensors") if not (folder / file).is_file()]
    if not absent:
        return folder
    if pickled := sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED):
        raise VSRError(
            f"weights {name!r}: {folder} has {pickled[0]} but no {' and no '.join(absent)}: pickled files can run code when they "
            "are read and are not taken, save the model again with transformers' `save_pretrained`."
        )
    raise VSRError(
        f"weights {name!r}: {folder} has no {' and no '.join(absent)}: give a folder as transformers' `save_pretrained` "
        "writes it, the parameters in one file."
    )


def _model_type(folder: Path) -> str:
    """What transformers calls the network of a folder."""
    try:
        return str(json.loads((folder / "config.json").read_text())["model_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise VSRError(
            f"{folder / 'config.json'} does not name its model_type: it is not a configuration of transformers, "
            "put the published one in its place."
        ) from error


def _local() -> list[Path]:
    setting = os.environ.get("VSR_WEIGHTS")
    if not setting:
        return []
    if not Path(setting).is_dir():
        raise VSRError(f"VSR_WEIGHTS={setting} is not a folder: set it to a folder of weights, or unset it.")
    return [Path(setting)]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vsr"


def _find(folder: Path, name: str, weights: Weights) -> Path | None:
    """The weights in that folder, verified; None if they are not (all) there."""
    if weights.folder:
        parts = {folder / name / file: sha256 for file, sha256 in weights.files.items()}
        if not all(path.is_file() for path in parts):
            return None
        for path, sha256 in parts.items():
            _verify(name, path, sha256)
        return folder / name
    for file, sha256 in (*weights.files.items(), *weights.ports.items()):
        if (folder / file).is_file():
            _verify(name, folder / file, sha256)
            return folder / file
    return None


def _verify(name: str, path: Path, sha256: str | None) -> None:
    if sha256 is not None and not (actual := _sha256(path)).startswith(sha256):
        raise VSRError(
            f"{path} is not the published {name}: its sha256 begins with {actual[:12]}, not {sha256[:12]}; "
            "remove it, and it is downloaded again."
        )


def _sha256(path: Path) -> str:
    status = path.stat()
    return _hashed(path, status.st_size, status.st_mtime_ns)


@functools.cache  # a metric asks for its weights with every clip, and VGG16 has half a gigabyte
def _hashed(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(name: str, url: str, target: Path, sha256: str | None) -> None:
    """Fetch to a temporary name beside the target, verify, rename: a file is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    partial = Path(temporary)
    try:
        with os.fdopen(descriptor, "wb") as file:
            try:
                actual = _fetch(url, file.fileno())
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                raise _absent(name, url, target, error) from error
        if sha256 is not None and not actual.startswith(sha256):
            raise VSRError(
                f"{url} is not the published {name} (sha256 begins with {actual[:12]}, not {sha256[:12]}): "
                "is there a proxy in between? Nothing was kept; try again."
            )
        partial.chmod(0o644)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _fetch(url: str, descriptor: int) -> str:
    """Copy what is at the address into an open file, saying how far it is; returns the sha256."""
    sha256 = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
        total = int(response.headers.get("Content-Length") or 0)
        done, said = 0, time.monotonic()
        print(f"downloading {url}" + (f" ({total / 1e6:.1f} MB)" if total else ""), file=sys.stderr, flush=True)
        while chunk := response.read(_CHUNK):
            sha256.update(chunk)
            os.write(descriptor, chunk)
            done += len(chunk)
            if time.monotonic() - said > _EVERY:
                said = time.monotonic()
                share = f" of {total / 1e6:.1f}" if total else ""
                print(f"  {done / 1e6:.1f}{share} MB", file=sys.stderr, flush=True)
    if total and done != total:
        raise http.client.HTTPException(f"the connection broke off after {done} of {total} bytes")
    return sha256.hexdigest()


def _absent(name: str, url: str, target: Path, error: Exception) -> VSRError:
    looked = ", ".join(str(folder) for folder in (*_local(), _cache()))
    reason = getattr(error, "reason", None) or error
    if isinstance(error, urllib.error.HTTPError):
        reason = f"HTTP {error.code}"
    where = f"{name}/{target.name}" if REGISTRY[name].folder else target.name
    return VSRError(
        f"the weights {name!r} are not in {looked} and {url} cannot be downloaded ({reason}): "
        f"fetch it on a machine with a network (`curl -LO {url}`), put it into a folder as {where} and set VSR_WEIGHTS to that folder."
    )
