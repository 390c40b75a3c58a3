"""The forest plot of an answer as SVG, which needs no script and takes its theme from CSS."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from contrabench.contracts.report import Answer, Column, Table, number_text, plain
from contrabench.references import REFERENCE
from contrabench.report.axis import reach, step_of
from contrabench.report.colours import GREY

_ROW, _HEAD, _TOP, _BOTTOM = 20, 23, 30, 22
"""Heights: of a method, of the name of a family, of the axis, and of what is said below."""
_LETTER = 6.9
"""About the width of a letter of a name."""
_TITLES = {"reference": "References", "control": "Controls"}


@dataclass(frozen=True)
class Layout:
    """Widths of the picture and its columns; the Dice has what is left."""

    kind: str
    width: int
    names: int
    distance: int
    group: int
    gap: int
    ticks: int

    @property
    def panels(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Left and right end of the Dice and of the distance."""
        end = self.width - self.group
        start = end - self.distance
        return (self.names, start - self.gap), (start, end)


WIDE = Layout("wide", width=560, names=182, distance=110, group=38, gap=22, ticks=5)
NARROW = Layout("narrow", width=350, names=118, distance=66, group=30, gap=14, ticks=3)


@dataclass(frozen=True)
class _Panel:
    """Differences in one metric along an axis from `left` to `right`."""

    columns: tuple[Column, ...]
    left: float
    right: float
    low: float
    high: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.left + share * (self.right - self.left), 1)

    def inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)


def pictures(answer: Answer, hues: Mapping[str, str]) -> list[Markup]:
    """The picture for a wide screen and for a phone; `hues` are the colours of the families.

    None where no method is compared with scratch.
    """
    return [_draw(answer, hues, layout) for layout in (WIDE, NARROW) if len(answer.forest.data)]


def _draw(answer: Answer, hues: Mapping[str, str], layout: Layout) -> Markup:
    table = answer.forest
    numbers = [column for column in table.columns if column.kind != "text"]
    panels = [
        _panel(table, columns, answer.margin if place == 0 else 0.0, *layout.panels[place])
        for place, columns in enumerate((tuple(numbers[:3]), tuple(numbers[3:])))
    ]
    rows, height = list(_places(table)), 0.0
    height = rows[-1][1] + _ROW / 2 + _BOTTOM
    floor = height - _BOTTOM
    said = f"{numbers[0].name} of each method with its interval; the numbers are in a table below"
    parts = [
        f'<svg class="forest {layout.kind}" viewBox="0 0 {layout.width} {height:g}" role="img" '
        f'aria-label="{escape(plain(said))}">',
        *_ground(answer, panels, floor, layout),
    ]
    before = ""
    for place, y in rows:
        family = str(table.data["Family"].iloc[place])
        if family != before:
            before, hue = family, hues.get(family, GREY)
            title = plain(_TITLES.get(family, family.capitalize()))
            parts.append(
                f'<text class="family" x="12" y="{y - _ROW:g}">{escape(title)}</text>'
                f'<rect x="0" y="{y - _ROW - 8:g}" width="7" height="8" rx="2" fill="{hue}"/>'
            )
        parts += _row(table, place, y, panels, hues.get(family, GREY), layout)
    return Markup("\n".join([*parts, "</svg>"]))


def _places(table: Table) -> Iterator[tuple[int, float]]:
    """Each row with its height; a family has its name above its first."""
    y, before = float(_TOP), None
    for place, family in enumerate(table.data["Family"]):
        y += _ROW + (_HEAD if family != before else 0)
        before = family
        yield place, y


def _panel(
    table: Table, columns: tuple[Column, ...], margin: float, left: float, right: float
) -> _Panel:
    """As wide as the differences reach, with a little room at both ends."""
    low, high = reach(table.data, [column.name for column in columns], margin)
    room = 0.05 * (high - low) or 1.0
    return _Panel(columns, left, right, low - room, high + room)


def _ground(
    answer: Answer, panels: Sequence[_Panel], floor: float, layout: Layout
) -> Iterator[str]:
    """Titles, the margin, ticks and the line of scratch."""
    heads = ("Dice", panels[1].columns[0].name.removesuffix(f" minus {REFERENCE}"))
    scored = number_text("score", answer.scratch)
    for place, (panel, head) in enumerate(zip(panels, heads, strict=True)):
        zero = panel.at(0.0)
        if place == 0:
            left, right = (panel.at(panel.inside(side * answer.margin)) for side in (-1, 1))
            yield (
                f'<rect class="margin" x="{left}" y="{_TOP}" width="{right - left:.1f}" '
                f'height="{floor - _TOP:g}"/>'
            )
        for tick in _ticks(panel, layout.ticks if place == 0 else layout.ticks - 2):
            x = panel.at(tick)
            yield f'<line class="tick" x1="{x}" x2="{x}" y1="{_TOP}" y2="{floor:g}"/>'
            yield f'<text class="mark" x="{x}" y="{_TOP - 5}">{_signed(tick)}</text>'
        yield f'<line class="zero" x1="{zero}" x2="{zero}" y1="{_TOP}" y2="{floor:g}"/>'
        yield f'<text class="axis" x="{panel.left:g}" y="11">{escape(plain(head))}</text>'
        towards = ("better \u2192", "\u2190 better")[place]
        end, anchor = ((panel.right, "end"), (panel.left, "start"))[place]
        yield (
            f'<text class="axis" x="{end:g}" y="{floor + 15:g}" text-anchor="{anchor}">'
            f"{towards}</text>"
        )
    yield (
        f'<text class="axis" x="{panels[0].at(0.0)}" y="{floor + 15:g}" text-anchor="middle">'
        f"{REFERENCE}{'' if layout is NARROW else f' {scored}'}</text>"
    )
    if answer.forest.data["Group"].notna().any():
        yield (
            f'<text class="axis" x="{layout.width}" y="11" text-anchor="end">'
            f"{'ties' if layout is NARROW else 'group'}</text>"
        )


def _ticks(panel: _Panel, most: int) -> list[float]:
    """Round numbers, at most so many and always zero."""
    step = step_of(panel.high - panel.low, max(most, 1))
    first, last = math.ceil(panel.low / step), math.floor(panel.high / step)
    return [number * step for number in range(first, last + 1)]


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "\u2212") if value else "0"


def _row(
    table: Table, place: int, y: float, panels: Sequence[_Panel], hue: str, layout: Layout
) -> Iterator[str]:
    """The name of a method, its two differences and its letters; the numbers when pointed at."""
    name, family, *_, group = table.texts(place, table.columns)
    told = [
        "{} {} (95% {} to {})".format(panel.columns[0].name, *table.texts(place, panel.columns))
        for panel in panels
    ]
    said = escape(plain(f"{name}: {told[0]}; {told[1]}"))
    yield f'<g class="row" data-family="{escape(family)}"><title>{said}</title>'
    yield f'<rect class="under" x="0" y="{y - 13:g}" width="{layout.width}" height="{_ROW}"/>'
    yield f'<text class="who" x="12" y="{y:g}">{escape(_cut(name, layout.names - 22))}</text>'
    for panel in panels:
        yield from _interval(table, place, y - 4, panel, hue)
    if group != "–":
        yield f'<text class="letters" x="{layout.width}" y="{y:g}">{escape(group)}</text>'
    yield "</g>"


def _interval(table: Table, place: int, y: float, panel: _Panel, hue: str) -> Iterator[str]:
    """A line from end to end and its mean, hollow where the interval holds zero."""
    mean, low, high = (float(table.data[column.name].iloc[place]) for column in panel.columns)
    if math.isnan(mean):
        return
    if panel.inside(mean) != mean:
        beyond = mean > panel.high
        x, text = (panel.right if beyond else panel.left), table.texts(place, panel.columns)[0]
        way = -6 if beyond else 6
        yield f'<path fill="{hue}" d="M{x:g} {y:g}l{way} -4v8z"/>'
        yield (
            f'<text class="mark" x="{x + 1.5 * way:g}" y="{y + 4:g}" '
            f'text-anchor="{"end" if beyond else "start"}">{text.replace("-", chr(0x2212))}</text>'
        )
        return
    if not math.isnan(high - low):
        ends = [panel.at(panel.inside(end)) for end in (low, high)]
        yield (
            f'<line stroke="{hue}" stroke-width="2" x1="{ends[0]}" x2="{ends[1]}" '
            f'y1="{y:g}" y2="{y:g}"/>'
        )
    kind = "found" if low > 0 or high < 0 else "open"
    yield f'<circle class="{kind}" cx="{panel.at(mean)}" cy="{y:g}" r="3.6" style="--hue:{hue}"/>'


def _cut(name: str, room: float) -> str:
    """The end of a name often tells it apart, so the middle is what goes."""
    most = int(room / _LETTER)
    if len(name) <= most:
        return name
    head = most // 2
    return f"{name[:head]}\u2026{name[len(name) - (most - head - 1) :]}"
