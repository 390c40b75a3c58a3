"""The pictures of a gallery as SVG: one element for each on the page, and one file a patient."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from contrabench.contracts.gallery import Contours, Drawing, Exhibit, Gallery, Plane
from contrabench.contracts.report import Report, Section, number_text, plain
from contrabench.files import write_text

HUES = (
    "#cc3314", "#66ccff", "#aa00ff", "#ffff40", "#5ce68a", "#70ccbd", "#ff8000", "#987db2",
)  # fmt: skip
"""To be told apart from each other, from the white reference and from a dim grey image, also by
readers who do not see red or green; in the order of the whole heart's structures those of
neighbours differ most. The first again after the last."""
_SPACE = 0.03
"""Between two planes, in widths of all of them."""
_CELL, _GAP, _CAPTION, _HEAD = 540.0, 20.0, 34.0, 84.0
"""The measures of a file: width of a picture, and heights."""
_FAINT = 20.0
"""Height of a second line in a caption, for deviations."""
_LETTERS, _FAINT_LETTERS, _HEAD_LETTERS = 42, 72, 46
"""A longer method, its deviations, and a longer patient are cut: none may run into its number."""
_NO_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Picture:
    """The planes of an exhibit side by side, with the reference or what one method predicted.

    `value` is its mean Dice, or the names of the planes. Elements of an exhibit refer to image and
    reference in its first. `drawing` is None for the reference.
    """

    name: str
    deviations: str
    value: str
    svg: str
    drawing: Drawing | None = None


def hue(number: int) -> str:
    """The colour of a structure by its place, from 0."""
    return HUES[number % len(HUES)]


def data_uri(plane: Plane) -> str:
    """The image of a plane as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(plane.png).decode("ascii")


def row_of(planes: Sequence[Plane]) -> tuple[list[tuple[float, float]], float, float]:
    """Lays planes side by side at one scale; gives their upper left corners, width and height.

    Each is in the middle of the row's height.
    """
    height = max(plane.height for plane in planes)
    gap = _SPACE * sum(plane.width for plane in planes)
    places, x = [], 0.0
    for plane in planes:
        places.append((round(x, 2), round((height - plane.height) / 2, 2)))
        x += plane.width + gap
    return places, round(x - gap, 2), round(height, 2)


def draw(
    exhibit: Exhibit, structures: Sequence[str], own: str, measures: str = ""
) -> list[Picture]:
    """Draws an exhibit: the reference, then each method on the same planes.

    `structures` are named as in `Gallery.structures`, each line carries its own; ids begin with
    `own`, as in no other exhibit of the document; `measures` are more attributes of each element.
    """
    places, width, height = row_of(exhibit.planes)

    def row(parts: Iterable[str]) -> str:
        placed = zip(places, parts, strict=True)
        return "".join(f'<g transform="translate({x:g} {y:g})">{it}</g>' for (x, y), it in placed)

    def lines(contours: Iterable[Contours], coloured: bool = True) -> str:
        paired = zip(exhibit.planes, contours, strict=True)
        return row(_lines(*pair, structures, coloured) for pair in paired)

    def element(words: str, inner: str) -> str:
        return (
            f'<svg{measures} viewBox="0 0 {width:g} {height:g}" role="img" '
            f'aria-label="{_safe(words)}"><g fill="none" stroke-width="1.5" '
            f'stroke-linejoin="round">{inner}</g></svg>'
        )

    reference = [plane.reference for plane in exhibit.planes]
    images = row(_image(plane, height) for plane in exhibit.planes)
    shared = (
        f'<defs><g id="{own}-i">{images}</g><g id="{own}-r">{lines(reference, False)}</g></defs>'
    )
    image = f'<use href="#{own}-i"/>'
    white = f'<use href="#{own}-r" stroke="#fff" stroke-width="1.1" stroke-dasharray="3 2"/>'
    words = f"Reference of {exhibit.patient}: {_words(exhibit.planes)}"
    names = ", ".join(plane.name for plane in exhibit.planes)
    made = [Picture("Reference", "", names, element(words, shared + image + lines(reference)))]
    for one in exhibit.drawings:
        name = f"{one.method} ({one.deviations})" if one.deviations else one.method
        dice = f"mean Dice {number_text('score', one.dice)}"
        words = f"{name} on {exhibit.patient}, {dice}: prediction and reference"
        svg = element(words, image + white + lines(one.contours))
        made.append(Picture(one.method, one.deviations, dice, svg, one))
    return made


def _image(plane: Plane, height: float) -> str:
    return (
        f'<image opacity=".72" width="{plane.width:.2f}" height="{plane.height:.2f}" '
        f'preserveAspectRatio="none" href="{data_uri(plane)}"/><text x="2" '
        f'y="{plane.height / 2:.2f}" font-size="{0.07 * height:.2g}" fill="#aeb8bb" '
        f'dominant-baseline="central">{plane.left}</text>'
    )


def _lines(plane: Plane, contours: Contours, structures: Sequence[str], coloured: bool) -> str:
    """The contours that are there, from the outside in; without a colour, that of their user."""
    return "".join(
        f'<path data-structure="{_safe(structures[place])}"'
        + (f' stroke="{hue(place)}"' if coloured else "")
        + f' vector-effect="non-scaling-stroke" d="{contours[place]}"/>'
        for place in plane.order
        if contours[place]
    )


def _words(planes: Sequence[Plane]) -> str:
    return ", ".join(f"{plane.name} plane {plane.number} of {plane.count}" for plane in planes)


def _safe(text: str) -> str:
    return escape(plain(text))


def exhibit_svg(exhibit: Exhibit, structures: Sequence[str]) -> str:
    """Draws an exhibit as one document, in two columns, that refers to nothing outside it."""
    _, across, down = row_of(exhibit.planes)
    low = down * _CELL / across
    tall = low + _CAPTION + _FAINT * any(one.deviations for one in exhibit.drawings) + _GAP
    lines = (len(exhibit.drawings) + 2) // 2
    width, height = 2 * _CELL + 3 * _GAP, _HEAD + lines * tall + _GAP / 2
    word, patient = exhibit.word.capitalize(), plain(exhibit.patient)
    dice = f"mean Dice {number_text('score', exhibit.dice)}"
    words = f"{word}: {patient}, {dice}; {_words(exhibit.planes)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{_safe(words)}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{width:g}" height="{height:g}" fill="#14181a"/>',
        _text(_GAP, 34, f"{word}: {cut_middle(patient, _HEAD_LETTERS)}, {dice}", 20, 600),
        _legend(structures),
    ]
    measures = f' width="{_CELL:g}" height="{low:.2f}"'
    for number, one in enumerate(draw(exhibit, structures, "p", measures)):
        x, y = _GAP + (number % 2) * (_CELL + _GAP), _HEAD + (number // 2) * tall
        parts += [
            f'<g transform="translate({x:g} {y:.2f})">',
            f"<rect{measures}/>",
            one.svg,
            _text(0, low + 21, cut_middle(plain(one.name), _LETTERS), 15, 600),
            _text(_CELL, low + 21, one.value, 15, anchor="end"),
        ]
        if one.deviations:
            deviations = cut_middle(plain(one.deviations), _FAINT_LETTERS)
            parts.append(_text(0, low + 21 + _FAINT, deviations, 12))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def cut_middle(text: str, letters: int) -> str:
    """Takes letters out of the middle of a long text: names of variants often begin alike."""
    if len(text) <= letters:
        return text
    first = letters // 2
    return f"{text[:first]}…{text[len(text) - (letters - first - 1) :]}"


def _text(
    x: float, y: float, text: str, size: int, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:.2f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="#e4e9e8">{_safe(text)}</text>'
    )


def _legend(structures: Sequence[str]) -> str:
    """One line; the tspans of a text follow each other, however wide they are."""
    spans = (
        f'<tspan fill="{hue(number)}">▬ </tspan>{_safe(name)}<tspan dx="14"> </tspan>'
        for number, name in enumerate(structures)
    )
    return (
        f'<text x="{_GAP:g}" y="64" font-size="15" fill="#e4e9e8">{"".join(spans)}'
        '<tspan fill="#ffffff">╌╌ </tspan>reference</text>'
    )


def write_pictures(report: Report, folder: Path, beside: Path) -> Report:
    """Writes each exhibit as one SVG file, named after its section and what it shows.

    The report that comes back knows its files, which it refers to from the folder `beside`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    way = Path(os.path.relpath(folder, beside))

    def written(section: Section, gallery: Gallery) -> Section:
        exhibits = []
        for exhibit in gallery.exhibits:
            words = f"{section.title} {section.protocol[:4]} {exhibit.word}".lower()
            name = f"{_NO_NAME.sub('-', words).strip('-')}.svg"
            picture = exhibit_svg(exhibit, gallery.structures)
            write_text(folder / name, picture)
            exhibits.append(replace(exhibit, file=(way / name).as_posix()))
        return replace(section, gallery=replace(gallery, exhibits=tuple(exhibits)))

    sections = (
        written(section, section.gallery) if section.gallery else section
        for section in report.sections
    )
    return replace(report, sections=tuple(sections))
