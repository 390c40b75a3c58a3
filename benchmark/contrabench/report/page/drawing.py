"""What the plots of the page draw, as compact JSON, and the library that draws it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pandas as pd

from contrabench.contracts.report import NONE, Kind, PlotData, Report, Section, plain
from contrabench.references import REFERENCE_FAMILY
from contrabench.report.page.figures import costs, ranges, ranks, shown

MOST_POINTS = 40_000
"""Beyond so many points a section draws the means over structures alone, to stay small."""


"""The family of methods that others are compared with, whatever else is compared."""
KINDS: dict[str, Kind] = {"dice": "score", "asd": "distance"}
"""How the tables write each metric."""


def library() -> str:
    """The JavaScript of Vega, Vega-Lite and Vega-Embed, to stand in the page itself.

    Returns:
        "" where the extra `html` is not installed: the page then has no plots.
    """
    if importlib.util.find_spec("vl_convert") is None:
        return ""
    return _bundle()


@cache
def _bundle() -> str:
    """Putting the bundle together takes seconds."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def data(report: Report) -> str:
    """The points of every section as JSON that may stand in a script element."""
    drawn = {
        f"s{number}": _section(section.plot_data) | _tables(section, section.plot_data)
        for number, section in enumerate(report.sections, start=1)
        if section.plot_data
    }
    text = json.dumps(drawn, separators=(",", ":"), allow_nan=False)
    # Neither may end the script element or start a comment in it.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def means_only(found: PlotData) -> bool:
    """Whether the cases of a section are drawn without their structures."""
    return len(found.cases) > MOST_POINTS


def references(found: PlotData) -> list[bool]:
    """Which methods stay beside every family: those that the others are compared with."""
    lines = zip(found.methods["role"], found.methods["family"], strict=True)
    return [bool(role) or family == REFERENCE_FAMILY for role, family in lines]


def _section(found: PlotData) -> dict[str, Any]:
    cases = found.cases
    if means_only(found):
        cases = cases[cases["structure"] == ""]
    pairs = list(dict.fromkeys(zip(cases["patient"], cases["case"], strict=True)))
    numbers = {pair: number for number, pair in enumerate(pairs)}
    names = zip(found.methods["Method"], found.methods["Deviations"], strict=True)
    return {
        "names": [
            plain(name if deviations == NONE else f"{name} ({deviations})")
            for name, deviations in names
        ],
        "means": means_only(found),
        "stays": references(found),
        "families": [plain(family) for family in found.methods["family"]],
        "roles": list(found.methods["role"]),
        "distance": plain(found.distance),
        "cases": [[plain(patient), plain(case)] for patient, case in pairs],
        "points": [
            [
                method,
                numbers[patient, case],
                plain(structure),
                shown("score", dice),
                shown("distance", asd),
            ]
            for method, patient, case, structure, dice, asd in _lines(cases)
        ],
        "curves": [
            [method, labelled, metric, *(shown(KINDS[metric], each) for each in numbers)]
            for method, labelled, metric, *numbers in _lines(found.curves)
        ],
    }


def _tables(section: Section, found: PlotData) -> dict[str, Any]:
    """What is drawn of the tables of a section."""
    names = zip(found.methods["Method"], found.methods["Deviations"], strict=True)
    places = {name: place for place, name in enumerate(names)}
    return {
        "ranks": ranks(section, places),
        "ranges": ranges(section, places),
        "costs": costs(section, places, found.distance),
    }


def _lines(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The rows of a frame in Python's own types."""
    return zip(*(frame[name].tolist() for name in frame), strict=True)
