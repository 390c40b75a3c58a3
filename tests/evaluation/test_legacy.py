"""The literature's distances against their definitions and medpy."""

import math

import numpy as np
import pytest
from scipy import ndimage

from contrabench.evaluation.legacy import asd_medpy_voxel, asd_slice2d
from contrabench.evaluation.surface import surface_distances

SPACING = (1.37, 0.71, 2.9)


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
