"""From a name or a file to the methods it stands for."""

from __future__ import annotations

import sys
from pathlib import Path

from contrabench.contracts import discovery, registry
from contrabench.contracts.method import Method
from contrabench.errors import RequestError


def find_methods(wanted: str | Path) -> dict[str, type[Method]]:
    """The methods of a registered name, or of a plug-in file, package or folder.

    Args:
        wanted: a name; or a path, which a string is too if it ends in `.py` or names
            something that exists and no method. A path is added to the plug-ins of this
            process.

    Raises:
        RequestError: if there is no such name, or the file cannot be imported or registers
            no method.
    """
    if isinstance(wanted, str) and not _is_path(wanted):
        return {wanted: registry.methods.get(wanted)}
    path = Path(wanted).expanduser().resolve()
    files = set(discovery.sources([path]).values())
    # A file that is a built-in, or of an installed distribution, is known by its own module.
    if not (found := _registered_in(files)):
        discovery.add(path)
        _refuse_broken(files)
        found = _registered_in(files)
    if not found:
        raise RequestError(
            f"{wanted} registers no method; put @register_method('name') on its class"
        )
    return found


def _is_path(text: str) -> bool:
    if text.endswith(".py") or "/" in text or "\\" in text:
        return True
    return Path(text).exists() and text not in registry.methods.names()


def _registered_in(files: set[Path]) -> dict[str, type[Method]]:
    """The methods whose classes are written in one of some files."""
    return {
        entry.name: entry.value
        for entry in registry.methods.entries()
        if entry.value is not None and _file_of(entry.value) in files
    }


def _file_of(method: type[Method]) -> Path | None:
    file = getattr(sys.modules.get(method.__module__), "__file__", None)
    return Path(file).resolve() if file else None


def _refuse_broken(files: set[Path]) -> None:
    """Raises RequestError for the first of the files that cannot be imported."""
    for fault in discovery.load_all():
        if fault.path.resolve() in files:
            raise RequestError(f"{fault.path} cannot be used: {fault.reason}")
