"""The metric contract: values, empty structures, and its own invariants."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contrabench.errors import RequestError
from contrabench.evaluation.metrics import dice_of, score_case
from contrabench.evaluation.surface import surface_distances

SPACING = (1.5, 2.0, 3.0)
DISTANCES = ("asd", "hd95", "asd_medpy_voxel", "asd_slice2d")


def volume(*boxes, shape=(12, 10, 8)):
    labels = np.zeros(shape, dtype=np.uint8)
    for value, box in boxes:
        labels[box] = value
    return labels


BOX = np.s_[2:8, 2:8, 2:6]


def test_shifted_box():
    reference = volume((1, np.s_[2:8, 2:8, 2:6]))
    prediction = volume((1, np.s_[3:9, 2:8, 2:6]))
    (score,) = score_case(prediction, reference, ["lv"], SPACING)
    assert score.dice == pytest.approx(5 / 6)
    assert score.reference_voxels == score.prediction_voxels == 144
    # Each surface voxel's nearest is itself or one step of 1.5 mm along x: the step is
    # taken by the leading plane of 6 x 4, and by the inside of the plane behind it that
    # the other box has inside its volume (4 x 2).
    surface = 144 - 4 * 4 * 2
    assert score.asd == pytest.approx((24 + 8) * 1.5 / surface)
    assert score.hd95 == 1.5
    assert score.surface_dice_2mm == 1.0
    assert score.asd_medpy_voxel == pytest.approx((24 + 8) / surface)
    assert score.flag == ""


def test_every_class_is_scored_as_if_alone():
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 4, (2, 9, 8, 7), dtype=np.uint8)
    for index, score in enumerate(score_case(prediction, reference, ["a", "b", "c"], SPACING)):
        ours, theirs = prediction == index + 1, reference == index + 1
        expected = surface_distances(ours, theirs, SPACING)
        assert score.structure == "abc"[index]
        assert score.dice == pytest.approx(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
        assert score.asd == pytest.approx(expected.average(), abs=1e-12)
        assert score.hd95 == pytest.approx(expected.hausdorff95(), abs=1e-12)
        assert score.surface_dice_2mm == expected.surface_dice(2.0)
        assert (score.reference_voxels, score.prediction_voxels) == (theirs.sum(), ours.sum())


def test_dice_agrees_with_monai():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(1)
    prediction, reference = rng.integers(0, 4, (2, 9, 8, 7), dtype=np.uint8)
    pair = [
        torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 4).movedim(-1, 0)[None]
        for labels in (prediction, reference)
    ]
    expected = metrics.DiceMetric(include_background=False)(*pair)[0].tolist()
    found = [score.dice for score in score_case(prediction, reference, "abc", SPACING)]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("missing", ["prediction", "reference"])
def test_one_empty_scores_the_worst(missing):
    labels = {"prediction": volume((1, BOX)), "reference": volume((1, BOX))}
    labels[missing][:] = 0
    (score,) = score_case(**labels, structures=["lv"], spacing=SPACING)
    diagonal = math.sqrt((12 * 1.5) ** 2 + (10 * 2.0) ** 2 + (8 * 3.0) ** 2)
    assert score.dice == score.surface_dice_2mm == 0.0
    assert score.asd == score.hd95 == pytest.approx(diagonal)
    assert score.asd_medpy_voxel == pytest.approx(math.sqrt(12**2 + 10**2 + 8**2))
    assert score.asd_slice2d == pytest.approx(math.hypot(18, 20))
    assert score.flag == f"{missing} empty"
    assert getattr(score, f"{missing}_voxels") == 0


def test_no_found_structure_scores_worse_than_an_empty_one():
    # The farthest possible miss: one voxel in opposite corners.
    reference, prediction = volume((1, (0, 0, 0))), volume((1, (-1, -1, -1)))
    (found,) = score_case(prediction, reference, ["lv"], SPACING)
    (missed,) = score_case(volume(), reference, ["lv"], SPACING)
    for name in DISTANCES:
        assert getattr(found, name) <= getattr(missed, name), name
    assert found.asd_slice2d == pytest.approx(math.hypot(18, 20))  # no slice in common


def test_both_empty_is_not_applicable():
    lv, rv = score_case(volume((1, BOX)), volume((1, BOX)), ["lv", "rv"], SPACING)
    assert lv.flag == ""
    assert rv.flag == "not applicable"
    assert all(math.isnan(getattr(rv, name)) for name in ("dice", "surface_dice_2mm", *DISTANCES))
    assert rv.reference_voxels == rv.prediction_voxels == 0


@pytest.mark.parametrize("box", [np.s_[:, :, :], np.s_[:6, :5, :4], np.s_[6:, :, 7:]])
def test_identical_label_maps_score_perfectly_at_the_border_too(box):
    labels = volume((1, box))
    (score,) = score_case(labels, labels.copy(), ["lv"], SPACING)
    assert score.dice == score.surface_dice_2mm == 1.0
    assert [getattr(score, name) for name in DISTANCES] == [0.0] * 4


def test_touching_the_border_counts_the_border_as_surface():
    # A structure that fills the image has the image's border as its surface, so a
    # prediction without the last plane along z is one step of 3 mm away there.
    reference = volume((1, np.s_[:, :, :]))
    prediction = volume((1, np.s_[:, :, :7]))
    (score,) = score_case(prediction, reference, ["lv"], SPACING)
    expected = surface_distances(prediction == 1, reference == 1, SPACING)
    assert expected.backward.max() == 3.0
    assert score.asd == pytest.approx(expected.average())
    assert score.asd > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_dice_is_one_exactly_when_the_surfaces_coincide(seed, share):
    rng = np.random.default_rng(seed)
    reference = (rng.random((4, 4, 4)) < share).astype(np.uint8)
    prediction = reference.copy()
    if seed % 2:
        prediction.flat[seed % 64] ^= 1
    (score,) = score_case(prediction, reference, ["lv"], SPACING)
    if score.flag == "":
        assert 0 <= score.dice <= 1
        assert (score.dice == 1) == np.array_equal(prediction, reference)
        if score.dice == 1:
            assert score.asd == 0


def test_a_closed_hole_of_one_voxel_changes_dice_alone():
    # The one way to have ASD 0 below Dice 1: the voxel's neighbours are surface anyway.
    reference = volume((1, np.s_[2:5, 2:5, 2:5]))
    prediction = reference.copy()
    prediction[3, 3, 3] = 0
    (score,) = score_case(prediction, reference, ["lv"], SPACING)
    assert score.dice == pytest.approx(52 / 53)
    assert score.asd == 0


def test_a_value_without_a_name_is_refused():
    with pytest.raises(RequestError, match="value 2 but only 1 structures"):
        score_case(volume((2, BOX)), volume((1, BOX)), ["lv"], SPACING)


def test_different_grids_are_refused():
    with pytest.raises(RequestError, match="resample"):
        score_case(volume(), volume(shape=(12, 10, 9)), ["lv"], SPACING)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, math.nan, 1.0)])
def test_meaningless_spacing_is_refused(spacing):
    with pytest.raises(RequestError, match="spacing"):
        score_case(volume(), volume(), ["lv"], spacing)


def test_scoring_needs_no_torch():
    code = "import sys, contrabench.evaluation.metrics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_dice_alone_is_that_of_the_whole_score():
    draw = np.random.default_rng(0)
    prediction, reference = (draw.integers(0, 4, (6, 5, 4)).astype(np.uint8) for _ in range(2))
    prediction[prediction == 2] = 0
    whole = score_case(prediction, reference, ["a", "b", "c", "d"], (1.0, 1.0, 1.0))
    found = dice_of(prediction, reference, 4)
    np.testing.assert_array_equal(found, [score.dice for score in whole])
    assert found[1] == 0
    assert math.isnan(found[3])
    sizes = [int((m == 1).sum()) for m in (prediction, reference)]
    both = int(((prediction == 1) & (reference == 1)).sum())
    assert found[0] == pytest.approx(2 * both / sum(sizes))
