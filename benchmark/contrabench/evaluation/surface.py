"""Distances between two surfaces of voxels: exact in physical units, and as papers compute them.

Surface voxels have a background neighbour across a face or the image's border: the convention of
MONAI, medpy and `scipy.ndimage.binary_erosion`, hence equal distances. Papers call "ASD" what here
never is: one direction in voxels, or one slice at a time; these stand at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from contrabench.errors import RequestError

AXIAL_AXIS = 2
_TOLERANCE_SLACK_MM = 1e-5
"""Spacings come from single-precision headers: 5 x 0.4 mm must still count as 2 mm."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance of every surface voxel to the nearest one of the other surface.

    `forward` is from the prediction to the reference, `backward` the other way.
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    def average(self) -> float:
        """Symmetric average surface distance, both lists pooled into one.

        Equal to MONAI's with `symmetric=True` and to medpy's `assd` since 0.5; medpy 0.4
        took the mean of the two directed means instead.
        """
        total = self.forward.sum() + self.backward.sum()
        return float(total / (self.forward.size + self.backward.size))

    def hausdorff95(self) -> float:
        """The larger of the two directed 95th percentiles, linearly interpolated.

        As MONAI's with `percentile=95`; medpy's `hd95` pools both first: large surfaces hide small.
        """
        return float(max(np.percentile(self.forward, 95), np.percentile(self.backward, 95)))

    def surface_dice(self, tolerance: float) -> float:
        """Share of the surface voxels of both masks within `tolerance` (inclusive) of the other.

        Voxels count, not the area they stand for: as MONAI's without sub-voxels (Nikolov et al.
        2018 weight by area).
        """
        limit = tolerance + _TOLERANCE_SLACK_MM
        close = np.count_nonzero(self.forward <= limit) + np.count_nonzero(self.backward <= limit)
        return float(close / (self.forward.size + self.backward.size))


def edge_voxels(mask: NDArray[np.bool_], axes: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """The surface of a boolean mask, of the same shape.

    Neighbours are looked for along `axes`, by default all; without one of them they are the
    outlines of the slices across it.
    """
    interior = mask.copy()
    for axis in range(mask.ndim) if axes is None else axes:
        inside, values = np.moveaxis(interior, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= values[:-1]
        inside[:-1] &= values[1:]
        inside[0] = False
        inside[-1] = False
    return mask & ~interior


def nearest_distances(
    origin: NDArray[np.bool_], target: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Distance from each voxel of `origin` to the nearest of `target`, which is not empty.

    Shape (n,), in the unit of `spacing` and in the order of `np.argwhere(origin)`.
    """
    points = np.argwhere(origin)
    distances = np.zeros(len(points))
    apart = ~target[origin]
    if apart.any():
        scale = np.asarray(spacing, dtype=np.float64)
        # An unbalanced tree is built faster and answers the same.
        tree = cKDTree(np.argwhere(target) * scale, balanced_tree=False, compact_nodes=False)
        distances[apart] = tree.query(points[apart] * scale)[0]
    return distances


def surface_distances(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> SurfaceDistances:
    """The exact distances, in the unit of `spacing`, between the surfaces of two masks of any rank.

    RequestError if the shapes differ or a mask is empty, where no distance exists.
    """
    if prediction.shape != reference.shape:
        raise RequestError(
            f"the prediction has shape {prediction.shape} and the reference {reference.shape}; "
            "surfaces are compared voxel by voxel, so bring both to the same grid first"
        )
    if not prediction.any() or not reference.any():
        raise RequestError(
            "a mask is empty and has no surface to measure from; "
            "use score_case, which states what an empty mask scores"
        )
    ours, theirs = edge_voxels(prediction), edge_voxels(reference)
    return SurfaceDistances(
        forward=nearest_distances(ours, theirs, spacing),
        backward=nearest_distances(theirs, ours, spacing),
    )


def asd_medpy_voxel(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Mean distance, in voxels, from the prediction's surface to the reference's; neither is empty.

    As `medpy.metric.binary.asd(prediction, reference)` gives it without a spacing.
    """
    unit = (1.0,) * prediction.ndim
    distances = nearest_distances(edge_voxels(prediction), edge_voxels(reference), unit)
    return float(distances.mean())


def asd_slice2d(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], spacing: Sequence[float]
) -> float:
    """Mean over axial slices of the symmetric 2D average surface distance, in mm.

    Of (X, Y, Z) masks; NaN if no slice holds the structure in both. Others are left out, as the
    published codes do: a structure that spills into further slices costs nothing here.
    """
    in_plane = tuple(axis for axis in range(3) if axis != AXIAL_AXIS)
    shared = prediction.any(axis=in_plane) & reference.any(axis=in_plane)
    if not shared.any():
        return math.nan
    ours = edge_voxels(prediction[:, :, shared], in_plane)
    theirs = edge_voxels(reference[:, :, shared], in_plane)
    # Slices moved further apart than a slice is wide: one search then serves them all,
    # because the nearest voxel can only lie in the same slice.
    width = math.hypot(*(ours.shape[axis] * spacing[axis] for axis in in_plane))
    stretched = [*spacing[:AXIAL_AXIS], 2 * width]
    count = ours.shape[AXIAL_AXIS]
    total, voxels = np.zeros(count), np.zeros(count)
    for origin, target in ((ours, theirs), (theirs, ours)):
        slices = np.nonzero(origin)[AXIAL_AXIS]
        total += np.bincount(slices, nearest_distances(origin, target, stretched), count)
        voxels += np.bincount(slices, minlength=count)
    return float(np.mean(total / voxels))
