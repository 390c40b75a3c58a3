import itertools

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from contrabench.datasets.phantom.solids import (
    Pose,
    blend,
    coverage,
    curve,
    ellipsoid,
    rotation,
    smooth_field,
    tube,
)


def scatter(count=400, size=30.0, seed=0):
    cloud = np.random.default_rng(seed).uniform(-size, size, (count, 3)).astype(np.float32)
    return cloud, tuple(cloud.T)


def test_ellipsoid_is_exact_for_a_sphere():
    cloud, points = scatter()
    expected = np.linalg.norm(cloud - [1, 2, 3], axis=1) - 8
    np.testing.assert_allclose(ellipsoid(points, (1, 2, 3), (8, 8, 8)), expected, atol=1e-4)


def test_ellipsoid_is_close_to_the_nearest_surface_point_where_it_matters():
    radii = np.array([20.0, 12.0, 9.0])
    rng = np.random.default_rng(1)
    surface = rng.standard_normal((60_000, 3))
    surface *= radii / np.linalg.norm(surface, axis=1, keepdims=True)
    normals = surface[:200] / radii**2
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for offset in (-1.0, 1.0):
        points = surface[:200] + offset * normals
        gaps = cKDTree(surface).query(points)[0]
        got = ellipsoid(tuple(points.T.astype(np.float32)), (0, 0, 0), radii)
        assert np.all(np.sign(got) == np.sign(offset))
        np.testing.assert_allclose(np.abs(got), gaps, atol=0.25)


def test_ellipsoid_is_negative_at_its_very_centre():
    centre = tuple(np.zeros(1, np.float32) for _ in range(3))
    assert ellipsoid(centre, (0, 0, 0), (5, 4, 3))[0] == pytest.approx(-3)


def test_tube_agrees_with_densely_sampled_axes_up_to_its_reach():
    path = np.array([[-10, 0, 0, 4], [0, 5, 2, 3], [8, 5, 12, 1.0]])
    cloud, points = scatter(size=25)
    t = np.linspace(0, 1, 3000)[:, None]
    axis = np.vstack([a + t * (b - a) for a, b in itertools.pairwise(path)])
    # The definition: the nearest point of each piece, less the radius there; the least of them.
    pieces = []
    for part in (axis[:3000], axis[3000:]):
        gaps = np.linalg.norm(cloud[:, None] - part[None, :, :3], axis=2)
        nearest = gaps.argmin(axis=1)
        pieces.append(gaps[np.arange(len(cloud)), nearest] - part[nearest, 3])
    expected = np.minimum(np.minimum(*pieces), 6.0)
    got = tube(points, path, reach=6.0)
    np.testing.assert_allclose(got, expected, atol=0.02)
    assert (expected < 0).any()
    assert (expected == 6).any()


def test_curve_passes_through_its_knots_and_keeps_a_line_straight():
    knots = np.array([[0, 0, 0, 1], [5, 2, 1, 2], [7, 9, 3, 3.0]])
    path = curve(knots, pieces=4)
    assert path.shape == (9, 4)
    np.testing.assert_allclose(path[::4], knots)
    line = curve([[0.0, 0.0], [3.0, 6.0]], pieces=3)
    np.testing.assert_allclose(line, [[0, 0], [1, 2], [2, 4], [3, 6]])


def test_blend_only_fills_the_crease():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(-20, 20, (2, 500)).astype(np.float32)
    union, plain = blend(first, second, 8), np.minimum(first, second)
    far = np.abs(first - second) >= 8
    np.testing.assert_array_equal(union[far], plain[far])
    assert np.all(union[~far] < plain[~far])
    assert np.all(plain - union <= 2 + 1e-5)


def test_coverage_is_half_on_the_surface_and_whole_beyond_the_ramp():
    distance = np.array([-3, -1, 0, 0.5, 1, 3], np.float32)
    np.testing.assert_allclose(coverage(distance, 2), [1, 1, 0.5, 0.25, 0, 0])


def test_rotation_turns_about_x_then_y_then_z():
    angles = (20.0, -35.0, 70.0)
    expected = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    np.testing.assert_allclose(rotation(angles), expected, atol=1e-12)


def test_pose_undoes_the_placing_of_points():
    cloud, points = scatter()
    pose = Pose(np.array([3.0, -2.0, 5.0]), rotation((10, 20, 30)), 1.3)
    placed = pose.centre + pose.scale * cloud @ pose.turn.T
    back = pose.local(tuple(placed.T.astype(np.float32)))
    np.testing.assert_allclose(back, points, atol=1e-4)


def test_smooth_field_has_unit_spread_and_no_short_waves():
    fields = [smooth_field(np.random.default_rng(s), (48, 40, 32), (4, 4, 4)) for s in range(30)]
    assert fields[0].shape == (48, 40, 32)
    assert fields[0].dtype == np.float32
    assert np.std(fields) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(fields)) < 0.1
    for field in fields[:3]:
        for axis in range(3):
            # At 8 to 12 voxels a cell third differences all but vanish; white noise exceeds 5.
            assert np.abs(np.diff(field, n=3, axis=axis)).max() < 0.1
    assert not np.array_equal(fields[0], fields[1])


def test_smooth_field_is_a_cubic_spline_along_each_axis():
    from scipy.interpolate import BSpline

    cells, voxels = 5, 60
    field = smooth_field(np.random.default_rng(3), (voxels, 1, 1), (cells, 1, 1))[:, 0, 0]
    knots = np.arange(-3, cells + 4, dtype=float)
    position = (np.arange(voxels) + 0.5) / voxels * cells
    basis = BSpline.design_matrix(position, knots, 3).toarray()
    residual = np.linalg.lstsq(basis, field, rcond=None)[1]
    assert residual[0] < 1e-8
