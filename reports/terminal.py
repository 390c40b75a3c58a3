"""The report as plain text for a terminal, in tables that fit its width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contrabench import ReportFormat, register_report
from contrabench.report import NONE, Column, Report, ReportInfo, Section, cell_text, plain

GAP = 2
NAME_WIDTH = 26
HEADING_WIDTH = 10


@register_report("terminal")
class TerminalReport(ReportFormat):
    """Results first, then how each row was made, then every structure.

    Args:
        width: columns of the terminal; wide tables are split to fit it.
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
            for section in report.sections:
                out.print(Text(plain(f"{section.title}  [protocol {section.protocol}]")))
                for caption, columns in self._tables(section):
                    out.print()
                    out.print(_table(section, caption, columns))
                out.print()
                for note in section.notes:
                    line = Table.grid(padding=(0, 1, 0, 0))
                    line.add_row("-", Text(plain(note)))
                    out.print(line)
                out.print()
            out.print(Text(plain(f"Made by: {report.command}")))
        return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"

    def _tables(self, section: Section) -> Iterator[tuple[str, tuple[Column, ...]]]:
        """Caption and columns of each table: one for a part, several if it is too wide."""
        yield "Results", section.part("result")
        yield "Runs", section.part("run")
        scores = section.part("structure")
        for metric in dict.fromkeys(column.metric for column in scores):
            columns = [column for column in scores if column.metric == metric]
            while columns:
                taken, fit = NAME_WIDTH, 0
                while fit < len(columns):
                    taken += GAP + _number_width(section, columns[fit])
                    if fit and taken > self.width:
                        break
                    fit += 1
                yield f"{metric} by structure", tuple(columns[:fit])
                columns = columns[fit:]


def _table(section: Section, caption: str, columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    names = [_name(section, row) for _, row in section.table.iterrows()]
    longest = max((len(line) for name in names for line in name.splitlines()), default=0)
    table.add_column(Text(plain(caption)), width=min(NAME_WIDTH, max(longest, len(caption))))
    for column in columns:
        heading = Text(_heading(column))
        if column.kind == "text":
            table.add_column(heading, overflow="fold")
        else:
            # A fixed width: a number that were cut would be another number.
            width = _number_width(section, column)
            table.add_column(heading, justify="right", width=width, overflow="fold")
    for name, (_, row) in zip(names, section.table.iterrows(), strict=True):
        table.add_row(
            Text(name, overflow="fold"),
            *(Text(cell_text(column, row[column.name])) for column in columns),
        )
    return table


def _heading(column: Column) -> str:
    return plain(column.structure or column.name)


def _number_width(section: Section, column: Column) -> int:
    """Room for every cell, and for the longest word of the heading if it is not huge."""
    word = max(map(len, _heading(column).split()), default=0)
    cells = (len(cell_text(column, value)) for value in section.table[column.name])
    return max(min(HEADING_WIDTH, word), *cells)


def _name(section: Section, row: pd.Series[Any]) -> str:
    """The first name column, and below it what the others add."""
    first, *others = (cell_text(column, row[column.name]) for column in section.part("name"))
    added = [part for other in others if other != NONE for part in other.split("; ")]
    return "\n".join([first, *(f"  + {part}" for part in added)])
