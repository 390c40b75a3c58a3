"""Each method against scratch: differences in Dice and ASD with their intervals, a row each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from contrabench.contracts.report import Answer, Column, Section, Table
from contrabench.references import NOT_COMPARED
from contrabench.report.axis import reach
from contrabench.report.colours import family_colours
from contrabench.report.figures.sheet import (
    DOUBLE,
    INK,
    LINE,
    SHADE,
    SINGLE,
    SOFT,
    Sheet,
    lines_of,
    name_lines,
    room,
    signed,
)
from contrabench.report.tidy import with_interval

NAMES = {SINGLE: 27.0, DOUBLE: 50.0}
"""Room for the names of methods, in mm."""
INDENT, GAP, APART, FOOT = 2.0, 3.0, 5.0, 9.5
SHARE = 0.57
"""Of the Dice in what both panels have."""

Ends = tuple[float, float, float]


@dataclass(frozen=True)
class Row:
    """A method as it is drawn: mean and ends of each panel, and what stands beside them."""

    name: str
    family: str
    panels: tuple[Ends, Ends]
    means: tuple[str, str]
    numbers: str
    group: str

    @property
    def is_grey(self) -> bool:
        """Whether it is no rival."""
        return self.family in NOT_COMPARED


class Forest:
    """The forest plot of one label budget, to be put onto a sheet."""

    def __init__(self, section: Section, answer: Answer) -> None:
        self.title = section.title
        self.answer = answer
        self.rows = rows_of(answer.forest)
        named = (column for column in answer.forest.columns if column.kind != "text")
        # The first of each three columns is the mean.
        self.headings = tuple(column.name for column in list(named)[::3])
        self.width = SINGLE if self._longest() <= NAMES[SINGLE] else DOUBLE

    def _longest(self) -> float:
        """What names and families take."""
        return max(max(INDENT + room(row.name), room(row.family, "bold")) for row in self.rows)

    def height(self, width: float) -> float:
        """What it takes, in mm, at a width."""
        return self._head(width) + self._places(width)[-1] + FOOT + self._foot(width)

    def _head(self, width: float) -> float:
        return LINE * max(map(len, self._headings(width))) + 1.5

    def _headings(self, width: float) -> list[list[str]]:
        """What stands above each panel, in lines."""
        panels, _ = self._columns(width)
        pairs = zip(self.headings, panels, strict=True)
        return [lines_of(heading, wide) for heading, (_, wide) in pairs]

    def _foot(self, width: float) -> float:
        return LINE * len(self._caption(width)) + 1

    def draw(self, sheet: Sheet, top: float) -> None:
        """Draws it below a height."""
        *places, deep = self._places(sheet.width)
        head, right = top + self._head(sheet.width), sheet.width - 1
        panels, numbers = self._columns(sheet.width)
        for panel, (first, wide) in enumerate(panels):
            axes = sheet.axes(first, head, wide, deep)
            self._panel(axes, panel, places, deep, bool(numbers) and panel == 0)
            middle = first + wide / 2
            for number, words in enumerate(reversed(self._headings(sheet.width)[panel])):
                sheet.text(middle, head - 1.5 - LINE * (number + 0.5), words, ha="center")
            better = ("better \N{RIGHTWARDS ARROW}", "\N{LEFTWARDS ARROW} better")[panel]
            sheet.text(middle, head + deep + 6.5, better, ha="center", color=SOFT)
        above = head - 1.5 - LINE / 2
        if numbers:
            sheet.text(numbers, above, "mean [95 % interval]", ha="right")
        sheet.text(right, above, "group", ha="right")
        self._words(sheet, head, places)
        for row, place in zip(self.rows, places, strict=True):
            sheet.text(right, head + place, row.group, ha="right", color=SOFT)
            if numbers:
                sheet.text(numbers, head + place, row.numbers, ha="right")
        for number, line in enumerate(self._caption(sheet.width)):
            sheet.text(0.5, head + deep + FOOT + LINE * (number + 0.5), line, color=SOFT)

    def _columns(self, width: float) -> tuple[list[tuple[float, float]], float]:
        """Left and width of both panels, and the right end of the numbers, 0 without room."""
        group = max(room("group"), *(room(row.group) for row in self.rows))
        left = min(NAMES[width], self._longest()) + GAP
        numbers = 0.0
        if width == DOUBLE:
            numbers = max(room("mean [95 % interval]"), *(room(row.numbers) for row in self.rows))
        between = numbers + 2 * GAP if numbers else APART
        both = width - 1 - group - GAP - left - between
        first = both * SHARE
        panels = [(left, first), (left + first + between, both - first)]
        return panels, left + first + GAP + numbers if numbers else 0.0

    def _words(self, sheet: Sheet, top: float, places: Sequence[float]) -> None:
        """The families, and the names of their methods."""
        colours, known = family_colours(row.family for row in self.rows), ""
        for row, place in zip(self.rows, places, strict=True):
            lines = name_lines(row.name, NAMES[sheet.width] - INDENT)
            first = top + place - LINE * (len(lines) - 1) / 2
            if row.family != known:
                known = row.family
                sheet.text(0.5, first - LINE, known, weight="bold", color=colours[known])
            for number, line in enumerate(lines):
                colour = SOFT if row.is_grey else INK
                sheet.text(INDENT, first + LINE * number, line, color=colour)

    def _places(self, width: float) -> list[float]:
        """The middle of each row, in mm from the top of the panels, and their whole depth."""
        found, known, deep = [], "", 0.5
        for row in self.rows:
            if row.family != known:
                deep += LINE + (1.0 if known else 0.0)
                known = row.family
            lines = len(name_lines(row.name, NAMES[width] - INDENT))
            found.append(deep + LINE * lines / 2)
            deep += LINE * lines
        return [*found, deep + 1]

    def _panel(
        self, axes: Axes, panel: int, places: Sequence[float], deep: float, has_numbers: bool
    ) -> None:
        """Zero, the margin, and a point with its interval for each row."""
        margin = self.answer.margin if panel == 0 else 0.0
        low, high = self._limits(panel)
        axes.set(xlim=(low, high), ylim=(deep, 0), yticks=[])
        axes.spines["left"].set_visible(False)
        if margin:
            axes.axvspan(-margin, margin, color=SHADE, lw=0)
        axes.axvline(0, color=INK, lw=0.6)
        axes.xaxis.set_major_locator(MaxNLocator((5, 4)[panel], steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(_tick))
        colours = family_colours(row.family for row in self.rows)
        for row, place in zip(self.rows, places, strict=True):
            mean, *ends = row.panels[panel]
            colour = colours[row.family]
            # Each is drawn where it is, also beyond the axis, where a triangle points to it.
            axes.plot(ends, [place, place], color=colour, lw=1.2, solid_capstyle="butt")
            axes.plot([mean], [place], "o", color=colour, ms=3.4, mew=0)
            for edge, mark, is_out in (
                (low, "<", min(mean, *ends) < low),
                (high, ">", max(mean, *ends) > high),
            ):
                if is_out:
                    axes.plot([edge], [place], mark, color=colour, ms=3.4, mew=0, clip_on=False)
                if is_out and not low <= mean <= high and not has_numbers:
                    aside = {"<": (3, "left"), ">": (-3, "right")}[mark]
                    axes.annotate(
                        row.means[panel], (edge, place), (aside[0], 0), ha=aside[1],
                        textcoords="offset points", va="center_baseline", color=colour,
                    )  # fmt: skip

    def _limits(self, panel: int) -> tuple[float, float]:
        """Both ends of the axis of a panel."""
        table, margin = self.answer.forest, (self.answer.margin, 0.0)[panel]
        names = [column.name for column in table.columns if column.kind != "text"]
        low, high = reach(table.data, names[3 * panel : 3 * panel + 3], margin)
        edge = 0.04 * (high - low) or 1.0
        return low - edge, high + edge

    def _caption(self, width: float) -> list[str]:
        """What a reader must know, in lines."""
        answer = self.answer
        means = [ends for row in self.rows for ends in row.panels if not math.isnan(ends[0])]
        beyond = any(
            min(row.panels[panel]) < low or max(row.panels[panel]) > high
            for panel in (0, 1)
            for low, high in [self._limits(panel)]
            for row in self.rows
        )
        said = [
            " \N{MIDDLE DOT} ".join((*answer.about, *answer.setting)) + ".",
            f"Mean differences, paired by patient; lines: {answer.basis}.",
            f"Shaded: within \N{PLUS-MINUS SIGN}{answer.margin:g}, which does not matter.",
            "Methods that share a letter are not separated.",
        ]
        if any(row.is_grey for row in self.rows):
            said.append("Grey: not ranked.")
        if any(map(math.isnan, (end for ends in means for end in ends))):
            said.append("Without a line: too few patients for an interval.")
        if beyond:
            said.append("A triangle points to what lies beyond the axis.")
        return lines_of(" ".join(said), width - 1)


def _tick(value: float, _: int | None = None) -> str:
    """A difference under an axis."""
    return signed(f"{value:+.3g}") if abs(value) > 1e-9 else "0"


def rows_of(table: Table) -> list[Row]:
    """The rows of `Answer.forest` in its order."""
    groups = [
        [column for column in table.columns if column.kind == kind][:3]
        for kind in ("difference", "distance")
    ]
    (letters,) = (column for column in table.columns if column.name == "Group")
    found = []
    for row in range(len(table.data)):
        name, family, group = table.texts(row, (*table.columns[:2], letters))
        mean, low, high = table.texts(row, tuple(groups[0]))
        found.append(
            Row(
                name,
                family,
                (_ends(table, row, groups[0]), _ends(table, row, groups[1])),
                (signed(mean), signed(table.texts(row, (groups[1][0],))[0])),
                signed(with_interval(mean, low, high)),
                group,
            )
        )
    return found


def _ends(table: Table, row: int, columns: Sequence[Column]) -> Ends:
    mean, low, high = (float(table.data[column.name].iloc[row]) for column in columns)
    return mean, low, high
