"""BasicVSR with the local implicit image function in place of its upsampler."""

from __future__ import annotations

from models.heads.liif import LIIF
from models.heads.on_backbones import OnBasicVSR
from models.parts.registry import register


@register("basicvsr_liif")
class BasicVSRLIIF(OnBasicVSR):
    """Super-resolution of whole clips at any scale; see `models.heads.liif` and, for the options, `models.heads.on_backbones`."""

    kind = LIIF
