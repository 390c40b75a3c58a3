"""Files below a data folder that look like volumes, and that no case is made of."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from contrabench.contracts.dataset import Case, Dataset
from contrabench.data.formats import VOLUMES
from contrabench.text import counted, some

_VOLUME = re.compile(rf"({'|'.join(map(re.escape, VOLUMES))})(\.\w+){{0,2}}$", re.IGNORECASE)
"""An ending of a volume, also before another one, as in `a.nii.part` and `a.nii.bz2`."""


def untaken_line(dataset: Dataset, cases: Sequence[Case]) -> Iterator[str]:
    """A line that counts and names what lies below `--data` and is not taken, if there is any.

    That may be as it should: an option may have left it out. Nothing is known of a dataset that
    names no files.
    """
    taken = {path.absolute() for case in cases for path in dataset.files(case)}
    if dataset.root is None or not taken:
        return
    found: dict[str, list[str]] = defaultdict(list)
    for path, what in _lying(dataset.root):
        if path.absolute() not in taken:
            top, *rest = path.relative_to(dataset.root).parts
            where = f"in {top}" if rest else "at its top"
            found[f"{where}{what}"].append("/".join(rest or [top]))
    if found:
        groups = (f"{len(names)} {where} ({some(sorted(names))})" for where, names in found.items())
        yield (
            f"{counted(sum(map(len, found.values())), 'file')} below {dataset.root} that may be "
            f"volumes are not taken, by name, place or option: {'; '.join(groups)}"
        )


def _lying(root: Path) -> Iterator[tuple[Path, str]]:
    """What may be a volume, in order; with a remark on what cannot be followed or listed."""
    closed: list[Path] = []
    seen = {os.path.realpath(root)}

    def refused(error: OSError) -> None:
        closed.append(Path(error.filename))

    for place, folders, files in os.walk(root, onerror=refused, followlinks=True):
        new = {name: os.path.realpath(Path(place, name)) for name in sorted(folders)}
        # Links may lead round in a circle.
        folders[:] = [
            name for name, real in new.items() if not name.startswith(".") and real not in seen
        ]
        seen.update(new.values())
        for name in sorted(files):
            if _VOLUME.search(name) and not name.startswith("."):
                path = Path(place, name)
                yield path, "" if path.exists() else ", leading nowhere"
    yield from ((path, ", closed to this user") for path in closed)
