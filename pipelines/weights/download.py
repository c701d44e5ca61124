"""A file from an address: there whole and verified, or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import requests
from pooch import HTTPDownloader, file_hash

from pipelines.errors import VSRError

_CHUNK = 2**20
_TIMEOUT = 30.0


class Unreachable(Exception):
    """The address gives no file; says why in a few words."""


def download(name: str, url: str, target: Path, sha256: str | None) -> None:
    """Fetch a file to a temporary name beside the target, verify it, rename it.

    Args:
        name: of the weights, for the error.
        url: where it is.
        target: where it goes.
        sha256: what its digest begins with, or None if that is not known.

    Raises:
        VSRError: what is there is not the published file.
        Unreachable: nothing is there, or the connection breaks off.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    os.close(descriptor)
    partial = Path(temporary)
    try:
        _fetch(url, partial)
        actual = file_hash(temporary)
        if sha256 is not None and not actual.startswith(sha256):
            raise VSRError(
                f"{url} is not the published {name} (sha256 begins with {actual[:12]}, not {sha256[:12]}): "
                "is there a proxy in between? Nothing was kept; try again."
            )
        partial.chmod(0o644)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _fetch(url: str, file: Path) -> None:
    """Copy what is at the address into a file, with a bar on a terminal."""
    print(f"downloading {url}", file=sys.stderr, flush=True)
    try:
        HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=_CHUNK, timeout=_TIMEOUT)(url, str(file), None)
    except requests.RequestException as error:
        if error.response is not None:
            raise Unreachable(f"HTTP {error.response.status_code}") from error
        cause: BaseException = error
        while cause.__context__ is not None:  # what the socket said, without what was made of it on the way
            cause = cause.__context__
        raise Unreachable(str(cause) or type(cause).__name__) from error
