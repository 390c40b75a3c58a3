"""Where the cells of a feature map lie in the slice that its view was cut from.

The network's strides divide a view evenly, so cell (r, c) of an h x w map stands for the
pixels of one rectangle of the view, and its centre is that of the rectangle. Slices are
square, so that distances in normalised coordinates are the same in every direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contrabench.contracts.geometry import Geometry, pixel_centres


def cell_positions(geometry: Geometry, shape: tuple[int, int]) -> Tensor:
    """Slice coordinates of the centres of a map's cells, rotation and elasticity included.

    Args:
        geometry: of the view that the map was computed from.
        shape: height and width of the map.

    Returns:
        (B, h * w, 2) float32, row by row as `flatten(2)` lists a map; beyond -1 and 1 where
        a cell lies outside of the slice.
    """
    height, width = shape
    device = geometry.affine.device
    x = pixel_centres(width, device).expand(height, width)
    y = pixel_centres(height, device)[:, None].expand(height, width)
    centres = torch.stack((x, y), dim=-1).reshape(1, -1, 2)
    return geometry.source(centres.expand(len(geometry.affine), -1, -1))


def cell_diagonals(geometry: Geometry, shape: tuple[int, int]) -> Tensor:
    """Length of the diagonal of a map's cells in the slice.

    The root of width squared plus height squared, as the affine part stretches them; the
    displacement moves cells about without making them larger on average.

    Args:
        geometry: of the view that the map was computed from.
        shape: height and width of the map.

    Returns:
        (B,) float32 in normalised slice coordinates.
    """
    height, width = shape
    across, down = geometry.affine[:, :, 0] * 2 / width, geometry.affine[:, :, 1] * 2 / height
    return (across.square().sum(dim=1) + down.square().sum(dim=1)).sqrt()
