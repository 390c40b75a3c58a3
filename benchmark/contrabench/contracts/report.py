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

    from contrabench.contracts.gallery import Gallery

Kind = Literal["text", "count", "rank", "score", "share", "difference", "distance", "p", "seconds"]

_DIGITS = {"distance": 2, "share": 2, "seconds": 1}

NAME = "name"
"""The part of the columns that say what a row is about."""
METHOD, DEVIATIONS = "Method", "Deviations"
"""The names of those columns in a table with one row per method."""
MISSING = "–"
"""What stands where a number could not be computed; never 0 and never nothing."""
NONE = "none"
"""What stands in a text cell where there is nothing to name."""


class ReportInfo(Frozen):
    """What a format is for."""

    title: str
    suffix: str = Field(description="file name ending, with its dot")
    binary: bool = Field(default=False, description="bytes that no screen can show")
    pictures: bool = Field(default=False, description="shows the gallery, which takes seconds")


@dataclass(frozen=True)
class Column:
    """What a column of a table is, so that a format need not know its name.

    Attributes:
        name: that of the column in `Table.data`; no other has it.
        kind: decides how a cell is written; "text" holds strings, every other kind numbers.
        part: caption of the columns that belong side by side where a wide table is
            split; those of the part `NAME` stand beside each of the others.
        structure: what the columns of a part differ in: a structure, a number of labelled
            patients, or another method (`Section.structure` tells); "" if in their names.
        metric: what it says of that, if the same is said in several metrics.
    """

    name: str
    kind: Kind
    part: str
    structure: str = ""
    metric: str = ""

    @property
    def heading(self) -> str:
        """What stands above the column below the caption of its part."""
        return self.structure or self.name


@dataclass(frozen=True)
class Table:
    """One table of typed columns, those of `data` in its order; `notes` say how to read it.

    Attributes:
        name: what it is, the same word in every section that has it.
        data: a text is a string or None, a missing number is NaN.
        leader: row of the method that is separated from every other and best; -1 for none.
        detail: a table to look things up in; a format with little room may name it only.
    """

    name: str
    columns: tuple[Column, ...]
    data: pd.DataFrame
    notes: tuple[str, ...] = ()
    leader: int = -1
    detail: bool = False

    def part(self, *parts: str) -> tuple[Column, ...]:
        """The columns of the given parts, in the order of the table."""
        return tuple(column for column in self.columns if column.part in parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """The captions, without the names of the rows."""
        captions = dict.fromkeys(column.part for column in self.columns)
        return tuple(caption for caption in captions if caption != NAME)

    def texts(self, row: int, columns: tuple[Column, ...]) -> list[str]:
        """The cells of one row (from 0) as every format writes them, before escaping."""
        return [cell_text(column, self.data[column.name].iloc[row]) for column in columns]


@dataclass(frozen=True)
class PlotData:
    """What a section rests on, for formats that draw, filter, or lead back to the runs.

    Attributes:
        distance: what the ASD is called in the tables.
        methods: one row per method: `Method` and `Deviations` as in the tables, `family`,
            `role` ("floor", "ceiling" or ""), and `runs`, a tuple of their keys.
        cases: every case of every method, means over its runs: `method` (row of `methods`),
            `patient`, `case`, `structure` ("" for the mean over structures), `dice`, `asd`.
        along: Dice on the way through fine-tuning: `method`, `share` (percent of steps), `mean`.
        curves: means over patients by label budget: `method`, `labelled` (mean number of
            labelled patients), `metric` ("dice" or "asd"), `mean`, `low`, `high`.
    """

    structures: tuple[str, ...]
    distance: str
    methods: pd.DataFrame
    cases: pd.DataFrame
    curves: pd.DataFrame
    along: pd.DataFrame


@dataclass(frozen=True)
class Answer:
    """What a reader asks first of one label budget, in the order of asking, to fit on one screen.

    Attributes:
        about: what was compared, on whom: parts of a line.
        setting: by which network and budget: likewise.
        sight: whether the study can see, by its controls, in sentences.
        short: the answer in a few words.
        words: the answer, in sentences without statistics.
        best: the best method that is shown to beat scratch; "" for none.
        forest: each method against scratch, controls too: `Family`, differences in Dice and ASD
            with the ends of their intervals, `Group`; families together.
        board: the leaderboard in few columns.
        basis: what the intervals are about.
        margin: differences in Dice below it do not matter.
        scratch: its mean Dice; NaN without it.
    """

    about: tuple[str, ...]
    setting: tuple[str, ...]
    sight: tuple[str, ...]
    short: str
    words: tuple[str, ...]
    best: str
    forest: Table
    board: Table
    basis: str
    margin: float
    scratch: float


@dataclass(frozen=True)
class Section:
    """What the rows of one protocol say, at one label budget or across them.

    Attributes:
        title: dataset, budget and label budget in words.
        protocol: its hash.
        tables: the leaderboard first, or the label-efficiency table.
        verdict: what the tables allow to say, in sentences.
        notes: what is missing, flagged, or limits the comparison.
        labels: the label budget; "" for several.
        is_appendix: to be looked up: a format with little room only names its tables.
        answer: what is asked first; None across label budgets and in what is looked up.
    """

    title: str
    protocol: str
    tables: tuple[Table, ...]
    verdict: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dataset: str = ""
    labels: str = ""
    plot_data: PlotData | None = None
    gallery: Gallery | None = None
    is_appendix: bool = False
    answer: Answer | None = None

    def structure(self, column: Column) -> str:
        """The structure that a column of one of the tables is about; "" if about none."""
        known = self.plot_data.structures if self.plot_data and column.metric else ()
        return column.structure if column.structure in known else ""


@dataclass(frozen=True)
class Report:
    """Everything a format may print; `command` makes it again.

    `rows` are the long rows behind the sections, one per run, case and structure.
    """

    sections: tuple[Section, ...]
    rows: pd.DataFrame
    command: str


class ReportFormat(ABC):
    """Base class of every report format, built-in or a stranger's."""

    info: ClassVar[ReportInfo]

    @abstractmethod
    def render(self, report: Report) -> str | bytes:
        """Returns the whole report: text, or bytes where `info.binary` says so."""

    def show(self, report: Report) -> str | bytes:
        """Returns what stands on a screen; the same, but for a format that fits it to one."""
        return self.render(report)


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, or NaN, which a missing text may have become."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def plain(text: object) -> str:
    """Makes one printable line of a text that a plug-in or a file name may have given."""
    return "".join(mark if mark.isprintable() else " " for mark in str(text))


def cell_text(column: Column, value: Any) -> str:
    """Writes a cell, a text or number, the way all formats show it, before they escape it."""
    if column.kind != "text":
        return number_text(column.kind, float(value))
    return MISSING if is_missing(value) else plain(value).strip()


def number_text(kind: Kind, number: float) -> str:
    """Writes a number of a kind, `MISSING` for NaN.

    Scores and differences have three decimals, distances and shares two, seconds one, p three
    significant digits, ranks a half where places are shared.
    """
    if math.isnan(number):
        return MISSING
    if kind == "count":
        return str(round(number))
    if kind == "rank":
        return f"{number:.10g}"
    if kind == "p":
        return f"{number:.3g}" if number >= 0.001 else f"{number:.0e}"
    digits = _DIGITS.get(kind, 3)
    if kind == "difference":
        # The sign of a small one tells on which side of zero the end of an interval lies.
        return f"{number:+.{digits}f}" if number else f"{0:.{digits}f}"
    # Adding 0.0 after rounding turns -0.0 into 0.0.
    return f"{round(number, digits) + 0.0:.{digits}f}"
