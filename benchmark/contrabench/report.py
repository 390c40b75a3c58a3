"""The contract of a report format, and the one object every format renders.

Formats never compute: each number they print is a cell of the `Report` they are given,
written by `cell_text`, so that all formats show the same numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from contrabench.protocol import Frozen

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "count", "score", "difference", "distance", "p"]
Part = Literal["name", "result", "run", "structure"]

MISSING = "–"
"""What stands where a number could not be computed; never 0 and never nothing."""
NONE = "none"
"""What stands in a text cell where there is nothing to name."""


class ReportInfo(Frozen):
    """What a format is for."""

    title: str
    suffix: str = Field(description="file name ending, with its dot")


@dataclass(frozen=True)
class Column:
    """What a column of a table is, so that a format need not know its name.

    Attributes:
        name: heading, and the name of the column in `Section.table`.
        kind: decides how a cell is written; a "text" column holds strings, every other
            kind numbers.
        part: "name" columns say which method a row is, and belong beside the others
            wherever a wide table is split: its "result", how it was "run", and its
            "structure" scores.
        structure: the structure that a "structure" column is about.
        metric: the heading without the structure.
    """

    name: str
    kind: Kind
    part: Part
    structure: str = ""
    metric: str = ""


@dataclass(frozen=True)
class Section:
    """One table: the rows of one protocol at one label budget.

    Attributes:
        title: dataset, budget and label budget in words.
        protocol: hash of the protocol.
        columns: what the columns of `table` are, in its order.
        table: one row per method variant; every column is a string or a number, and a
            missing number is NaN.
        notes: lines below the table: verdict, missing references, flagged cells.
    """

    title: str
    protocol: str
    columns: tuple[Column, ...]
    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    def part(self, *parts: Part) -> tuple[Column, ...]:
        """The columns of the given parts, in the order of the table."""
        return tuple(column for column in self.columns if column.part in parts)


@dataclass(frozen=True)
class Report:
    """Everything a format may print.

    Attributes:
        sections: tables, in order.
        rows: the long rows behind them, one per run, case and structure.
        command: the command that makes the report again.
    """

    sections: tuple[Section, ...]
    rows: pd.DataFrame
    command: str


class ReportFormat(ABC):
    """Base class of every report format, built-in or a stranger's."""

    info: ClassVar[ReportInfo]

    @abstractmethod
    def render(self, report: Report) -> str:
        """Returns the whole report as text."""


def plain(text: object) -> str:
    """Makes one printable line of a text that a plug-in or a file name may have given."""
    return "".join(mark if mark.isprintable() else " " for mark in str(text))


def cell_text(column: Column, value: Any) -> str:
    """Writes a cell the way every format shows it; escaping is the format's own.

    Args:
        column: the column of the cell.
        value: a string in a "text" column, else a number; NaN if it is missing.

    Returns:
        Scores and differences with three decimals, distances with two, p with three
        significant digits, `MISSING` for NaN.
    """
    if column.kind == "text":
        return plain(value).strip()
    number = float(value)
    if math.isnan(number):
        return MISSING
    if column.kind == "count":
        return str(int(number))
    if column.kind == "p":
        return f"{number:.3g}" if number >= 0.001 else f"{number:.0e}"
    # Adding 0.0 after rounding turns -0.0 into 0.0.
    digits = 2 if column.kind == "distance" else 3
    sign = "+" if column.kind == "difference" else ""
    return f"{round(number, digits) + 0.0:{sign}.{digits}f}"
