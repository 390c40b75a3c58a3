"""What a gallery holds, for formats to show; `contrabench.report.gallery.svg` draws it.

Contours are SVG path data in the unit of their plane (mm, or voxels where the spacing is
unknown) from its upper left corner. The display is radiological: anterior up in an axial plane,
superior up in others; on the viewer's left the patient's right, in a sagittal plane anterior.
"""

from __future__ import annotations

from dataclasses import dataclass

Contours = tuple[str, ...]
"""One path per structure, in the order of `Gallery.structures`; "" where there is none."""


@dataclass(frozen=True)
class Plane:
    """One plane of a case: its image and the contours of its reference.

    Attributes:
        name: axial, coronal or sagittal.
        number: of the plane on the native grid, from 1, of `count`.
        left: the side of the patient on the viewer's left, `R` or `A`.
        width: extent of the picture, as `height`.
        png: 8-bit grey; its pixels fill the extent.
        order: places of the structures from the outside in, the innermost line drawn last.
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

    `method` is as the tables name it, with `deviations` ("" for none). `run` is the key of the run
    whose prediction it is, and `dice` its mean over structures in this case, NaN where none
    applies. `contours` stand by plane.
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
    """The pictures of one label budget; contours stand in the order of `structures`.

    Without `exhibits` nothing could be drawn, and a note says why. Notes also say what is left
    out and how to read the pictures.
    """

    structures: tuple[str, ...]
    exhibits: tuple[Exhibit, ...]
    notes: tuple[str, ...] = ()
