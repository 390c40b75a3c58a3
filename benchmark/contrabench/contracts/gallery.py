"""What a gallery holds, for formats to show; `contrabench.report.gallery.svg` draws it.

Contours are SVG paths in mm (voxels if unknown) from their plane's upper left corner. The display
is radiological: anterior up in an axial plane, superior up in others, on the viewer's left the
patient's right, or anterior in a sagittal plane.
"""

from __future__ import annotations

from dataclasses import dataclass

Contours = tuple[str, ...]
"""One path per structure, in the order of `Gallery.structures`; "" where there is none."""


@dataclass(frozen=True)
class Plane:
    """One plane of a case: its image, 8-bit grey, and the contours of its reference.

    `number` counts from 1 to `count` on the native grid; `left` is the patient's side on the
    viewer's left, `R` or `A`. The pixels of `png` fill `width` and `height`. `order` is that of
    structures from the outside in, the innermost line drawn last.
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

    `word` says why: `worst patient`. The first of the patient's cases by name is shown, axial,
    coronal and sagittal; `dice` is the patient's mean over the methods compared. Drawings are in
    the leaderboard's order; `file` is the picture seen from the report, "" if none was written.
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
