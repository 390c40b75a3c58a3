"""The answer on one terminal screen: lines of text with a style, in 80 columns and 40 rows.

One label budget has a forest plot and the top of the leaderboard; several have their answers and a
table of differences. No line is wider than asked for, and nothing but ASCII is drawn.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from contrabench.contracts.report import (
    MISSING,
    Answer,
    Column,
    Section,
    Table,
    number_text,
    plain,
)
from contrabench.references import CONTROL_FAMILY, REFERENCE, REFERENCE_FAMILY
from contrabench.report.axis import reach, step_of
from contrabench.text import asked_labels

HEIGHT, WIDTH = 40, 80
_NAME, _PLOT_NAME, _SHORTEST_PLOT, _TICKS = 30, 22, 24, 8
_CAPTIONS = {REFERENCE_FAMILY: "references", CONTROL_FAMILY: "controls, never ranked"}
_ENDS = ("95% low", "95% high")


class Line(NamedTuple):
    """A line and how it looks, as rich names styles; empty for plain."""

    text: str
    style: str = ""


def screen(
    sections: Sequence[Section], width: int, command: str, height: int = HEIGHT
) -> list[Line]:
    """The screen of all label budgets that have an answer; empty where none has.

    `command` makes the report again, and is the beginning of what is advised at the end.
    """
    told = [one for one in sections if one.answer is not None]
    if len(told) == 1 and (only := told[0].answer) is not None:
        return list(_one(only, width, height, command))
    groups: dict[str, list[tuple[str, Answer]]] = {}
    for one in told:
        if one.answer is not None:
            groups.setdefault(one.protocol, []).append((one.labels, one.answer))
    return list(_several(list(groups.values()), width, command)) if told else []


def _one(answer: Answer, width: int, height: int, command: str) -> Iterator[Line]:
    """One label budget: what it is, the answer, the picture, the best rows."""
    head = [
        *_head(answer, width),
        *_sight(answer.sight, width),
        Line(""),
        *_words(answer, width),
        Line(""),
    ]
    foot = [Line(""), *_foot(width, command)]
    # The best four rows of the board, with its heading and a line before it.
    room = height - len(head) - len(foot) - 8
    picture = list(_forest(answer, width, room))
    yield from head
    yield from picture
    yield Line("")
    yield from _board(answer, width, height - len(head) - len(picture) - len(foot) - 1)
    yield from foot


def _head(answer: Answer, width: int) -> Iterator[Line]:
    for style, parts in (("bold", answer.about), ("dim", answer.setting)):
        yield from (Line(text, style) for text in filled(parts, width))


def filled(parts: Sequence[str], width: int) -> list[str]:
    """Parts of a line with dots between them, on as many lines as they need."""
    lines = [""]
    for part in map(plain, parts):
        longer = f"{lines[-1]} - {part}" if lines[-1] else part
        if len(longer) > width and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = longer
    return lines


def _sight(sight: Sequence[str], width: int) -> Iterator[Line]:
    for text in sight:
        yield from (Line(one, "dim") for one in textwrap.wrap(plain(text), width))


def _words(answer: Answer, width: int) -> Iterator[Line]:
    text = plain(" ".join(answer.words))
    yield from (Line(f"  {one}", "bold") for one in textwrap.wrap(text, width - 2))


class _Scale(NamedTuple):
    """From differences to columns of the plot."""

    low: float
    high: float
    columns: int

    def column(self, value: float) -> int:
        """Where a difference stands, at an end if it lies beyond."""
        share = (value - self.low) / (self.high - self.low)
        return min(self.columns - 1, max(0, round(share * (self.columns - 1))))


def _forest(answer: Answer, width: int, room: int) -> Iterator[Line]:
    """Intervals of the differences to scratch, families together."""
    table = answer.forest
    data = table.data
    if data.empty:
        return
    gain = table.columns[2].name
    families = list(data["Family"])
    # Where the captions take too much of the room, the rows say more.
    captions = len(data) + len(set(families)) <= room - 2 or len(data) > room - 2
    rows = _chosen(families, room - 2) if captions else range(len(data))
    names = [plain(data["Method"].iloc[row]) for row in rows]
    name = min(_PLOT_NAME, max(map(len, names), default=0)) + 2
    beside = _beside(answer)
    columns = max(_SHORTEST_PLOT, width - name - 7 - sum(len(head) + 2 for head in beside))
    scale = _scale(answer, columns)
    zero, ticks = scale.column(0.0), _ticks(scale)
    title = f"Dice minus {REFERENCE} ({number_text('score', answer.scratch)}), {answer.basis}"
    yield Line(title[:width], "dim")
    heads = "".join(f"  {head}" for head in beside)
    yield Line(_row("", ticks, f"group{heads}", name, columns).rstrip(), "dim")
    family = ""
    for row, label in zip(rows, names, strict=True):
        line = data.iloc[row]
        if str(line["Family"]) != family:
            family = str(line["Family"])
            if captions:
                yield Line(_CAPTIONS.get(family, plain(family)), "dim")
        drawn = _bar(scale, zero, line[gain], *(line[end] for end in _ENDS))
        quiet = "dim" if family in (REFERENCE_FAMILY, CONTROL_FAMILY) else ""
        letters = line["Group"] if isinstance(line["Group"], str) else ""
        facts = (cells.get(str(line["Method"]), "") for cells in beside.values())
        told = [f"{text:>{len(head) + 2}}" for head, text in zip(beside, facts, strict=True)]
        end = f"{letters:<5}{''.join(told)}"
        yield Line(_row(cut(label, name - 2), drawn, end, name, columns).rstrip(), quiet)
    if len(rows) < len(data):
        yield Line(f"  and {len(data) - len(rows)} more rows", "dim")
    yield Line("group: a letter in common is not told apart. min: minutes of training a run", "dim")


def _beside(answer: Answer) -> dict[str, dict[str, str]]:
    """What stands behind each row of the plot, by heading and method: Dice, and what it cost."""
    found: dict[str, dict[str, str]] = {" Dice": {}, " min": {}}
    for _, line in answer.board.data.iterrows():
        minutes = 60 * float(line["Hours"])
        cost = f"{minutes:.2g}" if minutes < 10 else f"{minutes:.0f}"
        found[" Dice"][str(line["Method"])] = number_text("score", line["Dice"])
        found[" min"][str(line["Method"])] = "" if math.isnan(minutes) else cost
    return found


def _chosen(families: Sequence[str], room: int) -> list[int]:
    """The rows that there is room for, the first of each family first; in their order."""
    order: list[tuple[int, int]] = []
    seen: dict[str, int] = {}
    for row, family in enumerate(families):
        seen[family] = seen.get(family, 0) + 1
        order.append((seen[family], row))
    fitting = max(1, room - len(set(families)))
    if len(families) <= fitting:
        return list(range(len(families)))
    return sorted(row for _, row in sorted(order)[: fitting - 1])


def _scale(answer: Answer, columns: int) -> _Scale:
    """From one round number to another."""
    names = [answer.forest.columns[2].name, *_ENDS]
    low, high = reach(answer.forest.data, names, answer.margin)
    step = step_of(high - low, _TICKS)
    return _Scale(math.floor(low / step) * step, math.ceil(high / step) * step, columns)


def _ticks(scale: _Scale) -> str:
    """The numbers above the plot, those that have room; zero first of all."""
    step, marks = step_of(scale.high - scale.low, _TICKS), [" "] * scale.columns
    digits = max(2, -math.floor(math.log10(step)))
    first, last = (round(end / step) for end in (scale.low, scale.high))
    for number in sorted(range(first, last + 1), key=abs):
        text = f"{number * step:+.{digits}f}" if number else "0"
        begin = min(scale.column(number * step), scale.columns - len(text))
        if not "".join(marks[max(0, begin - 1) : begin + len(text) + 1]).strip():
            marks[begin : begin + len(text)] = text
    return "".join(marks)


def _bar(scale: _Scale, zero: int, mean: float, low: float, high: float) -> str:
    marks = [" "] * scale.columns
    marks[zero] = "|"
    if not math.isnan(low):
        for place in range(scale.column(low), scale.column(high) + 1):
            marks[place] = "-"
    if mean > scale.high:
        text = f"{mean:+.2f} >"
        marks[-len(text) :] = text
        return "".join(marks)
    if mean < scale.low:
        text = f"< {mean:+.2f}"
        marks[: len(text)] = text
        return "".join(marks)
    marks[scale.column(mean)] = "o"
    return "".join(marks)


def _row(name: str, drawn: str, letters: str, width: int, columns: int) -> str:
    return f"{f'  {name}' if name else '':<{width}}{drawn:<{columns}} {letters}"


def cut(text: str, most: int) -> str:
    """A name in so many letters at most; two dots stand for what was cut off."""
    return text if len(text) <= most else f"{text[: most - 2]}.."


class _Column(NamedTuple):
    """A column of a table on the screen; numbers stand to the right."""

    heading: str
    cells: list[str]
    right: bool = True

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))

    def cell(self, text: str) -> str:
        return f"{text:>{self.width}}" if self.right else f"{text:<{self.width}}"


def _table(names: Sequence[str], columns: Sequence[_Column], width: int) -> Iterator[Line]:
    """The columns that there is width for, beside the names; the headings first."""
    first = _Column("", [cut(name, _NAME) for name in names], right=False)
    fitting, taken = [first], first.width
    for column in columns:
        taken += 2 + column.width
        if taken > width and len(fitting) > 1:
            break
        fitting.append(column)
    yield Line("  ".join(one.cell(one.heading) for one in fitting).rstrip(), "dim")
    for row in range(len(names)):
        yield Line("  ".join(one.cell(one.cells[row]) for one in fitting).rstrip())


def _span(mean: float, low: float, high: float) -> str:
    """A difference with its interval: `+0.169 [+0.115 +0.223]`."""
    ends = [number_text("difference", one) for one in (low, high)]
    inside = "" if MISSING in ends else f" [{' '.join(ends)}]"
    return number_text("difference", mean) + inside


def _board(answer: Answer, width: int, room: int) -> Iterator[Line]:
    """The best rows of the leaderboard, in the columns that there is width for."""
    table, data = answer.board, answer.board.data
    most = max(1, room - 1)
    rows = range(len(data) if len(data) <= most else max(1, most - 1))
    columns: list[_Column] = []
    gain = f"vs {REFERENCE}"
    for column in table.columns[1:]:
        if column.name in ("low", "high"):
            continue
        if column.name == gain:
            spans = [_span(*data[[gain, "low", "high"]].iloc[row]) for row in rows]
            columns.append(_Column(f"{gain} [95 %]", spans, right=False))
        else:
            cells = [table.texts(row, (column,))[0] for row in rows]
            columns.append(_Column(column.heading, cells, right=column.kind != "text"))
    names = [plain(data["Method"].iloc[row]) for row in rows]
    yield from _table(names, columns, width)
    if len(rows) < len(data):
        yield Line(f"{len(rows)} of {len(data)} rows", "dim")


def _several(
    protocols: Sequence[Sequence[tuple[str, Answer]]], width: int, command: str
) -> Iterator[Line]:
    """Several label budgets of each protocol: the answers, and their differences in one table."""
    for told in protocols:
        known: set[str] = set()
        for number, (_, answer) in enumerate(told):
            if number == 0:
                yield from _head(answer, width)
            yield Line("")
            yield from (Line(text, "dim") for text in filled(answer.about[2:3], width))
            yield from _sight([text for text in answer.sight if text not in known], width)
            known |= set(answer.sight)
            yield from _words(answer, width)
        yield Line("")
        if differences := list(_differences([answer for _, answer in told], width)):
            yield from (*differences, Line(""))
    yield from _foot(width, command, [labels for told in protocols for labels, _ in told])


def _differences(answers: Sequence[Answer], width: int) -> Iterator[Line]:
    """Methods by label budget: the difference to scratch, and the letters of those alike.

    None where there are controls alone.
    """
    names: dict[str, None] = {}
    for answer in answers:
        data = answer.forest.data
        names |= dict.fromkeys(data["Method"][data["Family"] != CONTROL_FAMILY])
    if not names:
        return
    columns = []
    for answer in answers:
        table = answer.forest
        told = {
            table.data["Method"].iloc[row]: " ".join(
                _known(table.texts(row, _gain_and_group(table)))
            )
            for row in range(len(table.data))
        }
        cells = [told.get(name, MISSING) for name in names]
        columns.append(
            _Column(plain(answer.about[2]).removesuffix(" labelled"), cells, right=False)
        )
    yield Line(
        f"Dice minus {REFERENCE}, by labelled patients; a letter in common: not told apart", "dim"
    )
    yield from _table([plain(name) for name in names], columns, width)


def _gain_and_group(table: Table) -> tuple[Column, ...]:
    return tuple(one for one in table.columns if one.name in (table.columns[2].name, "Group"))


def _known(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if text != MISSING]


def _foot(width: int, command: str, labels: Sequence[str] = ()) -> Iterator[Line]:
    """Where the rest is."""
    words = [f"everything: {command} --all", "one table: --section NAME", "page: --out report.html"]
    if labels:
        words.insert(0, f"one label budget: --labels {asked_labels(labels[0])}")
    yield from (Line(text, "dim") for text in filled(words, width))
