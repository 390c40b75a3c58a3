"""How strongly the cells of the paired matrix are coloured."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contrabench.report import Column, Table

MATRIX = "pairs"
"""The table that is coloured."""
STEPS = 4
LEVELS = (0.05, 0.01, 0.001)


def matrix_shades(table: Table, columns: Sequence[Column]) -> dict[tuple[str, int], str]:
    """Colours differences by sign and size, and p by the levels that it reaches.

    Args:
        table: the matrix.
        columns: those of one of its parts.

    Returns:
        A class of the style sheet by column name and row: `up1` to `up4`, `down1` to
        `down4`, `p1` to `p3`; nothing for a cell without colour.
    """
    cells = {
        (column.name, row): (column.kind, float(value))
        for column in columns
        for row, value in enumerate(table.data[column.name])
        if column.kind in ("difference", "p") and not math.isnan(value)
    }
    sizes = (abs(value) for kind, value in cells.values() if kind == "difference")
    largest = max(sizes, default=0.0)
    shades = {
        place: _level(value) if kind == "p" else _strength(value, largest)
        for place, (kind, value) in cells.items()
    }
    return {place: shade for place, shade in shades.items() if shade}


def _level(p: float) -> str:
    reached = sum(p <= limit for limit in LEVELS)
    return f"p{reached}" if reached else ""


def _strength(value: float, largest: float) -> str:
    step = round(STEPS * abs(value) / largest) if largest else 0
    return f"{'up' if value > 0 else 'down'}{step}" if step else ""
