"""Where the content folders are: in a checkout beside the engine, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path


def extend_with_checkout(package_path: list[str], folder: str) -> None:
    """Lets a content package find its files in the checkout of an editable install.

    Making them submodules of a real package, rather than loading them by path, is what
    allows worker processes started by `spawn` to unpickle their classes.
    """
    checkout = Path(__file__).resolve().parents[2]
    content = checkout / folder
    if (checkout / "pyproject.toml").is_file() and content.is_dir():
        package_path.append(str(content))
