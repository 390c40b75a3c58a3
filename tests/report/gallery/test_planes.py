"""Where volumes are cut and how cuts are turned, voxel by voxel."""

import numpy as np
import pytest

from contrabench.report.gallery.planes import Cut, place_cuts

SHAPE = (5, 6, 7)
WHOLE = tuple((0, count - 1) for count in SHAPE)


def cut(name, axis, index, spans=WHOLE):
    return Cut(name, axis, index, "A" if axis == 0 else "R", spans)


def corner(picture):
    """Where the only voxel that is set lies: `top left` and so on."""
    (row,), (column,) = np.nonzero(picture)
    rows, columns = picture.shape
    assert row in (0, rows - 1)
    assert column in (0, columns - 1)
    return f"{'top' if row == 0 else 'bottom'} {'left' if column == 0 else 'right'}"


@pytest.mark.parametrize("x", ["left", "right"])
@pytest.mark.parametrize("y", ["posterior", "anterior"])
@pytest.mark.parametrize("z", ["inferior", "superior"])
def test_radiological_display(x, y, z):
    """A voxel in a corner of the body; axes point right, anterior and superior."""
    place = (4 * (x == "right"), 5 * (y == "anterior"), 6 * (z == "superior"))
    volume = np.zeros(SHAPE, np.uint8)
    volume[place] = 1
    side = "left" if x == "right" else "right"
    ahead = "top" if y == "anterior" else "bottom"
    up = "top" if z == "superior" else "bottom"
    assert corner(cut("axial", 2, place[2]).of(volume)) == f"{ahead} {side}"
    assert corner(cut("coronal", 1, place[1]).of(volume)) == f"{up} {side}"
    facing = "left" if y == "anterior" else "right"
    assert corner(cut("sagittal", 0, place[0]).of(volume)) == f"{up} {facing}"


def test_cuts_against_a_loop():
    volume = np.random.default_rng(0).random(SHAPE)
    spans = ((1, 4), (0, 3), (2, 6))
    axial = cut("axial", 2, 3, spans).of(volume)
    coronal = cut("coronal", 1, 2, spans).of(volume)
    sagittal = cut("sagittal", 0, 1, spans).of(volume)
    for row in range(4):
        for column in range(4):
            assert axial[row, column] == volume[4 - column, 3 - row, 3]
    for row in range(5):
        for column in range(4):
            assert coronal[row, column] == volume[4 - column, 2, 6 - row]
            assert sagittal[row, column] == volume[1, 3 - column, 6 - row]
    assert (axial.shape, coronal.shape, sagittal.shape) == ((4, 4), (5, 4), (5, 4))


def test_planes_of_the_largest_area():
    """By counting each plane; ties go to the lowest index."""
    reference = (np.random.default_rng(5).random((6, 7, 8)) < 0.3) * np.uint8(2)
    cuts = place_cuts(reference, np.eye(4), reference.shape)
    assert [(one.name, one.axis, one.left) for one in cuts] == [
        ("axial", 2, "R"), ("coronal", 1, "R"), ("sagittal", 0, "A"),
    ]  # fmt: skip
    for one in cuts:
        areas = [(reference.take(i, axis=one.axis) > 0).sum() for i in range(8 - (2 - one.axis))]
        assert one.index == areas.index(max(areas))
    empty = place_cuts(np.zeros((6, 7, 8), np.uint8), np.eye(4), (6, 7, 8))
    assert [one.index for one in empty] == [4, 3, 3]


def test_what_is_shown_is_the_field_of_view_and_all_of_the_reference():
    """The working grid covers voxels 3 to 6 along x, all along y and z."""
    relation = np.eye(4)
    relation[0, 3] = -3
    reference = np.zeros((12, 4, 4), np.uint8)
    (axial, *_) = place_cuts(reference, relation, (4, 4, 4))
    assert axial.spans == ((3, 6), (0, 3), (0, 3))
    reference[9, 1, 1] = 1
    (axial, *_) = place_cuts(reference, relation, (4, 4, 4))
    assert axial.spans == ((3, 9), (0, 3), (0, 3))
