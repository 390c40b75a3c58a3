"""The points of the plots that draw a table: ranks by scheme, and quality against cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from contrabench.contracts.report import Kind, Section, Table, number_text, plain
from contrabench.report.appendix import COST, TRAINING
from contrabench.report.board import LEADERBOARD, RESAMPLED, STABILITY

Places = Mapping[tuple[str, str], int]
"""The number of a method, by its name and its deviations."""


def shown(kind: Kind, value: float) -> float | None:
    """A number with the digits that tables show; None for what is missing."""
    return None if math.isnan(value) else float(number_text(kind, value))


def ranks(section: Section, places: Places) -> list[list[Any]]:
    """The rank of each method under each scheme: method, scheme, rank."""
    table = _find(section, STABILITY)
    if table is None:
        return []
    schemes = [column for column in table.columns if column.kind == "rank"]
    return [
        [place, plain(column.name), value]
        for column in schemes
        if column.name not in RESAMPLED
        for place, value in _cells(table, column.name, places)
    ]


def ranges(section: Section, places: Places) -> list[list[float]]:
    """The range of the rank of each method over resampled patients: method, low, high."""
    table = _find(section, STABILITY)
    if table is None:
        return []
    low, high = (dict(_cells(table, name, places)) for name in RESAMPLED)
    return [[place, low[place], high[place]] for place in low if place in high]


def costs(section: Section, places: Places, distance: str) -> list[list[float | None]]:
    """Quality against cost: method, seconds of training, Dice, ASD.

    Args:
        section: has the leaderboard and perhaps a table of costs.
        places: the number of each method.
        distance: what the ASD is called in the leaderboard.
    """
    cost, board = _find(section, COST), _find(section, LEADERBOARD)
    if cost is None or board is None:
        return []
    seconds = dict(_cells(cost, TRAINING, places))
    dice, asd = (dict(_cells(board, name, places)) for name in ("Dice", distance))
    nan = math.nan
    return [
        [
            place,
            shown("seconds", seconds[place]),
            shown("score", dice.get(place, nan)),
            shown("distance", asd.get(place, nan)),
        ]
        for place in seconds
        if place in dice or place in asd
    ]


def _find(section: Section, name: str) -> Table | None:
    return next((table for table in section.tables if table.name == name), None)


def _cells(table: Table, column: str, places: Places) -> Iterator[tuple[int, float]]:
    """The numbers of a column that are known, by method."""
    names = zip(table.data["Method"], table.data["Deviations"], strict=True)
    for name, value in zip(names, table.data[column], strict=True):
        if name in places and not math.isnan(value):
            yield places[name], float(value)
