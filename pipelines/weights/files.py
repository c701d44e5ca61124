"""Weights on this machine: where they are looked for, and whether they are what was published."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from pipelines import files, params
from pipelines.errors import VSRError
from pipelines.params.base import is_path
from pipelines.weights.download import Unreachable, download
from pipelines.weights.registry import REGISTRY, Weights, find

VARIABLE = "VSR_WEIGHTS"
"""The folders of published weights that are looked in first, with a colon between them."""

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def resolve(name: str) -> Path:
    """The verified file of these weights, or the folder of a model of transformers.

    Args:
        name: a published name, or the path of a folder (see `is_path`) that holds `config.json` and `model.safetensors`.

    Raises:
        VSRError: the name is unknown, a file found is not the published one, or it is nowhere and
            cannot be downloaded; the folder lacks a file or holds pickled weights. The error says
            where it was looked for and what to do.
    """
    if is_path(name):
        return _model_folder(name)
    found = local(name)
    if found is not None:
        return found
    weights, cache = find(name), _cache()
    target = cache / name if weights.folder else cache
    for file, sha256 in weights.files.items():
        if not (target / file).exists():
            try:
                download(name, weights.address(file), target / file, sha256)
            except Unreachable as error:
                raise _absent(name, file, error) from error
    found = _find(cache, name, weights)
    assert found is not None
    return found


def checkpoint(name: str, sha256: str | None = None) -> Path:
    """The file with the parameters of a network.

    Args:
        name: a published name, or the path of a file of one's own, see `is_path`.
        sha256: what the digest of one's own file has to begin with, or None for any.

    Raises:
        VSRError: as `resolve`; one's own file is not there, or is another one.
    """
    if not is_path(name):
        if find(name).folder:
            raise VSRError(f"weights {name!r} are those of a prior: choose a network's, their names begin with its own.")
        return resolve(name)
    path = files.local(params.ROOT / Path(name).expanduser())
    if not path.is_file():
        raise VSRError(f"weights {name!r}: there is no file {path}: give that of a checkpoint, or the name of published weights.")
    if sha256 is not None and not (actual := _sha256(path)).startswith(sha256):
        raise VSRError(
            f"weights {name!r}: the sha256 of {path} is {actual}, and params.yaml says {sha256}: write the new one there to take this "
            "file, or put the other back."
        )
    return path


def local(name: str) -> Path | None:
    """The verified file or folder of published weights on this machine, or None if they are not here.

    Raises:
        VSRError: the name is unknown, or a file found is not the published one.
    """
    weights = find(name)
    found = (_find(folder, name, weights) for folder in folders())
    return next((path for path in found if path is not None), None)


def how_to_get(name: str) -> str:
    """What is missing where published weights are not on this machine, and how to get it; the end of a sentence, the same
    on every machine."""
    weights = find(name)
    files = " and ".join(f"{name}/{file}" if weights.folder else file for file in weights.files)
    return f"needs the weights {name!r}: put {files} from {weights.url} into the folder that VSR_WEIGHTS names"


def described(name: str) -> str:
    """Weights in words, without the folder of a file."""
    return f"parameters of the file {Path(name).name}" if is_path(name) else f"published parameters {name}"


def recorded(name: str, path: Path) -> dict[str, str]:
    """What a record says of the weights that a network has.

    Args:
        name: as in params.yaml; of a path, the folder is left out.
        path: where `checkpoint` found them.
    """
    return {"weights": f"./{path.name}" if is_path(name) else name, "weights_sha256": digest(path)}


def digest(path: Path) -> str:
    """The sha256 of a weights file, or of the parameters in a folder of a model of transformers."""
    return _sha256(path / "model.safetensors" if path.is_dir() else path)


def _model_folder(name: str) -> Path:
    """The folder that a path names, if it holds a model of transformers as safetensors."""
    folder = files.local(params.ROOT / Path(name).expanduser())
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


def folders() -> list[Path]:
    """Where published weights are looked for.

    Raises:
        VSRError: `VSR_WEIGHTS` names something that is no folder.
    """
    named = [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for folder in named:
        if not files.far() and not folder.is_dir():
            raise VSRError(f"{VARIABLE}={folder} is not a folder: set it to a folder of weights, or unset it.")
    return [*named, _cache()]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vsr"


def _find(folder: Path, name: str, weights: Weights) -> Path | None:
    """The weights in that folder, verified; None if they are not (all) there."""
    if weights.folder:
        whole = files.local(folder / name)
        parts = {whole / file: sha256 for file, sha256 in weights.files.items()}
        if not all(path.is_file() for path in parts):
            return None
        for path, sha256 in parts.items():
            _verify(name, path, sha256)
        return whole
    for file, sha256 in (*weights.files.items(), *weights.ports.items()):
        path = files.local(folder / file)
        if path.is_file():
            _verify(name, path, sha256)
            return path
    return None


def _absent(name: str, file: str, reason: Unreachable) -> VSRError:
    """The sentence for weights that are nowhere."""
    weights = find(name)
    looked = ", ".join(map(str, folders()))
    url, where = weights.address(file), f"{name}/{file}" if weights.folder else file
    return VSRError(
        f"the weights {name!r} are not in {looked} and {url} cannot be downloaded ({reason}): fetch it on a machine with a network "
        f"(`curl -L -o {file} '{url}'`), put it into a folder as {where} and set VSR_WEIGHTS to that folder."
    )


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
