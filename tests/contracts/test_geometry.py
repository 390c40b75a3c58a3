"""`Geometry` against closed forms, loops over the definition, and SciPy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from contrabench.contracts.geometry import Geometry, correspond, pixel_centres
from contrabench.contracts.views import Spatial
from contrabench.views.spatial import draw_geometry

ELASTIC = Spatial(elastic_sd=0.05, rotation_deg=30, flip=True)


def affine(matrix, size):
    return Geometry(torch.tensor([matrix], dtype=torch.float32), None, size)


def random_points(batch, count, seed, reach=1.0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(batch, count, 2, generator=generator) - 1) * reach


def in_pixels(difference, size):
    return difference * torch.tensor([size[1], size[0]]) / 2


def test_the_identity_reads_every_pixel_at_its_centre():
    image = torch.randn(2, 1, 5, 7)
    grid = Geometry.identity(2, (5, 7)).grid()
    assert grid.dtype == torch.float32
    assert torch.allclose(F.grid_sample(image, grid, align_corners=False), image, atol=1e-5)


def test_a_rotation_turns_pixel_centres_about_the_middle():
    height, width, angle = 6, 10, 0.4
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = [[cos, -sin * height / width, 0], [sin * width / height, cos, 0]]
    grid = affine(matrix, (height, width)).grid()[0]
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5 - width / 2, row + 0.5 - height / 2
            turned = (cos * x - sin * y, sin * x + cos * y)
            assert grid[row, column, 0].item() * width / 2 == pytest.approx(turned[0], abs=1e-5)
            assert grid[row, column, 1].item() * height / 2 == pytest.approx(turned[1], abs=1e-5)


def test_a_crop_of_its_own_size_is_a_slice_of_the_array():
    image = torch.randn(1, 1, 12, 16)
    # Rows 2 to 8 and columns 5 to 15.
    box = affine([[10 / 16, 0, 20 / 16 - 1], [0, 6 / 12, 10 / 12 - 1]], (6, 10))
    cropped = F.grid_sample(image, box.grid(), align_corners=False)
    assert torch.allclose(cropped, image[..., 2:8, 5:15], atol=1e-5)


def test_a_mirrored_axis_is_a_flip_of_the_array():
    image = torch.randn(1, 1, 8, 6)
    mirrored = affine([[-1, 0, 0], [0, 1, 0]], (8, 6))
    sampled = F.grid_sample(image, mirrored.grid(), align_corners=False)
    assert torch.allclose(sampled, image.flip(-1), atol=1e-5)


def test_the_grid_is_the_source_of_the_pixel_centres():
    size = (24, 17)
    geometry = draw_geometry(ELASTIC, 3, (32, 32), size, 1)
    u = torch.stack(torch.meshgrid(pixel_centres(17), pixel_centres(24), indexing="xy"), -1)
    points = u.reshape(1, -1, 2).repeat(3, 1, 1)
    assert torch.allclose(geometry.grid().flatten(1, 2), geometry.source(points), atol=1e-6)


def test_the_displacement_is_bilinear_between_the_lattice():
    field = torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    geometry = Geometry(torch.eye(2, 3)[None], field, (8, 8))
    u = random_points(1, 50, 1, reach=1.2)
    x, y = u[0].double().numpy().T
    at = np.stack([(y + 1) / 2 * 5 - 0.5, (x + 1) / 2 * 4 - 0.5])
    moved = [
        map_coordinates(field[0, i].double().numpy(), at, order=1, mode="nearest") for i in range(2)
    ]
    expected = u[0].double().numpy() + np.stack(moved, -1)
    np.testing.assert_allclose(geometry.source(u)[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "spec", [Spatial(elastic_sd=0), Spatial(), ELASTIC, Spatial(elastic_sd=0.3, elastic_cells=8)]
)
def test_locating_a_source_returns_to_the_same_point(spec):
    size = (160, 160)
    geometry = draw_geometry(spec, 4, size, size, 3)
    u = random_points(4, 400, 2, reach=0.999)
    found, valid = geometry.locate(geometry.source(u))
    assert bool(valid.all())
    assert in_pixels(found - u, size).abs().max() < 1e-3


def test_a_point_outside_the_view_is_found_and_refused():
    geometry = draw_geometry(ELASTIC, 4, (64, 64), (64, 64), 3)
    u = random_points(4, 400, 2, reach=1.5)
    outside = (u.abs() > 1.001).any(-1)
    found, valid = geometry.locate(geometry.source(u))
    assert bool(outside.any())
    assert not bool(valid[outside].any())
    assert torch.allclose(found, u, atol=1e-4)


def test_a_folding_map_yields_no_wrong_point():
    field = 1.5 * torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    folding = Geometry(torch.eye(2, 3).repeat(2, 1, 1), field, (32, 32))
    source = folding.source(random_points(2, 300, 1))
    found, valid = folding.locate(source)
    assert not bool(valid.all())
    assert torch.allclose(folding.source(found)[valid], source[valid], atol=1e-4)


def test_correspondence_is_the_nearest_neighbour_over_the_other_view():
    size, fine = (16, 16), 8
    spec = ELASTIC.model_copy(update={"crop_area": (0.7, 1.0)})
    a, b = (draw_geometry(spec, 3, (40, 40), size, seed) for seed in (0, 1))
    u, valid = correspond(a, b)
    # Brute force: search view b on a grid eight times as fine for each pixel's origin.
    dense = replace(b, size=(16 * fine, 16 * fine))
    distance = torch.cdist(a.grid().flatten(1, 2), dense.grid().flatten(1, 2))
    nearest, where = distance.min(-1)
    centres = pixel_centres(16 * fine)
    expected = torch.stack((centres[where % (16 * fine)], centres[where // (16 * fine)]), -1)
    flat, ok = u.flatten(1, 2), valid.flatten(1)
    assert 0.2 < ok.float().mean() < 0.98
    assert in_pixels(flat - expected, size)[ok].abs().max() < 1.5 / fine
    spacing = 2 / (16 * fine)
    inside = (a.grid().flatten(1, 2).abs() <= 1).all(-1)
    assert bool((nearest[ok] < spacing).all())
    assert bool((nearest[~ok & inside] > 0.2 * spacing).all())
    # Both views reach beyond the slice: what they share there is no image.
    assert bool((nearest[~inside] < 0.5 * spacing).any())
    assert not bool(ok[~inside].any())


def test_the_same_geometry_corresponds_to_itself():
    a = draw_geometry(Spatial(), 2, (32, 32), (32, 32), 0)
    u, valid = correspond(a, replace(a, affine=a.affine.clone()))
    expected = Geometry.identity(2, (32, 32)).grid()
    assert torch.allclose(u[valid], expected[valid], atol=1e-5)
    assert valid.float().mean() > 0.8


def test_another_view_read_where_pixels_correspond_shows_the_same_image(smooth_images):
    images = smooth_images(3, 96, 96)
    a, b = (draw_geometry(ELASTIC, 3, (96, 96), (96, 96), seed) for seed in (4, 5))
    first, second = (F.grid_sample(images, g.grid(), align_corners=False) for g in (a, b))
    u, valid = correspond(a, b)
    inner = (valid & (a.grid().abs() < 0.95).all(-1) & (u.abs() < 0.95).all(-1))[:, None]
    again = F.grid_sample(second, u, align_corners=False)
    assert inner.float().mean() > 0.3
    assert (again - first)[inner].abs().max() < 0.02 * images.std()
    assert (second - first)[inner].abs().mean() > 0.2 * images.std()
