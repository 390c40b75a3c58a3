"""Slices of a volume in three orientations, and back again.

Volumes are in RAS orientation, (X, Y, Z). Slices follow the radiological convention:
axial with the anterior side up, coronal and sagittal with the head up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contrabench.protocol import Orientation

_AXES: dict[Orientation, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}


def to_slices(volume: Tensor, orientation: Orientation) -> Tensor:
    """Cuts a volume (X, Y, Z) into slices (N, H, W)."""
    return volume.permute(_AXES[orientation]).flip((1, 2))


def from_axial(slices: Tensor) -> Tensor:
    """Stacks axial slices (..., Z, H, W) to a volume (..., X, Y, Z); undoes `to_slices`."""
    return slices.flip((-2, -1)).transpose(-3, -1)


def isotropic(volume: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """Stretches a volume along z until its voxels are cubes; values by nearest voxel.

    Nearest neighbours serve images and masks alike: no new label appears, and a re-sliced
    image shows what was measured rather than an invention between two slices.

    Args:
        volume: (X, Y, Z).
        spacing: voxel sides in mm, z at least as large as x.
    """
    depth = volume.shape[2]
    stretched = max(1, round(depth * spacing[2] / spacing[0]))
    if stretched == depth:
        return volume
    index = ((torch.arange(stretched) + 0.5) * depth / stretched).long().clamp(max=depth - 1)
    return volume[:, :, index]


def fit_square(slices: Tensor, pixels: int, fill: float) -> Tensor:
    """Crops or pads slices (N, H, W) about their centre to (N, pixels, pixels)."""
    for axis in (1, 2):
        size = slices.shape[axis]
        if size > pixels:
            slices = slices.narrow(axis, (size - pixels) // 2, pixels)
        elif size < pixels:
            before = (pixels - size) // 2
            shape = list(slices.shape)
            shape[axis] = before
            first = slices.new_full(shape, fill)
            shape[axis] = pixels - size - before
            slices = torch.cat((first, slices, slices.new_full(shape, fill)), dim=axis)
    return slices
