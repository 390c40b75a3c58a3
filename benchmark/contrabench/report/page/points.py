"""What the plots of the page draw, as compact JSON, and the library that draws it."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pandas as pd

from contrabench.contracts.report import (
    NONE,
    Kind,
    PlotData,
    Report,
    Section,
    Table,
    number_text,
    plain,
)
from contrabench.references import NOT_COMPARED
from contrabench.report.appendix import COST, TRAINING
from contrabench.report.board import LEADERBOARD, RESAMPLED, STABILITY
from contrabench.report.colours import GREY, family_colours
from contrabench.report.page.packed import packed

MOST_POINTS = 40_000
"""Beyond so many points a section draws the means over structures alone, to stay small."""
KINDS: dict[str, Kind] = {"dice": "score", "asd": "distance"}
"""How the tables write each metric."""


def library() -> str:
    """The JavaScript of Vega, Vega-Lite, Vega-Embed, packed; "" without the extra `html`."""
    return "" if importlib.util.find_spec("vl_convert") is None else _bundle()


@cache
def _bundle() -> str:
    """Putting the bundle together takes seconds."""
    import vl_convert

    return packed(str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")))


def data(report: Report) -> str:
    """The points of every section as JSON, packed."""
    colours = hues(report)
    drawn = {
        f"s{number}": _points(section, section.plot_data, colours)
        for number, section in enumerate(report.sections, start=1)
        if section.plot_data
    }
    return packed(json.dumps(drawn, separators=(",", ":"), allow_nan=False))


def hues(report: Report) -> dict[str, str]:
    """The colour of each family that is there."""
    return family_colours(
        family
        for section in report.sections
        if section.plot_data
        for family in section.plot_data.methods["family"]
    )


def plots(section: Section) -> frozenset[str]:
    """The plots that a section has something to draw in."""
    found, tables = section.plot_data, {table.name for table in section.tables}
    if found is None:
        return frozenset()
    known = {
        "cases": not found.cases.empty,
        "curves": not found.curves.empty,
        "along": not found.along.empty,
        "ranks": STABILITY in tables,
        "costs": {COST, LEADERBOARD} <= tables,
    }
    return frozenset(name for name, is_known in known.items() if is_known)


def means_only(found: PlotData) -> bool:
    """Whether the cases of a section are drawn without their structures."""
    return len(found.cases) > MOST_POINTS


def references(found: PlotData) -> list[bool]:
    """Which methods stay beside every family: those that the others are compared with."""
    lines = zip(found.methods["role"], found.methods["family"], strict=True)
    return [bool(role) or family in NOT_COMPARED for role, family in lines]


def label(method: str, deviations: str) -> str:
    """A method in one text, from its names as tables hold them."""
    return method if deviations == NONE else f"{method} ({deviations})"


def _points(section: Section, found: PlotData, colours: Mapping[str, str]) -> dict[str, Any]:
    methods, cases = found.methods, found.cases
    if means_only(found):
        cases = cases[cases["structure"] == ""]
    pairs = list(dict.fromkeys(zip(cases["patient"], cases["case"], strict=True)))
    numbers = {pair: number for number, pair in enumerate(pairs)}
    names = list(zip(methods["Method"], methods["Deviations"], strict=True))
    return {
        "names": [plain(label(*name)) for name in names],
        "means": means_only(found),
        "stays": references(found),
        "families": [plain(family) for family in methods["family"]],
        "hues": [
            GREY if role else colours[family]
            for role, family in zip(methods["role"], methods["family"], strict=True)
        ],
        "roles": list(methods["role"]),
        "distance": plain(found.distance),
        "cases": [[plain(patient), plain(case)] for patient, case in pairs],
        "points": [
            [
                method,
                numbers[patient, case],
                plain(structure),
                _shown("score", dice),
                _shown("distance", asd),
            ]
            for method, patient, case, structure, dice, asd in _lines(cases)
        ],
        "curves": [
            [method, labelled, metric, *(_shown(KINDS[metric], each) for each in numbers)]
            for method, labelled, metric, *numbers in _lines(found.curves)
        ],
        "along": [
            [method, share, "dice", _shown("score", mean), None, None]
            for method, share, mean in _lines(found.along)
        ],
        **_of_tables(section, {name: place for place, name in enumerate(names)}, found.distance),
    }


def _of_tables(
    section: Section, places: Mapping[tuple[str, str], int], distance: str
) -> dict[str, list[list[Any]]]:
    """The points that tables hold, by the number of each method.

    `ranks`: method, scheme, rank. `ranges` of them over resampled patients: method, low, high.
    `costs`: method, seconds of training, Dice, ASD.
    """
    tables = {table.name: table for table in section.tables}
    stability, board, cost = (tables.get(name) for name in (STABILITY, LEADERBOARD, COST))

    def cells(table: Table | None, column: str) -> dict[int, float]:
        lines = _lines(table.data[["Method", "Deviations", column]]) if table else ()
        known = {places.get((name, more)): float(value) for name, more, value in lines}
        return {place: v for place, v in known.items() if place is not None and not math.isnan(v)}

    low, high = (cells(stability, name) for name in RESAMPLED)
    seconds = cells(cost if board else None, TRAINING)
    dice, asd = (cells(board if cost else None, name) for name in ("Dice", distance))
    return {
        "ranks": [
            [place, plain(column.name), value]
            for column in (stability.columns if stability else ())
            if column.kind == "rank" and column.name not in RESAMPLED
            for place, value in cells(stability, column.name).items()
        ],
        "ranges": [[place, low[place], high[place]] for place in low if place in high],
        "costs": [
            [
                place,
                _shown("seconds", seconds[place]),
                _shown("score", dice.get(place, math.nan)),
                _shown("distance", asd.get(place, math.nan)),
            ]
            for place in seconds
            if place in dice or place in asd
        ],
    }


def _shown(kind: Kind, value: float) -> float | None:
    """A number with the digits that tables show; None for what is missing."""
    return None if math.isnan(value) else float(number_text(kind, value))


def _lines(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The rows of a frame in Python's own types."""
    return zip(*(frame[name].tolist() for name in frame), strict=True)
