"""The report as plain text for a terminal, in tables that fit its width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from contrabench import ReportFormat, register_report
from contrabench.report import NAME, NONE, Column, Report, ReportInfo, Section, Table, plain

GAP = 2
NAME_WIDTH = 30
DETAIL_NAME_WIDTH = 26
"""A table of detail is shown whole or not at all, so its names give way."""
HEADING_WIDTH = 12
TEXT_WIDTH = 18
APPENDIX = "Settings, methods, label manifests and software: with --format html or markdown."


@register_report("terminal")
class TerminalReport(ReportFormat):
    """The verdict first, then each part of each table.

    Args:
        width: columns of the terminal; wide tables are split to fit it. Tables of detail
            are named instead where they do not fit, or there are several sections.
    """

    info = ReportInfo(title="plain text tables", suffix=".txt")

    def __init__(self, width: int = 100) -> None:
        self.width = width

    def render(self, report: Report) -> str:
        """Returns the report as text without colours."""
        out = Console(
            file=StringIO(), width=self.width, color_system=None, highlight=False, markup=False
        )
        with out.capture() as captured:
            shown = [section for section in report.sections if not section.is_appendix]
            for section in shown:
                self._section(out, section, has_room=len(shown) == 1)
            out.print(Text(plain(f"Made by: {report.command}")))
            if any(section.is_appendix for section in report.sections):
                out.print(Text(APPENDIX))
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"

    def _section(self, out: Console, section: Section, has_room: bool) -> None:
        out.print(Text(plain(f"{section.title}  [protocol {section.protocol}]")))
        _list(out, section.verdict)
        left_out = []
        for table in section.tables:
            blocks = [(caption, list(self._blocks(table, caption))) for caption in table.parts]
            fits = all(len(columns) == 1 for _, columns in blocks)
            if table.detail and not (fits and has_room):
                left_out.append(table.name)
                continue
            for caption, split in blocks:
                for columns in split:
                    out.print()
                    out.print(_grid(table, caption, columns))
            _list(out, table.notes)
        more = []
        if left_out:
            budget = (
                f"with --labels {section.labels} or " if section.labels and not has_room else ""
            )
            more = [f"Left out on this screen, {budget}in another format: {', '.join(left_out)}."]
        _list(out, [*section.notes, *more])
        out.print()

    def _blocks(self, table: Table, caption: str) -> Iterator[tuple[Column, ...]]:
        """The columns of a part, in as many tables as the width asks for."""
        columns = table.part(caption)
        while columns:
            taken, fit = _name_width(table, caption), 0
            while fit < len(columns):
                taken += GAP + _width(table, columns[fit])
                if fit and taken > self.width:
                    break
                fit += 1
            yield columns[:fit]
            columns = columns[fit:]


def _list(out: Console, lines: Sequence[str]) -> None:
    if lines:
        out.print()
    for line in lines:
        grid = Grid.grid(padding=(0, 1, 0, 0))
        grid.add_row("-", Text(plain(line)))
        out.print(grid)


def _grid(table: Table, caption: str, columns: Sequence[Column]) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    # A fixed width: a number that were cut would be another number.
    grid.add_column(Text(plain(caption)), width=_name_width(table, caption), overflow="fold")
    for column in columns:
        grid.add_column(
            Text(plain(column.heading)),
            justify="left" if column.kind == "text" else "right",
            width=_width(table, column),
            overflow="fold",
        )
    for row in range(len(table.data)):
        cells = (Text(text, overflow="fold") for text in table.texts(row, tuple(columns)))
        grid.add_row(Text(_name(table, row), overflow="fold"), *cells)
    return grid


def _name_width(table: Table, caption: str) -> int:
    names = (line for row in range(len(table.data)) for line in _name(table, row).splitlines())
    most = DETAIL_NAME_WIDTH if table.detail else NAME_WIDTH
    return min(most, max(len(plain(caption)), *map(len, names), 0))


def _width(table: Table, column: Column) -> int:
    """Room for every number, and for the longest word of the heading if it is not huge."""
    word = max(map(len, plain(column.heading).split()), default=0)
    longest = max(len(table.texts(row, (column,))[0]) for row in range(len(table.data)))
    if column.kind == "text":
        longest = min(longest, TEXT_WIDTH)
    return max(min(HEADING_WIDTH, word), longest)


def _name(table: Table, row: int) -> str:
    """The first name column, and below it what the others add."""
    first, *others = table.texts(row, table.part(NAME))
    added = [part for other in others if other != NONE for part in other.split("; ")]
    return "\n".join([first, *(f"  + {part}" for part in added)])
