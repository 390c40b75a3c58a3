"""A gallery as the plain texts that its template sets; the template escapes them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from contrabench.contracts.gallery import Contours, Drawing, Exhibit, Gallery, Plane
from contrabench.contracts.report import number_text, plain
from contrabench.report.gallery.layout import data_uri, hue, row_of, words_of
from contrabench.report.page.texts import Note, notes


@dataclass(frozen=True)
class LineView:
    """The contour of one structure in one plane."""

    structure: str
    hue: str
    path: str


@dataclass(frozen=True)
class PlaneView:
    """One plane of an exhibit: its place in the row, its image and its reference."""

    name: str
    place: str
    width: str
    height: str
    left: str
    middle: str
    image: str
    reference: list[LineView]


@dataclass(frozen=True)
class CardView:
    """What one method predicted."""

    name: str
    deviations: str
    family: str
    is_reference: bool
    dice: str
    run: str
    words: str
    planes: list[list[LineView]]


@dataclass(frozen=True)
class ExhibitView:
    """One patient."""

    id: str
    word: str
    patient: str
    case: str
    dice: str
    box: str
    size: str
    words: str
    planes: list[PlaneView]
    cards: list[CardView]


@dataclass(frozen=True)
class GalleryView:
    """The gallery of a section, and the colours of its structures."""

    id: str
    exhibits: list[ExhibitView]
    legend: list[tuple[str, str]]
    notes: list[Note]


def gallery_view(own: str, gallery: Gallery, references: Container[str] = ()) -> GalleryView:
    """Prepares a gallery for the page.

    Args:
        own: id of its section; those of the exhibits begin with it.
        gallery: what to show.
        references: runs of the methods that stay beside every family.
    """
    names = [plain(name) for name in gallery.structures]
    return GalleryView(
        id=f"{own}-gallery",
        exhibits=[
            _exhibit(f"{own}-g{number}", exhibit, names, references)
            for number, exhibit in enumerate(gallery.exhibits, start=1)
        ],
        legend=[(name, hue(number)) for number, name in enumerate(names)],
        notes=notes(gallery.notes),
    )


def _exhibit(
    own: str, exhibit: Exhibit, names: list[str], references: Container[str]
) -> ExhibitView:
    row = row_of(exhibit)
    patient = plain(exhibit.patient)
    return ExhibitView(
        id=own,
        word=exhibit.word,
        patient=patient,
        case=plain(exhibit.case) if exhibit.case != exhibit.patient else "",
        dice=number_text("score", exhibit.dice),
        box=f"0 0 {row.width:g} {row.height:g}",
        words=f"Reference of {patient}: {words_of(exhibit.planes)}",
        size=f"{0.075 * row.height:.2g}",
        planes=[
            PlaneView(
                name=placed.plane.name,
                place=f"{placed.x:g} {placed.y:g}",
                width=f"{placed.plane.width:.2f}",
                height=f"{placed.plane.height:.2f}",
                left=placed.plane.left,
                middle=f"{placed.plane.height / 2:.2f}",
                image=data_uri(placed.plane),
                reference=_lines(placed.plane, placed.plane.reference, names),
            )
            for placed in row.placed
        ],
        cards=[
            _card(drawing, exhibit, names, drawing.run in references)
            for drawing in exhibit.drawings
        ],
    )


def _card(drawing: Drawing, exhibit: Exhibit, names: list[str], is_reference: bool) -> CardView:
    patient = plain(exhibit.patient)
    dice = number_text("score", drawing.dice)
    return CardView(
        name=plain(drawing.method),
        deviations=plain(drawing.deviations),
        family=plain(drawing.family),
        is_reference=is_reference,
        dice=dice,
        run=plain(drawing.run),
        words=f"{plain(drawing.label)} on {patient}, mean Dice {dice}: prediction and reference",
        planes=[
            _lines(plane, contours, names)
            for plane, contours in zip(exhibit.planes, drawing.contours, strict=True)
        ],
    )


def _lines(plane: Plane, contours: Contours, names: list[str]) -> list[LineView]:
    """The contours that are there, from the outside in."""
    return [
        LineView(names[place], hue(place), contours[place])
        for place in plane.order
        if contours[place]
    ]
