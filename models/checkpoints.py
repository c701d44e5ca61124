"""Parameters on disk: this project's files, those that BasicSR and mmagic publish, and those of networks of single images.

A file of this project is safetensors whose metadata name the network and its options. Of published files
the network is recognised by the names and shapes of the parameters, which are then renamed to ours.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from models.parts.registry import Network, create, kind, misspelt, names

METADATA = "vsr"
"""The one metadata key: with several, their order in the file would differ from run to run."""

WRAPPERS = (
    *("params_ema", "params-ema", "generator_ema", "net_g_ema", "model_ema", "ema_model", "state_dict_ema", "ema"),
    *("params", "state_dict", "model_state_dict", "generator", "net_g", "netG", "model", "net", "weights", "module", "_orig_mod"),
)
"""Where files keep the parameters, as a mapping in a mapping or before the dots of their names: averaged ones, which papers report, come
first. What else is there, such as a discriminator, is what they were trained with."""

INNER = re.compile(r"^basicvsr\.")

MMAGIC = (
    (re.compile(r"^(backward|forward)_resblocks\."), r"\1_trunk."),
    (re.compile(r"^upsample(\d)\.upsample_conv\."), r"upconv\1."),
    # EDVR, also as a part of IconVSR
    (re.compile(r"^(edvr\.)?feat_l(\d)_conv(\d)\.conv\."), r"\1conv_l\2_\3."),
    (re.compile(r"^(edvr\.)?pcd_alignment\."), r"\1pcd_align."),
    (re.compile(r"^((?:edvr\.)?(?:pcd_align|fusion)\.[\w.]+)\.conv\."), r"\1."),
)
MMAGIC_FLOW = re.compile(r"(basic_module\.\d\.basic_module)\.(\d)\.conv\.")

FAMILIAR = {
    "iconvsr": ("edvr.conv_first.weight", "forward_fusion.weight"),
    "basicvsr_plusplus": ("backbone.backward_1.main.0.weight", "spynet.mean"),
    "edvr": ("pcd_align.offset_conv1.l3.weight", "conv_l2_1.weight"),
    "rdg": ("encoders.0.0.dfm.proj_in.0.weight", "first_conv.weight"),
    "raft": ("feature_encoder.convnormrelu.0.weight", "context_encoder.convnormrelu.0.weight"),
}
"""Keys that give away a network, for the error that says which one a file belongs to: one that is not registered,
or a relative or a part of one that is."""


LAST = "image"
"""The network that is whatever spandrel recognises: tried after those that are written here."""


def save(network: Network, path: Path | str) -> None:
    """Write a network's parameters and buffers with what makes it again; the file appears whole.

    The same parameters give the same bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made_by = json.dumps({"network": network.name, "options": network.options}, sort_keys=True)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    partial = path.with_name(f".{path.name}.partial")
    # `save_file` would write one that only its owner can read.
    partial.write_bytes(safetensors.torch.save(state, metadata={METADATA: made_by}))
    os.replace(partial, path)


def load(path: Path | str, expect: str | None = None) -> Network:
    """The network that a checkpoint belongs to, with its parameters, on the CPU, for evaluation.

    Args:
        path: safetensors of this project; or a file of BasicSR or mmagic, or parameters under such names, wrapped in any of `WRAPPERS`;
            or of a network of single images that spandrel knows.
        expect: the network that it must be, or None for any.

    Raises:
        ValueError: the file is missing or damaged, or it is of another network than `expect` or than any
            that is registered.
    """
    path = Path(path)
    if expect is not None and expect not in names():
        raise ValueError(misspelt("network", expect, names()))
    content, made_by = _read(path)
    state = _tensors(content)
    if made_by is None:
        for state in _unwrapped(content):
            made_by = (_recognise(state, [expect]) if expect else None) or _recognise(state, _all())
            if made_by is not None:
                break
    if made_by is None and not state:
        raise ValueError(f"{path} holds no parameters, but {_kind(content)}: give a checkpoint, a mapping of names to tensors.")
    if made_by is None or (expect is not None and made_by[0] != expect):
        raise ValueError(_foreign(path, state, made_by and made_by[0], expect))
    name, options = made_by
    try:
        network = create(name, **options)
    except ValueError as error:
        raise ValueError(f"{path} was saved by another version of this project: {error}") from error
    try:
        state = dict(network.build(state))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    difference = _difference(network.state_dict(), state)
    if difference:
        raise ValueError(f"{path} looks like a checkpoint of {name}, but it {difference}: use an undamaged file.")
    network.load_state_dict(state)
    return network.eval()


def _read(path: Path) -> tuple[Any, tuple[str, dict[str, Any]] | None]:
    """What is in a file, and the network and options where it is one of ours."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give the path of a checkpoint.")
    with path.open("rb") as opened:
        head = opened.read(512)
    text = head.lstrip().lower()
    if not head:
        raise ValueError(f"{path} is empty: get it again.")
    if text.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a pointer of Git LFS and not the file that it stands for: get that, e.g. by `git lfs pull`.")
    if text.startswith((b"<!doctype html", b"<html")):
        raise ValueError(f"{path} is a web page and no checkpoint: get the file itself from the page that it came from.")
    zipped = head.startswith(b"PK")
    if not zipped and (path.suffix.lower() == ".safetensors" or head[7:9] == b"\0{"):  # after the length of its header
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
                metadata = file.metadata() or {}
        except (safetensors.SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read as safetensors ({error}): get it again.") from error
        if METADATA not in metadata:
            return state, None
        made_by = json.loads(metadata[METADATA])
        return state, (made_by["network"], made_by["options"])
    try:
        return torch.load(path, map_location="cpu", weights_only=True), None
    except pickle.UnpicklingError as error:
        pickled = re.search(r"GLOBAL ([\w.]+)", str(error))
        inside = f", it holds a pickled {pickled[1]}" if pickled else ""
        raise ValueError(f"{path} is not a PyTorch checkpoint of nothing but tensors{inside}: give one that is.") from error
    except Exception as error:  # bytes that are no checkpoint end torch's unpickler in a dozen ways
        reason = str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read as a PyTorch checkpoint ({reason}): get it again.") from error


def _tensors(content: Any) -> dict[str, Tensor]:
    """The tensors of a mapping, by name."""
    return {key: value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, Mapping) else {}


def _unwrapped(content: Any) -> Iterator[dict[str, Tensor]]:
    """What may be the parameters, under the names of this project: as they stand, then taken out of one wrapper after the other."""
    while True:
        state = _tensors(content)
        if state:
            yield _rename(state)
        if not isinstance(content, Mapping):
            return
        for wrapper in WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
                break
            inside = {key.removeprefix(f"{wrapper}."): value for key, value in state.items() if key.startswith(f"{wrapper}.")}
            if inside:
                content = inside
                break
        else:
            return


def _kind(content: Any) -> str:
    """What a file without parameters holds."""
    if isinstance(content, Mapping):
        return f"a mapping of {_some(map(str, content))}"
    return f"a {type(content).__name__}"


def _rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters under the names of this project, which are BasicSR's."""
    renamed = {}
    for key, value in state.items():
        key = INNER.sub("", key)
        if key == "step_counter":  # mmagic counts its training steps in the generator
            continue
        for pattern, replacement in MMAGIC:
            key = pattern.sub(replacement, key)
        key = MMAGIC_FLOW.sub(lambda match: f"{match[1]}.{2 * int(match[2])}.", key)
        renamed[key] = value
    return renamed


def _all() -> list[str]:
    """The networks in the order in which a file is held against them."""
    return sorted(names(), key=lambda name: (name == LAST, name))


def _recognise(state: Mapping[str, Tensor], candidates: Iterable[str]) -> tuple[str, dict[str, Any]] | None:
    """The first of the networks whose published parameters these are, and its options."""
    for name in candidates:
        options = kind(name).options_of(state)
        if options is not None:
            return name, options
    return None


def _foreign(path: Path, state: Mapping[str, Tensor], found: str | None, expect: str | None) -> str:
    """The sentence for a file that is not of the network wanted, or of none that is registered."""
    like = found or next((name for name, keys in FAMILIAR.items() if all(key in state for key in keys)), None)
    reference = expect or _nearest(state)
    difference = _difference(_blank(reference), state) if reference else f"holds {len(state)} tensors, {_first(state)}"
    likeness = f"looks like a checkpoint of {like}" if like else "looks like a checkpoint of no known network"
    wanted = f", not of {expect}" if expect else ""
    compared = "" if expect or not reference else f"; compared with {reference},"
    mend = f"give a checkpoint of {expect or ' or '.join(_loadable())}."
    if expect in (None, LAST) and importlib.util.find_spec("spandrel") is None:
        mend = f"{mend[:-1]}, or `pip install 'vsr[image]'` to have networks of single images recognised."
    return f"{path} {likeness}{wanted}{compared or ':'} it {difference}; {mend}"


def _loadable() -> list[str]:
    """The networks that have parameters."""
    return [name for name in names() if _blank(name)]


def _blank(name: str) -> dict[str, Tensor]:
    """The names and shapes of a network's parameters and buffers, without their values; none of one that needs what is not installed."""
    try:
        with torch.device("meta"):
            return create(name).state_dict()
    except ValueError:
        return {}


def _nearest(state: Mapping[str, Tensor]) -> str | None:
    """The registered network that shares most names with a checkpoint, if any."""
    shared = {name: len(_blank(name).keys() & state.keys()) for name in names()}
    best = max(shared, key=lambda name: shared[name])
    return best if shared[best] else None


def _difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What a checkpoint lacks or has besides, or the first wrong shape; empty if it fits."""
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has unexpected {_some(unexpected)}"] * bool(unexpected)
    if parts:
        return " and ".join(parts)
    for key, value in wanted.items():
        if value.shape != found[key].shape:
            return f"has {key!r} of shape {tuple(found[key].shape)} instead of {tuple(value.shape)}"
    return ""


def _first(state: Mapping[str, Tensor]) -> str:
    """The first tensors of a file, with their shapes."""
    return ", ".join(f"{key!r} {tuple(state[key].shape)}" for key in list(state)[:3]) + " …" * (len(state) > 3)


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{keys[0]!r}{more}" if keys else "no tensors"
