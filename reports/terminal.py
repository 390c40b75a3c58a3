"""The report as plain text for a terminal, in tables that fit its width."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from contrabench import ReportFormat, register_report
from contrabench.contracts.report import (
    NAME,
    NONE,
    Column,
    Report,
    ReportInfo,
    Section,
    Table,
    plain,
)
from contrabench.report.screen import WIDTH, screen

GAP = 2
NAME_WIDTH = 30
DETAIL_NAME_WIDTH = 26
"""A table of detail is shown whole or not at all, so its names give way."""
HEADING_WIDTH = 12
TEXT_WIDTH = 18


@register_report("terminal")
class TerminalReport(ReportFormat):
    """On a screen the answer alone; in full each verdict, then each part of each table.

    Args:
        width: columns of the text; wide tables are split to fit it.
    """

    info = ReportInfo(title="plain text tables", suffix=".txt")

    def __init__(self, width: int = 100) -> None:
        self.width = width

    def render(self, report: Report) -> str:
        """Returns the report as text without colours."""
        return self._text(report, self.width, on_screen=False)

    def show(self, report: Report) -> str:
        """Returns what standard output gets: one screen with the answer, or all that is asked for.

        As wide as a terminal is, and plain in 80 columns for a pipe.
        """
        is_terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size((self.width, 24)).columns if is_terminal else WIDTH
        if lines := screen(report.sections, min(width, self.width), report.command):
            out = self._console(width, is_terminal)
            with out.capture() as captured:
                for line in lines:
                    out.print(Text(line.text), style=line.style or None, soft_wrap=True)
            return captured.get()
        return self._text(report, width, True) if is_terminal else self.render(report)

    def _console(self, width: int, on_screen: bool) -> Console:
        return Console(
            file=StringIO(),
            width=width,
            force_terminal=on_screen,
            color_system="auto" if on_screen else None,
            highlight=False,
            markup=False,
        )

    def _text(self, report: Report, width: int, on_screen: bool) -> str:
        out = self._console(width, on_screen)
        with out.capture() as captured:
            for section in report.sections:
                _section(out, section)
                out.print()
            out.print(Text(plain(f"Made by: {report.command}")))
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _title(out: Console, section: Section) -> None:
    title = plain(f"{section.title}  [protocol {section.protocol}]")
    out.print(Text(title, style="bold", overflow="fold"))


def _section(out: Console, section: Section) -> None:
    """A section with its verdict and all its tables."""
    _title(out, section)
    _list(out, section.verdict)
    for table in section.tables:
        for caption in table.parts:
            _part(out, table, caption)
        _list(out, table.notes)
    _list(out, section.notes)


def _part(out: Console, table: Table, caption: str) -> None:
    for columns in _blocks(table, caption, out.width):
        out.print()
        out.print(_grid(table, caption, columns))


def _blocks(table: Table, caption: str, width: int) -> Iterator[tuple[Column, ...]]:
    """The columns of a part, in as many tables as the width asks for."""
    columns = table.part(caption)
    while columns:
        taken, fit = _name_width(table, caption), 0
        while fit < len(columns):
            taken += GAP + _width(table, columns[fit])
            if fit and taken > width:
                break
            fit += 1
        yield columns[:fit]
        columns = columns[fit:]


def _list(out: Console, lines: Sequence[str]) -> None:
    if lines:
        out.print()
    for line in lines:
        grid = Grid.grid(padding=(0, 1, 0, 0))
        grid.add_row("-", Text(plain(line), overflow="fold"))
        out.print(grid)


def _grid(table: Table, caption: str, columns: Sequence[Column]) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="")
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
    return min(most, max(cell_len(plain(caption)), *map(cell_len, names), 0))


def _width(table: Table, column: Column) -> int:
    """Room for every number, and for the longest word of the heading if it is not huge."""
    word = max(map(cell_len, plain(column.heading).split()), default=0)
    longest = max(cell_len(table.texts(row, (column,))[0]) for row in range(len(table.data)))
    if column.kind == "text":
        longest = min(longest, TEXT_WIDTH)
    return max(min(HEADING_WIDTH, word), longest)


def _name(table: Table, row: int) -> str:
    """The first name column, and below it what the others add."""
    first, *others = table.texts(row, table.part(NAME))
    added = [part for other in others if other != NONE for part in other.split("; ")]
    return "\n".join([first, *(f"  + {part}" for part in added)])
