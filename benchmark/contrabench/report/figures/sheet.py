"""A figure that is laid out in millimetres, so that it has a journal's width and sizes of type."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

SINGLE, DOUBLE = 85.0, 178.0
"""The width of one column of a journal, and of two, in mm."""
MM = 25.4
"""In an inch."""
SIZE = 7.5
"""Points of all type."""
LINE = 3.6
"""From one line of text to the next, in mm."""
INK, SOFT, FAINT, SHADE = "#1a1f21", "#565e62", "#c3c8ca", "#e8ebec"
DOTS = 300
"""Of a PNG, to the inch."""

FONTS = ["DejaVu Sans", "Arial", "Helvetica"]
"""The first comes with matplotlib, so that every machine lays out the same; a program that reads an
SVG and lacks it takes the next, which are narrower."""
SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": FONTS,
    "font.size": SIZE,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.5,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    # A name may hold a dollar sign.
    "text.parse_math": False,
    # Else a PNG has wider letters than what was measured.
    "text.hinting": "none",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "contrabench",
}


class Sheet:
    """A white figure of a size in mm; x runs to the right and y down, from the upper left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / MM, height / MM), facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes of a place and size."""
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def text(self, left: float, middle: float, words: str, **more: Any) -> None:
        """Words whose line has its middle at a height."""
        place = left / self.width, 1 - middle / self.height
        self.figure.text(*place, words, **{"va": "center_baseline", **more})


@lru_cache(maxsize=4096)
def room(words: str, weight: str = "normal") -> float:
    """How wide words are, in mm."""
    font = FontProperties(family=FONTS[:1], size=SIZE, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(words, font, ismath=False)
    return float(width) * MM / 72


def lines_of(words: str, width: float) -> list[str]:
    """A text in lines that are no wider."""
    lines: list[str] = []
    for word in words.split():
        if lines and room(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def name_lines(name: str, width: float, weight: str = "normal") -> list[str]:
    """A name in lines that are no wider, broken before a bracket or after a comma if it can be."""
    return list(_broken(name, width, weight)) or [""]


def _broken(name: str, width: float, weight: str) -> Iterator[str]:
    while name:
        end = len(name)
        while end > 1 and room(name[:end], weight) > width:
            end -= 1
        if end < len(name):
            end = _break(name, end)
        yield name[:end]
        name = name[end:]


def _break(name: str, end: int) -> int:
    """Where a name is broken that has room up to `end`: before a bracket, else after a mark."""
    for before, after in (("[", ""), ("", ",+ "), ("", "=_")):
        marks = [n for n in range(1, end + 1) if name[n] in before or name[n - 1] in after]
        # A few letters alone would look like a name.
        if marks and max(marks) > end / 4:
            return max(marks)
    return end


def signed(number: str) -> str:
    """Numbers with a minus for each hyphen."""
    return number.replace("-", "\N{MINUS SIGN}")
