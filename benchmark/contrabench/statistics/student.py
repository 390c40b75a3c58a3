"""Student's distribution, to the same bits as `scipy.stats.t`, which takes half a second to load.

Its own functions also look over their arguments at each call, which costs ten times the answer.
"""

from __future__ import annotations

from typing import Any

from scipy import special


def tail(value: Any, free: Any) -> Any:
    """The chance of more than a value, with `free` degrees of freedom; arrays by element."""
    return special.stdtr(free, -value)


def quantile(chance: float, free: float) -> float:
    """The value below which a chance in (0, 1] lies."""
    return float(special.stdtrit(free, chance))
