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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from models.parts.registry import Network, create, kind, misspelt, names

METADATA = "vsr"
"""The one metadata key: with several, their order in the file would differ from run to run."""

WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
"""Where published files keep the parameters; averaged ones, which papers report, come first."""

PREFIXES = re.compile(r"^(module\.)?(generator(_ema)?\.)?(basicvsr\.)?")

AVERAGED = "generator_ema."
BESIDE = ("generator.", "discriminator.", "perceptual_loss.")
"""In a file with an averaged generator: the one that was learning, and what it was trained with."""

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
        path: safetensors of this project; or a file of BasicSR (`params_ema`, `params`) or mmagic
            (`state_dict`), or plain parameters under such names; or of a network of single images that spandrel knows.
        expect: the network that it must be, or None for any.

    Raises:
        ValueError: the file is missing or damaged, or it is of another network than `expect` or than any
            that is registered.
    """
    path = Path(path)
    if expect is not None and expect not in names():
        raise ValueError(misspelt("network", expect, names()))
    state, made_by = _read(path)
    if made_by is None:
        state = _rename(state)
        made_by = (_recognise(state, [expect]) if expect else None) or _recognise(state, _all())
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


def _read(path: Path) -> tuple[dict[str, Tensor], tuple[str, dict[str, Any]] | None]:
    """The tensors of a file, and the network and options where it is one of ours."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give the path of a checkpoint.")
    if path.suffix == ".safetensors":
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
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is not a PyTorch checkpoint of nothing but tensors: give one that is.") from error
    except Exception as error:  # bytes that are no checkpoint end torch's unpickler in a dozen ways
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read as a PyTorch checkpoint ({reason}): get it again.") from error
    if isinstance(content, Mapping):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
        state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if state:
            return state, None
    raise ValueError(f"{path} holds no parameters: give a checkpoint, a mapping of names to tensors.")


def _rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters under the names of this project, which are BasicSR's."""
    averaged = any(key.startswith(AVERAGED) for key in state)
    renamed = {}
    for key, value in state.items():
        if averaged and key.startswith(BESIDE):
            continue
        key = PREFIXES.sub("", key)
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
    difference = _difference(_blank(reference), state) if reference else f"has {_some(state)}"
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


def _some(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{keys[0]!r}{more}" if keys else "no tensors"
