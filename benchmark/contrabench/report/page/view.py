"""A report as the plain texts that the page's template sets; the template escapes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contrabench.contracts.report import (
    NAME,
    NONE,
    Column,
    Kind,
    PlotData,
    Report,
    Section,
    Table,
    number_value,
    plain,
)
from contrabench.report.appendix import COST
from contrabench.report.board import LEADERBOARD, STABILITY
from contrabench.report.page.drawing import means_only, references
from contrabench.report.page.gallery_view import GalleryView, gallery_view
from contrabench.report.page.shades import Shades, legend, shades
from contrabench.report.page.texts import Note, notes

_CEILING = "ceiling"
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
    stays: bool
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
    """A table: its parts, and the notes below them; `id` is that of its heading."""

    id: str
    name: str
    caption: str
    parts: list[PartView]
    notes: list[Note]
    colours: str


@dataclass(frozen=True)
class SourceView:
    """The runs behind a method, listed where the section has one label budget."""

    id: str
    name: str
    family: str
    role: str
    stays: bool
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
    lead: str
    verdict: list[Note]
    notes: list[Note]
    tables: list[TableView]
    sources: list[SourceView]
    gallery: GalleryView | None
    is_appendix: bool
    plots: frozenset[str]
    means_only: bool


def sections(report: Report) -> list[SectionView]:
    """The sections of a report in its order; ids are `s1`, `s2` and so on."""
    return [_section(f"s{number}", part) for number, part in enumerate(report.sections, start=1)]


def _section(own: str, section: Section) -> SectionView:
    found = section.plot_data
    sources = _sources(own, found, bool(section.labels)) if found else {}
    return SectionView(
        id=own,
        title=plain(section.title),
        protocol=plain(section.protocol),
        dataset=plain(section.dataset),
        labels=plain(section.labels),
        lead=_lead(section),
        verdict=notes(section.verdict),
        notes=notes(section.notes),
        tables=[
            _table(f"{own}-t{number}", table, section, sources)
            for number, table in enumerate(section.tables, start=1)
        ],
        sources=[source for source in sources.values() if source.is_listed],
        gallery=_gallery(own, section),
        is_appendix=section.is_appendix,
        plots=frozenset(_plots(section)),
        means_only=found is not None and means_only(found),
    )


def _lead(section: Section) -> str:
    """What a section without a verdict is, in a sentence; "" for one that has a verdict."""
    if section.verdict:
        return ""
    if section.is_appendix:
        return "What was frozen, what was run, and with which software."
    if section.plot_data is not None and not section.plot_data.curves.empty:
        return (
            "What each method gains from more labelled patients, and how many of them training "
            "from scratch needs to reach the same."
        )
    return ""


def _gallery(own: str, section: Section) -> GalleryView | None:
    """The pictures of a section; those of its references stay beside every family."""
    if section.gallery is None:
        return None
    found = section.plot_data
    lines = zip(references(found), found.methods["runs"], strict=True) if found else ()
    return gallery_view(own, section.gallery, {run for stay, runs in lines if stay for run in runs})


def _plots(section: Section) -> Iterator[str]:
    """The plots that the section has something to draw in."""
    found, tables = section.plot_data, {table.name for table in section.tables}
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


def _sources(own: str, found: PlotData, is_listed: bool) -> dict[tuple[str, ...], SourceView]:
    """The runs of each method by its names, as the tables hold them."""
    names = ("Method", "Deviations", "family", "role", "runs")
    lines = zip(*(found.methods[name] for name in names), references(found), strict=True)
    return {
        (method, deviations): SourceView(
            id=f"{own}-r{place}",
            name=plain(method if deviations == NONE else f"{method} ({deviations})"),
            family=plain(family),
            role=role,
            stays=stays,
            runs=runs,
            is_listed=is_listed,
        )
        for place, (method, deviations, family, role, runs, stays) in enumerate(lines)
    }


def _table(
    own: str, table: Table, section: Section, sources: dict[tuple[str, ...], SourceView]
) -> TableView:
    parts = []
    behind = [_source(table, row, sources) for row in range(len(table.data))]
    apart = {row for row, source in enumerate(behind) if source and source.role == _CEILING}
    for number, caption in enumerate(table.parts, start=1):
        columns = table.part(caption)
        coloured = shades(table, columns, apart)
        parts.append(
            PartView(
                id=f"{own}-{number}",
                table=plain(table.name),
                caption=plain(caption),
                first=plain(table.part(NAME)[0].heading),
                heads=[_head(column, section) for column in columns],
                rows=[
                    _row(table, row, columns, source, coloured) for row, source in enumerate(behind)
                ],
            )
        )
    name = plain(table.name)
    return TableView(own, name, name.capitalize(), parts, notes(table.notes), legend(table))


def _source(
    table: Table, row: int, sources: dict[tuple[str, ...], SourceView]
) -> SourceView | None:
    """The runs behind a row."""
    named = table.part(NAME)
    return sources.get(tuple(table.data[column.name].iloc[row] for column in named))


def _head(column: Column, section: Section) -> HeadView:
    structure = plain(section.structure(column))
    return HeadView(plain(column.heading), plain(column.name), column.kind, structure)


def _row(
    table: Table,
    row: int,
    columns: Sequence[Column],
    source: SourceView | None,
    coloured: Shades,
) -> RowView:
    named = table.part(NAME)
    texts = table.texts(row, tuple(columns))
    return RowView(
        names=list(zip((plain(c.name) for c in named), table.texts(row, named), strict=True)),
        cells=[
            CellView(text, _value(table, column, row), coloured.get((column.name, row), ""))
            for column, text in zip(columns, texts, strict=True)
        ],
        family=source.family if source else "",
        stays=source is not None and source.stays,
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
