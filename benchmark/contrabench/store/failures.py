"""What is kept of a stage that failed: why, and the log with the traceback.

A failure is recorded beside the place of the stage and never served as its output. A full
disk is no failure of a stage: nothing is recorded, and the work stops.
"""

from __future__ import annotations

import errno
import json
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from contrabench.errors import ContrabenchError, DiskFullError, RunError
from contrabench.files import read_json, write_text
from contrabench.text import one_line


@dataclass(frozen=True)
class Failure:
    """A stage that failed: why, in readable lines, and the file with all it told."""

    reason: str
    log: Path


def failure_path(home: Path, key: str) -> Path:
    """Where the failure of a stage is recorded."""
    return home / f"{key}.failed.json"


def log_path(home: Path, key: str) -> Path:
    """Where the log of a stage that is at work or has failed is kept."""
    return home / f"{key}.log"


def read_failure(home: Path, key: str) -> Failure | None:
    """The recorded failure of a stage, or None."""
    path = failure_path(home, key)
    if not path.is_file():
        return None
    record = read_json(path)
    reason = record.get("reason") if isinstance(record, dict) else None
    unreadable = f"it failed, and its record {path} cannot be read"
    return Failure(str(reason or unreadable), log_path(home, key))


def failures_in(home: Path) -> dict[str, Failure]:
    """The recorded failures of the stages of one kind, by key."""
    keys = sorted(path.name.partition(".")[0] for path in home.glob("*.failed.json"))
    return {key: found for key in keys if (found := read_failure(home, key))}


def write_failure(home: Path, key: str, reason: str) -> None:
    """Records a failure; the latest one replaces those before."""
    content = {"reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    write_text(failure_path(home, key), json.dumps(content, indent=2) + "\n")


def forget_failure(home: Path, key: str) -> None:
    """Drops record and log, when the stage is done at last."""
    failure_path(home, key).unlink(missing_ok=True)
    log_path(home, key).unlink(missing_ok=True)


def record_error(home: Path, key: str, kind: str, error: Exception) -> ContrabenchError:
    """Records what a stage of a kind raised, unless the disk is full.

    Gives the error to raise instead: `error` itself if it is one that a user can read.
    """
    full = DiskFullError(
        f"the disk of {home} is full; all finished stages are kept. Make room and run the "
        "same command again"
    )
    if is_disk_full(error):
        return full
    shown = error if isinstance(error, ContrabenchError) else RunError(_words(kind, error))
    try:
        with log_path(home, key).open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
        write_failure(home, key, str(shown))
    except OSError as second:
        if not is_disk_full(second):
            raise
        return full
    return shown


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that no space is left, whichever library raised it."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(error)


def _words(kind: str, error: Exception) -> str:
    """An unforeseen error in one line: what it is, what it means, what to do."""
    first = one_line(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            f"the {kind} stage ran out of memory ({first}); use --accumulate 2 or a smaller "
            "--budget"
        )
    return (
        f"the {kind} stage broke off with {first}; this is a fault in the code of a plug-in or "
        "of contrabench. The traceback is in the log beside the stage's folder"
    )
