"""The geometry of the working grid, against closed forms, MONAI and nibabel."""

import nibabel as nib
import numpy as np
import pytest
import torch

from contrabench.contracts.dataset import Volume
from contrabench.data import grid as grids
from contrabench.data.grid import (
    inside_field,
    resample_image,
    resample_label,
    spacing_of,
    to_native,
    working_grid,
)
from contrabench.data.reading import canonical


def affine_of(spacing, origin=(-40.0, 25.0, 7.0)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def centres(shape, affine):
    """World coordinates of all voxel centres, (X, Y, Z, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def prepared(grid, affine):
    return grid.affine, affine, grid.native_shape


def one_hot(label, classes):
    eye = torch.eye(classes)[torch.from_numpy(label).long()]
    return eye.permute(3, 0, 1, 2)


def ellipsoid(shape, affine, radii):
    world = centres(shape, affine)
    middle = (world[0, 0, 0] + world[-1, -1, -1]) / 2
    return (((world - middle) / radii) ** 2).sum(-1) <= 1


@pytest.mark.parametrize(
    ("shape", "spacing", "pixels", "expected_spacing", "slices"),
    [
        ((50, 40, 30), (2.0, 2.0, 2.0), 32, (3.5, 3.5, 3.5), 18),  # 60 mm / 3.5 mm = 17.1
        ((50, 40, 9), (1.5, 1.5, 10.0), 64, (1.75, 1.75, 10.0), 9),
        ((50, 40, 1), (1.0, 1.0, 1.0), 32, (3.5, 3.5, 3.5), 1),
        ((50, 40, 28), (1.0, 1.0, 0.5), 32, (3.5, 3.5, 3.5), 4),  # 14 mm exactly: no fifth
    ],
)
def test_spacing_and_number_of_slices(shape, spacing, pixels, expected_spacing, slices):
    grid = working_grid(shape, affine_of(spacing), 3.5 * 32, pixels)
    assert grid.spacing == pytest.approx(expected_spacing)
    assert grid.shape == (pixels, pixels, slices)
    assert spacing_of(grid.affine) == pytest.approx(expected_spacing)


def test_the_two_grids_have_the_same_centre():
    affine = affine_of((1.3, 0.9, 2.5))
    affine[:3, :3] = rotation() @ affine[:3, :3]
    grid = working_grid((51, 40, 13), affine, 100.0, 32)
    for matrix, shape in ((affine, (51, 40, 13)), (grid.affine, grid.shape)):
        middle = matrix @ [*((np.array(shape) - 1) / 2), 1]
        np.testing.assert_allclose(middle, affine @ [25, 19.5, 6, 1], atol=1e-9)


def rotation(degrees=8.0):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("spacing", [(0.5, 0.6, 0.7), (1.0, 1.0, 4.0), (3.0, 3.0, 3.0)])
def test_a_ramp_keeps_its_value_at_every_working_centre(spacing):
    shape = (100, 90, 60)
    affine = affine_of(spacing)
    slope, offset = np.array([0.7, -1.1, 0.4]), 12.0
    image = (centres(shape, affine) @ slope + offset).astype(np.float32)
    grid = working_grid(shape, affine, 64.0, 32)
    expected = centres(grid.shape, grid.affine) @ slope + offset
    # Near the ends the Gaussian and the interpolation repeat the outermost voxel.
    inner = []
    for positions, count, step in zip(grid.positions, shape, grid.steps, strict=True):
        reach = np.ceil(4 * max(0.0, (step - 1) / 2)) + 1
        inner.append((positions >= reach) & (positions <= count - 1 - reach))
    assert all(part.sum() >= 8 for part in inner)
    box = np.ix_(*inner)
    np.testing.assert_allclose(resample_image(image, grid)[box], expected[box], atol=1e-3)


def test_without_smoothing_it_agrees_with_monai():
    from monai.data import MetaTensor
    from monai.transforms import SpatialResample

    shape, affine = (30, 28, 12), affine_of((3.0, 3.2, 5.0))
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    grid = working_grid(shape, affine, 64.0, 32)  # finer than the voxels
    theirs = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)(
        MetaTensor(torch.from_numpy(image)[None], affine=torch.from_numpy(affine)),
        dst_affine=torch.from_numpy(grid.affine),
        spatial_size=grid.shape,
    )
    np.testing.assert_allclose(resample_image(image, grid), theirs[0].numpy(), atol=1e-4)


def test_smoothing_removes_what_the_working_grid_cannot_hold():
    shape = (127, 128, 4)  # working centres fall on every sixth voxel: all of them zeros
    stripes = np.zeros(shape, np.float32)
    stripes[1::2] = 1
    grid = working_grid(shape, affine_of((1.0, 1.0, 8.0)), 96.0, 16)
    np.testing.assert_allclose(resample_image(stripes, grid), 0.5, atol=0.01)


def test_label_is_the_argmax_of_resampled_indicators():
    rng = np.random.default_rng(1)
    shape, affine = (40, 36, 20), affine_of((1.0, 1.1, 1.3))
    label = rng.integers(0, 4, (10, 9, 5)).repeat(4, 0).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    grid = working_grid(shape, affine, 56.0, 32)
    shares = np.stack([resample_image((label == k).astype(np.float32), grid) for k in range(4)])
    shares[0] += 1 - shares.sum(0)  # beyond the volume all is background
    two = np.sort(shares, axis=0)[-2:]
    clear = two[1] - two[0] > 1e-5
    result = resample_label(label, 3, grid)
    np.testing.assert_array_equal(result[clear], shares.argmax(0)[clear])
    assert set(np.unique(result)) <= set(np.unique(label))


def test_no_class_in_between_appears():
    label = np.zeros((64, 64, 8), np.uint8)
    label[:, 20:40] = 5  # next to the background; classes 1 to 4 would be the mixtures
    result = resample_label(label, 5, working_grid(label.shape, affine_of((1, 1, 2)), 60, 16))
    assert set(np.unique(result)) == {0, 5}


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.4, 1.4, 8.0), (2.5, 2.5, 2.5)])
def test_round_trip_of_a_smooth_object(spacing):
    affine = affine_of(spacing)
    shape = tuple(int(96 / side) for side in spacing)
    native = ellipsoid(shape, affine, (30, 24, 34)).astype(np.uint8) * 2
    grid = working_grid(shape, affine, 80.0, 64)
    label = resample_label(native, 2, grid)
    back = to_native(one_hot(label, 3), *prepared(grid, affine))
    assert back.dtype == np.uint8
    assert back.shape == shape
    assert set(np.unique(back)) == {0, 2}
    overlap = 2 * ((back == 2) & (native == 2)).sum() / ((back == 2).sum() + (native == 2).sum())
    assert overlap > 0.97


def test_to_native_agrees_with_interpolation_by_scipy():
    from scipy.interpolate import RegularGridInterpolator

    affine = affine_of((1.1, 0.8, 1.9))
    shape = (45, 60, 40)
    grid = working_grid(shape, affine, 40.0, 32)
    values = torch.rand((3, *grid.shape), generator=torch.Generator().manual_seed(0))
    inverse = np.linalg.inv(grid.affine)
    index = centres(shape, affine) @ inverse[:3, :3].T + inverse[:3, 3]
    inside = ((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all(-1)
    assert 0 < inside.mean() < 1
    index = np.clip(index, 0, np.array(grid.shape) - 1)
    axes = [np.arange(n) for n in grid.shape]
    expected = np.stack([RegularGridInterpolator(axes, v)(index) for v in values.double().numpy()])
    two = np.sort(expected, axis=0)[-2:]
    clear = inside & (two[1] - two[0] > 1e-5)
    result = to_native(values, *prepared(grid, affine))
    np.testing.assert_array_equal(result[clear], expected.argmax(0)[clear])
    assert not result[~inside].any()


def test_to_native_covers_every_slice_and_works_in_slabs(monkeypatch):
    affine = affine_of((1.0, 1.0, 0.7))
    grid = working_grid((40, 40, 37), affine, 32.0, 16)
    values = torch.rand((4, *grid.shape), generator=torch.Generator().manual_seed(3))
    whole = to_native(values, *prepared(grid, affine))
    monkeypatch.setattr(grids, "_SLAB", 5)
    np.testing.assert_array_equal(to_native(values, *prepared(grid, affine)), whole)
    everywhere = torch.stack([torch.zeros(grid.shape), torch.ones(grid.shape)])
    filled = to_native(everywhere, *prepared(grid, affine))
    columns = inside_field(grid)
    assert filled[columns].all()
    assert not filled[~columns].any()


def test_field_of_view_by_distance_from_the_centre():
    affine = affine_of((1.5, 2.0, 1.0))
    shape = (60, 55, 3)
    grid = working_grid(shape, affine, 70.0, 32)
    world = centres(shape, affine)[:, :, 0, :2]
    apart = np.abs(world - (world[0, 0] + world[-1, -1]) / 2).max(-1)
    np.testing.assert_array_equal(inside_field(grid), apart <= 35.0)


@pytest.mark.parametrize("codes", ["LPS", "LAS", "PIR", "SRA", "AIL"])
def test_stored_orientation_does_not_matter(codes):
    rng = np.random.default_rng(4)
    affine = affine_of((1.2, 1.5, 2.5))
    image = rng.normal(size=(12, 10, 6)).astype(np.float32)
    label = rng.integers(0, 3, (12, 10, 6)).astype(np.int32)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    stored = nib.Nifti1Image(image, affine).as_reoriented(turn)
    stored_label = nib.Nifti1Image(label, affine).as_reoriented(turn)
    assert "".join(nib.aff2axcodes(stored.affine)) == codes
    twin = canonical(
        Volume(stored.get_fdata(dtype=np.float32), np.asarray(stored_label.dataobj), stored.affine)
    )
    np.testing.assert_array_equal(twin.image, image)
    np.testing.assert_array_equal(twin.label, label)
    np.testing.assert_allclose(twin.affine, affine, atol=1e-9)


def test_oblique_affine_keeps_its_rotation():
    affine = affine_of((1.2, 1.5, 2.5))
    affine[:3, :3] = rotation() @ affine[:3, :3]
    image = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
    twin = canonical(Volume(image, None, affine))
    np.testing.assert_array_equal(twin.image, image)
    np.testing.assert_allclose(twin.affine, affine, atol=1e-9)
    assert spacing_of(twin.affine) == pytest.approx((1.2, 1.5, 2.5))
