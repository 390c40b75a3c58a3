"""What a submission is: finished runs, the manifests that they name, and a listing of it all.

`bench submit` writes the listing after looking through the runs; whoever takes a submission
in looks through them in the same way and must arrive at the same listing.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from contrabench import __version__
from contrabench.exchange.manifests import FOLDER, read_manifest
from contrabench.exchange.vetting import LARGEST_JSON, unsafe, unsound
from contrabench.files import MARKER, checksum, sealed_files
from contrabench.progress import Reporter, Silent
from contrabench.protocol import Frozen
from contrabench.store.run_files import RECORD_FILE, ROWS_FILE, read_run
from contrabench.store.stages import RUNS, SPEC
from contrabench.text import size_words

FORMAT = 1
LISTING = "submission.json"
RUN_FILES = (MARKER, ROWS_FILE, RECORD_FILE, SPEC)
SUFFIX = ".zip"
LARGEST_FILE = LARGEST_JSON
"""Bytes; some thousand times what a file of a run has."""
LARGEST_ARCHIVE = 2**30
MOST_FILES = 65_000
"""A little less than a ZIP without extensions can hold: some 16 000 runs."""
MEMBER = re.compile(
    rf"{RUNS}/[0-9a-f]{{16}}/({'|'.join(map(re.escape, RUN_FILES))})"
    rf"|{FOLDER}/(split|labels)-[0-9a-f]{{16}}\.json"
)
"""What files beside the listing can be called; none of these names leads out of a folder."""
_COLUMNS = ["dataset", "protocol", "method", "method_version"]


class UnfitError(Exception):
    """A file or run is not fit for a submission.

    Attributes:
        name: what it is called in a store, e.g. `runs/<key>`.
        reason: in words.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name}: {reason}")


class NewerError(UnfitError):
    """A submission is of a format that this version does not know."""

    def __init__(self) -> None:
        super().__init__(LISTING, "a newer contrabench packed it; update contrabench")


class Member(Frozen):
    """A file of a submission."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=LARGEST_FILE, description="bytes")


class Submission(Frozen):
    """Content of `submission.json`: no dates, machines or people, so equal runs list equally.

    Attributes:
        contrabench: version that packed it.
        methods: registered name to the versions of it that were run.
        files: every other file of the submission.
    """

    format: int = Field(ge=1)
    contrabench: str
    datasets: tuple[str, ...]
    protocols: tuple[str, ...]
    methods: dict[str, tuple[int, ...]]
    runs: int = Field(ge=1)
    rows: int
    files: dict[str, Member]


def read_listing(data: bytes) -> Submission:
    """Reads a listing that somebody else wrote.

    Raises:
        UnfitError: if it is none.
        NewerError: if it is of a newer format.
    """
    try:
        content = json.loads(data)
        version = content["format"]
        if isinstance(version, int) and version > FORMAT:
            raise NewerError
        listing = Submission.model_validate_json(data)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnfitError(LISTING, "it is no listing of a submission") from None
    for name in listing.files:
        if not MEMBER.fullmatch(name):
            raise UnfitError(LISTING, f"it names {name[:80]!r}, which no submission holds")
    return listing


def survey(store: Path, folders: Sequence[Path], reporter: Reporter | None = None) -> Submission:
    """Looks through runs as a merge does, and lists what a submission of them holds.

    Args:
        store: folder that holds the runs and `splits/`.
        folders: of the runs, at least one.
        reporter: where progress is told.

    Raises:
        UnfitError: at the first run that a merge would refuse, or that names a manifest
            which is not there.
    """
    files: dict[str, Member] = {}
    datasets, protocols, rows = set(), set(), 0
    methods: dict[str, set[int]] = defaultdict(set)
    with (reporter or Silent()).track("looking through runs", len(folders)) as track:
        for number, folder in enumerate(folders, start=1):
            name = f"{RUNS}/{folder.name}"
            if reason := _fault(folder):
                raise UnfitError(name, reason)
            table = read_run(folder)[0]
            rows += len(table)
            for row in table.select(_COLUMNS).group_by(_COLUMNS).aggregate([]).to_pylist():
                datasets.add(row["dataset"])
                protocols.add(row["protocol"])
                methods[row["method"]].add(row["method_version"])
            files |= {f"{name}/{file}": _member(folder / file) for file in RUN_FILES}
            for manifest in _manifests(folder, name):
                if manifest not in files:
                    if read_manifest(store / manifest) is None:
                        raise UnfitError(name, f"{manifest}, which it names, is not there or bad")
                    files[manifest] = _member(store / manifest)
            track.advance(number)
    return Submission(
        format=FORMAT,
        contrabench=__version__,
        datasets=tuple(sorted(datasets)),
        protocols=tuple(sorted(protocols)),
        methods={name: tuple(sorted(methods[name])) for name in sorted(methods)},
        runs=len(folders),
        rows=rows,
        files={name: files[name] for name in sorted(files)},
    )


def _fault(folder: Path) -> str | None:
    """Why a merge would refuse a run, or what it holds that no submission does."""
    if reason := unsafe(folder, RUNS):
        return reason
    for name in (MARKER, *(sealed_files(folder) or ())):
        if name not in RUN_FILES:
            return f"it holds {name}, and a submission takes rows and records alone"
        if (folder / name).stat().st_size > LARGEST_FILE:
            return f"{name} is larger than {size_words(LARGEST_FILE)}"
    return unsound(folder, RUNS)


def _manifests(folder: Path, run: str) -> Iterator[str]:
    """The manifests that the record of a run names, as paths in the store."""
    named = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")).get("manifests", {})
    for kind, key in named.items() if isinstance(named, dict) else [("manifests", named)]:
        path = f"{FOLDER}/{kind}-{key}.json"
        if not MEMBER.fullmatch(path):
            raise UnfitError(run, f"its record names {path[:80]!r}, which no manifest is called")
        yield path


def _member(path: Path) -> Member:
    return Member(sha256=checksum(path), size=path.stat().st_size)
