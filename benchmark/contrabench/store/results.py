"""All finished runs of a store as frames: their rows, and what is known of each of them.

Opening 100 000 small files takes minutes. So a store of many runs gets a *copy* of their rows and
facts in one file: it may be removed at any time and is never the truth. A run whose files have
changed is not taken from it; whoever reads while many runs are not in it writes it anew.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contrabench.files import replacing
from contrabench.progress import Reporter, Silent
from contrabench.protocol import digest
from contrabench.store.rows import SCHEMA, TEXT
from contrabench.store.runs import FACTS, WORDS, finished_runs, read_facts, read_run
from contrabench.store.stages import RUNS

if TYPE_CHECKING:
    import pandas as pd

COPIES = "rows-copy-"
"""How the name of a copy of a store's rows begins, which lies in the store and is no archive."""
COPY_FROM = 200
"""Runs outside the copy, and these at least a twentieth of all, for which it is written."""
_BATCH = 1000
"""Runs whose rows are small tables at a time."""
_STALE_S = 3600.0
"""Age at which a half-written copy is what a killed process left."""
_TEXT = pa.dictionary(pa.int32(), pa.string())
_ROWS = pa.schema([field.with_type(_TEXT) if field.name in TEXT else field for field in SCHEMA])
"""The rows in memory and in a copy: every word once."""
_RUNS = pa.schema(
    [field.with_type(_TEXT) if field.name in WORDS else field for field in FACTS]
    + [("stamp", pa.string()), ("count", pa.int64())]
)
LAYOUT = digest({"version": 6, "rows": str(_ROWS), "runs": str(_RUNS)}, 8)
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


class Part(NamedTuple):
    """Some runs: their rows, and facts, stamp and number of rows of each in the same order."""

    rows: pa.Table
    runs: pa.Table

    def stamps(self) -> list[tuple[str, str]]:
        """Key and stamp of each run."""
        return list(zip(*self.runs.select(["run", "stamp"]).to_pydict().values(), strict=True))

    def only(self, live: Sequence[bool]) -> Part:
        """Some of the runs."""
        mask = np.array(live, np.bool_)
        if mask.all():
            return self
        rows = np.repeat(mask, self.runs["count"].to_numpy())
        return Part(self.rows.filter(pa.array(rows)), self.runs.filter(pa.array(mask)))


EMPTY = Part(_ROWS.empty_table(), _RUNS.empty_table())


def joined(*parts: Part) -> Part:
    """The rows and runs of some parts."""
    rows, runs = zip(*parts, strict=True)
    return Part(pa.concat_tables(rows), pa.concat_tables(runs))


def save_copy(part: Part, path: Path) -> None:
    """Writes a copy; where that cannot be done, there is none."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*"):
            if time.time() - left.stat().st_mtime > _STALE_S:
                left.unlink()
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
            for name, table in part._asdict().items():
                sink = pa.BufferOutputStream()
                pq.write_table(table, sink, compression="zstd")
                file.writestr(name, sink.getvalue())


def load_copy(path: Path) -> Part | None:
    """Reads a copy; None if there is none, or its checksums tell that it is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            return Part(*(pq.read_table(pa.BufferReader(file.read(name))) for name in Part._fields))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, pa.ArrowException):
        return None


def read_part(store: Path, runs: dict[str, str], problems: list[str], reporter: Reporter) -> Part:
    """Reads the runs whose keys and stamps are given, one by one.

    `problems` gets a line for each run that cannot be trusted.
    """
    batches, facts = [_ROWS.empty_table()], list[dict[str, Any]]()
    keys = list(runs)
    with reporter.track("reading runs", len(keys)) as track:
        for start in range(0, len(keys), _BATCH):
            tables = [SCHEMA.empty_table()]
            for number, run in enumerate(keys[start : start + _BATCH], start + 1):
                table, fault = read_run(store / RUNS / run)
                if fault:
                    problems.append(f"run {run} is left out: {fault}")
                else:
                    tables.append(table)
                    about = {"stamp": runs[run], "count": len(table)}
                    facts.append(read_facts(store / RUNS / run) | about)
                track.advance(number)
            batches.append(pa.concat_tables(tables).combine_chunks().cast(_ROWS))
    return Part(pa.concat_tables(batches), pa.Table.from_pylist(facts, schema=_RUNS))


def read_results(
    store: Path, reporter: Reporter | None = None, columns: Sequence[str] | None = None
) -> Results:
    """Reads the rows of every finished run of a store, and the facts of its record.

    `columns` are those of the rows that are wanted, in this order; all by default.
    """
    place = store / f"{COPIES}{LAYOUT}.zip"
    runs, problems = finished_runs(store), list[str]()
    part = load_copy(place) or EMPTY
    part = part.only([runs.get(run) == stamp for run, stamp in part.stamps()])
    held = dict(part.stamps())
    missing = {run: stamp for run, stamp in runs.items() if run not in held}
    many = len(missing) >= COPY_FROM and len(missing) * 20 >= len(runs)
    if missing:
        teller = reporter if reporter and many else Silent()
        part = joined(part, read_part(store, missing, problems, teller))
    if many:
        save_copy(part, place)
    return results_of(part, problems, columns)


def read_rows(
    store: Path, columns: Sequence[str] | None = None, reporter: Reporter | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows alone, as `read_results` reads them, and one line for each run left out."""
    results = read_results(store, reporter, columns)
    return results.rows, list(results.problems)


def results_of(
    part: Part, problems: Iterable[str] = (), columns: Sequence[str] | None = None
) -> Results:
    """Rows and facts as frames, in the order of the runs' keys."""
    import pandas as pd

    facts = part.runs.select(FACTS.names).unify_dictionaries().sort_by("run").to_pandas()
    place = np.argsort(np.argsort(part.runs["run"].to_numpy()))
    rank = np.repeat(place, part.runs["count"].to_numpy())
    order = np.argsort(rank, kind="stable") if (np.diff(rank) < 0).any() else slice(None)
    wanted = SCHEMA.names if columns is None else columns
    data = {name: _values(part.rows[name])[order] for name in wanted}
    rows = pd.DataFrame(data, columns=pd.Index(wanted), copy=False)
    return Results(rows, facts.set_index("run"), tuple(problems))


def _values(column: pa.ChunkedArray) -> Any:
    """Words as categories, in the order of the alphabet; numbers as narrow as they can be."""
    import pandas as pd

    if column.type == _TEXT:
        words = pd.Categorical(column.to_pandas()).remove_unused_categories()
        return words.set_categories(pd.Index(sorted(words.categories), dtype="str"))
    numbers = column.to_numpy()
    small = np.iinfo(np.int32)
    fits = not numbers.size or small.min <= numbers.min() <= numbers.max() <= small.max
    return numbers.astype(np.int32) if numbers.dtype == np.int64 and fits else numbers
