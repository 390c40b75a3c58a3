"""The planes of one case, ready for the contours of any method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.gallery import Contours, Plane
from contrabench.report.gallery.contours import class_contours, outside_in
from contrabench.report.gallery.images import grey_png, grey_window, pixel_count, sample_plane
from contrabench.report.gallery.planes import Cut, place_cuts
from contrabench.report.gallery.stored import (
    DAMAGED,
    OTHER_IMAGE,
    LostError,
    Prediction,
    Scan,
    Shelf,
)

Sides = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Canvas:
    """What the pictures of one case have in common.

    Attributes:
        fingerprint: of the prepared case.
        shape: of its native grid.
        structures: their names.
        sides: of a native voxel, in mm, or 1 where the spacing is unknown.
        cuts: where the planes lie.
        planes: their images and references.
    """

    fingerprint: str
    shape: tuple[int, ...]
    structures: tuple[str, ...]
    sides: Sides
    cuts: tuple[Cut, ...]
    planes: tuple[Plane, ...]

    def contours(self, prediction: Prediction) -> tuple[Contours, ...]:
        """Traces a prediction in each plane.

        Raises:
            LostError: if it does not belong to this case.
        """
        if prediction.fingerprint != self.fingerprint:
            raise LostError(OTHER_IMAGE)
        if prediction.classes.shape != self.shape:
            raise LostError(DAMAGED)
        return tuple(
            _traced(cut, prediction.classes, len(self.structures), self.sides) for cut in self.cuts
        )


def lay_canvas(shelf: Shelf, prediction: Prediction, known: bool) -> Canvas:
    """Cuts and draws the case that a prediction belongs to.

    Args:
        shelf: where its image is.
        prediction: tells the case and its structures, and nothing else.
        known: whether its spacing is.

    Raises:
        LostError: if the image is not there.
    """
    scan = shelf.scan(prediction.fingerprint)
    sides = scan.spacing if known else (1.0, 1.0, 1.0)
    cuts = place_cuts(scan.reference, scan.relation, scan.image.shape)
    window = grey_window(scan.image)
    count = len(prediction.structures)
    return Canvas(
        fingerprint=prediction.fingerprint,
        shape=scan.reference.shape,
        structures=prediction.structures,
        sides=sides,
        cuts=cuts,
        planes=tuple(_plane(cut, scan, sides, window, count) for cut in cuts),
    )


def _plane(cut: Cut, scan: Scan, sides: Sides, window: tuple[float, float], count: int) -> Plane:
    axes = (cut.across, cut.down)
    width, height = (sides[axis] * (cut.spans[axis][1] - cut.spans[axis][0] + 1) for axis in axes)
    first, second = (sides[axis] / float(scan.relation[axis, axis]) for axis in axes)
    pixels = pixel_count((width, height), (first, second))
    values = sample_plane(scan.image, cut, scan.relation, pixels, window[0])
    return Plane(
        name=cut.name,
        number=cut.index + 1,
        count=scan.reference.shape[cut.axis],
        left=cut.left,
        width=width,
        height=height,
        png=grey_png(values, window),
        reference=_traced(cut, scan.reference, count, sides),
        order=outside_in(cut.of(scan.reference), count),
    )


def _traced(cut: Cut, classes: NDArray[np.uint8], count: int, sides: Sides) -> Contours:
    return class_contours(cut.of(classes), count, (sides[cut.across], sides[cut.down]))
