"""What would tell each method from the next one of the order."""

from __future__ import annotations

import math
from itertools import pairwise as neighbours

from contrabench.contracts.report import Column, Table
from contrabench.report.board import NAMES, make_table, names_of, needed_cells
from contrabench.report.comparison import LEVEL, Comparison, needed, shared_variance
from contrabench.text import counted


def neighbour_table(compared: Comparison) -> Table | None:
    """The difference of each method to the next lower one, and what would separate the two.

    Args:
        compared: the entries of one label budget.

    Returns:
        None where fewer than two methods can be compared.
    """
    if compared.pairs is None:
        return None
    part = "Against the next of the order"
    columns = (
        *NAMES,
        Column("Next", "text", part),
        Column("Dice minus next", "difference", part),
        Column("Adjusted p", "p", part),
        Column("Patients needed", "text", part),
        Column("Draws needed", "text", part),
    )
    differences, adjusted = (
        matrix.to_numpy(dtype=float)
        for matrix in (compared.pairs.difference, compared.pairs.adjusted)
    )
    rows = []
    for number, (place, below) in enumerate(neighbours(compared.members)):
        entry, other = compared.paired[place], compared.paired[below]
        p, gap = float(adjusted[number, number + 1]), float(differences[number, number + 1])
        wanted = (math.nan, math.nan)
        if p > LEVEL:
            split = shared_variance(entry, other)
            wanted = needed(entry, other, split, compared.pairs.pairs)
        rows.append({
            **names_of(entry),
            "Next": other.label,
            "Dice minus next": gap,
            "Adjusted p": p,
            **needed_cells(gap, p <= LEVEL, *wanted),
        })  # fmt: skip
    notes = (
        "What would separate two neighbours with 80% power, Holm over "
        f"{counted(compared.pairs.pairs, 'pair')}, were the difference seen the true one and "
        "training again moved nothing.",
    )
    return make_table("neighbours", columns, rows, notes=notes, detail=True)
