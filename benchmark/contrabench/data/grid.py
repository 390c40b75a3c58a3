"""The working grid: the geometry all methods share, and the way there and back.

Indices are voxel centres: of voxels of side d, voxel i covers (i - 1/2) d to (i + 1/2) d. The
native and the working grid of a volume have the same axes (right, anterior, superior) and the
same centre, so every resampling is three one-dimensional ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

_EDGE = 1e-4
"""Voxels: a centre on the border of a grid lies inside it, whatever the rounding."""
_SLAB = 16
"""Native slices interpolated at a time: their classes stay in the processor's cache."""


@dataclass(frozen=True)
class WorkingGrid:
    """The working grid of one volume and where its voxels lie in the native one.

    Shape (pixels, pixels, Z'), `spacing` in mm, `affine` 4 x 4 from voxel index to world. `steps`
    are its spacing in native voxels, `positions` each axis's voxel centres as native indices, and
    `native_shape` is that in canonical orientation.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]
    steps: tuple[float, float, float]
    positions: tuple[NDArray[np.float64], ...]
    native_shape: tuple[int, int, int]


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Voxel sides in mm: the lengths of the columns of an affine."""
    x, y, z = (float(side) for side in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def working_grid(
    shape: tuple[int, int, int], affine: NDArray[np.float64], field_of_view: float, pixels: int
) -> WorkingGrid:
    """Lays the working grid over a native grid in canonical orientation.

    In the plane, it is a square of `field_of_view` mm about the volume's centre. Through the
    plane the whole extent is kept, never finer than it is: no slice is invented or left out.
    """
    native = spacing_of(affine)
    side = field_of_view / pixels
    depth = max(side, native[2])
    slices = max(1, math.ceil(shape[2] * native[2] / depth - _EDGE))
    spacing, counts = (side, side, depth), (pixels, pixels, slices)
    steps = (side / native[0], side / native[1], depth / native[2])
    starts = [
        (n - 1) / 2 - step * (m - 1) / 2 for n, m, step in zip(shape, counts, steps, strict=True)
    ]
    to_native = np.diag([*steps, 1.0])
    to_native[:3, 3] = starts
    return WorkingGrid(
        shape=counts,
        spacing=spacing,
        affine=np.asarray(affine @ to_native, dtype=np.float64),
        steps=steps,
        positions=tuple(
            np.asarray(start + step * np.arange(m), dtype=np.float64)
            for start, step, m in zip(starts, steps, counts, strict=True)
        ),
        native_shape=shape,
    )


def covered(positions: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Which positions, in voxel indices, lie on a grid of `count` voxels, borders included."""
    return (positions >= -0.5 - _EDGE) & (positions <= count - 0.5 + _EDGE)


def neighbours(
    positions: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Linear interpolation: the two voxels around each position and the second one's weight.

    Beyond the outermost centres the outermost voxel counts.
    """
    inside = np.clip(positions, 0, count - 1)
    low = np.minimum(np.floor(inside).astype(np.int64), max(count - 2, 0))
    return low, np.minimum(low + 1, count - 1), inside - low


def operator(positions: NDArray[np.float64], count: int, step: float) -> NDArray[np.float32]:
    """The matrix (m, n) that samples an axis of `count` = n voxels at m indices, `step` apart.

    Where the positions are further apart than the voxels, a Gaussian comes first, of deviation
    (step - 1) / 2 voxels (the rule of scikit-image's `resize`); without it, fine structures would
    turn into false coarse ones. Linear ramps pass unchanged. Rows sum to one, or are zero for
    positions outside the axis.
    """
    low, high, weight = neighbours(positions, count)
    rows = np.arange(len(positions))
    linear = np.zeros((len(positions), count))
    np.add.at(linear, (rows, low), 1 - weight)
    np.add.at(linear, (rows, high), weight)
    linear[~covered(positions, count)] = 0
    return (linear @ _gaussian(count, max(0.0, (step - 1) / 2))).astype(np.float32)


def _gaussian(count: int, sigma: float) -> NDArray[np.float64]:
    """Matrix of a Gaussian filter that repeats the outermost voxels beyond the ends."""
    if sigma < 1e-3:
        return np.eye(count)
    reach = math.ceil(4 * sigma)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    matrix = np.zeros((count, count))
    rows = np.arange(count)
    for offset, value in zip(offsets, kernel, strict=True):
        np.add.at(matrix, (rows, np.clip(rows + offset, 0, count - 1)), value)
    return matrix


def resample_image(image: NDArray[np.float32], grid: WorkingGrid) -> NDArray[np.float32]:
    """Samples a native image on the working grid; zero where the image does not reach."""
    return _apply(image, _operators(grid))


def shrink(image: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Samples the whole extent of an image in `shape` cells, whatever its spacing."""
    steps = [n / cells for n, cells in zip(image.shape, shape, strict=True)]
    centres = [(np.arange(m) + 0.5) * step - 0.5 for m, step in zip(shape, steps, strict=True)]
    return _apply(image, [*map(operator, centres, image.shape, steps)])


def resample_label(label: NDArray[np.uint8], classes: int, grid: WorkingGrid) -> NDArray[np.uint8]:
    """Samples native class indices on the working grid: the class with the largest share.

    Each is resampled as an image of zeros and ones, so no new value can appear, and a structure
    thinner than a voxel is lost only where others hold the larger share. One class at a time is
    kept in memory; the background, 0, is what classes 1 and on leave.
    """
    from scipy import ndimage

    operators = _operators(grid)
    best = np.zeros(grid.shape, np.float32)
    total = np.zeros(grid.shape, np.float32)
    winner = np.zeros(grid.shape, np.uint8)
    for index, box in enumerate(ndimage.find_objects(label, classes), start=1):
        if not box:
            continue
        parts = [matrix[:, edge] for matrix, edge in zip(operators, box, strict=True)]
        share = _apply((label[box] == index).astype(np.float32), parts)
        winner[share > best] = index
        np.maximum(best, share, out=best)
        total += share
    winner[best <= 1 - total] = 0
    return winner


def onto_grid(
    image: NDArray[np.float32],
    affine: NDArray[np.float64],
    target: NDArray[np.float64],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.float32], float]:
    """Samples an image (X, Y, Z) on any other grid, linearly; affines are 4 x 4, index to world.

    Beyond the image's borders, half a voxel outside of its outermost centres, stands its lowest
    value. With it comes the share of the other grid that lies within.
    """
    from scipy import ndimage

    relation = np.linalg.inv(affine) @ target
    inside = ndimage.affine_transform(
        np.ones(image.shape, np.uint8), relation, output_shape=shape, order=0, mode="grid-constant"
    )
    values = ndimage.affine_transform(image, relation, output_shape=shape, order=1, mode="nearest")
    return np.where(inside, values, image.min()), float(inside.mean())


def _operators(grid: WorkingGrid) -> list[NDArray[np.float32]]:
    axes = zip(grid.positions, grid.native_shape, grid.steps, strict=True)
    return [operator(positions, count, step) for positions, count, step in axes]


def _apply(array: NDArray[np.float32], operators: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Applies one matrix along each axis of an array (X, Y, Z)."""
    x, y, z = operators
    first = (x @ array.reshape(array.shape[0], -1)).reshape(len(x), *array.shape[1:])
    result: NDArray[np.float32] = (y @ first) @ z.T
    return result


def inside_field(grid: WorkingGrid) -> NDArray[np.bool_]:
    """Which native columns (X, Y) have their centre in the field of view."""
    x, y, _ = (
        covered((np.arange(n) - p[0]) / step, len(p))
        for n, p, step in zip(grid.native_shape, grid.positions, grid.steps, strict=True)
    )
    columns: NDArray[np.bool_] = x[:, None] & y[None, :]
    return columns


def to_native(
    probabilities: Tensor,
    affine: NDArray[np.float64],
    native_affine: NDArray[np.float64],
    native_shape: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Brings a prediction (C, X, Y, Z) to the native grid: the class with the largest value.

    Each class is interpolated linearly; outside of the field of view is background, 0. Affines are
    4 x 4, voxel index to world; the native grid is that in canonical orientation.
    """
    import torch

    result = np.zeros(native_shape, np.uint8)
    for place, shares in _slabs(probabilities, affine, native_affine, native_shape):
        best = next(shares)
        winner = torch.zeros_like(best, dtype=torch.uint8)
        for index, share in enumerate(shares, start=1):
            winner.masked_fill_(share > best, index)
            torch.maximum(best, share, out=best)
        result[place] = winner.cpu().numpy()
    return result


def native_shares(
    probabilities: Tensor,
    affine: NDArray[np.float64],
    native_affine: NDArray[np.float64],
    native_shape: tuple[int, int, int],
) -> NDArray[np.float32]:
    """The values (C, X, Y, Z) on the native grid that `to_native` decides by."""
    result = np.zeros((len(probabilities), *native_shape), np.float32)
    result[0] = 1
    for place, shares in _slabs(probabilities, affine, native_affine, native_shape):
        for index, share in enumerate(shares):
            result[(index, *place)] = share.cpu().numpy()
    return result


def _slabs(
    probabilities: Tensor,
    affine: NDArray[np.float64],
    native_affine: NDArray[np.float64],
    native_shape: tuple[int, int, int],
) -> Iterator[tuple[tuple[slice, slice, slice], Iterator[Tensor]]]:
    """The parts of a native grid within the field of view, a few slices each, with their values.

    Those of one class after the other, interpolated on the tensor's device.
    """
    import torch

    device = probabilities.device
    relation = np.linalg.inv(affine) @ native_affine
    spans, indices = [], []
    for axis, count in enumerate(native_shape):
        positions = relation[axis, axis] * np.arange(count) + relation[axis, 3]
        length = int(probabilities.shape[axis + 1])
        span = np.flatnonzero(covered(positions, length))
        low, high, weight = neighbours(positions[span], length)
        spans.append(slice(int(span[0]), int(span[-1]) + 1) if len(span) else slice(0, 0))
        arrays = (low, high, weight.astype(np.float32))
        indices.append(tuple(torch.from_numpy(array).to(device) for array in arrays))
    x, y, z = indices
    for start in range(0, len(z[0]), _SLAB):
        slab = tuple(part[start : start + _SLAB] for part in z)
        shares = (
            _sample(_sample(_sample(values.float(), 2, *slab), 0, *x), 1, *y)
            for values in probabilities.detach()
        )
        depth = slice(spans[2].start + start, spans[2].start + start + len(slab[0]))
        yield (spans[0], spans[1], depth), shares


def _sample(values: Tensor, axis: int, low: Tensor, high: Tensor, weight: Tensor) -> Tensor:
    """Interpolates along one axis."""
    shape = [1, 1, 1]
    shape[axis] = -1
    return values.index_select(axis, low).lerp(values.index_select(axis, high), weight.view(shape))
