"""What is published of a network: where its parameters are, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """Parameters that somebody published. They stand beside their network as `WEIGHTS`, by names that begin with its own.

    `url` is the address of `file`, or, where it ends in a slash, what the file's name continues. `sha256` is all 64 hex digits,
    or the 8 that the publisher puts in the file's name where no more are known. `options` are those of the network that are
    not its defaults.

    Of a network that restores clips: `trained_on` says on what, `<corpus>/<degradation>` under the names that corpora and
    recipes have here; `differs` in what it is not the paper's; `reported` what its publishers measured with this very file,
    by `<test set>/<degradation>` and metric (PSNR in dB and SSIM, on RGB for REDS4 and RDG's scenes, on luma elsewhere). `source` is where
    all this is said.
    """

    url: str
    file: str
    sha256: str
    licence: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trained_on: str | None = None
    differs: str | None = None
    reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def openmmlab(folder: str, file: str, source: str, **known: Any) -> Published:
    """Of OpenMMLab's model zoo (mmagic), whose file names end in the first 8 digits of their sha256; no more are published.

    Args:
        folder: of their restorers.
        file: its name.
        source: the file of mmagic that lists it.
        known: other fields of `Published`.
    """
    url = f"https://download.openmmlab.com/mmediting/restorers/{folder}/"
    return Published(url, file, prefix(file), "Apache-2.0", source, **known)


def basicsr(drive: str, file: str, **known: Any) -> Published:
    """Of BasicSR's model zoo on Google Drive, whose file names end in the first 8 digits of their sha256.

    Args:
        drive: the file's identifier there, as BasicSR's `scripts/download_pretrained_models.py` has it.
        file: its name.
        known: other fields of `Published`.
    """
    url = f"https://drive.google.com/uc?export=download&id={drive}"
    return Published(url, file, prefix(file), "Apache-2.0", "BasicSR, docs/ModelZoo.md", **known)


def measured(**pairs: tuple[float, float]) -> dict[str, dict[str, float]]:
    """`reported` of (PSNR, SSIM) by `<test set>__<degradation>`."""
    return {pair.replace("__", "/"): {"psnr": psnr, "ssim": ssim} for pair, (psnr, ssim) in pairs.items()}


def prefix(file: str) -> str:
    """The digits of the sha256 in a file's name."""
    return file.removesuffix(".pth")[-8:]
