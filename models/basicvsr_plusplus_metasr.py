"""BasicVSR++ with Meta-SR's upscaling in place of its upsampler."""

from __future__ import annotations

from models.heads.metasr import MetaSR
from models.heads.on_backbones import OnBasicVSRPlusPlus
from models.parts.registry import register


@register("basicvsr_plusplus_metasr")
class BasicVSRPlusPlusMetaSR(OnBasicVSRPlusPlus):
    """Super-resolution of whole clips at any scale; see `models.heads.metasr` and, for the options, `models.heads.on_backbones`."""

    kind = MetaSR
