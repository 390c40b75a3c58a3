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

GAP = 2
NAME_WIDTH = 30
DETAIL_NAME_WIDTH = 26
"""A table of detail is shown whole or not at all, so its names give way."""
HEADING_WIDTH = 12
TEXT_WIDTH = 18
APPENDIX = "Settings, methods, label manifests and software: with --format html or markdown."


@register_report("terminal")
class TerminalReport(ReportFormat):
    """The verdicts first, then each part of each table.

    Several label budgets leave no room for all: of each the first part of the leaderboard
    is shown, and the rest named.

    Args:
        width: columns of the text; wide tables are split to fit it. Tables of detail
            are named instead where they do not fit, or there are several sections.
    """

    info = ReportInfo(title="plain text tables", suffix=".txt")

    def __init__(self, width: int = 100) -> None:
        self.width = width

    def render(self, report: Report) -> str:
        """Returns the report as text without colours."""
        return self._text(report, self.width, on_screen=False)

    def show(self, report: Report) -> str:
        """Returns the report for standard output: as wide as it, if it is a terminal."""
        if not sys.stdout.isatty():
            return self.render(report)
        width = shutil.get_terminal_size((self.width, 24)).columns
        return self._text(report, width, on_screen=True)

    def _text(self, report: Report, width: int, on_screen: bool) -> str:
        out = Console(
            file=StringIO(),
            width=width,
            force_terminal=on_screen,
            color_system="auto" if on_screen else None,
            highlight=False,
            markup=False,
        )
        shown = [section for section in report.sections if not section.is_appendix]
        is_overview = sum(bool(section.labels) for section in shown) > 1
        with out.capture() as captured:
            if is_overview:
                _verdicts(out, shown)
            left_out: list[str] = []
            for section in shown:
                _title(out, section)
                if is_overview:
                    left_out += _overview(out, section)
                else:
                    _whole(out, section, has_room=len(shown) == 1)
                out.print()
            if is_overview:
                _more(out, left_out, shown)
            out.print(Text(plain(f"Made by: {report.command}")))
            if any(section.is_appendix for section in report.sections):
                out.print(Text(APPENDIX))
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _verdicts(out: Console, sections: Sequence[Section]) -> None:
    """What all the tables allow to say, before any of them."""
    for section in sections:
        if section.verdict:
            _title(out, section)
            _list(out, section.verdict)
            out.print()


def _title(out: Console, section: Section) -> None:
    title = plain(f"{section.title}  [protocol {section.protocol}]")
    out.print(Text(title, style="bold", overflow="fold"))


def _overview(out: Console, section: Section) -> list[str]:
    """A first look at one section of many; returns what it leaves out."""
    left_out = []
    for number, table in enumerate(section.tables):
        parts = () if section.labels and number else _first_look(table, section)
        for caption in parts:
            _part(out, table, caption)
        if parts:
            _list(out, table.notes)
            left_out += [caption for caption in table.parts if caption not in parts]
        else:
            left_out.append(table.name)
    _list(out, section.notes)
    return left_out


def _first_look(table: Table, section: Section) -> tuple[str, ...]:
    """The first part at one label budget; across several the first of each metric."""
    if section.labels:
        return table.parts[:1]
    firsts = {column.metric or column.part: column.part for column in reversed(table.columns)}
    return tuple(caption for caption in table.parts if caption in firsts.values())


def _more(out: Console, left_out: Sequence[str], shown: Sequence[Section]) -> None:
    """What else there is, and how to get it."""
    asked = []
    for option, values in (
        ("--dataset", [section.dataset for section in shown]),
        ("--labels", [section.labels for section in shown]),
    ):
        names = [name for name in dict.fromkeys(values) if name]
        if len(names) > 1:
            asked.append(f"{option} {' or '.join(names)}")
    one = f"one label budget with {' and '.join(asked)}, " if asked else ""
    text = f"Left out on this screen: {'; '.join(dict.fromkeys(left_out))}."
    out.print(Text(plain(text), overflow="fold"))
    how = f"To see them: {one}all with --format html or markdown."
    out.print(Text(plain(how), overflow="fold"))


def _whole(out: Console, section: Section, has_room: bool) -> None:
    """A section with all its tables, but for the details that do not fit."""
    _list(out, section.verdict)
    left_out = []
    for table in section.tables:
        fits = all(len(list(_blocks(table, part, out.width))) == 1 for part in table.parts)
        if table.detail and not (fits and has_room):
            left_out.append(table.name)
            continue
        for caption in table.parts:
            _part(out, table, caption)
        _list(out, table.notes)
    more = [f"Left out on this screen, in another format: {', '.join(left_out)}."]
    _list(out, [*section.notes, *(more if left_out else [])])


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
