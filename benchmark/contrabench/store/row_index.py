"""The rows of many runs in a few files, so that a large store is read in seconds.

`rows-index/` is a copy that may be thrown away at any time, never the truth: each part says
which runs it holds and how their files looked when it was made, and a run that looks
otherwise now, or is gone, is not taken from it. Parts are sealed folders like everything
else in a store, made by whoever reads while many runs are in none.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from contrabench.files import damage_of, is_temporary, seal_folder, sync_folder, temporary_sibling
from contrabench.protocol import digest
from contrabench.store.facts import FACTS, WORDS
from contrabench.store.run_files import ROWS_FILE, RunFile
from contrabench.store.schema import SCHEMA, TEXT

FOLDER = "rows-index"
PART_RUNS = 5000
"""Runs of a full part: bounds the memory of making one, and what a kill can cost."""
MANY_PARTS = 8
"""Parts of less than half the full size that are joined when the next one is made."""
_RUNS_FILE = "runs.parquet"
_FACTS_FILE = "facts.parquet"
_STAMP = ("rows_size", "rows_changed_ns", "marker_size", "marker_changed_ns")
_RUNS_SCHEMA = pa.schema(
    [("run", pa.string()), *((name, pa.int64()) for name in _STAMP), ("rows", pa.int64())]
)
_TEXT = pa.dictionary(pa.int32(), pa.string())
_WORDS = pa.schema([field.with_type(_TEXT) if field.name in TEXT else field for field in SCHEMA])
"""The rows in memory and in the index: every word once."""
FACT_WORDS = pa.schema(
    [field.with_type(_TEXT) if field.name in WORDS else field for field in FACTS]
)
_LAYOUT = digest(
    {"version": 4, "rows": str(SCHEMA), "runs": str(_RUNS_SCHEMA), "facts": str(FACTS)}, 8
)
"""Part of each part's name: another release's parts are not read.

The version is raised whenever rows or records are read in another way.
"""


@dataclass(eq=False)
class Part:
    """Rows of some runs, in a file or in memory.

    Attributes:
        runs: the runs, in the order of their rows.
        counts: number of rows of each, shape (runs,).
        live: which of the runs are taken from here, shape (runs,).
        read: gives the table of some columns, all rows of all runs.
        read_facts: gives the facts of all runs, one row each in their order.
        folder: where it is kept; None in memory.
    """

    runs: list[RunFile]
    counts: NDArray[np.int64]
    live: NDArray[np.bool_]
    read: Callable[[Sequence[str]], pa.Table]
    read_facts: Callable[[], pa.Table]
    folder: Path | None = None

    def table(self, columns: Sequence[str]) -> pa.Table:
        """The rows of the runs that are taken from here."""
        table = self.read(columns)
        if self.live.all():
            return table
        return table.filter(pa.array(np.repeat(self.live, self.counts)))

    def facts(self) -> pa.Table:
        """The facts of the runs that are taken from here."""
        table = self.read_facts()
        return table if self.live.all() else table.filter(pa.array(self.live))

    @property
    def live_runs(self) -> list[RunFile]:
        """The runs that are taken from here."""
        return [run for run, live in zip(self.runs, self.live, strict=True) if live]


def part_of(
    runs: list[RunFile], tables: Sequence[pa.Table], facts: Sequence[Mapping[str, Any]]
) -> Part:
    """A part in memory, from the rows and the facts of each of some runs."""
    counts = np.array([len(one) for one in tables], np.int64)
    return _in_memory(runs, counts, tables, [pa.Table.from_pylist(list(facts), schema=FACTS)])


def _in_memory(
    runs: list[RunFile],
    counts: NDArray[np.int64],
    tables: Sequence[pa.Table],
    facts: Sequence[pa.Table],
) -> Part:
    rows, known = _joined(tables, _WORDS), _joined(facts, FACT_WORDS)
    return Part(runs, counts, np.ones(len(runs), np.bool_), rows.select, lambda: known)


def _joined(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    if not tables:
        return schema.empty_table()
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks().cast(schema)


class RowIndex:
    """The parts of one store."""

    def __init__(self, store: Path) -> None:
        self.home = store / FOLDER

    def parts(self) -> list[Part]:
        """Every part that is complete and undamaged, by name."""
        found = (_open(folder) for folder in sorted(self.home.glob(f"{_LAYOUT}-*")))
        return [part for part in found if part is not None]

    @contextmanager
    def writing(self) -> Iterator[bool]:
        """Tells whether parts may be written: not by two at a time, nor on a read-only disk."""
        lock = FileLock(self.home / "index.lock")
        try:
            self.home.mkdir(exist_ok=True)
            lock.acquire(timeout=0)
        except (OSError, Timeout):
            yield False
            return
        try:
            for stale in self.home.glob(".*"):
                if is_temporary(stale):  # a killed process left it
                    shutil.rmtree(stale, ignore_errors=True)
            yield True
        finally:
            lock.release()

    def keep(self, part: Part) -> Part:
        """Writes a part; returns it as read from its file, or as it was if that fails."""
        work = temporary_sibling(self.home / f"{_LAYOUT}-{secrets.token_hex(8)}")
        final = self.home / work.name[1:].split(".")[0]
        runs = part.live_runs
        columns = zip(*(run.stamp for run in runs), strict=True)
        listing = pa.table(
            [[run.run for run in runs], *columns, part.counts[part.live]], schema=_RUNS_SCHEMA
        )
        try:
            work.mkdir()
            pq.write_table(part.table(SCHEMA.names), work / ROWS_FILE, compression="zstd")
            pq.write_table(part.facts(), work / _FACTS_FILE, compression="zstd")
            pq.write_table(listing, work / _RUNS_FILE, compression="zstd")
            seal_folder(work)
            work.rename(final)
            sync_folder(self.home)
        except OSError:  # a full disk costs the index, not the reader
            shutil.rmtree(work, ignore_errors=True)
            return part
        kept = _open(final)
        if kept is None:
            return part
        kept.live[:] = True
        return kept

    def tidy(self, parts: Sequence[Part]) -> list[Part]:
        """Joins small parts when there are many, and removes damaged and empty ones.

        Args:
            parts: those in use, their `live` set.

        Returns:
            The parts to use from now on.
        """
        small = [part for part in parts if part.live.sum() < PART_RUNS // 2]
        if len(small) < MANY_PARTS:
            small = [part for part in small if not part.live.any()]
        kept = [part for part in parts if part not in small]
        joined, waiting = [], list(small)
        while waiting:
            batch = [waiting.pop()]
            while waiting and sum(part.live.sum() for part in batch) < PART_RUNS:
                batch.append(waiting.pop())
            runs = [run for part in batch for run in part.live_runs]
            if runs:
                joined.append(self.keep(_join(batch, runs)))
        named = {part.folder for part in (*kept, *joined)}
        for folder in self.home.glob(f"{_LAYOUT}-*"):
            if folder not in named:
                shutil.rmtree(folder, ignore_errors=True)
        return [*kept, *joined]


def _join(batch: Sequence[Part], runs: list[RunFile]) -> Part:
    counts = np.concatenate([part.counts[part.live] for part in batch])
    rows = [part.table(SCHEMA.names) for part in batch]
    return _in_memory(runs, counts, rows, [part.facts() for part in batch])


def _open(folder: Path) -> Part | None:
    """A part on disk; None if it is damaged, or gone since it was listed."""
    try:
        if damage_of(folder) is not None:
            return None
        listing = pq.read_table(folder / _RUNS_FILE, schema=_RUNS_SCHEMA).to_pydict()
        file = pq.ParquetFile(folder / ROWS_FILE)
    except (OSError, pa.ArrowException):
        return None
    counts = np.array(listing["rows"], np.int64)
    if file.schema_arrow.names != SCHEMA.names or file.metadata.num_rows != counts.sum():
        return None
    stamps = zip(*(listing[name] for name in _STAMP), strict=True)
    runs = [RunFile(run, stamp) for run, stamp in zip(listing["run"], stamps, strict=True)]

    def read(columns: Sequence[str]) -> pa.Table:
        return file.read(columns=list(columns), use_threads=False)

    def read_facts() -> pa.Table:
        return pq.read_table(folder / _FACTS_FILE, schema=FACT_WORDS)

    return Part(runs, counts, np.zeros(len(runs), np.bool_), read, read_facts, folder)
