"""Positions of a map's cells against pooled pixel grids and loops over the definition."""

import math

import pytest
import torch

from contrabench.contracts.geometry import Geometry
from contrabench.contracts.views import Spatial
from contrabench.views.cells import cell_diagonals, cell_positions
from contrabench.views.spatial import draw_geometry


def affine(*matrices, size=(32, 32)):
    return Geometry(torch.tensor(matrices, dtype=torch.float32), None, size)


@pytest.mark.parametrize("shape", [(2, 2), (4, 4), (4, 8), (32, 32)])
def test_without_a_displacement_a_cell_lies_at_the_mean_of_its_pixels(shape):
    still = Spatial(elastic_sd=0, rotation_deg=40, flip=True)
    geometry = draw_geometry(still, 3, (32, 32), (32, 32), 0)
    found = cell_positions(geometry, shape).reshape(3, *shape, 2)
    high, wide = 32 // shape[0], 32 // shape[1]
    grid = geometry.grid().reshape(3, shape[0], high, shape[1], wide, 2)
    torch.testing.assert_close(found, grid.mean(dim=(2, 4)), rtol=0, atol=1e-6)


def test_with_a_displacement_a_cell_lies_where_its_centre_is_taken_to():
    geometry = draw_geometry(Spatial(elastic_sd=0.05, rotation_deg=30), 2, (48, 48), (48, 48), 1)
    found = cell_positions(geometry, (3, 3))
    # Cells of 16 x 16 pixels: the centre is the corner that four pixels share.
    for number, (row, column) in enumerate((r, c) for r in range(3) for c in range(3)):
        centre = torch.tensor([(2 * column + 1) / 3 - 1, (2 * row + 1) / 3 - 1])
        expected = geometry.source(centre.expand(2, 1, 2))[:, 0]
        torch.testing.assert_close(found[:, number], expected, rtol=0, atol=1e-6)
        y, x = 16 * row + 8, 16 * column + 8
        around = geometry.grid()[:, y - 1 : y + 1, x - 1 : x + 1].mean(dim=(1, 2))
        torch.testing.assert_close(found[:, number], around, rtol=0, atol=2e-3)


def test_the_cells_of_a_crop_and_of_its_mirror_image():
    # The right half of the slice; and the same, mirrored.
    geometry = affine([[0.5, 0, 0.5], [0, 1, 0]], [[-0.5, 0, 0.5], [0, 1, 0]])
    found = cell_positions(geometry, (2, 2))
    plain = [[0.25, -0.5], [0.75, -0.5], [0.25, 0.5], [0.75, 0.5]]
    mirrored = [plain[i] for i in (1, 0, 3, 2)]
    torch.testing.assert_close(found, torch.tensor([plain, mirrored]))


@pytest.mark.parametrize("shape", [(4, 4), (2, 8)])
def test_the_diagonal_is_the_distance_of_a_cells_corners(shape):
    geometry = draw_geometry(Spatial(elastic_sd=0, rotation_deg=0), 4, (32, 32), (32, 32), 2)
    corners = torch.tensor([[-1.0, -1.0], [2 / shape[1] - 1, 2 / shape[0] - 1]])
    here, there = geometry.source(corners.expand(4, 2, 2)).unbind(1)
    torch.testing.assert_close(cell_diagonals(geometry, shape), (here - there).norm(dim=1))


def test_rotating_and_mirroring_leave_the_diagonal_as_it_is():
    cos, sin = math.cos(0.5), math.sin(0.5)
    width, height = 0.6, 0.8
    geometry = affine(
        [[width, 0, 0.1], [0, height, 0]],
        [[-width, 0, 0.1], [0, height, 0]],
        [[cos * width, -sin * height, 0.1], [sin * width, cos * height, 0]],
    )
    expected = torch.full((3,), math.hypot(width * 2 / 4, height * 2 / 4))
    torch.testing.assert_close(cell_diagonals(geometry, (4, 4)), expected)
