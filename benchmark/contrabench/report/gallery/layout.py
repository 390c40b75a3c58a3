"""How the planes of an exhibit stand side by side, and how structures are coloured."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from contrabench.contracts.gallery import Exhibit, Plane

HUES = (
    "#cc3314", "#66ccff", "#aa00ff", "#ffff40", "#5ce68a", "#70ccbd", "#ff8000", "#987db2",
)  # fmt: skip
"""To be told apart from each other, from the white reference and from a dim grey image, also by
readers who do not see red or green; in the order of the whole heart's structures those of
neighbours differ most. The first again after the last."""
_GAP = 0.03
"""Space between two planes, in widths of all of them."""


@dataclass(frozen=True)
class Placed:
    """A plane and the place of its upper left corner in the row."""

    plane: Plane
    x: float
    y: float


@dataclass(frozen=True)
class Row:
    """The planes of an exhibit side by side, at one scale.

    Attributes:
        placed: the planes, from left to right, each in the middle of the row's height.
        width: of the row, in the unit of the planes.
        height: the same.
    """

    placed: tuple[Placed, ...]
    width: float
    height: float


def row_of(exhibit: Exhibit) -> Row:
    """Lays the planes of an exhibit side by side."""
    height = max(plane.height for plane in exhibit.planes)
    gap = _GAP * sum(plane.width for plane in exhibit.planes)
    placed, x = [], 0.0
    for plane in exhibit.planes:
        placed.append(Placed(plane, round(x, 2), round((height - plane.height) / 2, 2)))
        x += plane.width + gap
    return Row(tuple(placed), round(x - gap, 2), round(height, 2))


def hue(number: int) -> str:
    """The colour of a structure by its place, from 0."""
    return HUES[number % len(HUES)]


def data_uri(plane: Plane) -> str:
    """The image of a plane as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(plane.png).decode("ascii")


def words_of(planes: Sequence[Plane]) -> str:
    """The planes in words: `axial plane 31 of 64, coronal plane 70 of 128`."""
    return ", ".join(f"{plane.name} plane {plane.number} of {plane.count}" for plane in planes)
