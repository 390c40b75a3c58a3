"""From result rows to the report: one table per protocol and label budget.

Every number of a report is computed here and in the modules below; a format only writes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from contrabench.report import NONE, Column, Report, Section
from contrabench.statistics.aggregate import applicable, patient_scores, structure_means
from contrabench.statistics.entries import FULL_SUPERVISION, REFERENCE, Entry
from contrabench.statistics.paired import paired_difference
from contrabench.statistics.remarks import reference_notes, remarks

TABLE = ["dataset", "budget", "recipe", "protocol", "metric_contract"]
"""What the rows of one table have in common, beside the label budget."""

NAMES = (Column("Method", "text", "name"), Column("Deviations", "text", "name"))
DIFFERENCE = (
    Column(f"Dice vs {REFERENCE}", "difference", "result"),
    Column("95% low", "difference", "result"),
    Column("95% high", "difference", "result"),
    Column("p", "p", "result"),
    Column("Smallest p", "p", "result"),
)
RUN = (
    Column("Family", "text", "run"),
    Column("Fidelity", "text", "run"),
    Column("Labelled", "text", "run"),
    Column("Patients", "count", "run"),
    Column("Folds", "text", "run"),
    Column("Draws", "count", "run"),
    Column("Seeds", "count", "run"),
)


def build_report(rows: pd.DataFrame, command: str, labels: Sequence[str] = ()) -> Report:
    """Computes every table of a report.

    Args:
        rows: result rows as `contrabench.store.rows.read_rows` returns them.
        command: the command that makes the report again.
        labels: label budgets to show, as they were asked for; all by default. The rows
            of the others still serve as references.

    Returns:
        One section per dataset, protocol, metric contract and label budget.

    Raises:
        RequestError: if a row of a table lacks the metric of the others.
    """
    sections = []
    contracts = rows["metric_contract"].nunique()
    for _, part in rows.groupby(TABLE):
        full = part[(part["fraction"] == 1) & _is_reference(part)]
        for (_, asked), at_budget in part.groupby(["fraction", "labels"]):
            if not labels or asked in labels:
                sections.append(_section(at_budget, full, contracts > 1))
    return Report(tuple(sections), rows, command)


def missing_references(rows: pd.DataFrame, labels: str) -> list[str]:
    """Names the references that a table lacks, with the command that makes each (rule 10).

    Args:
        rows: result rows of one protocol, at every label budget.
        labels: the label budget of the table.
    """
    at_budget = rows[rows["labels"] == labels]
    full = rows[(rows["fraction"] == 1) & _is_reference(rows)]
    return list(reference_notes(_entries(at_budget, full, _distance(at_budget))))


def _is_reference(rows: pd.DataFrame) -> pd.Series[bool]:
    return (rows["variant"] == REFERENCE) & (rows["deviations"] == "")


def _section(rows: pd.DataFrame, full: pd.DataFrame, name_contract: bool) -> Section:
    first = rows.iloc[0]
    title = f"{first['dataset']}, {first['budget']} budget, {first['labels']} of the labels"
    if first["recipe"] != "common":
        title += f", {first['recipe']} recipe"
    if name_contract:
        title += f", metric contract {first['metric_contract']}"
    distance = _distance(rows)
    entries = _entries(rows, full, distance)
    columns = _columns(rows, distance)
    table = pd.DataFrame(
        [_cells(entry, distance) for entry in entries], columns=[column.name for column in columns]
    )
    return Section(title, str(first["protocol"]), columns, table, remarks(entries, distance))


def _distance(rows: pd.DataFrame) -> str:
    """The column of the ASD: in voxels for a dataset whose spacing nobody knows."""
    return "asd_voxel" if applicable(rows, [])["asd_mm"].isna().all() else "asd_mm"


def _entries(rows: pd.DataFrame, full: pd.DataFrame, distance: str) -> list[Entry]:
    """The rows of a table with their differences to the reference, best Dice first."""
    metrics = ["dice", distance]
    newest: dict[Hashable, int] = rows.groupby("variant")["method_version"].max().to_dict()
    entries = [
        Entry(
            _name(str(variant), int(str(version)), newest[variant]),
            str(deviations),
            part,
            patient_scores(part, metrics),
        )
        for (variant, deviations, version), part in rows.groupby(
            ["variant", "deviations", "method_version"]
        )
    ]
    if (rows["fraction"] < 1).all() and len(full):
        entries.append(Entry(FULL_SUPERVISION, "", full, patient_scores(full, metrics)))
    reference = next((entry for entry in entries if entry.is_reference), None)
    if reference is not None:
        for entry in entries:
            same = entry.scores.index.equals(reference.scores.index)
            if same and entry is not reference and len(entry.scores):
                entry.difference = paired_difference(entry.scores["dice"], reference.scores["dice"])
    return sorted(entries, key=lambda entry: (-_or_worst(entry.dice), entry.label))


def _name(variant: str, version: int, newest: int) -> str:
    """The variant; with its version where a newer one stands in the same table."""
    return variant if version == newest else f"{variant} (version {version})"


def _or_worst(dice: float) -> float:
    return -math.inf if math.isnan(dice) else dice


def _columns(rows: pd.DataFrame, distance: str) -> tuple[Column, ...]:
    asd = _asd_heading(distance)
    by_structure = [
        column
        for name in rows["structure"].unique()
        for column in (
            Column(_heading(name, "Dice"), "score", "structure", name, "Dice"),
            Column(_heading(name, asd), "distance", "structure", name, asd),
        )
    ]
    scores = (Column("Dice", "score", "result"), Column(asd, "distance", "result"))
    return (*NAMES, *scores, *DIFFERENCE, *RUN, *by_structure)


def _asd_heading(distance: str) -> str:
    return "ASD mm" if distance == "asd_mm" else "ASD voxel"


def _heading(structure: Hashable, metric: str) -> str:
    return f"{structure}: {metric}"


def _cells(entry: Entry, distance: str) -> Mapping[str, Any]:
    """One row of the table, by heading."""
    rows, first, asd = entry.rows, entry.rows.iloc[0], _asd_heading(distance)
    found = entry.difference
    comparison = (
        [math.nan] * len(DIFFERENCE)
        if found is None
        else [found.mean, found.low, found.high, found.p, found.smallest_p]
    )
    means = structure_means(rows, ["dice", distance])
    return {
        "Method": entry.name,
        "Deviations": entry.deviations or NONE,
        "Dice": entry.dice,
        asd: float(entry.scores[distance].mean()),
        **dict(zip((column.name for column in DIFFERENCE), comparison, strict=True)),
        "Family": first["family"],
        "Fidelity": first["fidelity"],
        "Labelled": f"{_range(rows['labelled_patients'])} of {_range(rows['train_patients'])}",
        "Patients": len(entry.scores),
        "Folds": entry.folds,
        "Draws": rows["draw"].nunique(),
        "Seeds": rows["seed"].nunique(),
        **{_heading(name, "Dice"): value for name, value in means["dice"].items()},
        **{_heading(name, asd): value for name, value in means[distance].items()},
    }


def _range(counts: pd.Series[int]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"
