"""A report as its template sets it; the template escapes what it sets."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

from contrabench.contracts.gallery import Exhibit
from contrabench.contracts.report import (
    DEVIATIONS,
    METHOD,
    NAME,
    NONE,
    Column,
    Report,
    Section,
    Table,
    plain,
)
from contrabench.references import NOT_COMPARED
from contrabench.report.board import PAIRS, STRUCTURES
from contrabench.report.colours import GREY
from contrabench.report.gallery.svg import Picture, draw
from contrabench.report.page import forest
from contrabench.report.page.points import hues, label, plots, references

STEPS = 4
LEVELS = (0.05, 0.01, 0.001)

Shades = dict[tuple[str, int], str]
"""A class of the style sheet by column name and row; nothing for a cell without colour."""

_JOINTS = re.compile(r"(?<=[_=,.])|(?=[(\[])")
_MINUS = re.compile(r"(?:(?<=\s)|(?<=\())-(?=\d)")
_SIGNED = re.compile(r" (?=[+\u2212]\d)")


@dataclass(frozen=True)
class Source:
    """The runs behind a row; `id` is where they are listed, "" where they are not."""

    id: str = ""
    name: str = ""
    family: str = ""
    hue: str = GREY
    is_ceiling: bool = False
    stays: bool = False
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A table, each part of which the page shows as a table of its own.

    `rows` are names by column, and the runs behind each; `parts` caption, columns, and for each
    row text and colour of its cells.
    """

    id: str
    table: Table
    rows: list[tuple[list[tuple[str, str]], Source]]
    parts: list[tuple[str, tuple[Column, ...], list[list[tuple[str, str]]]]]


@dataclass(frozen=True)
class Chapter:
    """One section of the page: its answer, its tables, the runs behind them, and its gallery.

    `name` is what its tab is called; `forest` the picture for a wide and for a narrow screen;
    `stay` are runs whose pictures stay beside every family, `families` those of the rivals.
    """

    id: str
    name: str
    section: Section
    blocks: list[Block]
    board: Block | None
    numbers: Block | None
    forest: list[Markup]
    sources: list[Source]
    exhibits: list[tuple[str, Exhibit, list[Picture]]]
    stay: set[str]
    families: list[str]
    plots: frozenset[str]

    @property
    def is_across(self) -> bool:
        """Whether it is about several label budgets, and so belongs to all of them."""
        return "curves" in self.plots and not self.section.labels


@dataclass
class Group:
    """What belongs to one protocol: one chapter is looked at at a time, and these beside it."""

    heads: list[Chapter] = field(default_factory=list)
    across: list[Chapter] = field(default_factory=list)
    appendix: list[Chapter] = field(default_factory=list)


def groups(report: Report) -> list[Group]:
    """The sections of a report in its order, by protocol; ids are `s1`, `s2` and so on."""
    colours = hues(report)
    protocols = {section.protocol for section in report.sections if section.answer}
    found: dict[str, Group] = {}
    for number, section in enumerate(report.sections, start=1):
        name = section.labels if section.answer and len(protocols) == 1 else section.title
        one = _chapter(f"s{number}", name, section, colours)
        group = found.setdefault(section.protocol, Group())
        part = group.across if one.is_across else group.heads
        (group.appendix if section.is_appendix else part).append(one)
    return list(found.values())


def _chapter(own: str, name: str, section: Section, colours: Mapping[str, str]) -> Chapter:
    sources, gallery, told = _sources(own, section, colours), section.gallery, section.answer
    hung = [(f"{own}-g{n}", one) for n, one in enumerate(gallery.exhibits, 1)] if gallery else []
    names = gallery.structures if gallery else ()
    methods = section.plot_data.methods if section.plot_data else None
    known = () if methods is None else zip(methods["family"], methods["role"], strict=True)
    rivals = [family for family, role in known if not role and family not in NOT_COMPARED]
    return Chapter(
        id=own,
        name=name,
        section=section,
        blocks=[
            _block(f"{own}-t{number}", table, sources)
            for number, table in enumerate(section.tables, start=1)
        ],
        board=_block(f"{own}-board", told.board, sources) if told else None,
        numbers=_block(f"{own}-forest", told.forest, sources) if told else None,
        forest=forest.pictures(told, colours) if told else [],
        sources=[source for source in sources.values() if source.id],
        exhibits=[(key, exhibit, draw(exhibit, names, key)) for key, exhibit in hung],
        stay={run for source in sources.values() if source.stays for run in source.runs},
        families=_each(rivals),
        plots=plots(section),
    )


def _sources(
    own: str, section: Section, colours: Mapping[str, str]
) -> dict[tuple[str, ...], Source]:
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
            hue=colours[family],
            is_ceiling=role == "ceiling",
            stays=stays,
            runs=runs,
        )
        for place, (method, deviations, family, role, runs, stays) in enumerate(lines)
    }


def _block(own: str, table: Table, sources: dict[tuple[str, ...], Source]) -> Block:
    places, named = range(len(table.data)), table.part(NAME)
    columns = [column.name for column in named]
    names = [list(zip(columns, table.texts(row, named), strict=True)) for row in places]
    behind = [_behind(dict(each), sources) for each in names]
    apart = {row for row, source in enumerate(behind) if source.is_ceiling}
    parts = []
    for caption in table.parts:
        shown = table.part(caption)
        coloured = shades(table, shown, apart)
        cells = [
            [
                (text, coloured.get((column.name, row), ""))
                for column, text in zip(shown, table.texts(row, shown), strict=True)
            ]
            for row in places
        ]
        parts.append((caption, shown, cells))
    return Block(own, table, list(zip(names, behind, strict=True)), parts)


def _behind(names: Mapping[str, str], sources: dict[tuple[str, ...], Source]) -> Source:
    """The runs of a row; where a table has but one name for a method, those of that name."""
    known = {tuple(map(plain, key)): source for key, source in sources.items()}
    method, deviations = names.get(METHOD, ""), names.get(DEVIATIONS)
    if deviations is not None:
        return known.get((method, deviations), Source())
    called = [one for key, one in known.items() if method in (key[0], label(*key))]
    exact = [one for key, one in known.items() if key == (method, NONE)]
    return next(iter(called if len(called) == 1 else exact), Source())


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
        "structure": _each(name for part in known for name in part.structures),
        "family": sorted(_each(name for part in known for name in part.methods["family"])),
    }


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
