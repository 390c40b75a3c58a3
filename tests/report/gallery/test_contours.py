"""Contours against the areas of masks, circles, and their own definitions."""

import itertools

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from scipy import ndimage

from contrabench.report.gallery.contours import (
    class_contours,
    outlines,
    outside_in,
    path_data,
    simplify,
)


def area(rings):
    """Shoelace; the rings of holes run the other way and count against the others."""
    total = 0.0
    for ring in rings:
        x, y = np.asarray(ring).T
        total += 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    return abs(total)


def expected_area(mask):
    """Pixels, less half of one per piece (joined by edges), plus half of one per hole."""
    pieces = ndimage.label(mask)[1]
    holes = ndimage.label(~np.pad(mask, 1), structure=np.ones((3, 3)))[1] - 1
    return mask.sum() - 0.5 * (pieces - holes)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_area_of_any_mask(seed, share):
    mask = np.random.default_rng(seed).random((13, 17)) < share
    sides = (1.5, 0.4)
    assert area(outlines(mask, sides)) == pytest.approx(expected_area(mask) * 1.5 * 0.4)


def test_rings_are_closed_and_touch_the_border():
    """A mask that fills its plane: the contour runs along the edge of the picture."""
    (ring,) = outlines(np.ones((4, 6), bool), (2.0, 3.0))
    assert (ring[0] == ring[-1]).all()
    assert ring.min(axis=0).tolist() == [0, 0]
    assert ring.max(axis=0).tolist() == [12, 12]
    assert outlines(np.zeros((4, 6), bool), (1.0, 1.0)) == []


def test_every_pixel_lies_on_its_side():
    """The centres of the mask are enclosed an odd number of times, no others are."""
    mask = np.random.default_rng(3).random((20, 30)) < 0.6
    sides = (0.7, 1.3)
    rows, columns = np.indices(mask.shape)
    centres = np.stack([(columns + 0.5) * sides[0], (rows + 0.5) * sides[1]], -1).reshape(-1, 2)
    times = sum(Polygon(ring).contains_points(centres) for ring in outlines(mask, sides))
    assert (times % 2 == mask.ravel()).all()


def test_disc():
    """Every point of the contour is within a pixel of the circle."""
    rows, columns = np.indices((61, 81))
    radius = 22.3
    mask = np.hypot(columns - 40, rows - 30) <= radius
    (ring,) = outlines(mask, (1.0, 1.0))
    distances = np.hypot(ring[:, 0] - 40.5, ring[:, 1] - 30.5)
    assert abs(distances - radius).max() < 1
    assert area([ring]) == pytest.approx(np.pi * radius**2, rel=0.01)


@pytest.mark.parametrize("slack", [0.3, 0.8, 2.0])
def test_simplified_rings_stay_close(slack):
    """Brute force: each point that is gone lies near some edge that is left."""
    rows, columns = np.indices((50, 60))
    wave = 15 + 4 * np.sin(5 * np.arctan2(rows - 25, columns - 30))
    (ring,) = outlines(np.hypot(columns - 30, rows - 25) < wave, (1.0, 1.0))
    thin = simplify(ring, slack)
    assert (thin[0] == thin[-1]).all()
    assert len(thin) < len(ring) / 2
    assert {tuple(point) for point in thin} <= {tuple(point) for point in ring}
    shares = np.linspace(0, 1, 400)[:, None]
    edges = [a + shares * (b - a) for a, b in itertools.pairwise(thin)]
    dense = np.concatenate(edges)
    gaps = [np.linalg.norm(dense - point, axis=1).min() for point in ring]
    assert max(gaps) <= slack + 0.03


def test_small_rings_are_kept():
    """A single pixel, a diamond of which a coarse picture would leave a line."""
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    (ring,) = outlines(mask, (1.0, 1.0))
    assert simplify(ring, 3.0) is ring


def test_path_data_reads_back(rings):
    """No error adds up over many steps, and points that round to one are one."""
    angles = np.linspace(0, 2 * np.pi, 4001)
    ring = 100 + 40 * np.stack([np.cos(angles), np.sin(angles)], -1)
    ring[-1] = ring[0]
    (read,) = rings(path_data([ring], 200.0))
    wanted = np.rint(ring[:-1] * 10) / 10
    unique = wanted[np.r_[True, (np.diff(wanted, axis=0) != 0).any(axis=1)]]
    assert np.allclose(read, unique, atol=1e-9)
    assert path_data([], 200.0) == ""


def test_path_data_text():
    square = np.array([[1.0, 2.0], [4.25, 2.0], [4.25, 5.5], [1.0, 5.5], [1.0, 2.0]])
    assert path_data([square], 200.0) == "M1 2l3.2 0 0 3.5 -3.2 0z"
    assert path_data([square], 20.0) == "M1 2l3.25 0 0 3.5 -3.25 0z"
    assert path_data([np.full((5, 2), 3.0)], 200.0) == ""


def test_class_contours_keep_the_order_of_structures(rings):
    """Areas by structure, as exact as the slack along the contour allows."""
    classes = np.zeros((80, 100), np.uint8)
    rows, columns = np.indices(classes.shape)
    classes[np.hypot(columns - 30, rows - 40) < 20] = 3
    classes[20:60, 60:95] = 1
    first, second, third = class_contours(classes, 3, (1.4, 1.4))
    assert second == ""
    for path, number, around in ((first, 1, 150), (third, 3, 126)):
        slack = 0.25 * 140 / 160 + 0.1
        wanted = (classes == number).sum() * 1.4**2
        assert area(rings(path)) == pytest.approx(wanted, abs=slack * around * 1.4)


def test_outside_in():
    """A ring around a disc comes before it, whatever their sizes in pixels."""
    rows, columns = np.indices((40, 40))
    distances = np.hypot(columns - 20, rows - 20)
    classes = np.zeros((40, 40), np.uint8)
    classes[distances < 12] = 3
    classes[distances < 11] = 1
    assert outside_in(classes, 3) == (2, 0, 1)
    assert outside_in(np.zeros((4, 4), np.uint8), 2) == (0, 1)
