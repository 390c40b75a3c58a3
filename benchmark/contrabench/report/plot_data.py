"""What stands behind the tables of a section: its runs, every case, and the curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import PlotData
from contrabench.report.board import asd_heading, names_of
from contrabench.report.entries import Entry, LabelBudget, labelled_count
from contrabench.report.instrument import ON_THE_WAY, along
from contrabench.statistics.aggregate import applicable

CASES = ["method", "patient", "case", "structure", "dice", "asd"]
CURVES = ["method", "labelled", "metric", "mean", "low", "high"]


def plot_data(budgets: Sequence[LabelBudget]) -> PlotData:
    """Collects what a section with some label budgets, in ascending order, rests on.

    The cases of a single label budget, or the curves across several; the other frame is empty.
    RequestError if a row lacks a metric that the others have.
    """
    single = len(budgets) == 1
    found: dict[str, list[tuple[LabelBudget, Entry]]] = {}
    for budget in budgets:
        for entry in budget.entries:
            found.setdefault(entry.label, []).append((budget, entry))
    first = budgets[0]
    return PlotData(
        structures=tuple(dict.fromkeys(map(str, first.rows["structure"]))),
        distance=asd_heading(first.distance),
        methods=pd.DataFrame([_method([entry for _, entry in part]) for part in found.values()]),
        cases=_cases(first) if single else pd.DataFrame(columns=CASES),
        curves=pd.DataFrame(columns=CURVES) if single else _curves(list(found.values())),
        along=along(first) if single else pd.DataFrame(columns=ON_THE_WAY),
    )


def _method(entries: Sequence[Entry]) -> dict[str, Any]:
    """Names, family, role and runs of one method."""
    first = entries[0]
    return {
        **names_of(first),
        "family": first.family,
        "role": "floor" if first.is_reference else "ceiling" if first.is_ceiling else "",
        "runs": tuple(sorted({str(run) for entry in entries for run in entry.cells["run"]})),
    }


def _cases(budget: LabelBudget) -> pd.DataFrame:
    """Every case of every method: its mean over runs, whole and by structure."""
    metrics, one = ["dice", budget.distance], ["method", "patient", "case"]
    every = pd.concat(
        entry.rows[["run", "patient", "case", "structure", "flag", *metrics]].assign(method=place)
        for place, entry in enumerate(budget.entries)
    )
    kept = applicable(every, metrics)
    runs = kept.groupby([*one, "run"], observed=True)[metrics].mean()
    whole = runs.groupby(level=one, observed=True).mean().assign(structure="")
    parts = kept.groupby([*one, "structure"], observed=True)[metrics].mean()
    cases = pd.concat([whole.reset_index(), parts.reset_index()])
    cases = cases.rename(columns={budget.distance: "asd"})[CASES]
    cases = cases.astype(dict.fromkeys(["patient", "case", "structure"], str))
    return cases.sort_values(one, kind="stable", ignore_index=True)


def _curves(methods: Sequence[Sequence[tuple[LabelBudget, Entry]]]) -> pd.DataFrame:
    """The mean of each method at each of its label budgets, with its interval over patients."""
    points = [
        (place, labelled_count(entry.rows), metric, *entry.means[column])
        for place, budgets in enumerate(methods)
        for budget, entry in budgets
        for metric, column in (("dice", "dice"), ("asd", budget.distance))
    ]
    return pd.DataFrame(points, columns=CURVES).drop_duplicates(ignore_index=True)
