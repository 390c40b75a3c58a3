"""Content-addressed stages: done once, served ever after, safe against kills and rivals.

A stage lives in `stages/<kind>/<key>`. While it is made it is `<key>.work`, which a later
process takes up where a killed one left it; when it is done, its marker with checksums is
written and the folder gets its name. A folder without the suffix is therefore complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from contrabench.errors import (
    ContrabenchError,
    DataError,
    DiskFullError,
    RequestError,
    RunError,
    StageBusyError,
)
from contrabench.files import (
    damage_of,
    finish_folder,
    is_disk_full,
    read_json,
    temporary_sibling,
    write_text,
)
from contrabench.progress import Reporter
from contrabench.protocol import canonical_json, digest
from contrabench.store.failures import forget_failure, record_error
from contrabench.text import one_line

SPEC = "spec.json"
SPLITS = "splits"
"""The folder of a store's splits and label manifests, which are named by the hash of content."""
RUNS = "runs"
"""The kind whose stages are the rows of the runs."""
_LONGEST_NAME = 120
"""More characters than any name or path within a store has."""
PREPARE = "prepare"
"""The kind whose stages are prepared volumes: images, which are never given away with results."""


def key_of(kind: str, spec: Mapping[str, Any]) -> str:
    """The key of a stage: 16 hexadecimal digits over its kind and specification."""
    return digest({"kind": kind, **spec})


def home_of(root: Path, kind: str) -> Path:
    """The folder of all stages of a kind; the rows of the runs lie at the top."""
    return root / kind if kind == RUNS else root / "stages" / kind


def is_store(folder: Path) -> bool:
    """Whether a folder holds runs or stages."""
    return any((folder / name).is_dir() for name in (RUNS, "stages"))


def kinds_in(store: Path) -> list[str]:
    """The kinds of stages that a store holds; the runs first."""
    kinds = sorted(path.name for path in (store / "stages").glob("[!.]*") if path.is_dir())
    return [kind for kind in (RUNS, *kinds) if home_of(store, kind).is_dir()]


def finished_stages(store: Path, kind: str) -> list[Path]:
    """The folders of a kind's finished stages, by name; their content is not looked at.

    Locks, logs and folders that are being filled have a dot in their names. OSError if the folder
    of the kind cannot be listed.
    """
    home = home_of(store, kind)
    found = home.iterdir() if home.is_dir() else ()
    return sorted(
        path for path in found if "." not in path.name and (path.is_dir() or path.is_symlink())
    )


def misnamed(folder: Path, kind: str) -> str | None:
    """Says why the name of a stage's folder is not the hash of its specification, or None."""
    spec = read_json(folder / SPEC)
    try:
        key = key_of(kind, spec) if isinstance(spec, dict) and "kind" not in spec else ""
    except (ValueError, RecursionError):
        key = ""
    if not key:
        return f"its {SPEC} is no specification of a stage"
    return None if key == folder.name else f"its {SPEC} gives the {kind} key {key}"


def incomplete_weights(path: Path) -> str | None:
    """Says why a file of weights is truncated or none, by its header and length alone, or None."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return None
    except (SafetensorError, OSError, ValueError):
        return f"the file {path.name} is truncated or no safetensors file"


@contextmanager
def locked(path: Path, work: str, reporter: Reporter, wait: bool = True) -> Iterator[None]:
    """Holds a lock that the system frees when its holder dies, however it dies.

    `work` is what it stands for, in words; the reporter is told if another process is waited for.
    Its folder is made. StageBusyError if another process holds it and `wait` is false; RequestError
    or DiskFullError if nothing can be written there.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0.2)
    except Timeout:
        if not wait:
            raise StageBusyError(f"another process is at work on {work}") from None
        reporter.line(f"  another process is at work on {work}; waiting for it")
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise unwritable(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def check_store(store: Path) -> None:
    """RequestError or DiskFullError unless results can be kept in a folder, which is made.

    Tried is what work needs later: folders, locks, and names as long as any.
    """
    made = [folder for folder in (store, *store.parents) if not os.path.lexists(folder)]
    probe = temporary_sibling(store / ("x" * _LONGEST_NAME))
    try:
        str(store).encode()
        store.mkdir(parents=True, exist_ok=True)
        with FileLock(probe):
            pass
        probe.unlink(missing_ok=True)
    except UnicodeEncodeError as error:
        why = "its name is not in UTF-8, as files of weights want it"
        raise RequestError(
            f"{store} cannot be written: {why}; name another with --store"
        ) from error
    except (OSError, NotImplementedError) as error:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise unwritable(store, error) from error


def unwritable(store: Path, error: OSError | NotImplementedError) -> ContrabenchError:
    """The error of a store that cannot be written."""
    if is_disk_full(error):
        return DiskFullError(
            f"the disk of {store} is full; make room, or name another with --store"
        )
    reason = getattr(error, "strerror", None) or one_line(error)
    for folder in (store, *store.parents):
        if folder.is_symlink() and not folder.exists():
            reason = f"{folder} is a link to {folder.readlink()}, which is not there"
        elif folder.exists() and not folder.is_dir():
            reason = f"{folder} is a file"
    return RequestError(f"{store} cannot be written: {reason}; name another store with --store")


class StageStore:
    """The stages of one store folder."""

    def __init__(self, root: Path, reporter: Reporter) -> None:
        self.root, self.reporter = root, reporter

    def folder(self, kind: str, key: str) -> Path:
        """The folder of a finished stage; RunError if it is not there."""
        folder = home_of(self.root, kind) / key
        if not folder.is_dir():
            raise RunError(f"{folder} is gone; run the same command again, it will be made anew")
        return folder

    def run(
        self,
        kind: str,
        spec: Mapping[str, Any],
        make: Callable[[Path], None],
        wait: bool = True,
        finish: bool = True,
    ) -> Path:
        """Returns the folder of a stage, making it if it is not there.

        Args:
            kind: folder of the stage.
            spec: all that the output depends on, keys of inputs included, JSON-like.
            make: fills the given work folder; may find what a killed attempt left there.
            wait: for another process that is at work on this stage.
            finish: whether `make` makes all of it; if not, its work folder is what is returned.

        Raises:
            StageBusyError: if another process is at work on it and `wait` is false.
            DataError: if `make` finds faults in the user's files; nothing is recorded or kept.
            DiskFullError: if there is no space left; nothing is recorded.
            ContrabenchError: what `make` raises; an unforeseen error becomes one. Its
                reason is kept beside the stage, and the next call tries again.
        """
        key = key_of(kind, spec)
        home = home_of(self.root, kind)
        final, work = home / key, home / f"{key}.work"
        # Before the lock, so that a store that can only be read serves what it has.
        if final.is_dir() and damage_of(final) is None:
            return final
        with locked(home / f"{key}.lock", f"this {kind} stage", self.reporter, wait):
            if final.is_dir():
                problem = damage_of(final)
                if problem is None:
                    return final
                self.reporter.line(f"  {kind} {key}: {problem}; it is made again")
                shutil.rmtree(final)
            # Whoever waits for this attempt must not take an earlier failure for its end.
            forget_failure(home, key)
            try:
                work.mkdir(exist_ok=True)
                make(work)
                if not finish:
                    return work
                write_text(work / SPEC, canonical_json(dict(spec)) + "\n")
                finish_folder(work, final)
            except DataError:
                # Once the files are mended the key is another: nobody would come back to this one.
                shutil.rmtree(work)
                raise
            # A plug-in may end the program.
            except (Exception, SystemExit) as error:
                shown = record_error(home, key, kind, error)
                if shown is error:
                    raise
                raise shown from error
            forget_failure(home, key)
        return final
