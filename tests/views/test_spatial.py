"""Drawn geometries: crops inside the slice, ranges kept, no folds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contrabench.contracts.geometry import Geometry
from contrabench.contracts.views import Spatial
from contrabench.views.spatial import (
    cell_diagonals,
    cell_positions,
    draw_geometry,
    sample_images,
    sample_masks,
)

MANY = 2000


def pixel_matrix(geometry, slice_size):
    """The linear part as a map between pixel units of equally large arrays."""
    height, width = slice_size
    scale = torch.tensor([[1.0, width / height], [height / width, 1.0]])
    # Entry (i, j) is multiplied by side_i / side_j of the slice, x first.
    return geometry.affine[:, :, :2] * scale


@pytest.mark.parametrize("slice_size", [(64, 64), (48, 80)])
def test_crops_keep_area_and_aspect_and_are_rigidly_turned(slice_size):
    spec = Spatial(crop_area=(0.5, 0.9), aspect=(0.8, 1.25), rotation_deg=20, flip=True)
    geometry = draw_geometry(spec, MANY, slice_size, slice_size, 0)
    matrix = pixel_matrix(geometry, slice_size)
    width, height = matrix.norm(dim=1).unbind(-1)
    assert (matrix[..., 0] * matrix[..., 1]).sum(-1).abs().max() < 1e-5
    area, aspect = width * height, width / height
    assert 0.5 - 1e-5 <= area.min() < 0.52
    assert 0.88 < area.max() <= 0.9 + 1e-5
    assert 0.8 - 1e-5 <= aspect.min() < 0.82
    assert 1.23 < aspect.max() <= 1.25 + 1e-5
    mirrored = torch.linalg.det(matrix) < 0
    assert 0.45 < mirrored.float().mean() < 0.55
    angle = torch.atan2(-matrix[:, 0, 1], matrix[:, 1, 1])
    assert math.radians(19) < angle.abs().max() <= math.radians(20) + 1e-5
    assert angle.min() < 0 < angle.max()


def test_without_flip_nothing_is_mirrored():
    geometry = draw_geometry(Spatial(), MANY, (32, 32), (32, 32), 0)
    assert bool((torch.linalg.det(geometry.affine[..., :2]) > 0).all())


@settings(deadline=None, max_examples=40)
@given(
    low=st.floats(0.05, 1.0),
    span=st.floats(0.0, 1.0),
    aspect=st.floats(1.0, 3.0),
    batch=st.integers(1, 9),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    seed=st.integers(0, 2**62),
)
def test_an_upright_crop_never_leaves_the_slice(low, span, aspect, batch, height, width, seed):
    spec = Spatial(
        crop_area=(low, low + span * (1 - low)),
        aspect=(1 / aspect, aspect),
        rotation_deg=0,
        elastic_sd=0,
        flip=True,
    )
    geometry = draw_geometry(spec, batch, (height, width), (height, width), seed)
    corners = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).repeat(batch, 1, 1)
    assert geometry.source(corners).abs().max() <= 1 + 1e-5
    assert geometry.grid().abs().max() <= 1
    width_share, height_share = geometry.affine[:, 0, 0].abs(), geometry.affine[:, 1, 1]
    assert bool((width_share * height_share >= low - 1e-4).all())
    assert bool((width_share / height_share <= aspect + 1e-3).all())
    assert bool((width_share / height_share >= 1 / aspect - 1e-3).all())


@pytest.mark.parametrize("cells", [2, 3, 5, 9])
def test_the_displacement_has_the_declared_deviation(cells):
    spec = Spatial(elastic_sd=0.01, elastic_cells=cells)
    field = draw_geometry(spec, MANY, (64, 64), (64, 64), 0).displacement
    # A share of the side is half as large in coordinates that run over two units.
    assert field.std().item() / 2 == pytest.approx(0.01, rel=0.03)
    assert abs(field.mean().item()) < 1e-3


def test_a_displacement_of_the_default_strength_is_hardly_ever_bounded():
    default, weak = (
        draw_geometry(Spatial(elastic_sd=sd), MANY, (64, 64), (64, 64), 0).displacement
        for sd in (0.02, 0.002)
    )
    bounded = (default - 10 * weak).abs().amax((1, 2, 3)) > 1e-4
    assert bounded.float().mean() < 0.05


@pytest.mark.parametrize("strength", [0.02, 0.1, 1.0])
def test_no_displacement_folds(strength):
    spec = Spatial(elastic_sd=strength, crop_area=(1, 1), rotation_deg=0)
    grid = draw_geometry(spec, 50, (64, 64), (64, 64), 0).grid()
    right, down = grid.diff(dim=2)[:, :-1], grid.diff(dim=1)[:, :, :-1]
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    assert area.min() > 0.05 * (2 / 64) ** 2


def test_the_displacement_is_smooth():
    spec = Spatial(elastic_sd=0.02, crop_area=(1, 1), rotation_deg=0)
    grid = draw_geometry(spec, 20, (128, 128), (128, 128), 0).grid() * 64
    # The magnification stays near one, and hardly changes from a pixel to the next.
    assert (grid.diff(dim=2) - torch.tensor([1.0, 0.0])).abs().max() < 0.5
    assert grid.diff(dim=2, n=2)[:, :, 4:-4].abs().max() < 0.1


def test_an_image_keeps_its_geometry_in_a_larger_batch():
    small, large = (draw_geometry(Spatial(), b, (32, 32), (32, 32), 7) for b in (3, 20))
    assert torch.equal(small.affine, large.affine[:3])
    assert torch.allclose(small.displacement, large.displacement[:3], atol=1e-6)


def test_every_parameter_differs_between_images():
    geometry = draw_geometry(Spatial(), 16, (32, 32), (32, 32), 0)
    for entry in geometry.affine.flatten(1).unbind(1):
        assert entry.unique().numel() == 16
    assert geometry.displacement[:, 0, 0, 0].unique().numel() == 16


TURNED = Spatial(rotation_deg=45, crop_area=(0.9, 1.0))


def test_labels_are_those_of_the_pixel_each_point_lies_in():
    masks = torch.randint(0, 9, (3, 11, 14), dtype=torch.uint8)
    grid = draw_geometry(TURNED, 3, (11, 14), (16, 16), 0).grid()
    found = sample_masks(masks, grid)
    assert found.dtype == torch.long
    for image in range(3):
        for row in range(16):
            for column in range(16):
                x, y = grid[image, row, column].double().tolist()
                if max(abs(x), abs(y)) > 1:
                    expected = 255
                else:
                    expected = masks[image, int((y + 1) * 5.5), int((x + 1) * 7)].item()
                assert found[image, row, column] == expected


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**60), batch=st.integers(1, 5), side=st.integers(8, 40))
def test_no_label_is_new(seed, batch, side):
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, 2, 7, 255], dtype=torch.uint8)
    masks = values[torch.randint(0, 4, (batch, side, side), generator=generator)]
    grid = draw_geometry(TURNED, batch, (side, side), (side, side), seed).grid()
    found = sample_masks(masks, grid)
    for mask, view in zip(masks, found, strict=True):
        assert set(view.unique().tolist()) <= {*mask.unique().tolist(), 255}


def test_interpolating_labels_would_be_noticed():
    masks = torch.zeros(1, 16, 16, dtype=torch.uint8)
    masks[:, :, 8:] = 2
    grid = Geometry.identity(1, (24, 24)).grid()
    blended = sample_images(masks[:, None].float(), grid)[:, 0].long()
    assert 1 in blended
    assert set(sample_masks(masks, grid).unique().tolist()) == {0, 2}


def test_a_view_of_a_mask_agrees_with_the_view_of_the_same_image():
    side = 64
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    disc = (((x - 30) ** 2 + (y - 34) ** 2) < 20**2).to(torch.uint8)
    masks = disc.repeat(4, 1, 1)
    grid = draw_geometry(TURNED, 4, (side, side), (side, side), 3).grid()
    image = sample_images(masks[:, None].float(), grid)[:, 0]
    labels = sample_masks(masks, grid)
    sure = ((image < 0.01) | (image > 0.99)) & (labels != 255)
    assert sure.float().mean() > 0.7
    assert torch.equal(image[sure].round().long(), labels[sure])
    assert bool(((image - labels).abs() <= 0.75)[labels != 255].all())


def test_outside_of_the_slice_is_its_own_smallest_value():
    images = torch.rand(2, 1, 20, 20) + torch.tensor([5.0, -7.0]).view(2, 1, 1, 1)
    grid = draw_geometry(TURNED, 2, (20, 20), (20, 20), 1).grid()
    sampled = sample_images(images, grid)
    outside = (grid.abs() > 1).any(-1)[:, None]
    assert bool(outside.flatten(1).any(1).all())
    for view, image, out in zip(sampled, images, outside, strict=True):
        assert bool((view[out] == image.min()).all())
        assert view.min() >= image.min()
        assert view.max() <= image.max() + 1e-5


def test_the_outermost_pixels_are_not_darkened():
    images = torch.ones(1, 1, 8, 8)
    images[..., 4, 4] = -3
    sampled = sample_images(images, Geometry.identity(1, (16, 16)).grid())
    assert torch.allclose(sampled[..., 0, :], torch.ones(16))


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
