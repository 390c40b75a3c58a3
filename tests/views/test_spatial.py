"""Drawn geometries: crops inside the slice, ranges kept, no folds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contrabench.contracts.views import Spatial
from contrabench.views.spatial import draw_geometry

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
