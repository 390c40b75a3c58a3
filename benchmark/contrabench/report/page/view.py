"""A report as its template sets it; the template escapes what it sets."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from contrabench.contracts.gallery import Exhibit
from contrabench.contracts.report import NAME, Column, Report, Section, Table, plain
from contrabench.report.board import PAIRS, STRUCTURES
from contrabench.report.gallery.svg import Picture, draw
from contrabench.report.page.points import label, plots, references
from contrabench.report.tidy import number_value

FEW_RUNS = 6
"""So many runs of a row are named in the little window over it; more are counted."""
STEPS = 4
LEVELS = (0.05, 0.01, 0.001)

Shades = dict[tuple[str, int], str]
"""A class of the style sheet by column name and row; nothing for a cell without colour."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)(?: patients?|\s*(%))?")
_JOINTS = re.compile(r"(?<=[_=,.])|(?=[(\[])")
_MINUS = re.compile(r"(?:(?<=\s)|(?<=\())-(?=\d)")
_SIGNED = re.compile(r" (?=[+\u2212]\d)")


@dataclass(frozen=True)
class Source:
    """The runs behind a row; `id` is where they are listed, "" where they are not."""

    id: str = ""
    name: str = ""
    family: str = ""
    is_ceiling: bool = False
    stays: bool = False
    runs: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """For the little window over the row."""
        many = len(self.runs) > FEW_RUNS
        return f"{len(self.runs)} runs" if many else f"runs {', '.join(self.runs)}"


@dataclass(frozen=True)
class Block:
    """A table, each part of which the page shows as a table of its own.

    `rows` are names by column, and the runs behind each; `parts` caption, columns, and for each
    row text, value to sort by ("" for none) and colour of its cells.
    """

    id: str
    table: Table
    rows: list[tuple[list[tuple[str, str]], Source]]
    parts: list[tuple[str, tuple[Column, ...], list[list[tuple[str, str, str]]]]]


@dataclass(frozen=True)
class Chapter:
    """One section of the page: its tables, the runs behind them, and its gallery.

    `stay` are runs whose pictures stay beside every family.
    """

    id: str
    section: Section
    blocks: list[Block]
    sources: list[Source]
    exhibits: list[tuple[str, Exhibit, list[Picture]]]
    stay: set[str]
    plots: frozenset[str]


def chapters(report: Report) -> list[Chapter]:
    """The sections of a report in its order; ids are `s1`, `s2` and so on."""
    return [_chapter(f"s{number}", part) for number, part in enumerate(report.sections, start=1)]


def _chapter(own: str, section: Section) -> Chapter:
    sources, gallery = _sources(own, section), section.gallery
    hung = [(f"{own}-g{n}", one) for n, one in enumerate(gallery.exhibits, 1)] if gallery else []
    names = gallery.structures if gallery else ()
    return Chapter(
        id=own,
        section=section,
        blocks=[
            _block(f"{own}-t{number}", table, sources)
            for number, table in enumerate(section.tables, start=1)
        ],
        sources=[source for source in sources.values() if source.id],
        exhibits=[(key, exhibit, draw(exhibit, names, key)) for key, exhibit in hung],
        stay={run for source in sources.values() if source.stays for run in source.runs},
        plots=plots(section),
    )


def _sources(own: str, section: Section) -> dict[tuple[str, ...], Source]:
    """The runs of each method by its names as tables hold them; listed at one label budget."""
    found = section.plot_data
    if found is None:
        return {}
    names = ("Method", "Deviations", "family", "role", "runs")
    lines = zip(*(found.methods[name] for name in names), references(found), strict=True)
    return {
        (method, deviations): Source(
            id=f"{own}-r{place}" if section.labels else "",
            name=label(method, deviations),
            family=family,
            is_ceiling=role == "ceiling",
            stays=stays,
            runs=runs,
        )
        for place, (method, deviations, family, role, runs, stays) in enumerate(lines)
    }


def _block(own: str, table: Table, sources: dict[tuple[str, ...], Source]) -> Block:
    places, named = range(len(table.data)), table.part(NAME)
    columns = [column.name for column in named]
    behind = [sources.get(tuple(table.data[columns].iloc[row]), Source()) for row in places]
    names = [list(zip(columns, table.texts(row, named), strict=True)) for row in places]
    apart = {row for row, source in enumerate(behind) if source.is_ceiling}
    parts = []
    for caption in table.parts:
        shown = table.part(caption)
        coloured = shades(table, shown, apart)
        parts.append((caption, shown, [_cells(table, row, shown, coloured) for row in places]))
    return Block(own, table, list(zip(names, behind, strict=True)), parts)


def _cells(
    table: Table, row: int, columns: tuple[Column, ...], coloured: Shades
) -> list[tuple[str, str, str]]:
    cells = []
    for column, text in zip(columns, table.texts(row, columns), strict=True):
        value = number_value(column, table.data[column.name].iloc[row])
        shade = coloured.get((column.name, row), "")
        cells.append((text, "" if value is None else repr(value), shade))
    return cells


def shades(table: Table, columns: Sequence[Column], apart: Container[int] = ()) -> Shades:
    """Colours the tables in which a pattern is looked for.

    For the matrix of pairs `up1` to `up4` and `down1` to `down4` by the size of a difference, and
    `p1` to `p3` by the level that a p reaches; for the structures `good1` to `good4`, from the
    worst method of a column to the best. Rows that are `apart` compete with none, and so are not
    coloured by rank.
    """
    if table.name not in (PAIRS, STRUCTURES):
        return {}
    is_matrix = table.name == PAIRS
    known = {
        column: {
            row: float(value)
            for row, value in enumerate(table.data[column.name])
            if not math.isnan(value) and (is_matrix or row not in apart)
        }
        for column in columns
    }
    sizes = [
        abs(v) for c, values in known.items() if c.kind == "difference" for v in values.values()
    ]
    largest = max(sizes, default=0.0)
    found = {}
    for column, values in known.items():
        # Structures differ far more than methods, so each is coloured by itself.
        low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
        worst, best = (high, low) if column.kind == "distance" else (low, high)
        for row, value in values.items():
            if column.kind == "p":
                step, name = sum(value <= limit for limit in LEVELS), "p"
            elif is_matrix:
                step, name = _step(abs(value), largest), "up" if value > 0 else "down"
            else:
                step, name = _step(value - worst, best - worst), "good"
            if step:
                found[column.name, row] = f"{name}{step}"
    return found


def _step(part: float, whole: float) -> int:
    return round(STEPS * part / whole) if whole else 0


def choices(report: Report) -> dict[str, list[str]]:
    """What each filter of the page offers, in the order of the sections."""
    known = [section.plot_data for section in report.sections if section.plot_data]
    return {
        "dataset": _each(part.dataset for part in report.sections if part.dataset),
        "labels": sorted(_each(p.labels for p in report.sections if p.labels), key=_size),
        "structure": _each(name for part in known for name in part.structures),
        "family": sorted(_each(name for part in known for name in part.methods["family"])),
    }


def _size(labels: str) -> tuple[bool, bool, float]:
    """Orders label budgets: counts before shares, each from few to many, then other names."""
    found = _SIZE.fullmatch(labels)
    return found is None, bool(found and found[2]), float(found[1]) if found else 0.0


def _each(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(plain(text) for text in texts))


def shown(value: object) -> object:
    """What the template sets of a value: one printable line of a text."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def breakable(text: str) -> Markup:
    """A name, escaped, that may be broken where its parts begin."""
    return Markup(_JOINTS.sub("<wbr>", str(escape(plain(text)))))


def typeset(text: str) -> Markup:
    """A piece of a sentence, escaped: a true minus, and signed numbers beside their names."""
    return Markup(_SIGNED.sub("&nbsp;", _MINUS.sub("\u2212", str(escape(plain(text))))))
