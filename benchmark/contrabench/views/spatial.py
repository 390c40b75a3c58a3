"""The geometry of a view: drawn, read along, and asked where a feature map's cells lie.

Parameters are drawn and composed on the CPU, so that a seed means the same geometry on every
device; what travels is a few kilobytes an image. Grey values are read linearly, labels by pixel.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from contrabench.contracts.geometry import Geometry, pixel_centres
from contrabench.contracts.views import IGNORE, Spatial

_SCALARS = 6
_NODES_PER_CELL = 8
_LARGEST_SLOPE = 0.7


def draw_geometry(
    spec: Spatial,
    batch: int,
    slice_size: tuple[int, int],
    view_size: tuple[int, int],
    seed: int,
) -> Geometry:
    """Draws one geometry for each image of a batch, on the CPU.

    The seed settles it: image i has the same whatever the batch's size. Sizes are height and width
    in pixels; those of the slices settle what a rotation is.
    """
    control = spec.elastic_cells + 2 if spec.elastic_sd > 0 else 0
    table = torch.rand(
        batch, _SCALARS + 2 * control**2, generator=torch.Generator().manual_seed(seed)
    )
    affine = _affine(spec, table[:, :_SCALARS], slice_size)
    displacement = None
    if control:
        points = table[:, _SCALARS:].reshape(batch, 2, control, control)
        displacement = _displacement(spec, points)
    return Geometry(affine, displacement, view_size)


def _affine(spec: Spatial, uniform: Tensor, slice_size: tuple[int, int]) -> Tensor:
    """Turns (B, 6) uniform numbers into (B, 2, 3) affine maps, view to slice."""
    area = _between(uniform[:, 0], *spec.crop_area)
    # Only aspects whose box fits the slice are drawn, so no box is ever truncated.
    low = torch.log(area).clamp_min(math.log(spec.aspect[0]))
    high = -torch.log(area).clamp_min(-math.log(spec.aspect[1]))
    root = torch.exp((low + (high - low) * uniform[:, 1]) / 2)
    width, height = (area.sqrt() * root).clamp_max(1), (area.sqrt() / root).clamp_max(1)
    x = (1 - width) * _between(uniform[:, 2], -1, 1)
    y = (1 - height) * _between(uniform[:, 3], -1, 1)
    angle = _between(uniform[:, 4], -1, 1) * math.radians(spec.rotation_deg)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # A rotation is one in pixels: in normalised units the sides' ratio enters.
    ratio = slice_size[1] / slice_size[0]
    if spec.flip:
        width = torch.where(uniform[:, 5] < 0.5, -width, width)
    rows = (cos * width, -sin * height / ratio, x, sin * width * ratio, cos * height, y)
    return torch.stack(rows, -1).view(-1, 2, 3)


def _displacement(spec: Spatial, uniform: Tensor) -> Tensor:
    """Turns (B, 2, c + 2, c + 2) uniform numbers into a smooth (B, 2, h, w) lattice."""
    # Uniform rather than normal control points bound the displacement; the spline makes it
    # nearly normal all the same.
    weights, deviation = _spline(spec.elastic_cells)
    control = (2 * uniform - 1) * math.sqrt(3) * 2 * spec.elastic_sd / deviation
    lattice = weights @ control @ weights.T
    # With slopes below one in the maximum norm the displacement is a contraction: the map
    # cannot fold, and `Geometry.locate` converges. The default strength does not meet it.
    right, down = lattice.diff(dim=-1).abs(), lattice.diff(dim=-2).abs()
    cell = torch.maximum(right[:, :, 1:], right[:, :, :-1])
    cell = cell + torch.maximum(down[..., 1:], down[..., :-1])
    slope = cell.amax((1, 2, 3)) * lattice.shape[-1] / 2
    shrink = (_LARGEST_SLOPE / slope).clamp_max(1)
    return lattice * shrink[:, None, None, None]


@lru_cache(maxsize=16)
def _spline(cells: int) -> tuple[Tensor, float]:
    """Cubic B-spline weights (nodes, cells + 2) over [-1, 1], and the deviation that they give.

    One more control point lies beyond either end, as the spline's support needs.
    """
    position = (pixel_centres(_NODES_PER_CELL * cells) + 1) / 2 * (cells - 1)
    distance = (position[:, None] - torch.arange(-1, cells + 1)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp_min(0) ** 3 / 6
    weights = torch.where(distance < 1, near, far)
    return weights, float(weights.square().sum(1).mean())


def _between(uniform: Tensor, low: float, high: float) -> Tensor:
    """Stretches numbers of [0, 1) to [low, high)."""
    return low + (high - low) * uniform


def sample_images(images: Tensor, grid: Tensor) -> Tensor:
    """Reads images bilinearly at normalised slice coordinates (B, H', W', 2): (B, C, H', W').

    Outside of the slice a view holds the slice's smallest value, which is background in a scan;
    repeating the border instead would smear anatomy into stripes.
    """
    sampled = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return torch.where(_inside(grid)[:, None], sampled, images.amin((2, 3), keepdim=True))


def sample_masks(masks: Tensor, grid: Tensor) -> Tensor:
    """Reads the label of the pixel that each point lies in, so that no value is new.

    Masks are 0 to 255; as `sample_images`, but (B, H', W') long, `IGNORE` outside of the slice.
    """
    labels = F.grid_sample(
        masks[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return labels[:, 0].masked_fill_(~_inside(grid), IGNORE).long()


def _inside(grid: Tensor) -> Tensor:
    """Whether each point lies within the slice, (B, H', W')."""
    return torch.maximum(grid[..., 0].abs(), grid[..., 1].abs()) <= 1


def cell_positions(geometry: Geometry, shape: tuple[int, int]) -> Tensor:
    """Slice coordinates of the centres of a map's cells, rotation and elasticity included.

    The network's strides divide a view evenly, so that a cell stands for the pixels of one
    rectangle of the view, and its centre is that of the rectangle. (B, h * w, 2) float32 for a
    shape (h, w), as `flatten(2)` lists it; beyond -1 and 1 where a cell lies outside of the slice.
    """
    cells = Geometry.identity(len(geometry.affine), shape, geometry.affine.device)
    return geometry.source(cells.grid().flatten(1, 2))


def cell_diagonals(geometry: Geometry, shape: tuple[int, int]) -> Tensor:
    """Length (B,) of the diagonal of a map's cells in the slice, in normalised coordinates.

    The root of width squared plus height squared, as the affine part stretches them (slices
    are square); the displacement moves cells about without making them larger on average.
    """
    height, width = shape
    across, down = geometry.affine[:, :, 0] * 2 / width, geometry.affine[:, :, 1] * 2 / height
    return (across.square().sum(dim=1) + down.square().sum(dim=1)).sqrt()
