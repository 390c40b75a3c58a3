"""The colour of each family of methods, the same in every figure and on the page.

Readers who see no red, green or blue can tell them apart, on white and on a dark page, and
from the structures of the gallery. Four of them are those of Okabe and Ito (Color Universal
Design, 2008).
"""

from __future__ import annotations

from collections.abc import Iterable

from contrabench.references import NOT_COMPARED

GREY = "#6e7377"
"""Of references and controls, which are no rivals."""
_KNOWN = {
    "contrast before": "#0072b2",
    "contrast during": "#d55e00",
    "consistency": "#009e73",
    "reconstruction": "#cc79a7",
}
_MORE = ("#733df2", "#73652e")


def family_colours(families: Iterable[str]) -> dict[str, str]:
    """A colour for each family, the usual four always in theirs.

    Others take in alphabetical order what is left of six, again and again if there are more.
    """
    named = sorted(set(families))
    free = [*_MORE, *(colour for family, colour in _KNOWN.items() if family not in named)]
    others = [family for family in named if family not in (*_KNOWN, *NOT_COMPARED)]
    more = {family: free[place % len(free)] for place, family in enumerate(others)}
    return {family: (_KNOWN | more).get(family, GREY) for family in named}
