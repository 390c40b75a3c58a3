"""Where a volume is cut, how a cut is turned for the viewer, and the small picture it makes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contrabench.contracts.gallery import Contours, Plane
from contrabench.data.grid import covered, operator, spacing_of
from contrabench.data.nifti import codes_of
from contrabench.data.prepare import PreparedCase
from contrabench.report.gallery.contours import PIXELS, class_contours, outside_in
from contrabench.report.gallery.stored import DAMAGED, OTHER_IMAGE, LostError, Prediction

_PLANES = {"S": "axial", "A": "coronal", "R": "sagittal"}
"""Name of a plane by where the axis points that it is perpendicular to."""
_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class Cut:
    """One plane through a native grid, perpendicular to `axis`, and the part of it that is shown.

    `left` is the side of the patient on the viewer's left, `spans` the first and last voxel index
    that is shown, by axis of the volume.
    """

    name: str
    axis: int
    index: int
    left: str
    spans: tuple[tuple[int, int], ...]

    @property
    def across(self) -> int:
        """The axis of the volume that runs from right to left in the picture."""
        return 1 if self.axis == 0 else 0

    @property
    def down(self) -> int:
        """The axis of the volume that runs from bottom to top in the picture."""
        return 1 if self.axis == 2 else 2

    def of(self, volume: NDArray[Any]) -> NDArray[Any]:
        """The part of a volume that is shown, (rows, columns) as on the screen.

        The axes of the volume point right, anterior and superior, in whatever order. Both of the
        plane run backwards, so that what they point to is on the left and at the top.
        """
        plane = volume.take(self.index, axis=self.axis)
        (left, right), (low, high) = self.spans[self.across], self.spans[self.down]
        turned: NDArray[Any] = plane[left : right + 1, low : high + 1][::-1, ::-1].T
        return turned


def place_cuts(
    reference: NDArray[np.uint8],
    relation: NDArray[np.float64],
    working: tuple[int, ...],
    codes: str = "RAS",
) -> tuple[Cut, ...]:
    """The three planes where the reference has its largest area, that of acquisition first.

    Predictions have no say. What the working grid, of shape `working`, covers is shown, and all of
    the reference: a prediction is background beyond the one, so nothing that is compared is cut
    off. Of planes with equal areas it is the one with the lowest index, without any reference the
    middle one. The reference is (X, Y, Z) class indices on the native grid, 0 the background;
    `relation` maps native voxel index to working voxel index, 4 x 4 and diagonal but for its last
    column. `codes` tell where the three axes point.
    """
    inside = reference > 0
    areas = [np.count_nonzero(inside, axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    spans = []
    for axis, (count, area) in enumerate(zip(reference.shape, areas, strict=True)):
        positions = relation[axis, axis] * np.arange(count) + relation[axis, 3]
        shown = np.flatnonzero(covered(positions, working[axis]) | (area > 0))
        spans.append((int(shown[0]), int(shown[-1])) if len(shown) else (0, count - 1))
    return tuple(
        Cut(
            _PLANES[codes[axis]],
            axis,
            int(areas[axis].argmax()) if areas[axis].any() else reference.shape[axis] // 2,
            codes[1 if axis == 0 else 0],
            tuple(spans),
        )
        for axis in (2, 1, 0)
    )


class Canvas:
    """What the pictures of one case have in common: its cuts, with image and reference.

    Of several channels the first is shown. The reference is on the native grid; `known` is whether
    the spacing is, and planes are measured in voxels where it is not.
    """

    def __init__(
        self,
        case: PreparedCase,
        reference: NDArray[np.uint8],
        structures: tuple[str, ...],
        known: bool,
    ) -> None:
        self.structures = structures
        self._case, self._reference = case, reference
        self._image = case.by_channel[0]
        self._relation = np.linalg.inv(case.affine) @ case.native_affine
        self._sides = spacing_of(case.native_affine) if known else (1.0, 1.0, 1.0)
        self._cuts = place_cuts(
            reference, self._relation, self._image.shape, codes_of(case.native_affine)
        )
        window = grey_window(self._image)
        self.planes = tuple(self._plane(cut, window) for cut in self._cuts)

    def contours(self, prediction: Prediction) -> tuple[Contours, ...]:
        """Traces a prediction in each plane; LostError if it does not belong to this case."""
        if prediction.fingerprint != self._case.fingerprint:
            raise LostError(OTHER_IMAGE)
        if prediction.classes.shape != self._reference.shape:
            raise LostError(DAMAGED)
        return tuple(self._traced(cut, prediction.classes) for cut in self._cuts)

    def _plane(self, cut: Cut, window: tuple[float, float]) -> Plane:
        axes = (cut.across, cut.down)
        width, height = (
            self._sides[axis] * (cut.spans[axis][1] - cut.spans[axis][0] + 1) for axis in axes
        )
        first, second = (self._sides[axis] / float(self._relation[axis, axis]) for axis in axes)
        pixels = pixel_count((width, height), (first, second))
        values = sample_plane(self._image, cut, self._relation, pixels, window[0])
        return Plane(
            name=cut.name,
            number=cut.index + 1,
            count=self._reference.shape[cut.axis],
            left=cut.left,
            width=width,
            height=height,
            png=grey_png(values, window),
            reference=self._traced(cut, self._reference),
            order=outside_in(cut.of(self._reference), len(self.structures)),
        )

    def _traced(self, cut: Cut, classes: NDArray[np.uint8]) -> Contours:
        sides = (self._sides[cut.across], self._sides[cut.down])
        return class_contours(cut.of(classes), len(self.structures), sides)


def grey_window(image: NDArray[np.float32]) -> tuple[float, float]:
    """The values of a volume that are shown black and white: two of its percentiles."""
    low, high = (float(value) for value in np.percentile(image, _PERCENTILES))
    return low, high if high > low else low + 1.0


def pixel_count(extent: tuple[float, float], voxels: tuple[float, float]) -> tuple[int, int]:
    """How many pixels a picture has along its two sides, which `extent` gives in the voxels' unit.

    They are square, and no finer than half a voxel of the image: more would only make the
    file larger.
    """
    side = max(*(length / PIXELS for length in extent), min(voxels) / 2)
    first, second = (max(1, round(length / side)) for length in extent)
    return first, second


def sample_plane(
    image: NDArray[np.float32],
    cut: Cut,
    relation: NDArray[np.float64],
    pixels: tuple[int, int],
    floor: float,
) -> NDArray[np.float32]:
    """Samples (X, Y, Z) on the working grid, linearly, on the part of a native plane that is shown.

    `relation` maps native voxel index to working voxel index, 4 x 4; `pixels` are across and down;
    `floor` stands where the working grid does not reach. Gives (rows, columns), turned as `Cut.of`
    turns a plane.
    """
    middle = relation[cut.axis, cut.axis] * cut.index + relation[cut.axis, 3]
    through = operator(np.array([middle]), image.shape[cut.axis], 1.0)[0]
    plane = np.tensordot(through, image - np.float32(floor), axes=(0, cut.axis))
    matrices = []
    for axis, count in zip((cut.across, cut.down), pixels, strict=True):
        first, last = cut.spans[axis]
        step = (last - first + 1) / count
        native = last + 0.5 - (np.arange(count) + 0.5) * step
        scale = relation[axis, axis]
        matrices.append(
            operator(scale * native + relation[axis, 3], image.shape[axis], scale * step)
        )
    across, down = matrices
    result: NDArray[np.float32] = down @ plane.T @ across.T + np.float32(floor)
    return result


def grey_png(values: NDArray[np.float32], window: tuple[float, float]) -> bytes:
    """Writes (rows, columns), top row first, as 8-bit grey PNG; `window` is black and white."""
    low, high = window
    shades = np.clip((values - low) / (high - low), 0, 1) * 255
    file = io.BytesIO()
    Image.fromarray(np.rint(shades).astype(np.uint8)).save(file, "PNG", optimize=True)
    return file.getvalue()
