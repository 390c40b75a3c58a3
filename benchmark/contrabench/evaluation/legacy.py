"""Distances as parts of the literature compute them, to read its tables by.

Neither is the contract's ASD or ever printed under that name, though papers do: one measures
in one direction and in voxels, the other one slice at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contrabench.evaluation.surface import edge_voxels, nearest_distances

AXIAL_AXIS = 2


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
