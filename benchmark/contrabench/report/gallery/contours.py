"""Contours of masks as SVG path data."""

from __future__ import annotations

import math

import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray

PIXELS = 160
"""The most pixels along the longer side of a picture."""
_SLACK = 0.25
"""Pixels of a picture by which a contour may be off, so that its path is short."""


def class_contours(
    classes: NDArray[np.uint8], count: int, sides: tuple[float, float]
) -> tuple[str, ...]:
    """The contours of each structure in one plane, as `path_data` writes them.

    `classes` is (rows, columns), k+1 for structure k; `sides` are a voxel's, across and down.
    """
    rows, columns = classes.shape
    longest = max(columns * sides[0], rows * sides[1])
    slack = _SLACK * longest / PIXELS
    return tuple(
        path_data([simplify(ring, slack) for ring in outlines(classes == number, sides)], longest)
        for number in range(1, count + 1)
    )


def outside_in(classes: NDArray[np.uint8], count: int) -> tuple[int, ...]:
    """Places of the structures, from 0, by the boxes around them, the largest first.

    `classes` is (rows, columns), k+1 for structure k. Equal ones, and those that are not there,
    keep their own order.
    """
    boxes = []
    for number in range(1, count + 1):
        rows, columns = np.nonzero(classes == number)
        boxes.append(int(np.ptp(rows) + 1) * int(np.ptp(columns) + 1) if len(rows) else 0)
    return tuple(sorted(range(count), key=lambda place: -boxes[place]))


def outlines(mask: NDArray[np.bool_], sides: tuple[float, float]) -> list[NDArray[np.float64]]:
    """Traces a mask halfway between its pixels and those around it (marching squares).

    Outer rings and those of holes run in opposite directions; pixels that touch at a corner
    alone are apart. The area enclosed is that of the pixels, less half a pixel for each
    piece and plus half a pixel for each hole, whose corners are cut.

    Takes (rows, columns) and the extents of a pixel across and down. Gives closed rings (n, 2),
    the first point again as the last; x to the right and y down from the upper left corner.
    """
    if not mask.any():
        return []
    padded = np.pad(mask, 1).astype(np.float64)
    rings = contour_generator(z=padded).lines(0.5)
    # The centre of a pixel lies half a pixel from its edge, and one of padding precedes it.
    return [(np.asarray(ring, dtype=np.float64) - 0.5) * np.asarray(sides) for ring in rings]


def simplify(ring: NDArray[np.float64], slack: float) -> NDArray[np.float64]:
    """Leaves out points of a closed ring (n, 2) within `slack` of the line between those kept.

    After Douglas and Peucker (Cartographica 10, 1973). A ring too small for it stays as it is.
    """
    far = int(np.linalg.norm(ring - ring[0], axis=1).argmax())
    kept = {0, far, len(ring) - 1}
    spans = [(0, far), (far, len(ring) - 1)]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        # Distances of the points from the stretch between the two ends.
        along, points = ring[end] - ring[start], ring[start + 1 : end] - ring[start]
        share = np.clip(points @ along / max(float(along @ along), 1e-12), 0, 1)
        distances = np.linalg.norm(points - share[:, None] * along, axis=1)
        if distances.max() > slack:
            middle = start + 1 + int(distances.argmax())
            kept.add(middle)
            spans += [(start, middle), (middle, end)]
    return ring[sorted(kept)] if len(kept) > 4 else ring


def path_data(rings: list[NDArray[np.float64]], longest: float) -> str:
    """Writes closed rings as SVG path data, each point relative to the one before; "" for none.

    `longest`, the longer side of the picture, decides the decimals: one for 160 and more.
    """
    digits = max(1, math.ceil(math.log10(10 * PIXELS / longest)))
    pieces = []
    for ring in rings:
        # Steps between rounded points add up to them, whatever their number.
        points = np.rint(ring[:-1] * 10**digits).astype(np.int64)
        first, *others = np.diff(points, axis=0, prepend=0).tolist()
        steps = [_pair(step, digits) for step in others if step != [0, 0]]
        if steps:
            pieces.append(f"M{_pair(first, digits)}l{' '.join(steps)}z")
    return "".join(pieces)


def _pair(units: list[int], digits: int) -> str:
    x, y = (f"{unit / 10**digits:.{digits}f}".rstrip("0").rstrip(".") for unit in units)
    return f"{x} {y}"
