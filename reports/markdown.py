"""The report as Markdown tables, for a README or an issue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from contrabench import ReportFormat, register_report
from contrabench.report import Column, Report, ReportInfo, Section, cell_text, plain

_MARKUP = re.compile(r"[\\|*`\[\]~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_CODE = re.compile(r"(`[^`]*`)")


@register_report("markdown")
class MarkdownReport(ReportFormat):
    """Three tables per section: results, how each row was made, and every structure."""

    info = ReportInfo(title="Markdown tables", suffix=".md")

    def render(self, report: Report) -> str:
        """Returns GitHub-flavoured Markdown; names cannot break out of their cells."""
        blocks = [block for section in report.sections for block in _blocks(section)]
        blocks.append(f"Made by {_code(report.command)}")
        return "\n\n".join(blocks) + "\n"


def _blocks(section: Section) -> Iterator[str]:
    yield f"### {escape(section.title)}"
    yield f"Protocol {_code(section.protocol)}"
    for part in ("result", "run", "structure"):
        yield _table(section, section.part("name", part))
    if section.notes:
        yield "\n".join(f"- {_note(note)}" for note in section.notes)


def _table(section: Section, columns: Sequence[Column]) -> str:
    lines = [
        [escape(column.name) for column in columns],
        ["---" if column.kind == "text" else "---:" for column in columns],
    ]
    for _, row in section.table.iterrows():
        lines.append([escape(cell_text(column, row[column.name])) for column in columns])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escape(text: str) -> str:
    """Writes any text so that Markdown and HTML show it as it is, on one line."""
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda match: "\\" + match.group(), safe)


def _note(note: str) -> str:
    """Escapes a note but keeps the commands in it, which stand between backticks."""
    parts = _CODE.split(note)
    return "".join(_code(p.strip("`")) if _CODE.fullmatch(p) else escape(p) for p in parts)


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', chr(39))}`"
