"""Label efficiency: a small panel for each method, in front of all others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from contrabench.contracts.report import Answer, Section
from contrabench.references import FULL_SUPERVISION, NOT_COMPARED, REFERENCE
from contrabench.report.colours import family_colours
from contrabench.report.figures.sheet import (
    DOUBLE,
    FAINT,
    LINE,
    MM,
    SINGLE,
    SOFT,
    Sheet,
    lines_of,
    name_lines,
    room,
    signed,
)

if TYPE_CHECKING:
    import pandas as pd

FEW, SOME = 3, 20
"""Up to so many methods a figure has one column of a journal, and large panels."""
LEFT, GAP, TICKS = 10.5, 3.0, 4.0
LARGE, SMALL = {"dice": 18.0, "asd": 10.0}, {"dice": 13.0, "asd": 8.0}
"""The height of the panels of each metric, in mm; 40 methods have room on a page."""
BAND: dict[str, Any] = {"color": FAINT, "alpha": 0.4, "lw": 0}


@dataclass(frozen=True)
class Line:
    """A method: its name, and its points by metric: labelled, mean, low, high, a row each."""

    name: str
    family: str
    role: str
    points: dict[str, pd.DataFrame]


class Curves:
    """The curves of one protocol over its label budgets, to be put onto a sheet."""

    def __init__(self, section: Section, answers: Sequence[Answer]) -> None:
        if section.plot_data is None:
            raise ValueError("a section without curves")
        self.title = section.title
        self.answers = answers
        self.headings = {"dice": "Dice", "asd": section.plot_data.distance}
        lines = _lines(section)
        self.lines = _sorted([line for line in lines if not line.role])
        self.floor = next((line for line in lines if line.role == "floor"), None)
        self.ceiling = next((line for line in lines if line.role == "ceiling"), None)
        self.counts = sorted({
            float(count) for line in self.lines for count in line.points["dice"]["labelled"]
        })  # fmt: skip
        self.width = SINGLE if len(self.lines) <= FEW else DOUBLE
        self.deep, self.thin = (LARGE, 0.5) if len(self.lines) <= SOME else (SMALL, 0.3)

    def height(self, width: float) -> float:
        """What it takes, in mm, at a width."""
        return self._tops(width)[-1] + LINE * (1 + len(self._caption(width))) + 1

    def draw(self, sheet: Sheet, top: float) -> None:
        """Draws it below a height."""
        colours = family_colours(line.family for line in self.lines)
        columns, wide = self._grid(sheet.width)
        *tops, bottom = self._tops(sheet.width)
        for place, line in enumerate(self.lines):
            row, column = divmod(place, columns)
            left, above = LEFT + column * (wide + GAP), top + tops[row]
            names = name_lines(line.name, wide, "bold")
            for number, words in enumerate(reversed(names)):
                height = above - LINE * (number + 0.7)
                sheet.text(left, height, words, weight="bold", color=colours[line.family])
            if self._is_first(place, columns):
                sheet.text(left, above - LINE * (len(names) + 0.7), line.family, color=SOFT)
            for metric, deep in self.deep.items():
                axes = sheet.axes(left, above, wide, deep)
                self._panel(axes, metric, line, colours[line.family])
                axes.tick_params(labelbottom=metric == "asd", labelleft=column == 0)
                if column == 0:
                    middle, turned = above + deep / 2, {"rotation": 90, "va": "center"}
                    sheet.text(2, middle, self.headings[metric], ha="center", **turned)
                if place == 0 and metric == "dice":
                    self._direct(axes)
                above += deep + GAP
        sheet.text(LEFT, top + bottom + LINE / 2, "labelled patients")
        for number, words in enumerate(self._caption(sheet.width)):
            sheet.text(0.5, top + bottom + LINE * (number + 1.6), words, color=SOFT)

    def _grid(self, width: float) -> tuple[int, float]:
        """How many methods stand beside each other, and how wide one is."""
        most = FEW if width == SINGLE else 5 if self.deep is LARGE else 7
        rows = math.ceil(len(self.lines) / most)
        columns = max(FEW, math.ceil(len(self.lines) / rows))
        return columns, (width - LEFT - 1 - GAP * (columns - 1)) / columns

    def _tops(self, width: float) -> list[float]:
        """The top of the panels of each row of methods, below their names; the bottom of all."""
        columns, wide = self._grid(width)
        found, top = [], 0.0
        for first in range(0, len(self.lines), columns):
            words = [
                len(name_lines(line.name, wide, "bold")) + self._is_first(first + place, columns)
                for place, line in enumerate(self.lines[first : first + columns])
            ]
            found.append(top + LINE * (max(words) + 0.5))
            top = found[-1] + sum(self.deep.values()) + GAP + TICKS
        return [*found, top]

    def _is_first(self, place: int, columns: int) -> bool:
        """Whether the family stands above a method: it is its first, or the first of a row."""
        return place % columns == 0 or self.lines[place].family != self.lines[place - 1].family

    def _panel(self, axes: Axes, metric: str, line: Line, colour: str) -> None:
        """One method in front of all, with the floor and the ceiling."""
        if self.ceiling is not None:
            _, mean, low, high = self.ceiling.points[metric].iloc[-1]
            if not math.isnan(low):
                axes.axhspan(low, high, **BAND)
            axes.axhline(mean, color=SOFT, lw=0.6, ls=":")
        if self.floor is not None:
            points = self._within(self.floor.points[metric])
            axes.fill_between(points["labelled"], points["low"], points["high"], **BAND)
        for other in self.lines:
            if other is not line:
                points = other.points[metric]
                axes.plot(points["labelled"], points["mean"], color=FAINT, lw=self.thin)
        if self.floor is not None:
            points = self._within(self.floor.points[metric])
            axes.plot(points["labelled"], points["mean"], color=SOFT, lw=0.8, ls="--")
        points = line.points[metric]
        axes.vlines(points["labelled"], points["low"], points["high"], color=colour, lw=0.8)
        axes.plot(points["labelled"], points["mean"], "o-", color=colour, lw=1.2, ms=2.6, mew=0)
        self._scales(axes, metric)

    def _within(self, points: pd.DataFrame) -> pd.DataFrame:
        """The points up to the last label budget of a method: with all labels it is the ceiling."""
        return points[points["labelled"] <= max(self.counts)]

    def _scales(self, axes: Axes, metric: str) -> None:
        """The same scales in every panel of a metric; distances in the logarithm."""
        frames = [line.points[metric] for line in self.lines]
        frames += [self._within(self.floor.points[metric])] if self.floor else []
        frames += [self.ceiling.points[metric].iloc[-1:]] if self.ceiling else []
        held = [
            float(number)
            for frame in frames
            for name in ("mean", "low", "high")
            for number in frame[name].dropna()
        ]
        low, high = min(held), max(held)
        axes.set_xscale("log")
        first, last = self.counts[0], self.counts[-1]
        aside = (last / first) ** 0.08 if last > first else 1.5
        axes.set_xlim(first / aside, last * aside)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(self.counts, [f"{count:.3g}" for count in self.counts])
        if metric == "asd" and low > 0:
            axes.set_yscale("log")
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            ticks = [digit * 10.0**power for power in powers for digit in (1, 3)]
            ticks = [tick for tick in ticks if low <= tick <= high]
            if len(ticks) < 2:
                ticks = [tick for tick in MaxNLocator(3).tick_values(low, high) if tick > 0]
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(FixedLocator(ticks))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            aside = (high / low) ** 0.05
            axes.set_ylim(low / aside, high * aside)
        else:
            aside = 0.05 * (high - low) or 0.1
            # Above all curves stands what the ceiling is.
            word = (LINE + 0.5) / self.deep[metric]
            above = (high - low + aside) * word / (1 - word)
            axes.set_ylim(low - aside, high + above)
            axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_formatter(lambda value, _: signed(f"{value:g}"))

    def _direct(self, axes: Axes) -> None:
        """What the floor and the ceiling are, beside them."""
        beside: dict[str, Any] = {"textcoords": "offset points", "color": SOFT}
        if self.ceiling is not None:
            _, *ends = self.ceiling.points["dice"].iloc[-1]
            place = axes.get_xlim()[0], np.nanmax(ends)
            axes.annotate(FULL_SUPERVISION, place, (1.5, 1), va="bottom", **beside)
        if self.floor is not None:
            points = self._within(self.floor.points["dice"])
            counts = np.log(points["labelled"].to_numpy())
            share = room(REFERENCE) / (axes.get_window_extent().width * MM / axes.figure.dpi)
            first = counts[-1] - share * float(np.diff(np.log(axes.get_xlim()))[0])
            # Below the band where the word begins, if there is room.
            lowest = np.interp(first, counts, points[["mean", "low"]].min(axis=1))
            bottom, top = axes.get_ylim()
            if lowest > bottom + (top - bottom) * LINE / self.deep["dice"]:
                place = points["labelled"].iloc[-1], lowest
                axes.annotate(REFERENCE, place, (0, -1), ha="right", va="top", **beside)

    def _caption(self, width: float) -> list[str]:
        """What a reader must know, in lines."""
        parts = [(*answer.about, *answer.setting) for answer in self.answers]
        every = dict.fromkeys(part for held in parts for part in held)
        # What they share, then what tells them apart.
        facts = sorted(every, key=lambda part: not all(part in held for held in parts))
        said = [
            " \N{MIDDLE DOT} ".join(facts) + ".",
            "Means over patients with 95 % intervals, not paired; thin: the other methods.",
        ]
        if self.floor is not None:
            said.append(f"Dashed: {REFERENCE}.")
        if self.ceiling is not None:
            said.append(f"Dotted: {FULL_SUPERVISION}.")
        said.append("Lower ASD is better.")
        return lines_of(" ".join(said), width - 1)


def _lines(section: Section) -> list[Line]:
    """The methods of a section in the order of its tables."""
    data = section.plot_data
    if data is None:
        return []
    known = list(data.methods["Method"])
    found = []
    for place, method in data.methods.reset_index(drop=True).iterrows():
        name = str(method["Method"])
        if known.count(name) > 1:
            name = f"{name} {method['Deviations']}"
        own = data.curves[data.curves["method"] == place]
        points = {
            metric: own[own["metric"] == metric]
            .sort_values("labelled")[["labelled", "mean", "low", "high"]]
            .reset_index(drop=True)
            for metric in LARGE
        }
        found.append(Line(name, str(method["family"]), str(method["role"]), points))
    return found


def _sorted(lines: Sequence[Line]) -> list[Line]:
    """Families together, in the order of their first methods, and what is no rival last."""
    families = list(dict.fromkeys(line.family for line in lines))
    return sorted(
        lines, key=lambda line: (line.family in NOT_COMPARED, families.index(line.family))
    )
