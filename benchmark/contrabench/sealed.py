"""Finished folders: a marker with the checksum of every file says that all of them are there."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from contrabench.files import checksum, is_temporary, sync_file, sync_folder, write_text

SEAL = "done.json"


def seal(folder: Path) -> None:
    """Writes the marker, as the last thing before the folder gets its name.

    Every file and folder that the marker speaks for is on disk before it, so that no
    power cut can leave a marker beside empty files. What a killed process left under a
    temporary name goes.
    """
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif is_temporary(path):
            path.unlink()
        elif path.name != SEAL:
            sync_file(path)
            sums[path.relative_to(folder).as_posix()] = checksum(path)
    sync_folder(folder)
    write_text(folder / SEAL, json.dumps({"files": sums}, indent=2, sort_keys=True) + "\n")


def listed(folder: Path) -> dict[str, str] | None:
    """The files that a folder's marker names, with their checksums.

    Returns:
        None if the marker is missing, unreadable, or names a file outside the folder.
    """
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(files, dict) or not all(
        isinstance(value, str) and _inside(name) for name, value in files.items()
    ):
        return None
    return files


def damage(folder: Path) -> str | None:
    """Says what is wrong with a sealed folder, or None if every file matches its checksum."""
    files = listed(folder)
    if files is None:
        return "its marker is missing or unreadable"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"the file {name} is missing"
        try:
            same = checksum(path) == expected
        except OSError as error:
            return f"the file {name} cannot be read ({error.strerror})"
        if not same:
            return f"the file {name} has changed since it was written"
    return None


def _inside(name: str) -> bool:
    """Whether a name stays below the folder that it is looked up in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name
