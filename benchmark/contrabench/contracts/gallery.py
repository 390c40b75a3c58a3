"""What a gallery holds, for formats to show; `contrabench.report.gallery.svg` draws it.

Contours are SVG path data in the unit of their plane (mm, or voxels where the spacing is
unknown), its upper left corner the origin. The display is radiological: anterior up in an axial
plane, superior up in the others, the patient's right on the viewer's left; a sagittal plane has
anterior on the viewer's left.
"""

from __future__ import annotations

from dataclasses import dataclass

Contours = tuple[str, ...]
"""One path per structure, in the order of `Gallery.structures`; "" where there is none."""


@dataclass(frozen=True)
class Plane:
    """One plane of a case: its image and its reference.

    Attributes:
        name: axial, coronal or sagittal.
        number: of the plane on the native grid, from 1, of `count`.
        left: the side of the patient on the viewer's left, `R` or `A`.
        width: extent of the picture, as `height`.
        png: the image, 8-bit grey; its pixels fill the extent.
        reference: contours of the reference.
        order: places of the structures from the outside in, so that the line of one inside
            another is drawn last.
    """

    name: str
    number: int
    count: int
    left: str
    width: float
    height: float
    png: bytes
    reference: Contours
    order: tuple[int, ...]


@dataclass(frozen=True)
class Drawing:
    """What one method predicted for the case of an exhibit.

    Attributes:
        method: as the tables name it.
        deviations: what else its runs change; "" for nothing.
        family: family of the method.
        run: key of the run whose prediction it is.
        dice: of that run in this case, mean over structures; NaN where none applies.
        contours: of the prediction, by plane.
    """

    method: str
    deviations: str
    family: str
    run: str
    dice: float
    contours: tuple[Contours, ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """One patient, for every method whose prediction the store holds.

    Attributes:
        word: why this one is shown, e.g. `worst patient`.
        patient: its name.
        case: the volume that is shown, the first of the patient by name.
        dice: of the patient, mean over the methods that are compared.
        planes: axial, coronal, sagittal.
        drawings: in the order of the leaderboard.
        file: where its picture lies, seen from the report; "" where none was written.
    """

    word: str
    patient: str
    case: str
    dice: float
    planes: tuple[Plane, ...]
    drawings: tuple[Drawing, ...]
    file: str = ""


@dataclass(frozen=True)
class Gallery:
    """The pictures of one label budget.

    Attributes:
        structures: their names; contours stand in this order.
        exhibits: none where nothing could be drawn; a note then says why.
        notes: what is left out, and how to read the pictures.
    """

    structures: tuple[str, ...]
    exhibits: tuple[Exhibit, ...]
    notes: tuple[str, ...] = ()
