"""An affine that cannot be believed, and volumes turned by one that can."""

from itertools import permutations

import numpy as np
import pytest
from tests.makers.scans import oblique

from contrabench import Volume
from contrabench.data.geometry import acquired, affine_fault, canonical
from contrabench.data.grid import spacing_of


def volume_of(affine, shape=(4, 5, 6)):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    return Volume(values, (values > 0.5).astype(np.uint8), affine)


def places(volume):
    """Every voxel's value and label by its place in the world."""
    indices = np.indices(volume.image.shape).reshape(3, -1)
    world = volume.affine[:3, :3] @ indices + volume.affine[:3, 3:]
    both = zip(volume.image.ravel(), volume.label.ravel(), strict=True)
    return dict(zip(map(tuple, world.T.round(6)), both, strict=True))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_slices_are_along_the_longest_side_and_no_voxel_moves(order):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * (1.4, 1.2, 8.0))[:, order]
    # The affine's columns are the axes as stored: the longest of them may be any.
    affine[:3, :3] = np.roll(affine[:3, :3], 1, axis=0)
    affine[:3, 3] = 3, -4, 5
    volume = volume_of(affine)
    turned = canonical(volume)
    found = acquired(turned)
    assert np.argmax(spacing_of(found.affine)) == 2
    assert spacing_of(found.affine)[2] == pytest.approx(8)
    assert places(found) == places(volume)
    # The other two are in the order that they have in the body, and point the same way.
    columns = found.affine[:3, :2]
    assert columns.min() >= 0
    assert np.argmax(columns[:, 0]) < np.argmax(columns[:, 1])


@pytest.mark.parametrize("sides", [(1.0, 1.0, 1.0), (1.0, 1.5, 1.0), (6.0, 8.0, 1.0)])
def test_without_a_side_that_is_clearly_the_longest_nothing_is_swapped(sides):
    volume = canonical(volume_of(np.diag([*sides, 1.0])))
    assert acquired(volume) is volume


def test_an_oblique_stack_is_cut_as_it_was_acquired_whatever_axis_is_nearest():
    values = np.zeros((6, 6, 4), np.float32)
    values[:, :, 2] = 1
    for swap in permutations(range(3)):
        affine = oblique(spacing=(1.2, 1.2, 9.0))
        affine[:3] = affine[[*swap]]
        found = acquired(canonical(Volume(values, None, affine)))
        (slices,) = np.nonzero(found.image.min(axis=(0, 1)))
        assert len(slices) == 1
        assert found.image[:, :, slices[0]].all()


def sheared(degrees):
    affine = np.diag([2.0, 2.0, 8.0, 1.0])
    affine[0, 1] = 2 * np.tan(np.radians(degrees))
    return affine


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (np.diag([2.0, 2.0, 8.0, 1.0]), ""),
        (oblique(), ""),
        (sheared(1), ""),
        (sheared(10), "10 degrees off"),
        (sheared(89.9999), "degrees off"),
        (np.diag([2.0, 0.0, 8.0, 1.0]), "no volume"),
        (np.diag([2.0, np.nan, 8.0, 1.0]), "no volume"),
        (np.diag([2.0, np.inf, 8.0, 1.0]), "no volume"),
        (np.ones((4, 4)), "no volume"),
        (np.diag([0.09, 1.0, 1.0, 1.0]), r"0\.09 x 1 x 1 mm, and 0\.1 to 20"),
        (np.diag([1.0, 1.0, 20.5, 1.0]), r"1 x 1 x 20\.5 mm, and 0\.1 to 20"),
    ],
)
def test_what_an_affine_must_be(affine, says):
    import re

    fault = affine_fault(affine, "a.nii", (0.1, 20))
    assert bool(fault) == bool(says)
    assert re.search(says, fault)
    assert not fault or "a.nii" in fault
