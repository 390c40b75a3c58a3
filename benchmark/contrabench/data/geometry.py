"""What an affine must be, and how a volume is turned by it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from contrabench.contracts.dataset import Volume
from contrabench.data.grid import spacing_of
from contrabench.data.nifti import sides_words

_TOLERANCE = 1e-3
"""Largest distance between the corners of one grid in two files, as a share of the diagonal."""
_SHEAR = 3.0
"""Degrees off a right angle from which on distances along the axes are wrong."""
_THICKEST = 1.5
"""How much longer than both others the side is along which slices were acquired."""


def affine_fault(
    affine: NDArray[np.float64], what: str, sides_mm: tuple[float, float] = (0, np.inf)
) -> str:
    """The fault of the affine of `what`, in one line; empty if it has none.

    It must have a volume and perpendicular axes, and its voxel sides must lie within `sides_mm`.
    """
    sides = np.array(spacing_of(affine))
    if not np.isfinite(affine).all() or not sides.min() > 0:
        return _lost(what, sides)
    turn = affine[:3, :3] / sides
    if abs(np.linalg.det(turn)) < 1e-6:
        return _lost(what, sides)
    off = float(np.degrees(np.arcsin(np.clip(np.abs(turn.T @ turn - np.eye(3)).max(), 0, 1))))
    if off > _SHEAR:
        return (
            f"the axes of {what} are {off:.0f} degrees off a right angle, and distances along them "
            "would be wrong; resample it onto perpendicular axes, as 3D Slicer or SimpleITK do"
        )
    low, high = sides_mm
    if sides.min() < low or sides.max() > high:
        return (
            f"the voxel sides of {what} are {sides_words(sides)} mm, and {low:g} to {high:g} mm "
            "are plausible here; write the right sides and their unit into the header, or widen "
            "the bounds, which are `sides_mm` of the dataset"
        )
    return ""


def _lost(what: str, sides: NDArray[np.float64]) -> str:
    return (
        f"the affine of {what} has no volume (voxel sides {sides_words(sides)}); its geometry is "
        "unknown, so write the right one into the header"
    )


def corner_distance(
    shape: tuple[int, ...], one: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    """Largest distance in mm of the corners of a grid under two affines; 0 for a rounding."""
    corners = np.array([(*corner, 1) for corner in product(*((0, n) for n in shape))])
    first, second = ((corners @ affine.T)[:, :3] for affine in (one, other))
    apart = float(np.linalg.norm(first - second, axis=1).max())
    return apart if apart > _TOLERANCE * float(np.linalg.norm(first[0] - first[-1])) else 0.0


def canonical(volume: Volume) -> Volume:
    """Turns a volume so that its axes point right, anterior and superior (RAS).

    Axes are swapped and mirrored only, so an oblique volume keeps a small rotation in the affine.
    """
    from nibabel.orientations import io_orientation

    return _turned(volume, io_orientation(volume.affine))


def acquired(volume: Volume) -> Volume:
    """Makes the axis along which slices were acquired the third one, if sides tell which it is.

    Of an oblique stack it may be any after `canonical`, another from heart to heart. The two others
    keep their order, and all of them their directions.
    """
    sides = spacing_of(volume.affine)
    thick = int(np.argmax(sides))
    if any(sides[thick] <= _THICKEST * sides[axis] for axis in range(3) if axis != thick):
        return volume
    order = [*(axis for axis in range(3) if axis != thick), thick]
    return _turned(volume, np.array([(order.index(axis), 1) for axis in range(3)]))


def _turned(volume: Volume, turn: NDArray[np.floating | np.integer]) -> Volume:
    """A volume after an orientation of nibabel: each axis's place and direction."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff

    def turned(array: NDArray[np.generic]) -> NDArray[np.generic]:
        if array.ndim == 4:
            return np.stack([turned(channel) for channel in array])
        return np.ascontiguousarray(apply_orientation(array, turn))

    label = volume.label
    return replace(
        volume,
        image=turned(volume.image).astype(np.float32, copy=False),
        label=None if label is None else turned(label).astype(label.dtype, copy=False),
        affine=volume.affine @ inv_ornt_aff(turn, volume.image.shape[-3:]),
        label_affine=None,
    )
