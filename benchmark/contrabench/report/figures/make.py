"""From a report to a figure: the forest plot of one label budget, the curves over several."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from contrabench.contracts.report import Answer, Report, Section
from contrabench.errors import RequestError

if TYPE_CHECKING:
    from contrabench.report.figures.curves import Curves
    from contrabench.report.figures.forest import Forest
    from contrabench.report.figures.sheet import Sheet

FileKind = Literal["pdf", "png", "svg"]
_APART = 6.0
"""Between the panels of two protocols, in mm."""
_UNDATED: dict[FileKind, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def figure(report: Report, kind: FileKind) -> bytes:
    """The answers of a report as one figure; equal reports give equal bytes.

    A protocol with one label budget has its forest plot, one with several its curves; those of
    several protocols stand one below the other. RequestError if no method is compared with
    anything, or matplotlib is missing.
    """
    with _drawing():
        from contrabench.report.figures.sheet import DOTS

        out = BytesIO()
        sheet(report).figure.savefig(out, format=kind, dpi=DOTS, metadata=_UNDATED[kind])
    return out.getvalue()


def sheet(report: Report) -> Sheet:
    """The figure before it is written; RequestError as of `figure`."""
    with _drawing():
        return _sheet(list(_blocks(report)))


def _sheet(blocks: Sequence[Forest | Curves]) -> Sheet:
    from contrabench.report.figures.sheet import DOUBLE, LINE, SINGLE, Sheet

    if not blocks:
        raise RequestError(
            "there is nothing to draw: this report holds no method that is compared with another; "
            "see what it holds with --format terminal"
        )
    width = SINGLE if all(block.width == SINGLE for block in blocks) else DOUBLE
    titled = 1.5 * LINE if len(blocks) > 1 else 0.0
    heights = [titled + block.height(width) for block in blocks]
    made = Sheet(width, sum(heights) + _APART * (len(blocks) - 1))
    top = 0.0
    for block, height in zip(blocks, heights, strict=True):
        if titled:
            made.text(0.5, top + LINE / 2, block.title, weight="bold")
        block.draw(made, top + titled)
        top += height + _APART
    return made


def _blocks(report: Report) -> Iterator[Forest | Curves]:
    """What is drawn of each protocol in its turn."""
    from contrabench.report.figures.curves import Curves
    from contrabench.report.figures.forest import Forest

    parts: dict[tuple[str, str], list[Section]] = {}
    for section in report.sections:
        parts.setdefault((section.dataset, section.protocol), []).append(section)
    for sections in parts.values():
        answered = [
            (one, one.answer) for one in sections if one.answer and len(one.answer.forest.data)
        ]
        across = [one for one in sections if one.plot_data and len(one.plot_data.curves)]
        if len(answered) > 1 and across:
            answers: list[Answer] = [answer for _, answer in answered]
            yield Curves(across[0], answers)
        elif answered:
            yield from (Forest(*one) for one in answered)


@contextmanager
def _drawing() -> Iterator[None]:
    """Within it figures look the same whatever the user's own settings are."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise RequestError(
            "a figure needs matplotlib, which is not installed: pip install matplotlib; "
            "every other --format works without it"
        ) from error
    from contrabench.report.figures.sheet import SETTINGS

    with mpl.rc_context(), warnings.catch_warnings():
        # A mark that the font lacks is an empty box.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield
