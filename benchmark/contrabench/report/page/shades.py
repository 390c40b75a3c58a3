"""How strongly the cells of a table are coloured."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

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

    For the matrix of pairs `up1` to `up4` and `down1` to `down4` by the size of a difference, and
    `p1` to `p3` by the level that a p reaches; for the structures `good1` to `good4`, from the
    worst method of a column to the best. Rows that are `apart` compete with none, and so are not
    coloured by rank.
    """
    if table.name not in (PAIRS, STRUCTURES):
        return {}
    is_matrix = table.name == PAIRS
    known = {
        column: {
            row: float(value)
            for row, value in enumerate(table.data[column.name])
            if not math.isnan(value) and (is_matrix or row not in apart)
        }
        for column in columns
    }
    sizes = [
        abs(v) for c, values in known.items() if c.kind == "difference" for v in values.values()
    ]
    largest = max(sizes, default=0.0)
    found = {}
    for column, values in known.items():
        # Structures differ far more than methods, so each is coloured by itself.
        low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
        worst, best = (high, low) if column.kind == "distance" else (low, high)
        for row, value in values.items():
            if column.kind == "p":
                step, name = sum(value <= limit for limit in LEVELS), "p"
            elif is_matrix:
                step, name = _step(abs(value), largest), "up" if value > 0 else "down"
            else:
                step, name = _step(value - worst, best - worst), "good"
            if step:
                found[column.name, row] = f"{name}{step}"
    return found


def _step(part: float, whole: float) -> int:
    return round(STEPS * part / whole) if whole else 0
