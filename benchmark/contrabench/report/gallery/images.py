"""The image of a plane: from the working grid to a small grey picture."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contrabench.data.grid import operator
from contrabench.report.gallery.planes import Cut

PIXELS = 160
"""The most pixels along the longer side of a picture."""
_PERCENTILES = (1.0, 99.0)


def grey_window(image: NDArray[np.float32]) -> tuple[float, float]:
    """The values of a volume that are shown black and white: two of its percentiles."""
    low, high = (float(value) for value in np.percentile(image, _PERCENTILES))
    return low, high if high > low else low + 1.0


def pixel_count(extent: tuple[float, float], voxels: tuple[float, float]) -> tuple[int, int]:
    """How many pixels a picture has along its two sides.

    They are square, and no finer than half a voxel of the image: more would only make the
    file larger.

    Args:
        extent: of the picture.
        voxels: sides of the image's voxels along the same axes, in the same unit.
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
    """Samples the working grid, linearly, on the part of a native plane that is shown.

    Args:
        image: (X, Y, Z) on the working grid.
        cut: plane of the native grid.
        relation: native voxel index to working voxel index, 4 x 4.
        pixels: of the picture, across and down.
        floor: what stands where the working grid does not reach.

    Returns:
        (rows, columns), turned as `Cut.of` turns a plane.
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
        positions = scale * native + relation[axis, 3]
        matrices.append(operator(positions, image.shape[axis], scale * step))
    across, down = matrices
    result: NDArray[np.float32] = down @ plane.T @ across.T + np.float32(floor)
    return result


def grey_png(values: NDArray[np.float32], window: tuple[float, float]) -> bytes:
    """Writes values as an 8-bit grey PNG, the first row at the top.

    Args:
        values: (rows, columns).
        window: what is black and what is white.
    """
    low, high = window
    shades = np.clip((values - low) / (high - low), 0, 1) * 255
    file = io.BytesIO()
    Image.fromarray(np.rint(shades).astype(np.uint8)).save(file, "PNG", optimize=True)
    return file.getvalue()
