"""Parameters by name or by path. A published name is looked for in a local folder first, else at the publisher's own address,
checksum verified; a path is a file or a folder of one's own.

`VSR_WEIGHTS` names a folder of weights that is looked in first; what is downloaded is kept in `$XDG_CACHE_HOME/vsr`
(`~/.cache/vsr`). A published file is used only if its sha256 is the published one.
"""

from __future__ import annotations

from pipelines.params.base import is_path
from pipelines.weights.files import checkpoint, described, digest, how_to_get, local, recorded, resolve
from pipelines.weights.priors import provenance
from pipelines.weights.registry import REGISTRY, Weights, find, published

__all__ = [
    "REGISTRY",
    "Weights",
    "checkpoint",
    "described",
    "digest",
    "find",
    "how_to_get",
    "is_path",
    "local",
    "provenance",
    "published",
    "recorded",
    "resolve",
]
