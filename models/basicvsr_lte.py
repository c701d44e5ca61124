"""BasicVSR with the local texture estimator in place of its upsampler."""

from __future__ import annotations

from models.heads.lte import LTE
from models.heads.on_backbones import OnBasicVSR
from models.parts.registry import register


@register("basicvsr_lte")
class BasicVSRLTE(OnBasicVSR):
    """Super-resolution of whole clips at any scale; see `models.heads.lte` and, for the options, `models.heads.on_backbones`."""

    kind = LTE
