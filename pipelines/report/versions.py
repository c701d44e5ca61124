"""The versions of what computes the results."""

from __future__ import annotations

import platform
from importlib import metadata

import imageio_ffmpeg

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "ray": "ray",
    "dvc": "dvc",
    "mlflow": "mlflow",
    "numpy": "numpy",
    "opencv": "opencv-python-headless",
}


def versions() -> dict[str, str]:
    """Name to version, without importing the packages; "not installed" or "not found" where there is none."""
    found = {"python": platform.python_version()}
    for name, package in PACKAGES.items():
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    try:
        found["ffmpeg"] = imageio_ffmpeg.get_ffmpeg_version()
    except RuntimeError:
        found["ffmpeg"] = "not found"
    return found
