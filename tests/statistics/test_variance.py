"""Components of variance against the analysis of variance, pairs by hand and planted truth."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from contrabench.errors import RequestError
from contrabench.statistics.aggregate import UNIT
from contrabench.statistics.variance import VarianceSplit, variance_split

PARTS = ("patients", "draws", "seeds", "remainder")


def design(folds, patients, draws, seeds):
    index = itertools.product(range(folds), range(patients), range(draws), range(seeds))
    frame = pd.DataFrame(list(index), columns=["fold", "patient", "draw", "seed"])
    frame["patient"] = frame["patient"] + 100 * frame["fold"]
    return frame


def simulated(rng, shape, deviations):
    folds, patients, draws, seeds = shape
    effects = (
        rng.normal(0, deviations[0], (folds, patients, 1, 1)),
        rng.normal(0, deviations[1], (folds, 1, draws, 1)),
        rng.normal(0, deviations[2], (folds, 1, draws, seeds)),
        rng.normal(0, deviations[3], shape),
    )
    return observed(design(*shape), sum(effects).ravel())


def observed(frame, score):
    return pd.Series(score, index=pd.MultiIndex.from_frame(frame[UNIT]), dtype=float)


def mean_squares(scores):
    """The mean squares of a crossed design, patients x draws x seeds, from the textbook."""
    sizes = scores.shape
    found = {}
    for factors in itertools.chain.from_iterable(
        itertools.combinations(range(3), k) for k in (1, 2, 3)
    ):
        effect = np.zeros(sizes)
        for k in range(len(factors) + 1):
            for kept in itertools.combinations(factors, k):
                gone = tuple(axis for axis in range(3) if axis not in kept)
                effect = effect + (-1) ** (len(factors) - k) * scores.mean(gone, keepdims=True)
        found[factors] = (effect**2).sum() / math.prod(sizes[f] - 1 for f in factors)
    return found


def test_a_complete_design_gives_the_analysis_of_variance():
    p, d, s = shape = (5, 3, 4)
    scores = np.random.default_rng(0).normal(0, 1, shape)
    scores += np.random.default_rng(1).normal(0, 1, (p, 1, 1))
    ms = mean_squares(scores)
    rest = ms[0, 1, 2]
    patients = (ms[0,] - ms[0, 1] - ms[0, 2] + rest) / (d * s)
    draws = (ms[1,] - ms[0, 1] - ms[1, 2] + rest) / (p * s)
    seeds = (ms[2,] - ms[0, 2] - ms[1, 2] + rest) / (p * d) + (ms[1, 2] - rest) / p
    remainder = rest + (ms[0, 1] - rest) / s + (ms[0, 2] - rest) / d
    split = variance_split(observed(design(1, *shape), scores.ravel()))
    found = [getattr(split, name) for name in PARTS]
    assert found == pytest.approx([patients, draws, seeds, remainder], abs=1e-12)
    assert math.isnan(split.training)


def test_an_incomplete_design_is_that_of_its_pairs():
    frame = simulated(np.random.default_rng(3), (3, 4, 3, 2), (2, 1, 1, 1))
    frame = frame.drop(index=frame.index[[0, 5, 17, 40, 41, 42, 60]])
    sums = {}
    for one, other in itertools.combinations(frame.reset_index(name="score").itertuples(), 2):
        same = (one.patient == other.patient, one.draw == other.draw, one.seed == other.seed)
        key = same if one.fold == other.fold else "other fold"
        sums.setdefault(key, []).append((one.score - other.score) ** 2 / 2)
    half = {key: np.mean(values) for key, values in sums.items()}
    total, same_draw = half[False, False, False], half[False, True, False]
    split = variance_split(frame)
    assert split.patients == pytest.approx(total - half[True, False, False])
    assert split.draws == pytest.approx(total - same_draw)
    assert split.seeds == pytest.approx(same_draw - half[False, True, True])
    assert sum(getattr(split, name) for name in PARTS) == pytest.approx(total)
    assert split.training == pytest.approx(half["other fold"] - half[False, True, True])


def test_planted_components_are_found():
    rng, truth = np.random.default_rng(4), [4.0, 1.0, 0.5, 2.0]
    found = []
    for _ in range(60):
        split = variance_split(simulated(rng, (5, 4, 3, 2), np.sqrt(truth)))
        found.append([*(getattr(split, name) for name in PARTS), split.training])
    error = np.std(found, axis=0) / math.sqrt(60)
    assert (np.abs(np.mean(found, axis=0) - [*truth, 1.5]) < 4 * error).all()


@pytest.mark.parametrize(
    ("shape", "unknown"),
    [
        ((3, 4, 1, 1), {"draws", "seeds", "remainder"}),
        ((3, 4, 2, 1), {"seeds"}),
        ((3, 4, 1, 2), {"draws"}),
        ((4, 1, 2, 2), set(PARTS)),
    ],
)
def test_a_source_with_one_level_is_unknown(shape, unknown):
    frame = simulated(np.random.default_rng(5), shape, (1, 1, 1, 1))
    split = variance_split(frame)
    assert {name for name in PARTS if math.isnan(getattr(split, name))} == unknown
    assert split.levels == shape[1:]
    assert split.folds == shape[0]


def test_one_run_a_fold_gives_the_variance_within_folds():
    frame = simulated(np.random.default_rng(6), (4, 5, 1, 1), (1, 1, 1, 1))
    expected = frame.groupby("fold").var().mean()
    assert variance_split(frame).patients == pytest.approx(expected)


def test_equal_scores_do_not_vary():
    split = variance_split(observed(design(2, 3, 2, 2), 0.7))
    assert [getattr(split, name) for name in PARTS] == [0, 0, 0, 0]


@pytest.mark.parametrize("runs", [(1, 1), (2, 1), (2, 3)])
def test_the_variance_of_a_mean_is_what_simulated_studies_show(runs):
    truth = (1.0, 0.5, 0.3, 0.8)
    split = VarianceSplit(*truth, 0.8, (4, 2, 2), 5)
    rng, (draws, seeds) = np.random.default_rng(7), runs
    shape = (3000, 5, 4, draws, seeds)
    scores = rng.normal(0, 1, shape[:3]) + (
        rng.normal(0, truth[1] ** 0.5, (3000, 5, 1, draws, 1))
        + rng.normal(0, truth[2] ** 0.5, (3000, 5, 1, draws, seeds))
        + rng.normal(0, truth[3] ** 0.5, shape)
    ).mean(axis=(3, 4))
    patients = scores.reshape(3000, 20)
    expected = split.mean_variance(20, 5, draws, seeds)
    assert patients.mean(axis=1).var() == pytest.approx(expected, rel=0.1)


def test_what_draws_do_not_explain_no_further_draw_averages():
    """One pre-training for all draws of a fold moves them together."""
    rng = np.random.default_rng(8)
    effects = (1.0, 0.4, 0.6)  # patients, draws, the fold as a whole
    shape = (4000, 5, 4, 3)
    scores = (
        rng.normal(0, effects[0] ** 0.5, (*shape[:3], 1))
        + rng.normal(0, effects[1] ** 0.5, (4000, 5, 1, 3))
        + rng.normal(0, effects[2] ** 0.5, (4000, 5, 1, 1))
    ).mean(axis=3)
    split = VarianceSplit(1.0, 0.4, math.nan, math.nan, 1.0, (4, 3, 1), 5)
    expected = scores.reshape(4000, 20).mean(axis=1).var()
    assert split.mean_variance(20, 5, 3, 1) == pytest.approx(expected, rel=0.06)
    assert split.mean_variance(20, 5, 10**9, 1) == pytest.approx(1 / 20 + 0.6 / 5)


def test_faulty_observations_are_refused():
    frame = observed(design(1, 3, 2, 1), 1.0)
    with pytest.raises(RequestError):
        variance_split(pd.concat([frame, frame.iloc[:1]]))
    with pytest.raises(RequestError):
        variance_split(frame.where(np.arange(6) > 0))
