"""How strongly the cells of a table are coloured."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence

from contrabench.contracts.report import Column, Table
from contrabench.references import FULL_SUPERVISION
from contrabench.report.board import PAIRS, STRUCTURES

STEPS = 4
LEVELS = (0.05, 0.01, 0.001)

Shades = dict[tuple[str, int], str]
"""A class of the style sheet by column name and row; nothing for a cell without colour."""


def legend(table: Table) -> str:
    """How to read the colours of a table, in a sentence; "" for a table without."""
    if table.name == PAIRS:
        return (
            "Coloured by sign and size of the difference, and by the levels 0.05, 0.01 and 0.001 "
            "that a p reaches."
        )
    if table.name == STRUCTURES:
        return (
            "Coloured from the worst method of a column to the best, each column by itself; "
            f"{FULL_SUPERVISION} is left out."
        )
    return ""


def shades(table: Table, columns: Sequence[Column], apart: Container[int] = ()) -> Shades:
    """Colours the tables in which a pattern is looked for.

    Args:
        table: any table.
        columns: those of one of its parts.
        apart: rows that compete with none, and so are not coloured by rank.

    Returns:
        For the matrix of pairs `up1` to `up4` and `down1` to `down4` by the size of a
        difference, and `p1` to `p3` by the level that a p reaches; for the structures
        `good1` to `good4`, from the worst method of a column to the best.
    """
    if table.name == PAIRS:
        return _matrix(table, columns)
    return dict(_columns(table, columns, apart)) if table.name == STRUCTURES else {}


def _matrix(table: Table, columns: Sequence[Column]) -> Shades:
    cells = {
        (column.name, row): (column.kind, float(value))
        for column in columns
        for row, value in enumerate(table.data[column.name])
        if column.kind in ("difference", "p") and not math.isnan(value)
    }
    sizes = (abs(value) for kind, value in cells.values() if kind == "difference")
    largest = max(sizes, default=0.0)
    found = {
        place: _level(value) if kind == "p" else _strength(value, largest)
        for place, (kind, value) in cells.items()
    }
    return {place: shade for place, shade in found.items() if shade}


def _level(p: float) -> str:
    reached = sum(p <= limit for limit in LEVELS)
    return f"p{reached}" if reached else ""


def _strength(value: float, largest: float) -> str:
    step = round(STEPS * abs(value) / largest) if largest else 0
    return f"{'up' if value > 0 else 'down'}{step}" if step else ""


def _columns(
    table: Table, columns: Sequence[Column], apart: Container[int]
) -> Iterator[tuple[tuple[str, int], str]]:
    """Each column by itself: structures differ far more than methods."""
    for column in columns:
        values = [
            math.nan if row in apart else float(value)
            for row, value in enumerate(table.data[column.name])
        ]
        known = [value for value in values if not math.isnan(value)]
        low, high = min(known, default=0.0), max(known, default=0.0)
        worst, best = (high, low) if column.kind == "distance" else (low, high)
        if worst == best:
            continue
        for row, value in enumerate(values):
            step = 0 if math.isnan(value) else round(STEPS * (value - worst) / (best - worst))
            if step:
                yield (column.name, row), f"good{step}"
