"""All rows of a store, and what its runs' records tell: from the index, the rest run by run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contrabench.progress import Reporter, Silent, Track
from contrabench.store.facts import read_facts
from contrabench.store.row_index import FACT_WORDS, PART_RUNS, Part, RowIndex, part_of
from contrabench.store.run_files import RunFile, finished_runs, read_run
from contrabench.store.schema import SCHEMA, TEXT
from contrabench.store.stages import RUNS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

INDEX_FROM = 200
"""Runs outside the index from which it pays to write them into it."""


def gather(store: Path, reporter: Reporter | None = None) -> tuple[list[Part], list[str]]:
    """Finds the rows and facts of every finished run of a store.

    Args:
        store: folder that holds `runs/<key>/rows.parquet` beside `done.json`.
        reporter: where the progress of a first reading of many runs is told.

    Returns:
        The parts to take them from, and one line for each run that was left out.
    """
    runs = sorted(finished_runs(store), key=lambda run: run.run)
    index = RowIndex(store)
    parts = index.parts()
    missing = _claim(parts, runs)
    problems: list[str] = []
    if len(missing) < INDEX_FROM:
        with Silent().track("", 0) as track:
            parts.append(_read(store, missing, problems, track))
    else:
        teller = reporter or Silent()
        with index.writing() as allowed, teller.track("reading runs", len(missing)) as track:
            for start in range(0, len(missing), PART_RUNS):
                part = _read(store, missing[start : start + PART_RUNS], problems, track, start)
                parts.append(index.keep(part) if allowed else part)
            if allowed:
                parts = index.tidy(parts)
    return [part for part in parts if part.live.any()], problems


def _claim(parts: Sequence[Part], runs: Sequence[RunFile]) -> list[RunFile]:
    """Marks in each part the runs that are as it holds them; returns those in no part."""
    waiting = {run.run: run for run in runs}
    for part in parts:
        for place, held in enumerate(part.runs):
            now = waiting.get(held.run)
            if now is not None and now.stamp == held.stamp:
                part.live[place] = True
                del waiting[held.run]
    return list(waiting.values())


def _read(
    store: Path, runs: Sequence[RunFile], problems: list[str], track: Track, before: int = 0
) -> Part:
    """Reads runs one by one; those that cannot be trusted become problems."""
    sound, tables, facts = [], [], []
    for number, run in enumerate(runs, start=before + 1):
        table, fault = read_run(store / RUNS / run.run)
        if fault:
            problems.append(f"run {run.run} is left out: {fault}")
        else:
            sound.append(run)
            tables.append(table)
            facts.append(read_facts(store / RUNS / run.run))
        track.advance(number)
    return part_of(sound, tables, facts)


def rows_frame(parts: Sequence[Part], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of all parts, run by run in the order of their keys.

    Column by column, so that no more than one is in memory twice.

    Args:
        parts: as `gather` gives them.
        columns: those wanted, in this order.
    """
    import pandas as pd

    keys = [run.run for part in parts for run in part.live_runs]
    places = {key: place for place, key in enumerate(sorted(keys))}
    counts = [part.counts[part.live] for part in parts]
    rank = np.repeat(
        np.array([places[key] for key in keys], np.int32),
        np.concatenate([np.empty(0, np.int64), *counts]),
    )
    order = np.argsort(rank, kind="stable") if (np.diff(rank) < 0).any() else None
    data: dict[str, Any] = {}
    for name in columns:
        if name == "run":
            values, words = rank, list(places)
        elif name in TEXT:
            values, words = _codes([part.table([name])[name] for part in parts])
        else:
            values, words = _numbers([part.table([name])[name] for part in parts], name), None
        if order is not None:
            values = values[order]
        data[name] = values if words is None else _categories(values, words)
    return pd.DataFrame(data, columns=pd.Index(columns), copy=False)


def facts_frame(parts: Sequence[Part]) -> pd.DataFrame:
    """The facts of all runs, one line each in the order of their keys, which are its index.

    Words are categories, as those of the rows are.
    """
    import pandas as pd
    import pyarrow as pa

    tables = [part.facts() for part in parts] or [FACT_WORDS.empty_table()]
    joined = pa.concat_tables(tables).unify_dictionaries().sort_by("run")
    return pd.DataFrame(joined.to_pandas()).set_index("run")


def _codes(pieces: Sequence[pa.ChunkedArray]) -> tuple[NDArray[np.int32], list[str]]:
    """One code per row, and the word of each code, in the order of the alphabet."""
    known: dict[str, int] = {}
    found = [np.empty(0, np.int32)]
    for piece in pieces:
        for chunk in piece.chunks:
            words = chunk.dictionary.to_pylist()
            to = np.array([known.setdefault(word, len(known)) for word in words], np.int32)
            found.append(to[chunk.indices.to_numpy(zero_copy_only=False)])
    codes = np.concatenate(found)
    used = np.bincount(codes, minlength=len(known)) > 0
    words = [word for word, code in sorted(known.items()) if used[code]]
    place = np.zeros(len(known), np.int32)
    place[[known[word] for word in words]] = np.arange(len(words))
    return place[codes], words


def _numbers(pieces: Sequence[pa.ChunkedArray], name: str) -> NDArray[Any]:
    """A column of numbers; what is null is NaN, and integers are 32 bits wide if they fit."""
    dtype = SCHEMA.field(name).type.to_pandas_dtype()
    values = np.concatenate([np.empty(0, dtype), *(piece.to_numpy() for piece in pieces)])
    small = np.iinfo(np.int32)
    if values.dtype == np.int64 and not (
        values.size and (values.min() < small.min or values.max() > small.max)
    ):
        return values.astype(np.int32)
    return values


def _categories(codes: NDArray[np.int32], words: list[str]) -> pd.Categorical:
    import pandas as pd

    return pd.Categorical.from_codes(codes, categories=pd.Index(words, dtype="str"))
