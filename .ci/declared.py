"""An environment that holds what a wheel declares and nothing else, linked from the running one.

    .venv/bin/python .ci/declared.py WHEEL ENVIRONMENT

Every distribution that the wheel's metadata asks for, without extras and down to the last one, is
linked file by file: a module that is imported and not declared is missing there as it would be on a
user's machine, while nothing is downloaded a second time and no gigabytes are written.
"""

from __future__ import annotations

import sys
import venv
from email.parser import Parser
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(asked: list[str], extras: frozenset[str] = frozenset()) -> dict[str, Distribution]:
    """The installed distributions that a list of requirements leads to, by name."""
    found: dict[str, Distribution] = {}
    waiting = [(text, extras) for text in asked]
    seen = set()
    while waiting:
        text, of = waiting.pop()
        wanted = Requirement(text)
        if wanted.marker and not any(wanted.marker.evaluate({"extra": e}) for e in (*of, "")):
            continue
        name, inner = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, inner) in seen:
            continue
        seen.add((name, inner))
        found[name] = distribution(name)
        waiting += [(text, inner) for text in found[name].requires or []]
    return found


def main() -> None:
    """Makes the environment and links into it what the wheel asks for."""
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = Parser().parsestr(archive.read(member).decode()).get_all("Requires-Dist", [])
    venv.create(folder, with_pip=True, symlinks=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    there = needed(asked)
    for each in there.values():
        for file in each.files or ():
            place = site / file
            if ".." in file.parts or place.exists() or not file.locate().exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(Path(file.locate()).resolve())
    sys.stdout.write(f"linked {len(there)} distributions\n")


if __name__ == "__main__":
    main()
