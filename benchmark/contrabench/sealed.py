"""Finished folders: a marker with the checksum of every file says that all of them are there."""

from __future__ import annotations

import json
from pathlib import Path

from contrabench.files import checksum, write_text

SEAL = "done.json"


def seal(folder: Path) -> None:
    """Writes the marker, as the last thing before the folder gets its name."""
    sums = {
        path.relative_to(folder).as_posix(): checksum(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    write_text(folder / SEAL, json.dumps({"files": sums}, indent=2, sort_keys=True) + "\n")


def damage(folder: Path) -> str | None:
    """Says what is wrong with a sealed folder, or None if every file matches its checksum."""
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its marker is missing or unreadable"
    for name, expected in files:
        path = folder / name
        if not path.is_file():
            return f"the file {name} is missing"
        if checksum(path) != expected:
            return f"the file {name} has changed since it was written"
    return None
