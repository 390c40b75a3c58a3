"""The table of metrics of one's own: means and differences to scratch, which decide nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import Column, Kind, Table
from contrabench.references import REFERENCE
from contrabench.report.board import NAMES, columns, make_table, names_of
from contrabench.report.entries import Entry, reference_of
from contrabench.statistics.aggregate import applicable, patient_scores
from contrabench.statistics.intervals import mean_interval
from contrabench.statistics.paired import paired_difference
from contrabench.store.rows import own_metrics
from contrabench.text import counted

OWN = "metrics of one's own"


def own_table(entries: Sequence[Entry]) -> Table | None:
    """One part for each metric that some rows have beside the contract's; None without any."""
    told = {entry.label: own_metrics(applicable(entry.rows, [])) for entry in entries}
    names = sorted({str(name) for found in told.values() for name in found.columns})
    if not names:
        return None
    rows = [dict[str, Any](names_of(entry)) for entry in entries]
    notes = ["They stand beside the metric contract: nothing is ranked or decided by them."]
    shown: list[Column] = []
    for name in names:
        scores = {entry.label: _scores(entry, told[entry.label], name) for entry in entries}
        reference = reference_of(entries)
        base = scores[reference.label] if reference is not None else None
        for cells, entry in zip(rows, entries, strict=True):
            cells.update(_cells(name, scores[entry.label], None if entry is reference else base))
        kinds: Mapping[Kind, Sequence[str]] = {
            "score": [name, *_ends(name)],
            "difference": [f"{name} vs {REFERENCE}", *_ends(f"{name} vs {REFERENCE}")],
        }
        shown += columns(name, kinds)
        if lacking := [entry.label for entry in entries if scores[entry.label] is None]:
            notes.append(
                f"{name}: {counted(len(lacking), 'method')} with rows that lack it, so without a "
                f"mean: {', '.join(lacking)}; the same study with --metrics scores them, and "
                "trains nothing anew."
            )
    return make_table(OWN, (*NAMES, *shown), rows, notes=tuple(notes), detail=True)


def _scores(entry: Entry, told: pd.DataFrame, name: str) -> pd.Series[float] | None:
    """Means by patient; None where a row lacks the metric, for the others may be easier."""
    if name not in told or told[name].isna().any():
        return None
    rows = applicable(entry.rows, [])
    return patient_scores(rows.assign(**{name: told[name]}), [name])[name]


def _cells(
    name: str, scores: pd.Series[float] | None, base: pd.Series[float] | None
) -> dict[str, float]:
    """The mean with its interval, and the paired difference to scratch with its own."""
    if scores is None or scores.empty:
        return {}
    cells = dict(zip((name, *_ends(name)), (scores.mean(), *mean_interval(scores)), strict=True))
    if base is not None and base.index.equals(scores.index):
        found = paired_difference(scores.to_numpy(), base.to_numpy())
        heading = f"{name} vs {REFERENCE}"
        ends = (found.mean, found.low, found.high)
        cells |= dict(zip((heading, *_ends(heading)), ends, strict=True))
    return {key: float(value) for key, value in cells.items()}


def _ends(name: str) -> tuple[str, str]:
    return f"{name} 95% low", f"{name} 95% high"
