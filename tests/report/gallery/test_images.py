"""Images of planes against ramps, whose values are known everywhere."""

import io

import numpy as np
import pytest
from PIL import Image

from contrabench.report.gallery.planes import (
    grey_png,
    grey_window,
    pixel_count,
    place_cuts,
    sample_plane,
)

NATIVE, WORKING = (30, 24, 20), (18, 18, 16)
SCALES, STARTS = (0.55, 0.7, 0.8), (0.9, 0.4, -0.1)


def relation():
    matrix = np.diag([*SCALES, 1.0])
    matrix[:3, 3] = STARTS
    return matrix


@pytest.mark.parametrize("place", range(3))
def test_a_ramp_is_sampled_where_it_should_be(place):
    """The working image is a + b x + c y + d z of native indices; so is every pixel."""
    slopes = np.array([1.0, -2.0, 3.0])
    axes = [(np.arange(n) - s) / r for n, s, r in zip(WORKING, STARTS, SCALES, strict=True)]
    grids = np.meshgrid(*axes, indexing="ij")
    image = sum(slope * grid for slope, grid in zip(slopes, grids, strict=True))
    reference = np.zeros(NATIVE, np.uint8)
    reference[12, 9, 11] = 1
    cut = place_cuts(reference, relation(), WORKING)[place]
    pixels = (23, 17)
    values = sample_plane(image.astype(np.float32), cut, relation(), pixels, -50.0)
    at = np.array([12.0, 9.0, 11.0])
    for row in range(2, 15):
        for column in range(2, 21):
            for axis, step, count in ((cut.across, column, 23), (cut.down, row, 17)):
                first, last = cut.spans[axis]
                at[axis] = last + 0.5 - (step + 0.5) * (last + 1 - first) / count
            assert values[row, column] == pytest.approx(slopes @ at, abs=1e-3)


def test_beyond_the_working_grid_stands_the_floor():
    shift = np.eye(4)
    shift[0, 3] = -6
    reference = np.zeros((12, 4, 4), np.uint8)
    reference[0, 0, 0] = reference[:, 1, 1] = 1
    axial = place_cuts(reference, shift, (6, 4, 4))[0]
    values = sample_plane(np.full((6, 4, 4), 7.0, np.float32), axial, shift, (12, 4), -1.0)
    assert np.allclose(values[:, :6], 7)
    assert np.allclose(values[:, 6:], -1)


def test_pixels_are_square_and_no_more_than_needed():
    assert pixel_count((320.0, 160.0), (1.0, 1.0)) == (160, 80)
    assert pixel_count((160.0, 320.0), (0.1, 9.0)) == (80, 160)
    assert pixel_count((224.0, 112.0), (7.0, 8.0)) == (64, 32)
    assert pixel_count((300.0, 0.5), (1.0, 1.0)) == (160, 1)


def test_png_holds_the_values_within_the_window():
    values = np.array([[-5.0, 0.0, 1.0], [2.0, 4.0, 9.0]], np.float32)
    picture = Image.open(io.BytesIO(grey_png(values, (0.0, 4.0))))
    assert picture.mode == "L"
    assert np.asarray(picture).tolist() == [[0, 0, 64], [128, 255, 255]]
    assert grey_png(values, (0.0, 4.0)) == grey_png(values, (0.0, 4.0))


def test_window():
    low, high = grey_window(np.arange(101, dtype=np.float32).reshape(101, 1, 1))
    assert (low, high) == pytest.approx((1, 99))
    assert grey_window(np.zeros((2, 2, 2), np.float32)) == (0.0, 1.0)
