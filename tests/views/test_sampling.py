"""Grey values and labels read at the same points, inside and outside of the slice."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contrabench.contracts.geometry import Geometry
from contrabench.contracts.views import Spatial
from contrabench.views.sampling import sample_images, sample_masks
from contrabench.views.spatial import draw_geometry

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
