"""What stands behind the tables of a section: its runs, every case, and the curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from contrabench.contracts.report import PlotData
from contrabench.report.board import asd_heading, names_of
from contrabench.report.efficiency import LabelBudget, labelled_count
from contrabench.report.entries import Entry
from contrabench.statistics.aggregate import applicable
from contrabench.statistics.intervals import mean_interval

CASES = ["method", "patient", "case", "structure", "dice", "asd"]
CURVES = ["method", "labelled", "metric", "mean", "low", "high"]


def plot_data(budgets: Sequence[LabelBudget]) -> PlotData:
    """Collects what a section rests on.

    Args:
        budgets: the label budgets that the section shows, at least one, in ascending order.

    Returns:
        The cases of a single label budget, or the curves across several; the other frame
        is empty.

    Raises:
        RequestError: if a row lacks a metric that the others have.
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
    )


def _method(entries: Sequence[Entry]) -> dict[str, Any]:
    """Names, family, role and runs of one method."""
    first = entries[0]
    role = "floor" if first.is_reference else "ceiling" if first.is_ceiling else ""
    runs = {str(run) for entry in entries for run in entry.cells["run"]}
    return {
        **names_of(first),
        "family": str(first.rows["family"].iloc[0]),
        "role": role,
        "runs": tuple(sorted(runs)),
    }


def _cases(budget: LabelBudget) -> pd.DataFrame:
    """Every case of every method: its mean over runs, whole and by structure."""
    metrics = ["dice", budget.distance]
    frames = []
    for place, entry in enumerate(budget.entries):
        kept = applicable(entry.rows, metrics)
        one = ["patient", "case"]
        runs = kept.groupby([*one, "run"], observed=True)[metrics].mean()
        whole = runs.groupby(level=one, observed=True).mean().reset_index()
        parts = kept.groupby([*one, "structure"], observed=True)[metrics].mean().reset_index()
        texts = {name: parts[name].astype(str) for name in (*one, "structure")}
        frames += [
            whole.assign(**{name: whole[name].astype(str) for name in one}, structure=""),
            parts.assign(**texts),
        ]
        frames[-2:] = [frame.assign(method=place) for frame in frames[-2:]]
    cases = pd.concat(frames).rename(columns={budget.distance: "asd"})[CASES]
    return cases.sort_values(["method", "patient", "case"], kind="stable", ignore_index=True)


def _curves(methods: Sequence[Sequence[tuple[LabelBudget, Entry]]]) -> pd.DataFrame:
    """The mean of each method at each of its label budgets, with its interval over patients."""
    points = []
    for place, budgets in enumerate(methods):
        for budget, entry in budgets:
            for metric, column, highest in (
                ("dice", "dice", 1.0),
                ("asd", budget.distance, math.inf),
            ):
                values = entry.scores[column]
                low, high = mean_interval(values, lowest=0, highest=highest)
                labelled = labelled_count(entry.rows)
                points.append((place, labelled, metric, float(values.mean()), low, high))
    return pd.DataFrame(points, columns=CURVES).drop_duplicates(ignore_index=True)
