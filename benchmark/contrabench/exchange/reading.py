"""The results that a path stands for: a store, an archive of `bench submit`, a folder of archives.

An archive is unpacked and looked through once: its rows and facts are kept in the user's cache
folder, under the SHA-256 of the archive. Where that cannot be written, it is done each time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.exchange.archive import SUFFIX, ArchiveError, unpacked
from contrabench.files import cache_folder, checksum
from contrabench.progress import Reporter, Silent
from contrabench.store.results import (
    COPIES,
    EMPTY,
    LAYOUT,
    Part,
    Results,
    joined,
    load_copy,
    read_part,
    read_results,
    results_of,
    save_copy,
)
from contrabench.store.rows import ROWS_FILE, SCHEMA
from contrabench.store.runs import finished_runs
from contrabench.store.stages import RUNS, is_store
from contrabench.text import some

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 5
"""Archives that a line names one by one."""


def archives_of(source: Path) -> list[Path]:
    """A file is an archive; of a folder, those in it, by name; no store's copy of its rows."""
    if source.is_file():
        return [source]
    found = source.glob(f"*{SUFFIX}")
    return sorted(item for item in found if not item.name.startswith((".", COPIES)))


def passed_over(store: Path) -> list[str]:
    """A line that names the archives in the folder of a store, which are not read with it."""
    names = some((item.name for item in archives_of(store)), _NAMED)
    line = (
        f"{store} is a store itself, so the archives that lie in it are not read: {names}; "
        "name them, or move them to a folder of their own"
    )
    return [line] if names else []


def results_at(path: Path, reporter: Reporter | None = None) -> Results:
    """Reads a store, an archive of `bench submit`, or a folder of such archives.

    A file is an archive; a folder of archives is read as one store, without those with a fault, and
    of two that have a run with other rows by the one before in the alphabet; anything else is a
    store. ArchiveError if `path` is a file and no sound archive; DiskFullError if it cannot be
    unpacked.
    """
    if path.is_file():
        return results_of(_read_archive(path))
    archives = archives_of(path)
    if is_store(path) or not archives:
        found = read_results(path, reporter)
        return replace(found, problems=(*passed_over(path), *found.problems))
    board, problems = EMPTY, list[str]()
    with (reporter or Silent()).track("looking through archives", len(archives)) as track:
        for number, archive in enumerate(archives, start=1):
            try:
                part = _read_archive(archive)
            except ArchiveError as error:
                problems.append(f"{archive} is left out: {error.reason}")
            else:
                known, new = dict(board.stamps()), part.stamps()
                problems += [
                    f"{archive}/{RUNS}/{run} is left out: an archive before it has other rows of "
                    "this run, and these are kept"
                    for run, stamp in new
                    if known.get(run, stamp) != stamp
                    and not _rows_of(part, run).equals(_rows_of(board, run))
                ]
                board = joined(board, part.only([run not in known for run, _ in new]))
            track.advance(number)
    return results_of(board, problems)


def _read_archive(archive: Path) -> Part:
    """The rows and facts of an archive, from the cache if it has been read before.

    ArchiveError if it is not sound; DiskFullError if there is no room to unpack it.
    """
    try:
        place = cache_folder() / f"{checksum(archive)}-{LAYOUT}.zip"
    except OSError as error:
        raise ArchiveError(archive, f"it cannot be read ({error.strerror})") from error
    part = load_copy(place)
    if part is None:
        with unpacked(archive) as store:
            # The checksum of its rows tells whether another archive has the same of a run.
            runs = {run: checksum(store / RUNS / run / ROWS_FILE) for run in finished_runs(store)}
            part = read_part(store, runs, [], Silent())
        save_copy(part, place)
    return part


def _rows_of(part: Part, run: str) -> pd.DataFrame:
    """Rows of one run as a frame, in which two missing numbers are equal."""
    rows = part.only([key == run for key, _ in part.stamps()]).rows
    frame: pd.DataFrame = rows.cast(SCHEMA).to_pandas()
    return frame
