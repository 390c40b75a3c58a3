"""From result rows to the report: one section per protocol and label budget.

Every number of a report is computed here and in the modules below; a format only writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from contrabench.contracts.gallery import Gallery
from contrabench.contracts.report import Report, Section
from contrabench.errors import RequestError
from contrabench.report.answer import answer
from contrabench.report.appendix import appendix, cost_table, dataset_options
from contrabench.report.board import (
    board,
    by_structure,
    how_run,
    next_method_table,
    pair_table,
    stability_table,
    variance_table,
)
from contrabench.report.commands import Place, nowhere
from contrabench.report.completeness import complete_runs, concerning, missing_references
from contrabench.report.efficiency import efficiency_section, scratch_curve
from contrabench.report.entries import LabelBudget, grouped, label_budgets, set_apart
from contrabench.report.instrument import along_table, control_table, instrument
from contrabench.report.judged import Judged
from contrabench.report.literature import literature_table
from contrabench.report.noted import notes_of
from contrabench.report.over_datasets import over_datasets
from contrabench.report.own_metrics import own_table
from contrabench.report.plot_data import plot_data
from contrabench.report.verdict import remarks, verdict
from contrabench.store.results import Results
from contrabench.text import budget_words

TABLE = ["dataset", "budget", "recipe", "protocol", "metric_contract"]
"""What the rows of one table have in common, beside the label budget."""
_NAMED = 6


def build_report(
    results: Results,
    command: str,
    labels: Sequence[str] = (),
    rates: str = "uniform",
    gallery: Callable[[LabelBudget], Gallery] | None = None,
    place: Place = nowhere,
) -> Report:
    """Computes every table of a report.

    One section per dataset, protocol, metric contract and label budget, but for full supervision
    by itself, which is a row of all others. Before those of a protocol one across its label
    budgets, if it has several; after them one with all that was frozen, if the runs have records.
    First of all stand those over datasets, for each label budget of several.

    `command` makes the report again; `labels` are the label budgets to show, as they were asked
    for, all by default: the rows of the others still serve as references; `rates` are those of
    fine-tuning that rank, where rows have several; `place` adds data and store to the commands for
    what is missing. RequestError if a row of
    a table lacks the metric of the others, or no run that was asked for has all its rows.
    """
    sections: list[Section] = []
    gaps: list[str] = []
    # Told once, with the first table.
    unread = _left_out(results.problems)
    judged: list[Judged] = []
    several_contracts = results.rows["metric_contract"].nunique() > 1
    for _, given in grouped(results.rows, TABLE):
        every, incomplete = complete_runs(given)
        part, apart = set_apart(every, rates)
        left_out = [one.note for one in incomplete]
        gaps += left_out
        budgets = label_budgets(part, apart)
        shown = [budget for budget in budgets if not labels or budget.labels in labels]
        name = title_of(part, several_contracts)
        found = {budget.labels: Judged.of(budget) for budget in shown}
        if len(shown) > 1:
            trained = {labels: one.compared.retraining for labels, one in found.items()}
            across = efficiency_section(shown, budgets, name, trained)
            notes = (*left_out, *across.notes)
            sections.append(replace(across, plot_data=plot_data(shown), notes=notes))
        curve, _ = scratch_curve(budgets)
        for budget in shown:
            if budget.is_ceiling and len(shown) > 1 and not labels:
                continue
            at = found[budget.labels]
            judged.append(at)
            section = _section(at, name, results.runs)
            first = answer(at, results.runs, curve)
            lacking = [one.note for one in concerning(budget.labels, incomplete, part)]
            lacking += [
                one.note for one in missing_references(part, budget.labels, results.runs, place)
            ]
            notes = (*unread, *lacking, *section.notes)
            unread = []
            drawn = gallery(budget) if gallery else None
            sections.append(replace(section, notes=notes, gallery=drawn, answer=first))
        known = appendix(part[part["labels"].isin(labels)] if labels else part, results.runs, name)
        sections += [known] if known else []
    if gaps and not sections:
        raise RequestError(f"nothing is left to report; {gaps[0]}")
    return Report((*over_datasets(judged, results.runs), *sections), results.rows, command)


def _left_out(problems: Sequence[str]) -> list[str]:
    """The first few lines about runs that could not be read, and how many more there are."""
    more = len(problems) - _NAMED
    return [*problems[:_NAMED], *([f"{more} more runs are left out."] if more > 0 else [])]


def title_of(rows: pd.DataFrame, name_contract: bool = False) -> str:
    """What the sections of a protocol share: dataset, budget and recipe in words."""
    first = rows.iloc[0]
    title = f"{first['dataset']}, {first['budget']} budget"
    if first["recipe"] != "common":
        title += f", {first['recipe']} recipe"
    if name_contract:
        title += f", metric contract {first['metric_contract']}"
    return title


def _section(at: Judged, name: str, runs: pd.DataFrame) -> Section:
    budget, compared = at.budget, at.compared
    tables = (
        board(compared, budget.distance, aside=budget.aside, runs=runs),
        control_table(at),
        along_table(budget),
        pair_table(compared),
        next_method_table(compared),
        stability_table(compared, budget.distance),
        variance_table(compared),
        by_structure(budget),
        own_table(budget.entries),
        how_run(budget.entries, runs),
        cost_table(budget.entries, runs),
        literature_table(budget, dataset_options(budget.rows, runs)),
    )
    return Section(
        title=f"{name}, {budget_words([budget.labels])}",
        protocol=str(budget.rows["protocol"].iloc[0]),
        tables=tuple(table for table in tables if table is not None),
        verdict=(*instrument(at), *verdict(compared)),
        notes=(*remarks(compared, budget.distance), *notes_of(budget.entries, runs)),
        dataset=str(budget.rows["dataset"].iloc[0]),
        labels=budget.labels,
        plot_data=plot_data([budget]),
    )
