"""Versions of what computed a run."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import contrabench

_PACKAGES = (
    "torch",
    "monai",
    "lightly",
    "lightning",
    "numpy",
    "scipy",
    "scikit-learn",
    "nibabel",
    "safetensors",
)


def environment() -> dict[str, str]:
    """Python, platform and package versions; no host name, no path."""
    found = {"contrabench": contrabench.__version__, "python": platform.python_version()}
    found["platform"] = f"{platform.system()} {platform.machine()}"
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
