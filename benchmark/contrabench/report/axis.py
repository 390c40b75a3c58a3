"""The axis of a forest plot: where it begins and ends, and the round numbers along it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from contrabench.references import NOT_COMPARED

BEYOND = 1.0
"""One that is no rival may widen the axis to a side by so much of what all rivals take."""


def step_of(span: float, most: int) -> float:
    """The distance of the ticks on a span above 0, for at most so many steps.

    The least that is wide enough of 1, 2 and 5 times a power of ten.
    """
    exact = span / most
    power: float = 10.0 ** math.floor(math.log10(exact))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= exact)


def reach(table: pd.DataFrame, names: Sequence[str], margin: float) -> tuple[float, float]:
    """From which to which difference an axis goes: zero, the margin, and every rival's interval.

    References and controls widen it where they do not make the rivals small; of what lies beyond,
    a plot shows that it does.

    Args:
        table: `Answer.forest`'s rows.
        names: its columns of the mean and of both ends of the interval.
        margin: what does not matter, to both sides; 0 for none.
    """
    values = table[list(names)].to_numpy(dtype=float)
    rival = ~table["Family"].isin(NOT_COMPARED).to_numpy()
    low, high = _around([-margin, margin], values[rival] if rival.any() else values)
    room = BEYOND * (high - low)
    near = [
        row
        for row in values[~rival]
        if _around([low], [row])[0] >= low - room and _around([high], [row])[1] <= high + room
    ]
    return _around([low, high], near)


def _around(known: Sequence[float], rows: Iterable[Sequence[float]]) -> tuple[float, float]:
    """The least and the greatest of numbers, zero among them; what is not known is left out."""
    found = [0.0, *known, *(float(one) for row in rows for one in row if not math.isnan(one))]
    return min(found), max(found)
