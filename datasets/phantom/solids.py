"""Solids in space as signed distances, and smooth random fields to bend them.

A distance is in the unit of the coordinates, negative inside; for ellipsoids it is exact to first
order near the surface, where partial volumes need it. Nothing here calls a threaded routine, so
the same input gives the same bytes on any number of cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Grid = NDArray[np.float32]
Points = tuple[Grid, Grid, Grid]
Vector = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """A body's place, turn (3, 3) and size: from its own coordinates to those of the volume."""

    centre: NDArray[np.float64]
    turn: NDArray[np.float64]
    scale: float

    def local(self, points: Points) -> Points:
        """Coordinates of the volume's points in the body's own system."""
        x, y, z = (p - np.float32(c) for p, c in zip(points, self.centre, strict=True))
        inverse = (self.turn.T / self.scale).astype(np.float32)
        a, b, c = (x * row[0] + y * row[1] + z * row[2] for row in inverse)
        return a, b, c


def ellipsoid(points: Points, centre: Vector, radii: Vector) -> Grid:
    """Distance to an ellipsoid whose axes are those of the coordinates, by its semi-axes.

    First-order and signed: f·(f − 1) / |∇f²/2|, with f the scaled radius.
    """
    scaled = [
        (p - np.float32(c)) / np.float32(r) for p, c, r in zip(points, centre, radii, strict=True)
    ]
    x, y, z = (q * q for q in scaled)
    level = np.sqrt(x + y + z)
    x, y, z = ((q / np.float32(r)) ** 2 for q, r in zip(scaled, radii, strict=True))
    slope = np.sqrt(x + y + z)
    distance: Grid = level * (level - 1) / np.maximum(slope, np.float32(1e-6))
    # At the very centre the formula is 0/0; the distance there is the shortest semi-axis.
    return np.where(level < 1e-3, np.float32(-min(radii)), distance)


def curve(knots: ArrayLike, pieces: int = 5) -> NDArray[np.float64]:
    """Draws a smooth (Catmull-Rom) curve through knots (n, columns), n at least 2.

    Shape ((n − 1) · pieces + 1, columns), so many straight pieces between two knots.
    """
    given = np.asarray(knots, dtype=np.float64)
    ends = np.vstack([2 * given[0] - given[1], given, 2 * given[-1] - given[-2]])
    t = (np.arange(pieces) / pieces)[:, None]
    parts = [
        0.5
        * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3)
        for a, b, c, d in zip(ends[:-3], ends[1:-2], ends[2:-1], ends[3:], strict=True)
    ]
    return np.vstack([*parts, given[-1:]])


def near_tube(
    points: Points, path: NDArray[np.float64], reach: float = 15.0
) -> tuple[NDArray[np.intp], Grid]:
    """Distance to a chain of straight tubes with round ends and a changing radius, near them.

    The flat indices of the points in a box about the tubes, and for each the distance to the
    nearest axis point less the radius there, at most `reach`. The path holds x, y, z and radius
    of each of its two or more joints.
    """
    margin = float(path[:, 3].max()) + reach
    flat = [p.reshape(-1) for p in points]
    low, high = path[:, :3].min(0) - margin, path[:, :3].max(0) + margin
    index = np.flatnonzero((flat[0] > low[0]) & (flat[0] < high[0]))
    for axis in (1, 2):
        place = flat[axis][index]
        index = index[(place > low[axis]) & (place < high[axis])]
    close = [p[index] for p in flat]
    nearest = np.full(index.size, reach, np.float32)
    for start, end in zip(path[:-1].astype(np.float32), path[1:].astype(np.float32), strict=True):
        step = end - start
        x, y, z = (p - s for p, s in zip(close, start[:3], strict=True))
        along = (x * step[0] + y * step[1] + z * step[2]) / max(float(np.sum(step[:3] ** 2)), 1e-9)
        along = np.clip(along, 0, 1)
        square = (
            (x - along * step[0]) ** 2 + (y - along * step[1]) ** 2 + (z - along * step[2]) ** 2
        )
        np.minimum(nearest, np.sqrt(square) - (start[3] + along * step[3]), out=nearest)
    return index, nearest


def tube(points: Points, path: NDArray[np.float64], reach: float = 15.0) -> Grid:
    """The distance of `near_tube` at all points; `reach` at those that are not near."""
    index, nearest = near_tube(points, path, reach)
    distance = np.full(points[0].size, reach, np.float32)
    distance[index] = nearest
    return distance.reshape(points[0].shape)


def blend(first: Grid, second: Grid, radius: float) -> Grid:
    """Distance to the union of two solids, the crease between them filled over a radius."""
    near = np.maximum(radius - np.abs(first - second), 0) / np.float32(radius)
    union: Grid = np.minimum(first, second) - near * near * np.float32(radius / 4)
    return union


def coverage(distance: NDArray[np.floating], width: float) -> Grid:
    """Share of a voxel inside a solid: a ramp of `width` centred on the surface."""
    share: Grid = np.clip(np.float32(0.5) - distance / np.float32(width), 0, 1)
    return share


def rotation(degrees: Vector) -> NDArray[np.float64]:
    """The 3 x 3 matrix that turns about x, then y, then z by the given angles."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i] = np.sin(angle)
        turn[i, j] = -turn[j, i]
        # einsum, not @: a threaded matrix product may round differently.
        matrix = np.einsum("ij,jk->ik", turn, matrix)
    return matrix


def smooth_field(rng: np.random.Generator, shape: Sequence[int], cells: Sequence[int]) -> Grid:
    """A random field without edges, of mean 0 and standard deviation about 1.

    Normal weights on a cubic B-spline lattice; fewer cells along an axis give longer waves.
    """
    field = rng.standard_normal([n + 3 for n in cells], dtype=np.float32)
    for voxels, count in zip(shape, cells, strict=True):
        weights = _bspline(voxels, count)
        # Each pass consumes the first axis and appends it last: three passes restore xyz.
        field = np.einsum("ijk,ai->jka", field, weights)
    return np.ascontiguousarray(field)


def _bspline(voxels: int, cells: int) -> Grid:
    """Cubic B-spline weights, shape (voxels, cells + 3), scaled to keep unit variance."""
    position = (np.arange(voxels) + 0.5) / voxels * cells
    t = np.abs(position[:, None] + 1 - np.arange(cells + 3))
    weights = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6)
    scaled: Grid = (weights / np.sqrt(np.mean(np.sum(weights**2, axis=1)))).astype(np.float32)
    return scaled
