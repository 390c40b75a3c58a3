"""All finished runs of a store as frames: their rows, and what is known of each of them.

Opening 100 000 small files takes minutes. So a store of many runs gets a *copy* of their rows and
facts in one file: it may be removed at any time and is never the truth. A run whose files have
changed is not taken from it; whoever reads while many runs are not in it writes it anew.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contrabench.files import replacing
from contrabench.progress import Reporter, Silent
from contrabench.protocol import digest
from contrabench.store.rows import SCHEMA, TEXT
from contrabench.store.runs import FACTS, WORDS, finished_runs, read_facts, read_run
from contrabench.store.stages import RUNS

if TYPE_CHECKING:
    import pandas as pd

COPY_FROM = 200
"""Runs outside the copy, and these at least a twentieth of all, for which it is written."""
_BATCH = 1000
"""Runs that are held as single tables at a time."""
_STALE_S = 3600.0
"""Age at which a half-written copy is what a killed process left."""
_TEXT = pa.dictionary(pa.int32(), pa.string())
_ROWS = pa.schema([field.with_type(_TEXT) if field.name in TEXT else field for field in SCHEMA])
"""The rows in memory and in a copy: every word once."""
_FACTS = pa.schema([field.with_type(_TEXT) if field.name in WORDS else field for field in FACTS])
_KNOWN = pa.schema([*_FACTS, ("stamp", pa.string()), ("rows", pa.int64())])
LAYOUT = digest({"version": 5, "rows": str(_ROWS), "runs": str(_KNOWN)}, 8)
"""Part of a copy's name: another release's copies are not read.

The version is raised whenever rows or records are read in another way.
"""


@dataclass(frozen=True)
class Results:
    """The finished runs of a store.

    Attributes:
        rows: in the order of the runs' keys. Words are categories, in the order of the
            alphabet, so a comparison with a word and `groupby(..., observed=True)` work as on
            words; integers that fit are 32 bits wide.
        runs: one line per run, its key the index; columns of `contrabench.store.runs.FACTS`.
        problems: one line for each run that was left out.
    """

    rows: pd.DataFrame
    runs: pd.DataFrame
    problems: tuple[str, ...] = ()


class Part:
    """Rows and facts of some runs, held as Parquet in memory.

    `known` has facts, stamp and number of rows of each run, in the order of their rows; `live`,
    shape (runs,), which of them are taken from here.
    """

    def __init__(self, rows: pa.Buffer | bytes, known: pa.Table) -> None:
        self._rows = pq.ParquetFile(pa.BufferReader(rows))
        self._bytes = rows
        self.known = known
        self.live = np.ones(len(known), np.bool_)

    def rows(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of the rows of the runs that are taken from here."""
        table = self._rows.read(columns=list(columns), use_threads=False)
        if self.live.all():
            return table
        return table.filter(pa.array(np.repeat(self.live, self.known["rows"].to_numpy())))

    def facts(self) -> pa.Table:
        """What is known of the runs that are taken from here."""
        return self.known.filter(pa.array(self.live))

    def save(self, path: Path) -> None:
        """Writes a copy; where that cannot be done, there is none."""
        known = io.BytesIO()
        pq.write_table(self.known, known, compression="zstd")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f".{path.name}.*"):
                if time.time() - left.stat().st_mtime > _STALE_S:
                    left.unlink()
            with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
                file.writestr("rows.parquet", self._bytes)
                file.writestr("runs.parquet", known.getvalue())


def load_part(path: Path) -> Part | None:
    """Reads a copy; None if there is none, or its checksums tell that it is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            rows, known = (file.read(f"{name}.parquet") for name in ("rows", "runs"))
        return Part(rows, pq.read_table(pa.BufferReader(known), schema=_KNOWN))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, pa.ArrowException):
        return None


def read_part(
    store: Path, runs: dict[str, str], problems: list[str], reporter: Reporter, *others: Part
) -> Part:
    """Reads the runs whose keys and stamps are given, one by one, and joins `others` to them.

    `problems` gets a line for each run that cannot be trusted.
    """
    sink, found = pa.BufferOutputStream(), [_KNOWN.empty_table()]
    keys = list(runs)
    with (
        pq.ParquetWriter(sink, _ROWS, compression="zstd") as writer,
        reporter.track("reading runs", len(keys)) as track,
    ):
        for part in others:
            writer.write_table(part.rows(SCHEMA.names))
            found.append(part.facts())
        for start in range(0, len(keys), _BATCH):
            tables, facts = [SCHEMA.empty_table()], []
            for number, run in enumerate(keys[start : start + _BATCH], start + 1):
                table, fault = read_run(store / RUNS / run)
                if fault:
                    problems.append(f"run {run} is left out: {fault}")
                else:
                    tables.append(table)
                    known = {"stamp": runs[run], "rows": len(table)}
                    facts.append(read_facts(store / RUNS / run) | known)
                track.advance(number)
            writer.write_table(pa.concat_tables(tables).combine_chunks().cast(_ROWS))
            found.append(pa.Table.from_pylist(facts, schema=_KNOWN))
    return Part(sink.getvalue(), pa.concat_tables(found))


def read_results(
    store: Path, reporter: Reporter | None = None, columns: Sequence[str] | None = None
) -> Results:
    """Reads the rows of every finished run of a store, and the facts of its record.

    `columns` are those of the rows that are wanted, in this order; all by default.
    """
    place = store / f"rows-copy-{LAYOUT}.zip"
    runs, problems, parts = finished_runs(store), list[str](), list[Part]()
    copy = load_part(place)
    if copy:
        held = zip(copy.known["run"].to_pylist(), copy.known["stamp"].to_pylist(), strict=True)
        copy.live[:] = [runs.get(run) == stamp for run, stamp in held]
        parts.append(copy)
    known = {run for part in parts for run in part.facts()["run"].to_pylist()}
    missing = {run: stamp for run, stamp in runs.items() if run not in known}
    if len(missing) >= COPY_FROM and len(missing) * 20 >= len(runs):
        parts = [read_part(store, missing, problems, reporter or Silent(), *parts)]
        parts[0].save(place)
    elif missing:
        parts.append(read_part(store, missing, problems, Silent()))
    return results_of(parts, problems, columns)


def read_rows(
    store: Path, columns: Sequence[str] | None = None, reporter: Reporter | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows alone, as `read_results` reads them, and one line for each run left out."""
    results = read_results(store, reporter, columns)
    return results.rows, list(results.problems)


def results_of(
    parts: Sequence[Part], problems: Iterable[str] = (), columns: Sequence[str] | None = None
) -> Results:
    """The rows and facts of all parts as frames, in the order of the runs' keys."""
    import pandas as pd

    known = pa.concat_tables([_KNOWN.empty_table(), *(part.facts() for part in parts)])
    facts = known.select(FACTS.names).unify_dictionaries().sort_by("run").to_pandas()
    place = np.argsort(np.argsort(known["run"].to_numpy(zero_copy_only=False)))
    rank = np.repeat(place, known["rows"].to_numpy())
    order = np.argsort(rank, kind="stable") if (np.diff(rank) < 0).any() else None
    # Column by column, so that no more than one is in memory twice.
    wanted = SCHEMA.names if columns is None else columns
    data = {name: _column(parts, name, order) for name in wanted}
    rows = pd.DataFrame(data, columns=pd.Index(wanted), copy=False)
    return Results(rows, facts.set_index("run"), tuple(problems))


def _column(parts: Sequence[Part], name: str, order: NDArray[np.intp] | None) -> Any:
    """One column of all parts; words as categories, numbers as narrow as they can be."""
    import pandas as pd

    tables = [part.rows([name]) for part in parts]
    found = pa.concat_tables([pa.schema([_ROWS.field(name)]).empty_table(), *tables])
    values = found.unify_dictionaries()[name].combine_chunks()
    if name in TEXT:
        values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
        codes, words = values.indices.to_numpy(), values.dictionary.to_pylist()
        used = np.bincount(codes, minlength=len(words)) > 0
        names = sorted(word for word, here in zip(words, used, strict=True) if here)
        places = {word: place for place, word in enumerate(names)}
        codes = np.array([places.get(word, -1) for word in words], np.int32)[codes]
        codes = codes if order is None else codes[order]
        return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype="str"))
    numbers = values.to_numpy(zero_copy_only=False)
    small = np.iinfo(np.int32)
    if numbers.dtype == np.int64 and (
        not numbers.size or small.min <= numbers.min() <= numbers.max() <= small.max
    ):
        numbers = numbers.astype(np.int32)
    return numbers if order is None else numbers[order]
