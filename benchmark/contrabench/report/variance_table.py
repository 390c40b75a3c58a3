"""Where each difference to the reference varies: patients, label draws and seeds kept apart."""

from __future__ import annotations

import math
from typing import Any

from contrabench.contracts.report import Column, Table
from contrabench.references import REFERENCE
from contrabench.report.board import NAMES, make_table, names_of
from contrabench.report.comparison import Comparison
from contrabench.statistics.variance import VarianceSplit

_SOURCES = {
    "Patients": "patients",
    "Label draws": "draws",
    "Seeds": "seeds",
    "Runs on patients": "remainder",
    "Training": "training",
}


def variance_table(compared: Comparison) -> Table | None:
    """Standard deviations of the difference in Dice, by source.

    Args:
        compared: the entries of one label budget.

    Returns:
        None where nothing can be compared with the reference.
    """
    known = {place: one.split for place, one in compared.against.items() if one.split is not None}
    if not known:
        return None
    part = f"Standard deviation of Dice minus {REFERENCE}"
    columns = (*NAMES, *(Column(name, "score", part) for name in _SOURCES))
    rows = [
        {**names_of(compared.entries[place]), **_deviations(known[place])}
        for place in sorted(known)
    ]
    notes = (
        "More patients average out the first source, more label draws the second, more seeds the "
        "third; none helps with another. A source that was not repeated is part of the others, and "
        "its own column empty.",
        "Training is what the patients of a fold share because one network scored them: draws, "
        "seeds and training patients together, estimated between folds.",
    )
    return make_table("variance", columns, rows, notes=notes, detail=True)


def _deviations(split: VarianceSplit) -> dict[str, Any]:
    """Unbiased estimates of a variance near zero can be negative, and are zero here."""
    parts = {name: float(getattr(split, source)) for name, source in _SOURCES.items()}
    return {
        name: math.nan if math.isnan(value) else math.sqrt(max(0.0, value))
        for name, value in parts.items()
    }
