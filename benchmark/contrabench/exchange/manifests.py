"""Splits and label manifests of other stores: small files named by the hash of their content."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from contrabench.data.splits import LabelManifest, Split, save_manifest
from contrabench.protocol import digest

FOLDER = "splits"
_FORMS: dict[str, type[Split] | type[LabelManifest]] = {"split": Split, "labels": LabelManifest}
_NAME = re.compile(r"(split|labels)-([0-9a-f]{16})\.json")
_LARGEST = 64 * 2**20


def take_manifests(
    source: Path, target: Path, dry_run: bool
) -> Iterator[tuple[Literal["taken", "duplicate", "refused"], Path, str]]:
    """Writes the manifests of one store into another, anew from their validated content.

    Args:
        source: store to read.
        target: store to write to.
        dry_run: only say what would be done.

    Yields:
        For each manifest what was done with it, where it lies, and why it was refused.
    """
    home = source / FOLDER
    if home.is_symlink():
        yield "refused", home, "it is a link, and may lead anywhere"
        return
    for path in sorted(home.glob("*.json")):
        content = read_manifest(path)
        if content is None:
            yield "refused", path, "it is no split or label manifest of the name that it has"
        elif (target / FOLDER / path.name).is_file():
            yield "duplicate", path, ""
        else:
            if not dry_run:
                save_manifest(target / FOLDER, path.name.split("-")[0], content)
            yield "taken", path, ""


def read_manifest(path: Path) -> Split | LabelManifest | None:
    """A manifest whose name is the hash of its content; None if it is not, or not there."""
    match = _NAME.fullmatch(path.name)
    if match is None or path.is_symlink() or not path.is_file():
        return None
    try:
        if path.stat().st_size > _LARGEST:
            return None
        content = _FORMS[match[1]].model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if digest(content) == match[2] else None
