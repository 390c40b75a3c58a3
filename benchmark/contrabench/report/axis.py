"""Round numbers along the axis of a plot of differences."""

from __future__ import annotations

import math


def step_of(span: float, most: int) -> float:
    """The distance of the ticks on a span above 0, for at most so many steps.

    The least that is wide enough of 1, 2 and 5 times a power of ten.
    """
    exact = span / most
    power: float = 10.0 ** math.floor(math.log10(exact))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= exact)
