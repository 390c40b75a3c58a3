import numpy as np
import pytest
import torch

from contrabench.data.slices import fit_square, from_axial, isotropic, to_slices


def test_axial_slices_stack_back_to_the_volume():
    volume = torch.randn(5, 7, 3)
    assert torch.equal(from_axial(to_slices(volume, "axial")), volume)


def test_from_axial_keeps_leading_axes():
    volume = torch.randn(5, 7, 3)
    stacked = torch.stack([to_slices(volume + c, "axial") for c in range(4)])
    assert torch.equal(from_axial(stacked)[3], volume + 3)


@pytest.mark.parametrize(
    ("orientation", "pixel"),
    [
        # A voxel far right, anterior and superior; its row and column on a radiological slice.
        ("axial", (1, 0, 0)),
        ("coronal", (2, 0, 0)),
        ("sagittal", (3, 0, 0)),
    ],
)
def test_slices_are_shown_as_radiologists_do(orientation, pixel):
    volume = torch.zeros(4, 3, 2)
    volume[3, 2, 1] = 1
    slices = to_slices(volume, orientation)
    assert np.argwhere(slices.numpy() == 1).tolist() == [list(pixel)]


def test_isotropic_repeats_thick_slices():
    volume = torch.arange(3.0).reshape(1, 1, 3)
    assert isotropic(volume, (1.0, 1.0, 2.0)).flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert isotropic(volume, (1.0, 1.0, 1.0)) is volume


@pytest.mark.parametrize("size", [3, 4, 7, 8, 9, 12])
def test_fit_square_keeps_the_centre(size):
    slices = torch.full((1, size, size), 5.0)
    fitted = fit_square(slices, 8, fill=-1.0)
    assert fitted.shape == (1, 8, 8)
    assert int((fitted == 5).sum()) == min(size, 8) ** 2
    assert fitted[0, 4, 4] == 5
