"""An advice on one terminal screen: topics with their sentences, and a table of the methods."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from contrabench.contracts.report import MISSING, Table, plain
from contrabench.report.advice import Advice
from contrabench.report.screen import Line, cut, filled

_TOPIC, _NAME, _EFFECT, _LABELS, _HOURS = 17, 20, 23, 12, 5


def advice_screen(
    advice: Advice, held: Sequence[str], foot: Sequence[str], width: int
) -> list[Line]:
    """The lines of an advice; `held` is what the data hold, `foot` what to do next."""
    about, *setting = advice.about
    return [
        *(Line(text, "bold") for text in filled(about, width)),
        *(
            Line(text, "dim")
            for parts in (*setting, held)
            if parts
            for text in filled(parts, width)
        ),
        Line(""),
        *topics(advice.told, width),
        Line(""),
        *_table(advice.gains, width),
        Line(""),
        *(Line(text, "dim") for one in foot for text in textwrap.wrap(plain(one), width)),
    ]


def topics(told: Sequence[tuple[str, str]], width: int) -> Iterator[Line]:
    """Sentences beside their topics; the first one is the answer."""
    for number, (topic, text) in enumerate(told):
        first, *more = textwrap.wrap(plain(text), width - _TOPIC) or [""]
        style = "" if number else "bold"
        yield Line(f"{topic:<{_TOPIC - 1}} {first}", style)
        yield from (Line(" " * _TOPIC + line, style) for line in more)


def _table(table: Table, width: int) -> Iterator[Line]:
    """A row for each method below the name of its family."""
    part = table.parts[0]
    yield Line(
        f"{part:<{_NAME}} {'Dice vs scratch [95%]':<{_EFFECT}} {'as good as':>{_LABELS}} "
        f"{'hours':>{_HOURS}} known",
        "bold",
    )
    family = ""
    for row in range(len(table.data)):
        name, of, mean, low, high, labels, hours, says = table.texts(row, table.columns)
        if of != family:
            family = of
            yield Line(family, "dim")
        ends = "" if low == MISSING else f"[{low} {high}]"
        short = f"  {cut(name, _NAME - 2)}"
        yield Line(
            f"{short:<{_NAME}} {mean:>6} {ends:<{_EFFECT - 7}} {labels:>{_LABELS}} "
            f"{hours:>{_HOURS}} {says}"
        )
    for note in table.notes:
        yield from (Line(text, "dim") for text in textwrap.wrap(plain(note), width))
