"""From result rows to the report: one section per protocol and label budget.

Every number of a report is computed here and in the modules below; a format only writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from contrabench.contracts.report import Report, Section
from contrabench.errors import RequestError
from contrabench.references import FULL_SUPERVISION, REFERENCE
from contrabench.report.appendix import appendix, cost_table, parsed
from contrabench.report.board import (
    board,
    by_structure,
    how_run,
    next_method_table,
    pair_table,
    stability_table,
    variance_table,
)
from contrabench.report.comparison import compare
from contrabench.report.completeness import complete_runs, missing_references
from contrabench.report.efficiency import LabelBudget, efficiency_section
from contrabench.report.entries import make_entry, versioned
from contrabench.report.literature import literature_table
from contrabench.report.plot_data import plot_data
from contrabench.report.verdict import remarks, verdict
from contrabench.statistics.aggregate import distance_of
from contrabench.store.results import Results
from contrabench.store.runs import inner

if TYPE_CHECKING:
    from contrabench.contracts.gallery import Gallery

TABLE = ["dataset", "budget", "recipe", "protocol", "metric_contract"]
"""What the rows of one table have in common, beside the label budget."""


def build_report(
    results: Results,
    command: str,
    labels: Sequence[str] = (),
    gallery: Callable[[LabelBudget], Gallery] | None = None,
) -> Report:
    """Computes every table of a report.

    Args:
        results: the rows, and what is known of their runs.
        command: the command that makes the report again.
        labels: label budgets to show, as they were asked for; all by default. The rows
            of the others still serve as references.
        gallery: draws the pictures of a label budget.

    Returns:
        One section per dataset, protocol, metric contract and label budget, but for full
        supervision by itself, which is a row of all others. Before those of a protocol one
        across its label budgets, if it has several; after them one with all that was
        frozen, if the runs have records.

    Raises:
        RequestError: if a row of a table lacks the metric of the others, or no run that was
            asked for has all its rows.
    """
    sections: list[Section] = []
    gaps: list[str] = []
    rows = results.rows
    contracts = rows["metric_contract"].nunique()
    for _, given in _groups(rows, TABLE):
        whole = complete_runs(given)
        part = whole.rows
        gaps += [one.note for one in whole.incomplete]
        full = _full_supervision(part)
        budgets = [
            _budget(at_budget, full) for _, at_budget in _groups(part, ["fraction", "labels"])
        ]
        shown = [budget for budget in budgets if not labels or budget.labels in labels]
        name = _title(part, contracts > 1)
        if len(shown) > 1:
            across = efficiency_section(shown, budgets, name)
            notes = (*(one.note for one in whole.incomplete), *across.notes)
            sections.append(replace(across, plot_data=plot_data(shown), notes=notes))
        for budget in shown:
            if budget.is_ceiling and len(shown) > 1 and not labels:
                continue
            section = _section(budget, name, results.runs)
            lacking = [one.note for one in missing_references(part, budget.labels)]
            notes = (*whole.notes(budget.labels), *lacking, *section.notes)
            section = replace(section, notes=notes)
            sections.append(replace(section, gallery=gallery(budget)) if gallery else section)
        known = appendix(part[part["labels"].isin(labels)] if labels else part, results.runs, name)
        sections += [known] if known else []
    if gaps and not sections:
        raise RequestError(f"nothing is left to report; {gaps[0]}")
    return Report(tuple(sections), rows, command)


def _groups(
    rows: pd.DataFrame, columns: list[str]
) -> Iterator[tuple[tuple[Hashable, ...], pd.DataFrame]]:
    """The rows by their values in these columns, sorted; texts may be categories."""
    found = list(rows.groupby(columns, observed=True, sort=False))
    # The order of categories says nothing, so words are sorted as words.
    yield from sorted(found, key=lambda group: _sortable(group[0]))


def _sortable(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(str(part) if isinstance(part, str) else float(part) for part in key)


def _full_supervision(rows: pd.DataFrame) -> pd.DataFrame:
    """The reference's rows with all labels, of its newest version."""
    plain = (rows["variant"] == REFERENCE) & (rows["deviations"] == "")
    full = rows[(rows["fraction"] == 1) & plain]
    newest: pd.DataFrame = full[full["method_version"] == full["method_version"].max()]
    return newest


def _title(rows: pd.DataFrame, name_contract: bool) -> str:
    """What the sections of a protocol share, with a place for the label budget."""
    first = rows.iloc[0]
    title = f"{first['dataset']}, {first['budget']} budget"
    if first["recipe"] != "common":
        title += f", {first['recipe']} recipe"
    if name_contract:
        title += f", metric contract {first['metric_contract']}"
    return title


def _section(budget: LabelBudget, name: str, runs: pd.DataFrame) -> Section:
    compared = compare(budget.entries)
    structures = list(dict.fromkeys(budget.rows["structure"]))
    tables = (
        board(compared, budget.distance),
        pair_table(compared),
        next_method_table(compared),
        stability_table(compared, budget.distance),
        variance_table(compared),
        by_structure(budget.entries, structures, budget.distance),
        how_run(budget.entries),
        cost_table(budget.entries, runs),
        literature_table(budget, _dataset_options(budget.rows, runs)),
    )
    return Section(
        title=f"{name}, {budget.labels} of the labels",
        protocol=str(budget.rows["protocol"].iloc[0]),
        tables=tuple(table for table in tables if table is not None),
        verdict=verdict(compared),
        notes=remarks(compared, budget.distance),
        dataset=str(budget.rows["dataset"].iloc[0]),
        labels=budget.labels,
        plot_data=plot_data([budget]),
    )


def _dataset_options(rows: pd.DataFrame, runs: pd.DataFrame) -> Mapping[str, Any] | None:
    """What was asked of the dataset, as a record of one of its runs tells; None without one."""
    specs = runs["protocol"].reindex(rows["run"].astype(str).unique()).dropna()
    found = next((parsed(text) for text in specs if text), {})
    return inner(found, "dataset_options") or None


def _budget(rows: pd.DataFrame, full: pd.DataFrame) -> LabelBudget:
    """The entries of one label budget, best Dice first, with full supervision among them."""
    distance = distance_of(rows)
    newest = rows.groupby("variant", observed=True)["method_version"].max().to_dict()
    entries = []
    for (variant, deviations, version), part in _groups(
        rows, ["variant", "deviations", "method_version"]
    ):
        name = versioned(str(variant), int(str(version)), newest[variant])
        entries.append(make_entry(name, str(deviations), part, distance))
    if (rows["fraction"] < 1).all() and len(full):
        entries.append(make_entry(FULL_SUPERVISION, "", full, distance))
    entries.sort(key=lambda entry: (-_or_worst(entry.dice), entry.label))
    return LabelBudget(
        labels=str(rows["labels"].iloc[0]),
        fraction=float(rows["fraction"].iloc[0]),
        rows=rows,
        entries=tuple(entries),
        distance=distance,
    )


def _or_worst(dice: float) -> float:
    return -math.inf if math.isnan(dice) else dice
