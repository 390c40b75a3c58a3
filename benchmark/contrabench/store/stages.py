"""Content-addressed stages: done once, served ever after, safe against kills and rivals.

A stage lives in `stages/<kind>/<key>`. While it is made it is `<key>.work`, which a later
process takes up where a killed one left it; when it is done, its marker with checksums is
written and the folder gets its name. A folder without the suffix is therefore complete.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from contrabench.errors import ContrabenchError
from contrabench.files import sync_folder, write_text
from contrabench.progress import Reporter
from contrabench.protocol import canonical_json, digest
from contrabench.sealed import damage, seal

SPEC = "spec.json"


@dataclass(frozen=True)
class StageOutput:
    """A stage that is done.

    Attributes:
        kind: e.g. `pretrain`.
        key: hash of everything that its content depends on.
        folder: its files.
        cached: whether it was there already.
    """

    kind: str
    key: str
    folder: Path
    cached: bool


class StageStore:
    """The stages of one store folder."""

    def __init__(self, root: Path, reporter: Reporter) -> None:
        self.root, self.reporter = root, reporter

    def run(
        self, kind: str, spec: Mapping[str, Any], make: Callable[[Path], None], base: str = "stages"
    ) -> StageOutput:
        """Returns the stage's output, making it if it is not there.

        Args:
            kind: folder of the stage.
            spec: all that the output depends on, keys of inputs included, JSON-like.
            make: fills the given work folder; may find what a killed attempt left there.
            base: folder below the store's root.

        Raises:
            ContrabenchError: whatever `make` raises; its reason is kept beside the stage,
                and the next call tries again.
        """
        key = digest({"kind": kind, **spec})
        home = self.root / base / kind
        home.mkdir(parents=True, exist_ok=True)
        final, work = home / key, home / f"{key}.work"
        with self._lock(home / f"{key}.lock", kind):
            if final.is_dir():
                if problem := damage(final):
                    self.reporter.line(f"  {kind} {key}: {problem}; it is made again")
                    shutil.rmtree(final)
                else:
                    return StageOutput(kind, key, final, cached=True)
            work.mkdir(exist_ok=True)
            failed = home / f"{key}.failed.json"
            try:
                make(work)
            except ContrabenchError as error:
                write_text(failed, json.dumps({"reason": str(error), "spec": dict(spec)}, indent=2))
                raise
            failed.unlink(missing_ok=True)
            _finish(work, final, spec)
        return StageOutput(kind, key, final, cached=False)

    @contextmanager
    def _lock(self, path: Path, kind: str) -> Iterator[None]:
        """A lock that the system frees when its holder dies, however it dies."""
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            self.reporter.line(f"  another process is at work on this {kind} stage; waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _finish(work: Path, final: Path, spec: Mapping[str, Any]) -> None:
    """Writes specification and marker and gives the folder its name."""
    write_text(work / SPEC, canonical_json(dict(spec)) + "\n")
    seal(work)
    work.replace(final)
    sync_folder(final.parent)
