"""Where a volume is cut, and how a cut is turned for the viewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contrabench.data.grid import covered

_ORIENTATIONS = (("axial", 2, "R"), ("coronal", 1, "R"), ("sagittal", 0, "A"))
"""Name, axis that the plane is perpendicular to, and what lies on the viewer's left."""


@dataclass(frozen=True)
class Cut:
    """One plane through a native grid, and the part of it that is shown.

    Attributes:
        name: axial, coronal or sagittal.
        axis: the axis that the plane is perpendicular to.
        index: voxel index of the plane on that axis.
        left: the side of the patient on the viewer's left.
        spans: first and last voxel index that is shown, by axis of the volume.
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
        """The part of a volume that is shown.

        Args:
            volume: (X, Y, Z), its axes pointing right, anterior and superior.

        Returns:
            (rows, columns) as on the screen: both axes of the plane run backwards, so that
            right and anterior are on the left, and anterior and superior at the top.
        """
        plane = volume.take(self.index, axis=self.axis)
        (left, right), (low, high) = self.spans[self.across], self.spans[self.down]
        turned: NDArray[Any] = plane[left : right + 1, low : high + 1][::-1, ::-1].T
        return turned


def place_cuts(
    reference: NDArray[np.uint8], relation: NDArray[np.float64], working: tuple[int, ...]
) -> tuple[Cut, ...]:
    """Lays three planes where the reference has its largest area; predictions have no say.

    What the working grid covers is shown, and all of the reference: a prediction is
    background beyond the one, so nothing that is compared is cut off.

    Args:
        reference: class indices on the native grid, (X, Y, Z), 0 the background.
        relation: native voxel index to working voxel index, 4 x 4 and diagonal but for its
            last column.
        working: shape of the working grid.

    Returns:
        The axial, the coronal and the sagittal plane; of planes with equal areas the one
        with the lowest index, without any reference the middle one.
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
            name,
            axis,
            int(areas[axis].argmax()) if areas[axis].any() else reference.shape[axis] // 2,
            left,
            tuple(spans),
        )
        for name, axis, left in _ORIENTATIONS
    )
