"""What is published under one name: where parameters are, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Weights:
    """Published parameters. A network's stand beside it as `WEIGHTS`, by names that begin with its own.

    `files` maps the publisher's file names to their sha256: all 64 hex digits, or the 8 that the publisher puts
    in the file's name where no more are known; None for a small file whose content only a commit in the address
    pins. `url` is the address of the one file, or, where it ends in a slash, what their names continue. With `folder`,
    the files make one folder named like the weights (a model of transformers); otherwise there is one file.
    `ports` are other files that hold the same parameters under the names this project loads; they are accepted
    from a local folder and never downloaded.

    Of a network that restores clips: `trained_on` says on what, `<corpus>/<degradation>` under the names that corpora and
    recipes have here; `options` are those of the network that are not its defaults; `differs` says in what it is not the paper's;
    `reported` is what its publishers measured with this very file, by `<test set>/<degradation>` and metric (PSNR in dB and
    SSIM, on RGB for REDS4 and on luma elsewhere); `source` says where they published that.
    """

    url: str
    files: Mapping[str, str | None]
    licence: str
    folder: bool = False
    ports: Mapping[str, str] = field(default_factory=dict)
    trained_on: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    differs: str | None = None
    reported: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: str | None = None

    def address(self, file: str) -> str:
        """Where one of the files is."""
        return self.url + file if self.url.endswith("/") else self.url


def openmmlab(folder: str, file: str, **known: Any) -> Weights:
    """Of OpenMMLab's model zoo (mmagic), whose file names end in the first 8 digits of their sha256; no more are published.

    Args:
        folder: of their restorers.
        file: its name.
        known: other fields of `Weights`.
    """
    url = f"https://download.openmmlab.com/mmediting/restorers/{folder}/"
    return Weights(url, {file: prefix(file)}, "Apache-2.0", **known)


def basicsr(drive: str, file: str, **known: Any) -> Weights:
    """Of BasicSR's model zoo on Google Drive, whose file names end in the first 8 digits of their sha256.

    Args:
        drive: the file's identifier there, as BasicSR's `scripts/download_pretrained_models.py` has it.
        file: its name.
        known: other fields of `Weights`.
    """
    url = f"https://drive.google.com/uc?export=download&id={drive}"
    return Weights(url, {file: prefix(file)}, "Apache-2.0", source="BasicSR, docs/ModelZoo.md", **known)


def measured(**pairs: tuple[float, float]) -> dict[str, dict[str, float]]:
    """`reported` of (PSNR, SSIM) by `<test set>__<degradation>`."""
    return {pair.replace("__", "/"): {"psnr": psnr, "ssim": ssim} for pair, (psnr, ssim) in pairs.items()}


def prefix(file: str) -> str:
    """The digits of the sha256 in a file's name."""
    return file.removesuffix(".pth")[-8:]
