"""Surface distances against closed forms, the definition in loops, MONAI and medpy."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from contrabench.errors import RequestError
from contrabench.evaluation.surface import (
    asd_medpy_voxel,
    asd_slice2d,
    edge_voxels,
    surface_distances,
)

SPACING = (1.37, 0.71, 2.9)


def random_masks(seed, shape=(7, 6, 5), share=0.4):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < share, rng.random(shape) < share


def edge_by_loop(mask):
    """A foreground voxel with a background or outside voxel across a face."""
    edge = []
    for point in np.argwhere(mask):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            near = list(point)
            near[axis] += step
            outside = near[axis] < 0 or near[axis] >= mask.shape[axis]
            if outside or not mask[tuple(near)]:
                edge.append(tuple(int(i) for i in point))
                break
    return edge


def distances_by_loop(origin, target, spacing):
    def place(voxel):
        return [index * step for index, step in zip(voxel, spacing, strict=True)]

    return [
        min(math.dist(place(voxel), place(other)) for other in edge_by_loop(target))
        for voxel in edge_by_loop(origin)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_definition_in_loops(seed):
    prediction, reference = random_masks(seed, share=(0.1, 0.4, 0.85)[seed % 3])
    found = surface_distances(prediction, reference, SPACING)
    forward = distances_by_loop(prediction, reference, SPACING)
    backward = distances_by_loop(reference, prediction, SPACING)
    np.testing.assert_allclose(found.forward, forward, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.backward, backward, rtol=0, atol=1e-9)
    pooled = forward + backward
    assert found.average() == pytest.approx(sum(pooled) / len(pooled), abs=1e-9)
    assert found.surface_dice(1.5) == sum(d <= 1.5 for d in pooled) / len(pooled)


@pytest.mark.parametrize("shape", [(6, 7), (5, 4, 6), (1, 5, 5), (3, 1, 1)])
@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_edge_is_what_erosion_takes_away(shape, share):
    mask = np.random.default_rng(1).random(shape) <= share
    expected = mask & ~ndimage.binary_erosion(mask)
    np.testing.assert_array_equal(edge_voxels(mask), expected)
    np.testing.assert_array_equal(np.argwhere(edge_voxels(mask)), edge_by_loop(mask))


def test_edge_within_slices_ignores_the_slices_beside():
    mask = np.random.default_rng(2).random((6, 7, 4)) < 0.8
    outlines = edge_voxels(mask, axes=(0, 1))
    for index in range(mask.shape[2]):
        np.testing.assert_array_equal(outlines[:, :, index], edge_voxels(mask[:, :, index]))


def test_parallel_plates_are_their_gap_apart():
    prediction, reference = np.zeros((2, 9, 9, 9), dtype=bool)
    prediction[:, :, 1] = reference[:, :, 5] = True
    found = surface_distances(prediction, reference, (1.0, 1.0, 2.5))
    assert found.average() == found.hausdorff95() == 10.0
    assert found.surface_dice(9.9) == 0.0
    assert found.surface_dice(10.0) == 1.0


def test_concentric_boxes():
    outer, inner = np.zeros((2, 11, 11, 11), dtype=bool)
    outer[1:10, 1:10, 1:10] = True  # 9 voxels wide
    inner[4:7, 4:7, 4:7] = True  # 3 voxels wide, 3 voxels further in on every side
    found = surface_distances(outer, inner, (1.0, 1.0, 1.0))
    # Every inner surface voxel looks straight out through its nearest face.
    np.testing.assert_allclose(found.backward, 3.0)
    assert len(found.backward) == 3**3 - 1
    # From the outer surface the inner box is reached axis by axis.
    beyond = [max(0, 4 - i, i - 6) for i in range(11)]
    expected = [
        math.sqrt(beyond[x] ** 2 + beyond[y] ** 2 + beyond[z] ** 2)
        for x, y, z in itertools.product(range(1, 10), repeat=3)
        if {x, y, z} & {1, 9}
    ]
    np.testing.assert_allclose(found.forward, expected)
    assert found.hausdorff95() == pytest.approx(np.percentile(expected, 95))


def test_hausdorff_takes_the_worse_direction():
    reference = np.zeros((40, 5, 5), dtype=bool)
    reference[:10] = True
    prediction = reference.copy()
    prediction[39, :2] = True  # a far island: only the forward direction sees it
    found = surface_distances(prediction, reference, (1.0, 1.0, 1.0))
    forward = np.percentile(found.forward, 95)
    assert found.hausdorff95() == forward
    assert forward > np.percentile(np.r_[found.forward, found.backward], 95)


def test_tolerance_survives_single_precision_spacing():
    prediction, reference = np.zeros((2, 3, 3, 9), dtype=bool)
    prediction[:, :, 1] = reference[:, :, 6] = True
    spacing = (1.0, 1.0, float(np.float32(0.4)))  # five of these are 2.00000003
    assert surface_distances(prediction, reference, spacing).surface_dice(2.0) == 1.0


def test_identical_masks_are_exactly_zero_apart():
    mask, _ = random_masks(3)
    found = surface_distances(mask, mask, SPACING)
    assert found.average() == 0.0
    assert found.hausdorff95() == 0.0
    assert found.surface_dice(0.0) == 1.0


def test_single_voxels():
    prediction, reference = np.zeros((2, 4, 4, 4), dtype=bool)
    prediction[0, 0, 0] = reference[3, 2, 1] = True
    found = surface_distances(prediction, reference, SPACING)
    assert found.average() == pytest.approx(math.hypot(3 * 1.37, 2 * 0.71, 2.9), abs=1e-12)


@pytest.mark.parametrize("empty", ["prediction", "reference"])
def test_an_empty_mask_is_refused(empty):
    masks = {"prediction": np.ones((3, 3, 3), bool), "reference": np.ones((3, 3, 3), bool)}
    masks[empty][:] = False
    with pytest.raises(RequestError, match="empty"):
        surface_distances(**masks, spacing=SPACING)


def test_different_grids_are_refused():
    with pytest.raises(RequestError, match="same grid"):
        surface_distances(np.ones((3, 3, 3), bool), np.ones((3, 3, 4), bool), SPACING)


def shapes_for_libraries():
    """Random blobs, and boxes that touch the border of the image."""
    rng = np.random.default_rng(7)
    for _ in range(3):
        noise = ndimage.gaussian_filter(rng.standard_normal((2, 18, 16, 12)), (0, 2, 2, 2))
        yield noise[0] > 0, noise[1] > 0
    corner, opposite = np.zeros((2, 12, 10, 8), dtype=bool)
    corner[:6, :5, :4] = True
    opposite[5:, 4:, 3:] = True
    yield corner, opposite


@pytest.mark.parametrize(("prediction", "reference"), shapes_for_libraries())
def test_agrees_with_monai(prediction, reference):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    options = {"include_background": True, "spacing": SPACING}
    found = surface_distances(prediction, reference, SPACING)
    asd = metrics.compute_average_surface_distance(*pair, symmetric=True, **options)
    hd95 = metrics.compute_hausdorff_distance(*pair, percentile=95, **options)
    nsd = metrics.compute_surface_dice(*pair, [2.0], **options)
    assert found.average() == pytest.approx(float(asd), abs=1e-4)
    assert found.hausdorff95() == pytest.approx(float(hd95), abs=1e-4)
    assert found.surface_dice(2.0) == pytest.approx(float(nsd), abs=1e-6)


@pytest.mark.parametrize(("prediction", "reference"), shapes_for_libraries())
def test_agrees_with_medpy(prediction, reference):
    binary = pytest.importorskip("medpy.metric.binary")
    found = surface_distances(prediction, reference, SPACING)
    # medpy 0.5 pools the two lists as the contract does.
    assd = binary.assd(prediction, reference, voxelspacing=SPACING)
    assert found.average() == pytest.approx(assd, abs=1e-9)


# -- conventions of the literature ------------------------------------------------------


def blobs(seed, shape=(14, 12, 9)):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 2, 2, 1))
    return noise[0] > 0.02, noise[1] > 0.02


@pytest.mark.parametrize("seed", range(4))
def test_slices_are_scored_one_by_one(seed):
    prediction, reference = blobs(seed)
    prediction[:, :, 0] = False
    reference[:, :, 1] = False
    prediction[:, :, 4] = reference[:, :, 4]
    means = []
    for index in range(prediction.shape[2]):
        ours, theirs = prediction[:, :, index], reference[:, :, index]
        if ours.any() and theirs.any():
            means.append(surface_distances(ours, theirs, SPACING[:2]).average())
    assert len(means) >= 3
    assert asd_slice2d(prediction, reference, SPACING) == pytest.approx(np.mean(means), abs=1e-9)


def test_no_shared_slice_gives_nan():
    prediction, reference = np.zeros((2, 5, 5, 5), dtype=bool)
    prediction[:, :, 0] = reference[:, :, 1] = True
    assert math.isnan(asd_slice2d(prediction, reference, SPACING))


def test_voxel_distance_is_directed_and_knows_no_spacing():
    prediction, reference = np.zeros((2, 9, 3, 3), dtype=bool)
    prediction[1] = True
    reference[1] = reference[7] = True
    assert asd_medpy_voxel(prediction, reference) == 0.0
    assert asd_medpy_voxel(reference, prediction) == 3.0


@pytest.mark.parametrize("seed", range(4))
def test_voxel_distance_agrees_with_medpy(seed):
    binary = pytest.importorskip("medpy.metric.binary")
    prediction, reference = blobs(seed)
    expected = binary.asd(prediction, reference)
    assert asd_medpy_voxel(prediction, reference) == pytest.approx(expected, abs=1e-9)
