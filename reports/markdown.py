"""The report as Markdown tables, for a README or an issue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import quote

from contrabench import ReportFormat, register_report
from contrabench.contracts.gallery import Gallery
from contrabench.contracts.report import (
    NAME,
    Column,
    Report,
    ReportInfo,
    Section,
    Table,
    number_text,
)
from contrabench.report.marked import code, escape, grid, note


@register_report("markdown")
class MarkdownReport(ReportFormat):
    """The verdict first, then one table for each part of each table."""

    info = ReportInfo(title="Markdown tables", suffix=".md")

    def render(self, report: Report) -> str:
        """Returns GitHub-flavoured Markdown; names cannot break out of their cells."""
        blocks = [block for section in report.sections for block in _blocks(section)]
        blocks.append(f"Made by {code(report.command)}")
        return "\n\n".join(blocks) + "\n"


def _blocks(section: Section) -> Iterator[str]:
    yield f"### {escape(section.title)}"
    yield f"Protocol {code(section.protocol)}"
    yield from _list(section.verdict)
    for table in section.tables:
        for caption in table.parts:
            yield f"**{escape(caption)}**"
            yield _table(table, table.part(NAME, caption))
        yield from _list(table.notes)
    if section.gallery:
        yield from _pictures(section.gallery)
    yield from _list(section.notes)


def _pictures(gallery: Gallery) -> Iterator[str]:
    """The exhibits that lie beside the report as files."""
    shown = [exhibit for exhibit in gallery.exhibits if exhibit.file]
    for exhibit in shown:
        dice = number_text("score", exhibit.dice)
        title = f"{exhibit.word.capitalize()}: {exhibit.patient}, mean Dice {dice}"
        yield f"**{escape(title)}**"
        yield f"![{escape(title)}]({quote(exhibit.file)})"
    if shown:
        yield from _list(gallery.notes)


def _list(lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield "\n".join(f"- {note(line)}" for line in lines)


def _table(table: Table, columns: tuple[Column, ...]) -> str:
    rows = [table.texts(row, columns) for row in range(len(table.data))]
    is_text = [column.kind == "text" for column in columns]
    return grid([column.heading for column in columns], is_text, rows)
