"""A report as the plain texts that the page's template sets; the template escapes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from contrabench.page.gallery_view import GalleryView, gallery_view
from contrabench.page.shades import Shades, shades
from contrabench.page.texts import Note, notes
from contrabench.report import (
    NAME,
    NONE,
    Column,
    Evidence,
    Kind,
    Report,
    Section,
    Table,
    number_value,
    plain,
)
from contrabench.statistics.board import LEADERBOARD
from contrabench.statistics.cost import COST
from contrabench.statistics.pair_tables import STABILITY

FEW_RUNS = 6
"""So many runs of a row are named in the little window over it; more are counted."""


@dataclass(frozen=True)
class CellView:
    """One number or text: what is shown, what it sorts by, and how strongly it is coloured."""

    text: str
    value: str
    shade: str


@dataclass(frozen=True)
class HeadView:
    """What stands above a column, and the structure that a filter knows it by."""

    text: str
    name: str
    kind: Kind
    structure: str


@dataclass(frozen=True)
class RowView:
    """One row: its names by column, its cells, and where its runs are listed."""

    names: list[tuple[str, str]]
    cells: list[CellView]
    family: str
    role: str
    runs: str
    source: str
    leads: bool


@dataclass(frozen=True)
class PartView:
    """One part of a table, which the page shows as a table of its own."""

    id: str
    table: str
    caption: str
    first: str
    heads: list[HeadView]
    rows: list[RowView]


@dataclass(frozen=True)
class TableView:
    """A table: its parts, and the notes below them."""

    name: str
    caption: str
    parts: list[PartView]
    notes: list[Note]


@dataclass(frozen=True)
class SourceView:
    """The runs behind a method, listed where the section has one label budget."""

    id: str
    name: str
    family: str
    role: str
    runs: tuple[str, ...]
    is_listed: bool


@dataclass(frozen=True)
class SectionView:
    """One section of the page."""

    id: str
    title: str
    protocol: str
    dataset: str
    labels: str
    verdict: list[Note]
    notes: list[Note]
    tables: list[TableView]
    sources: list[SourceView]
    gallery: GalleryView | None
    is_appendix: bool
    plots: frozenset[str]


def sections(report: Report) -> list[SectionView]:
    """The sections of a report in its order; ids are `s1`, `s2` and so on."""
    return [_section(f"s{number}", part) for number, part in enumerate(report.sections, start=1)]


def choices(report: Report) -> dict[str, list[str]]:
    """What each filter of the page offers, in the order of the sections."""
    known = [section.evidence for section in report.sections if section.evidence]
    return {
        "dataset": _each(part.dataset for part in report.sections if part.dataset),
        "labels": _each(part.labels for part in report.sections if part.labels),
        "structure": _each(name for part in known for name in part.structures),
        "family": sorted(_each(name for part in known for name in part.methods["family"])),
    }


def _each(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(plain(text) for text in texts))


def _section(own: str, section: Section) -> SectionView:
    found = section.evidence
    sources = _sources(own, found, bool(section.labels)) if found else {}
    return SectionView(
        id=own,
        title=plain(section.title),
        protocol=plain(section.protocol),
        dataset=plain(section.dataset),
        labels=plain(section.labels),
        verdict=notes(section.verdict),
        notes=notes(section.notes),
        tables=[
            _table(f"{own}-t{number}", table, found.structures if found else (), sources)
            for number, table in enumerate(section.tables, start=1)
        ],
        sources=[source for source in sources.values() if source.is_listed],
        gallery=_gallery(own, section),
        is_appendix=section.is_appendix,
        plots=frozenset(_plots(section)),
    )


def _gallery(own: str, section: Section) -> GalleryView | None:
    """The pictures of a section; those of its references stay beside every family."""
    if section.gallery is None:
        return None
    found = section.evidence
    lines = zip(found.methods["role"], found.methods["runs"], strict=True) if found else ()
    return gallery_view(own, section.gallery, {run for role, runs in lines if role for run in runs})


def _plots(section: Section) -> Iterator[str]:
    """The plots that the section has something to draw in."""
    found, tables = section.evidence, {table.name for table in section.tables}
    if found is None:
        return
    if not found.cases.empty:
        yield "cases"
    if not found.curves.empty:
        yield "curves"
    if STABILITY in tables:
        yield "ranks"
    if {COST, LEADERBOARD} <= tables:
        yield "costs"


def _sources(own: str, found: Evidence, is_listed: bool) -> dict[tuple[str, ...], SourceView]:
    """The runs of each method by its names, as the tables hold them."""
    names = ("Method", "Deviations", "family", "role", "runs")
    lines = zip(*(found.methods[name] for name in names), strict=True)
    return {
        (method, deviations): SourceView(
            id=f"{own}-r{place}",
            name=plain(method if deviations == NONE else f"{method} ({deviations})"),
            family=plain(family),
            role=role,
            runs=runs,
            is_listed=is_listed,
        )
        for place, (method, deviations, family, role, runs) in enumerate(lines)
    }


def _table(
    own: str, table: Table, structures: Sequence[str], sources: dict[tuple[str, ...], SourceView]
) -> TableView:
    parts = []
    for number, caption in enumerate(table.parts, start=1):
        columns = table.part(caption)
        coloured = shades(table, columns)
        parts.append(
            PartView(
                id=f"{own}-{number}",
                table=plain(table.name),
                caption=plain(caption),
                first=plain(table.part(NAME)[0].heading),
                heads=[_head(column, structures) for column in columns],
                rows=[
                    _row(table, row, columns, sources, coloured) for row in range(len(table.data))
                ],
            )
        )
    name = plain(table.name)
    return TableView(name, name.capitalize(), parts, notes(table.notes))


def _head(column: Column, structures: Sequence[str]) -> HeadView:
    structure = plain(column.structure) if column.structure in structures else ""
    return HeadView(plain(column.heading), plain(column.name), column.kind, structure)


def _row(
    table: Table,
    row: int,
    columns: Sequence[Column],
    sources: dict[tuple[str, ...], SourceView],
    coloured: Shades,
) -> RowView:
    named = table.part(NAME)
    source = sources.get(tuple(table.data[column.name].iloc[row] for column in named))
    texts = table.texts(row, tuple(columns))
    return RowView(
        names=list(zip((plain(c.name) for c in named), table.texts(row, named), strict=True)),
        cells=[
            CellView(text, _value(table, column, row), coloured.get((column.name, row), ""))
            for column, text in zip(columns, texts, strict=True)
        ],
        family=source.family if source else "",
        role=source.role if source else "",
        runs=_runs(source.runs) if source else "",
        source=source.id if source and source.is_listed else "",
        leads=row == table.leader,
    )


def _runs(runs: Sequence[str]) -> str:
    """The runs behind a row, for the little window over its name."""
    return f"{len(runs)} runs" if len(runs) > FEW_RUNS else f"runs {', '.join(runs)}"


def _value(table: Table, column: Column, row: int) -> str:
    """What a column sorts by; "" for a text and for what is missing."""
    value = number_value(column, table.data[column.name].iloc[row])
    return "" if value is None else repr(value)
