"""What papers print for the same dataset, beside our own means; never compared by a test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from contrabench.contracts.report import NAME, Column, Table
from contrabench.report.board import columns, make_table
from contrabench.report.entries import LabelBudget
from contrabench.report.published import Literature, Number, Source, literature

NEAR = 1.5
"""How many times more or fewer labels a published number may rest on, to be shown."""

_PART = "Against the literature"
_COLUMNS = (
    Column("Method", "text", NAME),
    Column("Source", "text", NAME),
    Column("Labels", "text", _PART),
    *columns(_PART, {"score": ["Their Dice", "Their SD"]}),
    Column("Their ASD", "text", _PART),
    Column("Our Dice", "score", _PART),
    *columns(_PART, {"text": ["Comparable", "Why"]}),
)


def literature_table(budget: LabelBudget, options: Mapping[str, Any] | None = None) -> Table | None:
    """Published means over the foreground at about the label budget of a section.

    A source is shown with that one of its label budgets that is nearest to ours, in
    labelled patients, or in their share where it does not tell their number; and only if
    that is within a factor of `NEAR`. No difference is taken: hardly a protocol is ours.

    One row per source and method, in the order of the sources, best Dice first; None where
    nothing was published. Our means are those of methods without deviations; sources that are
    not about the options of the dataset (another modality) are left out, where these are known.
    """
    known = literature()
    dataset = str(budget.rows["dataset"].iloc[0])
    rows, shown = [], []
    for source in known.sources:
        if source.dataset == dataset and _is_about(source, options or {}):
            found = list(_rows(source, known, budget))
            rows += sorted(found, key=lambda row: -row["Their Dice"])
            shown += [source] * bool(found)
    if not rows:
        return None
    return make_table("literature", _COLUMNS, rows, notes=tuple(_notes(shown)), detail=True)


def _is_about(source: Source, options: Mapping[str, Any]) -> bool:
    return all(str(options.get(name, value)) == value for name, value in source.options.items())


def _rows(source: Source, known: Literature, budget: LabelBudget) -> Iterator[dict[str, Any]]:
    """One row per method at the source's label budget that is nearest to ours."""
    numbers = [one for one in known.numbers if one.source == source.id and not one.structure]
    apart = {one.labels: _apart(one, budget) for one in numbers}
    nearest = min(apart, key=lambda labels: apart[labels], default=None)
    if nearest is None or apart[nearest] > math.log(NEAR) + 1e-9:
        return
    scores = {(one.method, one.metric): one for one in numbers if one.labels == nearest}
    for method in dict.fromkeys(method for method, _ in scores):
        dice, asd = scores[method, "dice"], scores.get((method, "asd"))
        ours = budget.find(dice.ours) if dice.ours else None
        yield {
            "Method": method,
            "Source": source.name,
            "Labels": nearest,
            "Their Dice": dice.value,
            "Their SD": math.nan if dice.spread is None else dice.spread,
            "Their ASD": f"{asd.value:.2f} {asd.unit}" if asd else None,
            "Our Dice": ours.dice if ours else math.nan,
            "Comparable": source.comparable,
            "Why": source.why,
        }


def _apart(one: Number, budget: LabelBudget) -> float:
    """How far its labels are from ours, as the logarithm of their ratio."""
    if one.labelled_patients is None:
        return abs(math.log(one.fraction / budget.fraction))
    return abs(math.log(one.labelled_patients / budget.rows["labelled_patients"].mean()))


def _notes(shown: Sequence[Source]) -> Iterator[str]:
    yield (
        "Published means over the structures, as printed, at labels within a factor of "
        f"{NEAR:g} of those here. Their protocols differ from this one and from each other, so "
        "no difference is taken, and they enter no test, rank or verdict."
    )
    for source in shown:
        yield (
            f"{source.name}: {source.citation}. {source.modality}. Split: {source.split}. "
            f"Labels: {source.labelled}. Network: {source.backbone}. Checkpoint: "
            f"{source.checkpoint}. Scores: {source.metrics}. Comparable: {source.comparable}. "
            f"{source.reason}"
        )
