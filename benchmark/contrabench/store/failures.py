"""What is kept of what failed: why in one line, and an account of it for whoever mends it.

A stage's failure is recorded beside its place, with the account in its log, and never served as
its output. A full disk is no failure of a stage: nothing is recorded, and the work stops. What
nobody foresaw in a command itself has its account in `faults/`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shlex
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from contrabench import __version__
from contrabench.errors import ContrabenchError, DiskFullError, RunError
from contrabench.files import is_disk_full, read_json, write_text
from contrabench.text import one_line

FAULTS = "faults"
_PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "nibabel", "scipy", "safetensors", "typer")
_TOLD = re.compile(
    "(CONTRABENCH|CUDA|NVIDIA|OMP|GOMP|MKL|KMP|OPENBLAS|PYTORCH|TORCH|SLURM|LSB|PMI|OMPI|LC|XDG)_.*"
    "|PYTHON.*|LANG|LANGUAGE|TZ|TERM|COLUMNS|LINES|HOME|TMPDIR|RANK|LOCAL_RANK|WORLD_SIZE"
)
"""The variables that an account names; all others may hold what is nobody's business."""
_SECRET = re.compile(r"(?i)([\w-]*(?:key|token|secret|passw)[\w-]*[= ])\S+")


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


def record_error(
    home: Path, key: str, kind: str, error: Exception | SystemExit
) -> ContrabenchError:
    """Records what a stage of a kind raised, unless the disk is full.

    Gives the error to raise instead: `error` itself if it is one that a user can read.
    """
    full = DiskFullError(
        f"the disk of {home} is full; all finished stages are kept. Make room and run the "
        "same command again"
    )
    if is_disk_full(error):
        return full
    shown = (
        error
        if isinstance(error, ContrabenchError)
        else RunError(_words(kind, error, log_path(home, key)))
    )
    try:
        with log_path(home, key).open("a", encoding="utf-8", errors="replace") as log:
            log.write(account_of(error))
        write_failure(home, key, str(shown))
    except OSError as second:
        # What cannot be recorded is told nevertheless.
        return full if is_disk_full(second) else shown
    return shown


def account_of(error: BaseException) -> str:
    """What is needed to look into an error: traceback, versions, command and environment."""
    versions = {"contrabench": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    parts = {
        "command": _SECRET.sub(r"\1...", shlex.join(["bench", *sys.argv[1:]])),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "machine": platform.platform(),
        **{name: value for name, value in sorted(os.environ.items()) if _TOLD.fullmatch(name)},
    }
    parts = {name: value for name, value in parts.items() if not _SECRET.match(f"{name} .")}
    told = "".join(f"{name}: {value}\n" for name, value in parts.items())
    text = f"{''.join(traceback.format_exception(error))}\n{told}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def keep_account(error: BaseException, store: Path | None) -> Path | None:
    """Writes an account into a store that is there, else into a temporary folder, and says where.

    None if there is no place at all.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.txt"
    with suppress(OSError):
        if store is not None and store.is_dir():
            write_text(store / FAULTS / name, account_of(error))
            return store / FAULTS / name
    with suppress(OSError):
        path = Path(tempfile.gettempdir()) / f"contrabench-{name}"
        write_text(path, account_of(error))
        return path
    return None


def _words(kind: str, error: BaseException, log: Path) -> str:
    """An unforeseen error in one line: what it is, what it means, what to do."""
    first = one_line(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        # Batches are cut into parts where there are any.
        parts = "--accumulate 2 or " if kind in ("pretrain", "finetune") else ""
        return f"the {kind} stage ran out of memory ({first}); use {parts}a smaller --budget"
    return (
        f"the {kind} stage broke off with {first}; this is a fault in the code of a plug-in or "
        f"of contrabench, and its traceback is in {log}; `bench methods check` tries a method"
    )
