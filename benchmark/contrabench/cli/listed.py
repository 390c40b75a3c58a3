"""What a listing tells, with no more imported than has changed since the last one.

To describe methods they have to be imported, and torch before them: seconds. So facts are kept by
the code that they come from, those of built-ins and those of plug-in files each by themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from contrabench.contracts import discovery, reads
from contrabench.contracts.fingerprint import CONTENT, reached_files
from contrabench.contracts.registry import Plugin, Registry
from contrabench.kept import code_of, contents, hash_of, load, save

Listing = dict[str, list[dict[str, Any]]]
Describe = Callable[[Sequence[Plugin[Any]]], Listing]


def listed(registry: Registry[Any], name: str, describe: Describe) -> Listing:
    """What `describe` tells of all entries of a registry, kept under a `name`.

    It gives lists by name, that of what cannot be used as `broken`; each item has a `name`.
    """
    if registry.has_points or registry.has_typed:  # their code may lie anywhere
        return describe(registry.entries())
    code = code_of(registry.package, *(one for one in CONTENT if one != discovery.PACKAGE))
    ours = _kept(name, code, lambda: describe(registry.built_ins()))
    if not discovery.listed():
        return ours
    files = _files()
    origin = hash_of([code, *contents(files)])
    theirs = _kept(f"{name}-by-path", origin, lambda: describe(registry.plug_ins()), files)
    names = [{item["name"] for part in side.values() for item in part} for side in (ours, theirs)]
    if names[0] & names[1]:  # who may have it is found where both are imported
        return describe(registry.entries())
    return {part: [*ours[part], *theirs[part]] for part in ours}


def _files() -> set[Path]:
    """The files of the plug-ins given by path, and all that these import."""
    discovery.open_package()
    sources = discovery.sources(discovery.listed())
    return reached_files({f"{discovery.PACKAGE}.{name}": file for name, file in sources.items()})


def _kept(
    name: str, origin: str, make: Callable[[], Listing], files: set[Path] | None = None
) -> Listing:
    """A listing as it was kept or made, and kept if nothing but `files` can change it."""
    if (found := load(name, origin)) is not None:
        listing: Listing = found
        return listing
    before = set(sys.modules)
    made = make()
    # Whatever is amiss may be mended outside of the code.
    if not made["broken"] and (files is None or _is_all(files, before)):
        save(name, origin, made)
    return made


def _is_all(files: set[Path], before: set[str]) -> bool:
    """Whether plug-ins were imported from these files as they are, and read nothing else."""
    if any(name.startswith(f"{discovery.PACKAGE}.") for name in before):
        return False  # they may have been edited since
    loaded = [getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before]
    # What a library makes while it runs has names that are no paths.
    paths = [Path(file) for file in loaded if file and reads.is_strange(file)]
    strange = {path.resolve() for path in paths if path.is_absolute()}
    return strange <= {file.resolve() for file in files} and not reads.at_import(map(str, files))
