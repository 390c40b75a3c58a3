"""What a reader is given as a store: the folder itself, an archive, or a folder of archives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from contrabench.exchange.merge import merge_stores
from contrabench.exchange.merge_result import LeftOut
from contrabench.exchange.unpacking import archives_of, passed_over, unpacked
from contrabench.progress import Reporter


@dataclass(frozen=True)
class Opened:
    """A store to read.

    Attributes:
        store: its folder, which for archives lasts as long as they are open.
        problems: one line for each archive that was refused, for each run that another
            archive has with other rows, and for archives in the folder of a store.
    """

    store: Path
    problems: tuple[str, ...] = ()


@contextmanager
def opened(path: Path, reporter: Reporter | None = None) -> Iterator[Opened]:
    """Opens a store, an archive of `bench submit`, or a folder of such archives, for reading.

    Args:
        path: a folder with `runs/` is given as it is, and so is what is not there at all; a
            file is an archive; a folder of archives becomes one store, without those with
            a fault.
        reporter: where progress is told.

    Raises:
        ArchiveError: if `path` is a file and no sound archive.
        DiskFullError: if there is no room to unpack an archive.
    """
    if path.is_file():
        with unpacked(path) as store:
            yield Opened(store)
    elif archives_of(path):
        with TemporaryDirectory(prefix="contrabench-", ignore_cleanup_errors=True) as temporary:
            store = Path(temporary)
            result = merge_stores([path], store, reporter=reporter)
            yield Opened(store, tuple(map(_problem, result.left_out)))
    else:
        skipped = passed_over(path)
        yield Opened(path, (skipped,) if skipped else ())


def _problem(item: LeftOut) -> str:
    """What was left out, in a line that names no temporary folder."""
    reason = item.reason
    if item.verdict == "conflict":
        reason = "an archive before it has other rows of this run, and these are kept"
    return f"{item.folder} is left out: {reason}"
