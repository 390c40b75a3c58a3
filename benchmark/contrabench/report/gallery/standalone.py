"""One exhibit as one SVG file, for documents that cannot hold a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from contrabench.contracts.gallery import Exhibit
from contrabench.contracts.report import number_text, plain
from contrabench.report.gallery.layout import Row, data_uri, hue, row_of, words_of

_CELL = 540.0
_GAP = 20.0
_CAPTION = 34.0
_HEAD = 84.0
_FAINT = 20.0
"""Height of a second line in a caption, for deviations."""
_LETTERS = 42
"""A longer method is cut, so that it does not run into its number."""
_FAINT_LETTERS = 72
_HEAD_LETTERS = 46
"""A longer patient is cut, so that its Dice stays in the picture."""
_FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


def exhibit_svg(exhibit: Exhibit, structures: Sequence[str]) -> str:
    """Draws an exhibit: the reference, and each method on the same planes, in two columns.

    Args:
        exhibit: what to draw.
        structures: their names, as `Gallery.structures` has them.

    Returns:
        One document that refers to nothing outside it; the same for the same exhibit.
    """
    row = row_of(exhibit)
    scale = _CELL / row.width
    caption = _CAPTION + _FAINT * any(drawing.deviations for drawing in exhibit.drawings)
    tall = row.height * scale + caption + _GAP
    lines = (len(exhibit.drawings) + 2) // 2
    width, height = 2 * _CELL + 3 * _GAP, _HEAD + lines * tall + _GAP / 2
    dice = number_text("score", exhibit.dice)
    patient = plain(exhibit.patient)
    head = f"{exhibit.word.capitalize()}: {cut_middle(patient, _HEAD_LETTERS)}, mean Dice {dice}"
    words = f"{exhibit.word.capitalize()}: {patient}, mean Dice {dice}; {words_of(exhibit.planes)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" '
        f"aria-label={quoteattr(words)} {_FONT}>",
        f'<rect width="{width:g}" height="{height:g}" fill="#14181a"/>',
        _text(_GAP, 34, head, 20, weight=600),
        *_legend(structures),
        "<defs>",
        *_shared(row),
        "</defs>",
    ]
    for number, (name, deviations, value, drawn) in enumerate(_cells(exhibit, row)):
        x = _GAP + (number % 2) * (_CELL + _GAP)
        y = _HEAD + (number // 2) * tall
        low = row.height * scale
        parts += [
            f'<g transform="translate({x:g} {y:.2f})">',
            f'<rect width="{_CELL:g}" height="{low:.2f}"/>',
            f'<g transform="scale({scale:.5g})" fill="none" stroke-linejoin="round">',
            '<use href="#image"/>',
            *drawn,
            "</g>",
            _text(0, low + 21, name, 15, weight=600),
            _text(_CELL, low + 21, value, 15, anchor="end"),
        ]
        if deviations:
            parts.append(_text(0, low + 21 + _FAINT, deviations, 12))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def cut_middle(text: str, letters: int) -> str:
    """Takes letters out of the middle of a text that has too many.

    Names of variants often begin alike and differ at their ends.

    Args:
        text: any.
        letters: the most that are left, with the sign for those taken out.
    """
    if len(text) <= letters:
        return text
    first = letters // 2
    return f"{text[:first]}…{text[len(text) - (letters - first - 1) :]}"


def _text(
    x: float, y: float, text: str, size: int, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:.2f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="#e4e9e8">{escape(plain(text))}</text>'
    )


def _legend(structures: Sequence[str]) -> Iterator[str]:
    """One line; the tspans of a text follow each other, however wide they are."""
    spans = (
        f'<tspan fill="{hue(number)}">▬ </tspan>{escape(plain(name))}<tspan dx="14"> </tspan>'
        for number, name in enumerate(structures)
    )
    yield (
        f'<text x="{_GAP:g}" y="64" font-size="15" fill="#e4e9e8">{"".join(spans)}'
        '<tspan fill="#ffffff">╌╌ </tspan>reference</text>'
    )


def _shared(row: Row) -> Iterator[str]:
    """Images and references, which every cell uses."""
    images, lines = [], []
    for number, placed in enumerate(row.placed):
        plane = placed.plane
        start = f'<g transform="translate({placed.x:g} {placed.y:g})">'
        images.append(
            f'{start}<image opacity=".72" width="{plane.width:.2f}" height="{plane.height:.2f}" '
            f'preserveAspectRatio="none" href="{data_uri(plane)}"/>'
            f'<text x="2" y="{plane.height / 2:.2f}" font-size="{0.06 * row.height:.2g}" '
            f'fill="#aeb8bb">{plane.left}</text></g>'
        )
        paths = "".join(
            f'<path id="r{number}-{place}" vector-effect="non-scaling-stroke" '
            f'd="{plane.reference[place]}"/>'
            for place in plane.order
            if plane.reference[place]
        )
        lines.append(f"{start}{paths}</g>")
    yield from ('<g id="image">', *images, "</g>", '<g id="reference">', *lines, "</g>")


def _cells(exhibit: Exhibit, row: Row) -> Iterator[tuple[str, str, str, list[str]]]:
    """Name, deviations, value and contours of each cell, the reference first."""
    names = ", ".join(plane.name for plane in exhibit.planes)
    own = [
        f'<use href="#r{number}-{place}" x="{placed.x:g}" y="{placed.y:g}" '
        f'stroke="{hue(place)}" stroke-width="1.5"/>'
        for number, placed in enumerate(row.placed)
        for place in placed.plane.order
        if placed.plane.reference[place]
    ]
    yield "Reference", "", names, own
    white = '<use href="#reference" stroke="#fff" stroke-width="1.1" stroke-dasharray="3 2"/>'
    for drawing in exhibit.drawings:
        name = cut_middle(plain(drawing.method), _LETTERS)
        deviations = cut_middle(plain(drawing.deviations), _FAINT_LETTERS)
        lines = [
            f'<path transform="translate({placed.x:g} {placed.y:g})" stroke="{hue(place)}" '
            f'stroke-width="1.5" vector-effect="non-scaling-stroke" d="{contours[place]}"/>'
            for placed, contours in zip(row.placed, drawing.contours, strict=True)
            for place in placed.plane.order
            if contours[place]
        ]
        value = f"mean Dice {number_text('score', drawing.dice)}"
        yield name, deviations, value, [white, *lines]
