"""Two results side by side: what changed, and how far each method moved with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import union_categoricals

from contrabench.contracts.report import Report, Section
from contrabench.report.board import asd_heading
from contrabench.report.counterparts import SIDES, Side, side_pairs
from contrabench.report.movement import Moved, movements
from contrabench.report.side_table import side_table
from contrabench.report.side_verdict import side_verdict
from contrabench.report.what_changed import (
    find_changes,
    pair_protocol,
    pair_title,
    what_changed,
)
from contrabench.statistics.aggregate import distance_of

if TYPE_CHECKING:
    from contrabench.store.results import Results


def compare_results(
    a: Results, b: Results, names: tuple[str, str], command: str, labels: Sequence[str] = ()
) -> Report:
    """Computes every table of a comparison of two results.

    For each pair of protocols a section on what changed, then one for each label budget that both
    have. `names` is what the user calls the two, e.g. two paths; `command` makes the report again;
    `labels` are the label budgets to show, all by default. RequestError if no protocol of A has a
    counterpart in B, or a row lacks the metric of the others.
    """
    pairs, lonely = side_pairs(a, b, labels)
    called = " and ".join(
        f"{side} is `{name.replace('`', chr(39))}`" for side, name in zip(SIDES, names, strict=True)
    )
    sections: list[Section] = []
    for first, second in pairs:
        changes = find_changes(first, second)
        gaps = (
            f"On {name}, {gap}"
            for name, side in zip(SIDES, (first, second), strict=True)
            for gap in side.gaps
        )
        notes = (f"{called}.", *(() if sections else lonely), *gaps)
        sections.append(what_changed(first, second, changes, notes))
        sections += [
            _section(first, second, at_budget, changes.meaning, called)
            for at_budget in first.labels
            if at_budget in second.labels
        ]
    return Report(tuple(sections), _joined(a.rows, b.rows), command)


def _joined(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The rows of both, those of a run that both have once; words stay categories."""
    parts = first, second[~second["run"].isin(first["run"].unique())]
    columns: dict[Any, Any] = {}
    for name in first:
        both = [part[name] for part in parts]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in both):
            columns[name] = union_categoricals(both, sort_categories=True)
        else:
            columns[name] = pd.concat(both, ignore_index=True)
    return pd.DataFrame(columns)


def _section(first: Side, second: Side, labels: str, meaning: str, called: str) -> Section:
    ours, theirs = first.at(labels), second.at(labels)
    obstacle = _obstacle(ours, theirs)
    methods = movements(ours, theirs, comparable=not obstacle)
    scales = distance_of(ours), distance_of(theirs)
    return Section(
        title=f"{pair_title(first, second)}, {labels} of the labels, side by side",
        protocol=pair_protocol(first, second),
        tables=(side_table(methods, scales),),
        verdict=side_verdict(methods, meaning, obstacle),
        notes=(f"{called}.", *_notes(methods, scales, obstacle)),
        dataset=first.word("dataset"),
        labels=labels,
    )


def _obstacle(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Why scores of the two sides are not of the same quantity; "" if they are."""
    contracts = [str(rows["metric_contract"].iloc[0]) for rows in (first, second)]
    if contracts[0] != contracts[1]:
        return (
            f"The metric contracts differ ({' on A, '.join(contracts)} on B): the scores are not "
            "of the same quantity, and no difference is computed."
        )
    structures = [list(map(str, rows["structure"].unique())) for rows in (first, second)]
    if set(structures[0]) != set(structures[1]):
        held = "; ".join(
            f"{name} {', '.join(held)}" for name, held in zip(SIDES, structures, strict=True)
        )
        return (
            f"Not the same structures are scored ({held}): the means are over other things, and no "
            "difference is computed."
        )
    return ""


def _notes(methods: Sequence[Moved], scales: tuple[str, str], obstacle: str) -> Iterator[str]:
    """What limits the comparison."""
    if scales[0] != scales[1]:
        a, b = map(asd_heading, scales)
        yield f"The distances are not on one scale: {a} on A, {b} on B."
    if not obstacle:
        yield from _other_patients(one for one in methods if one.movement is None)
    if any(math.isfinite(one.ranks[0]) for one in methods):
        yield "Ranks are by mean Dice among the methods that both sides have."


def _other_patients(methods: Iterable[Moved]) -> Iterator[str]:
    """Why a method that both sides have was not tested."""
    reasons: dict[str, list[str]] = {}
    for one in methods:
        if one.entries is not None:
            ours, theirs = (len(entry.scores) for entry in one.entries)
            reason = f"A tested {ours}, B {theirs}, {one.in_common} of them the same"
            reasons.setdefault(reason, []).append(one.label)
    for reason, labels in reasons.items():
        yield (
            f"Not tested on the same patients ({reason}), so no difference is computed: "
            f"{', '.join(labels)}."
        )
