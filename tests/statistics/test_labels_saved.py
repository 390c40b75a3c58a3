"""Labels that a baseline needs to keep up: planted curves, both ends, coverage."""

import itertools
import math

import numpy as np
import pytest

from contrabench.errors import RequestError
from contrabench.statistics.labels_saved import labels_needed
from contrabench.statistics.signflip import sign_flip_p

BUDGETS = np.array([1.0, 2, 4, 8, 16])


def curves(patients, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    exact = 0.5 + rng.normal(0, 0.08, (patients, 1)) + 0.06 * np.log2(BUDGETS)
    return exact + rng.normal(0, noise, exact.shape), exact


@pytest.mark.parametrize("count", [1.0, 2.0, 3.0, 5.0, 12.0])
def test_a_method_on_the_curve_is_found_there(count):
    _, exact = curves(10)
    scores = exact[:, 0] + 0.06 * math.log2(count)
    found = labels_needed(BUDGETS, exact, scores)
    assert found.needed == pytest.approx(count)
    assert found.low <= count * (1 + 1e-9)
    assert found.high >= count * (1 - 1e-9)


def test_beyond_the_curve_nothing_is_extrapolated():
    curve, _ = curves(10)
    above = labels_needed(BUDGETS, curve, curve[:, -1] + 0.2)
    assert (above.needed, above.low, above.high) == (math.inf, math.inf, math.inf)
    below = labels_needed(BUDGETS, curve, curve[:, 0] - 0.2)
    assert (below.needed, below.low, below.high) == (0, 0, 0)


def test_the_interval_is_open_where_the_end_of_the_curve_cannot_be_told_apart():
    curve, _ = curves(10, noise=0.03)
    top = labels_needed(BUDGETS, curve, curve[:, -1] + np.tile([0.02, -0.02], 5))
    assert top.high == math.inf
    assert 4 < top.low < 16
    assert top.needed == pytest.approx(16)


def test_a_budget_is_inside_exactly_when_its_test_does_not_reject():
    rng = np.random.default_rng(5)
    curve, _ = curves(12, noise=0.03)
    scores = curve[:, 2] + rng.normal(0.02, 0.04, 12)
    found = labels_needed(BUDGETS, curve, scores)
    assert found.low < found.needed < found.high
    for column, budget in enumerate(BUDGETS):
        inside = sign_flip_p(scores - curve[:, column]) > 0.05
        if inside:
            assert found.low <= budget <= found.high
        else:
            assert not found.low * 1.03 < budget < found.high / 1.03


def test_few_patients_bound_nothing():
    curve, _ = curves(5)
    found = labels_needed(BUDGETS, curve, curve[:, 2])
    assert found.needed == pytest.approx(4)
    assert (found.low, found.high) == (0, math.inf)


def test_a_dip_is_made_monotone():
    """The second and third budget are out of order, and count as one level."""
    curve = np.tile([0.5, 0.7, 0.6, 0.8], (8, 1))
    found = labels_needed([1, 2, 4, 8], curve, np.full(8, 0.65))
    assert found.needed == pytest.approx(2)
    found = labels_needed([1, 2, 4, 8], curve, np.full(8, 0.725))
    assert found.needed == pytest.approx(4 * math.sqrt(2))


def test_a_method_equal_to_scratch_at_a_budget_has_that_budget_in_its_interval():
    """However the curve falls: pooled, it would be off scratch's own scores."""
    rng = np.random.default_rng(0)
    means = np.array([0.60, 0.55, 0.65, 0.75])
    curve = rng.normal(0, 0.05, (20, 1)) + means + rng.normal(0, 0.01, (20, 4))
    for column, budget in enumerate([2, 3, 6, 16]):
        found = labels_needed([2, 3, 6, 16], curve, curve[:, column])
        assert found.low <= budget <= found.high
    for seed in range(40):
        curve = np.random.default_rng(seed).normal(0, 0.05, (8, 5))
        for column, budget in enumerate(BUDGETS):
            found = labels_needed(BUDGETS, curve, curve[:, column])
            assert found.low <= budget <= found.high
            assert found.low <= found.needed <= found.high


def flipped_p(gaps):
    """The sign-flip test, pattern by pattern."""
    sums = [abs(np.dot(signs, gaps)) for signs in itertools.product([1, -1], repeat=len(gaps))]
    return np.mean(np.array(sums) >= abs(gaps.sum()) - 1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_the_interval_is_all_that_the_test_leaves_open(seed):
    """Counted out on curves that rise and fall, on points between the budgets."""
    rng = np.random.default_rng(seed)
    means = rng.choice([0.0, 0.04, 0.08], 5)
    curve = means + rng.normal(0, 0.02, (7, 5))
    scores = rng.choice(means) + rng.normal(0, 0.02, 7)
    found = labels_needed(BUDGETS, curve, scores)
    points = np.exp(np.linspace(0, math.log(16), 4 * 16 + 1))  # a quarter of the grid
    gaps = [
        scores - [np.interp(math.log(point), np.log(BUDGETS), row) for row in curve]
        for point in points
    ]
    opened = [point for point, gap in zip(points, gaps, strict=True) if flipped_p(gap) > 0.05]
    better_at_least = gaps[0].mean() > 0 and flipped_p(gaps[0]) <= 0.05
    worse_at_most = gaps[-1].mean() < 0 and flipped_p(gaps[-1]) <= 0.05
    opened = [*([] if better_at_least else [0.0]), *opened, *([] if worse_at_most else [math.inf])]
    opened = sorted([*opened, found.needed])
    step = 2 ** (1 / 64)
    coarse = 2 ** (1 / 16)
    assert found.low <= opened[0]
    assert found.high >= opened[-1]
    assert found.low * step * coarse >= opened[0] * (1 - 1e-9)
    assert found.high / step / coarse <= opened[-1] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("means", "truth"),
    [((0.60, 0.55, 0.65, 0.75), 2), ((0.60, 0.55, 0.65, 0.75), 3),
     ((0.58, 0.58, 0.60, 0.75), 3), ((0.50, 0.60, 0.70, 0.70), 10)],
)  # fmt: skip
def test_coverage_where_the_curve_is_flat_or_falls(means, truth):
    rng, held, studies = np.random.default_rng(7), [], 250
    budgets = np.array([2.0, 3, 6, 16])
    level = np.interp(math.log(truth), np.log(budgets), means)
    for _ in range(studies):
        patients = rng.normal(0, 0.1, (12, 1))
        curve = np.array(means) + patients + rng.normal(0, 0.04, (12, 4))
        scores = level + patients[:, 0] + rng.normal(0, 0.04, 12)
        found = labels_needed(budgets, curve, scores)
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / studies)


def test_coverage():
    rng, held, studies = np.random.default_rng(9), [], 400
    for _ in range(studies):
        slope = rng.normal(0.06, 0.02, (8, 1))
        curve = 0.5 + rng.normal(0, 0.08, (8, 1)) + slope * np.log2(BUDGETS)
        scores = curve[:, 2] + slope[:, 0] * math.log2(5 / 4) + rng.normal(0, 0.03, 8)
        found = labels_needed(BUDGETS, curve + rng.normal(0, 0.03, curve.shape), scores)
        held.append(found.low <= 5 <= found.high)
    assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / studies)


@pytest.mark.parametrize(
    ("counts", "patients", "message"),
    [([4], 6, "two label budgets"), ([4, 2], 6, "ascending"), ([1, 2, 4], 6, "does not fit"),
     ([1, 2], 5, "does not fit")],
)  # fmt: skip
def test_what_is_no_curve_is_refused(counts, patients, message):
    columns = 1 if len(counts) == 1 else 2
    with pytest.raises(RequestError, match=message):
        labels_needed(counts, np.zeros((6, columns)), np.zeros(patients))


def test_missing_scores_are_refused():
    curve, _ = curves(6)
    with pytest.raises(RequestError, match="no score"):
        labels_needed(BUDGETS, curve, [math.nan, *curve[1:, 0]])
